"""What lies in folders of images and is none that can be read: named as what it is, with what to do."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from baton.data.images import SUFFIXES
from baton.files import HEIC

# Folders and files that programs leave beside images.
CACHES = {
    "@eadir": "thumbnails of a NAS",
    "#recycle": "what a NAS keeps of deleted files",
    "$recycle.bin": "deleted files of Windows",
    "__macosx": "what macOS adds to ZIP archives",
    "thumbs.db": "thumbnails of Windows",
    "ehthumbs.db": "thumbnails of Windows",
    "desktop.ini": "settings of Windows",
    "lost+found": "what a repair of the disk found",
}
FORMATS = {
    ".cr2 .cr3 .nef .arw .dng .raf .orf .rw2 .pef .srw": "raw files of cameras: convert them to JPEG or TIFF",
    ".jxl .jxr .bpg .exr .hdr .fits .fit .psd .xcf .svg .eps .ai .ico .tga .pcx": "images in a format that Baton does not "
    "read: convert them to PNG or JPEG",
    ".dcm .nii .mha .nrrd .czi .lsm .nd2 .svs .ndpi": "medical or microscope images: convert them to PNG or TIFF",
    ".mp4 .mov .avi .mkv .webm .m4v .3gp .wmv .mpg": "videos: extract frames",
    ".pdf .doc .docx .ppt .pptx": "documents: extract their images",
    ".zip .tar .gz .tgz .rar .7z .bz2 .xz": "archives: unpack them",
    ".npy .npz .mat .h5 .hdf5 .tfrecord .pkl .parquet": "arrays: write each as an image",
}
KINDS = {suffix: kind for suffixes, kind in FORMATS.items() for suffix in suffixes.split()}
KINDS |= dict.fromkeys(
    HEIC, "HEIC images: run `pip install pillow-heif` in Baton's environment, or convert them to JPEG"
)


def why_passed_over(path: str) -> str | None:
    """Return why a file is no image to be read, in words for many; None for an image. path: relative, as walk() gives it."""
    parts = path.split("/")
    for part in parts:
        if kind := CACHES.get(part.lower()):
            return f"{kind} ({part})"
    if any(part.startswith(".") for part in parts):
        return "hidden, or in a hidden folder"
    name = parts[-1].lower()
    if name.endswith(SUFFIXES):
        return None
    return KINDS.get(PurePosixPath(name).suffix, "not named like an image")


def count_passed_over(paths: Iterable[str]) -> list[tuple[str, int]]:
    """Return each reason and how many of the paths it holds for, in the order of the alphabet."""
    return sorted(Counter(filter(None, map(why_passed_over, paths))).items())
