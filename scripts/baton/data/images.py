"""Images: finding files, decoding them to upright RGB, and noticing those that are damaged.

The filter and the packing both decode with `decode_image`, so that what the filter lets through
is what training is fed, pixel for pixel.
"""

import errno
import hashlib
import mmap
import os
import re
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from baton.errors import MachineError

# Formats of photographs and scans. Pillow knows others that start programs (EPS) or nobody takes photos in.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
# After a JPEG's start of scan: the next marker that is neither a stuffed byte, a restart nor a fill byte.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
ABOUT_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)


class DamagedImage(Exception):
    """The image cannot be used; the message says why."""


def walk(folder):
    """Return the files below `folder` by every name, as sorted pairs of path (relative, with "/") and real path.

    Links to folders are followed, but not back up; and below a link that leads to what was read already, not to more of
    that: folders that link to one another would have names without end. What is no folder that can be entered, or is
    named like an image (x.jpg), is listed as a file, so that the filter can report it. Raises UserError for a folder that
    cannot be read.
    """
    pairs, entered = [], set()
    level = [(str(folder), "", False, False)]
    while level:
        below = []
        for (
            path,
            above,
            is_link,
            repeated,
        ) in level:  # repeated: below a link that led to what was read already
            real = os.path.realpath(path)
            if is_link and (
                (real in entered and repeated) or f"{above}{os.sep}".startswith(f"{real}{os.sep}")
            ):
                continue
            repeated = repeated or (is_link and real in entered)
            entered.add(real)
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if _is_folder(entry):
                            below.append((entry.path, real, entry.is_symlink(), repeated))
                        else:
                            target = os.path.realpath(entry.path) if entry.is_symlink() else None
                            pairs.append((entry.path, target or os.path.join(real, entry.name)))
            except OSError as error:
                raise MachineError(f"cannot read the folder {error.filename}: {error.strerror}") from error
        level = sorted(below)
    return sorted((os.path.relpath(path, folder).replace(os.sep, "/"), real) for path, real in pairs)


def _is_folder(entry):
    try:
        return entry.is_dir() and not entry.name.lower().endswith(SUFFIXES)
    except OSError:  # a link that leads nowhere, in a circle, or where nobody may look
        return False


def list_files(folder):
    """Return the files below `folder` as sorted relative paths, each real file once, by the best of its names."""
    return sorted(set(name_files(folder).values()))


def name_files(folder):
    """Return {path: the best of its file's names} for every path below `folder`, in order; see `walk`."""
    pairs = walk(folder)
    best: dict[str, str] = {}
    for path, real in pairs:
        if real not in best or rank_name(folder, path, real) < rank_name(folder, best[real], real):
            best[real] = path
    return {path: best[real] for path, real in pairs}


def rank_name(folder, path, real):
    """Return by what the better of two names of a file comes first: shorter, its own and no link's, alphabet."""
    own = os.path.join(os.path.realpath(folder), path) == real
    return path.count("/"), not own, path


def real_files(folder, images):
    """Return the real path of each of the `images` below `folder`: where two are the same, they are one file."""
    folders = {}

    def real(path):
        parent, name = os.path.split(path)
        if parent not in folders:
            folders[parent] = os.path.realpath(parent)
        return os.path.realpath(path) if os.path.islink(path) else os.path.join(folders[parent], name)

    return [real(os.path.join(folder, image)) for image in images]


def decode_image(path):
    """Decode the whole image at `path`: a PIL image, upright, RGB, transparent parts on white.

    Raises DamagedImage for whatever cannot be decoded to its last byte.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise DamagedImage("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
        with Image.open(path, formats=FORMATS) as image:
            file_format = image.format
            image.load()
            rgb = _to_rgb(_turn_upright(image))
        if not _reaches_its_end(path, file_format):
            raise DamagedImage(f"the end of the {file_format} file is missing")
    except (DamagedImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DamagedImage("too many pixels, a decompression bomb") from error
    # A damaged file can make a decoder raise nearly anything: all of it means the image is unusable.
    except Exception as error:
        # A drive that went away or a table of open files that is full says nothing about the image.
        if getattr(error, "errno", None) not in ABOUT_THE_FILE:
            raise
        raise DamagedImage(_reason(path, error)) from error
    return rgb


def decode_resized(path, size):
    """Return the image at `path` as a (size, size, 3) array of uint8, stretched to the square."""
    return np.asarray(decode_image(path).resize((size, size), Image.Resampling.BILINEAR))


def _turn_upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that cannot be read says nothing about the pixels, which are there
        return image


def _reason(path, error):
    if os.path.exists(path) and os.path.getsize(path) == 0:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image in a known format"
    # The path would only repeat the row's own, and differ between machines.
    return str(error).replace(str(path), "").strip(" :'") or type(error).__name__


def _to_rgb(image):
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow clips 16-bit grey at 255; the high byte is the picture.
        pixels = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(pixels, 0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def _reaches_its_end(path, file_format):
    """Whether the file's own end mark is there: decoders forgive a missing last piece, pixels or not."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if file_format in ("JPEG", "MPO"):
            return _jpeg_reaches_its_end(data)
        if file_format == "PNG":
            return data.rfind(b"IEND\xaeB`\x82") > 0
        if file_format == "GIF":
            return _gif_reaches_its_end(data)
        if file_format == "WEBP":
            return int.from_bytes(data[4:8], "little") <= len(data) - 8
        return True  # the pixels of the other formats are not compressed, or stand before the end


def _jpeg_reaches_its_end(data):
    """Walk from marker to marker (ITU T.81, annex B) until the end of image, 0xFFD9."""
    position = 2
    while marker := JPEG_MARKER.search(data, position):
        code = marker[0][1]
        if code == 0xD9:
            return True
        position = marker.end()
        position += int.from_bytes(data[position : position + 2], "big")
    return False


def _gif_reaches_its_end(data):
    """Walk from block to block (GIF89a, appendix B) until the trailer, 0x3B."""

    def size_of_colours(flags):
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    position = 13 + size_of_colours(data[10])
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C and position + 9 < len(data):
            # An image: its place, its colours, the code size.
            position += 11 + size_of_colours(data[position + 9])
        elif data[position] == 0x21:  # extension: its kind
            position += 2
        else:  # decoders step over what stands between blocks
            position += 1
            continue
        while position < len(data) and data[position]:  # pieces, each after its length, until one of length 0
            position += data[position] + 1
        position += 1
    return position < len(data)


def digest_file(path):
    """Return the SHA-256 of the file at `path`, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def map_images(function, paths, threads):
    """Yield function(path) for each path, in order, on `threads` threads; of results only a few wait to be taken.

    Threads, not processes: Pillow and hashlib let go of the interpreter while they work.
    """
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future] = deque()
        try:
            for path in paths:
                pending.append(pool.submit(function, path))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
