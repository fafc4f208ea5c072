"""Images: finding files, decoding them to upright RGB, and noticing those that are damaged.

The packing decodes with `open_image`, and so does the inspection, but for JPEGs that a strict decoder of the same kind finds
sound: what the filter lets through is what training is fed.
"""

import errno
import hashlib
import os
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from baton.data import damage
from baton.data.grey import WHOLE, range_of, read_depth, read_values, to_8_bits
from baton.errors import MachineError
from baton.files import HEIC, IMAGES, is_own_folder

# Formats of photographs and scans. Pillow knows others that start programs (EPS) or nobody takes photos in.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
SUFFIXES: tuple[str, ...] = IMAGES
try:  # an extra: its wheel is under the GPL
    import pillow_heif
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()
    FORMATS += ("HEIF",)
    SUFFIXES += HEIC
# Photos of today's phones have 200. What an image of a few kB unpacks to may fill the memory.
MEGAPIXELS = 250
Image.MAX_IMAGE_PIXELS = None  # instead of Pillow's limit, of which it also warns at half
ABOUT_THE_FILE = (None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)


class DamagedImage(Exception):
    """The image cannot be used; the message says why."""


def walk(folder):
    """Yield the files below `folder` by every name, as sorted pairs of path (relative, with "/") and real path.

    Links to folders are followed, but not back up; and below a link that leads to what was read already, not to more of
    that: folders that link to one another would have names without end. What is no folder that can be entered, or is
    named like an image (x.jpg), is listed as a file, so that the filter can report it. Raises UserError for a folder that
    cannot be read.
    """
    # Of a million files the names alone are held: the real path of one is that of its folder and its name, or a link's.
    paths, folders, targets, entered = [], {}, {}, set()
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
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            folders["" if relative == "." else f"{relative}/"] = real
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if is_own_folder(entry.path):
                            continue
                        if _is_folder(entry):
                            below.append((entry.path, real, entry.is_symlink(), repeated))
                        else:
                            paths.append(entry.name if relative == "." else f"{relative}/{entry.name}")
                            if entry.is_symlink():
                                targets[paths[-1]] = os.path.realpath(entry.path)
            except OSError as error:
                raise MachineError(f"cannot read the folder {error.filename}: {error.strerror}") from error
        level = sorted(below)
    paths.sort()
    for path in paths:
        above, slash, name = path.rpartition("/")
        yield path, targets.get(path) or os.path.join(folders[above + slash], name)


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
    pairs = list(walk(folder))
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
    """Yield the real path of each of the `images` below `folder`: where two are the same, they are one file."""
    folders = {}

    def real(path):
        parent, name = os.path.split(path)
        if parent not in folders:
            folders[parent] = os.path.realpath(parent)
        return os.path.realpath(path) if os.path.islink(path) else os.path.join(folders[parent], name)

    return (real(os.path.join(folder, image)) for image in images)


def decode_image(path, megapixels=MEGAPIXELS, ranges=None):
    """Decode the whole image at `path`: a PIL image, upright, RGB, transparent parts on white.

    megapixels: the most that it may have; ranges: of grey images of more than 8 bits, by sample type (see baton.data.grey);
    None: as earlier versions scaled them. Raises DamagedImage for whatever cannot be decoded to its end.
    """
    image, depth, _ = open_image(path, megapixels)
    if depth and ranges is not None:
        values = read_values(image, depth)
        limits = range_of(values, depth) if depth.declared else tuple(ranges.get(depth.sample, WHOLE))
        image = Image.fromarray(to_8_bits(values, limits, depth.inverted))
    return _to_rgb(image)


def open_image(path, megapixels=MEGAPIXELS):
    """Return the decoded image at `path`, upright, its Depth where it is grey of more than 8 bits, else None, and its format."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise DamagedImage("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")
        with Image.open(path, formats=FORMATS) as image:
            file_format = image.format
            if image.width * image.height > megapixels * 1e6:
                raise DamagedImage(
                    f"{image.width:,} x {image.height:,} pixels: more than images.megapixels, {megapixels:,}"
                )
            image.load()
            depth = read_depth(image, path)
            upright = _turn_upright(image)
            if depth is None:
                upright = _to_rgb(upright)
        if not damage.reaches_its_end(path, file_format):
            raise DamagedImage(f"the end of the {file_format} file is missing")
    except (DamagedImage, MemoryError):
        raise
    # A damaged file can make a decoder raise nearly anything: all of it means the image is unusable.
    except Exception as error:
        # A drive that went away or a table of open files that is full says nothing about the image.
        if getattr(error, "errno", None) not in ABOUT_THE_FILE:
            raise
        raise DamagedImage(_reason(path, error)) from error
    return upright, depth, file_format


def decode_resized(path, size, megapixels=MEGAPIXELS, ranges=None):
    """Return the image at `path` as a (size, size, 3) array of uint8, stretched to the square; see decode_image."""
    image = decode_image(path, megapixels, ranges)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


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
    words = str(error).replace(str(path), "").split()  # some end their sentence with a new line
    return " ".join(words).strip(" :'") or type(error).__name__


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


def digest_file(path):
    """Return the SHA-256 of the file at `path`, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def map_images(function, paths, threads):
    """Yield function(path) for each path, in order, on `threads` threads; of results only a few wait to be taken.

    Pillow, hashlib and NumPy let go of the interpreter while they work; for small images see baton.data.processes.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from map_in_order(pool, function, paths, 2 * threads)


def map_in_order(pool, function, tasks, waiting):
    """Yield function(task) for each task, in order, from the threads or processes of a pool; at most `waiting` wait."""
    pending: deque[Future] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(function, task))
            if len(pending) > waiting:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
