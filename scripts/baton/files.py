"""Files: reading and writing JSON, writing aside, flushing, linking. Standard library only: the Snakefile imports this."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# How images are named; those of HEIC are read only where its extra is installed.
IMAGES: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)
IMAGES += (".avif", ".jp2", ".j2k", ".jpx")
HEIC = (".heic", ".heif", ".hif")
# What Baton and Snakemake keep in the folder of a study.
OWN_FOLDERS = ("results", "state", "logs", "benchmarks", ".snakemake")


def is_own_folder(path: str | Path) -> bool:
    """Whether a folder is one of this study's own, which hold no images of its user; the study is the current folder."""
    # By its name first: a scan asks for every folder, and real paths take their time.
    name = os.path.basename(path)
    return name in OWN_FOLDERS and os.path.realpath(path) == os.path.realpath(name)


def read_json(path: str | Path) -> Any:
    """Return what the JSON file at `path` holds. Raises OSError, and ValueError where it is not JSON."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return json.load(file)


def write_json(
    path: str | Path, value: Any, *, indent: int | None = 2, errors: str = "surrogateescape", **options: Any
) -> None:
    """Write `value` as JSON to `path`, with a line end after it.

    errors: what becomes of file names that are not UTF-8, which `read_json` gives back; options: for json.dump.
    """
    with open(path, "w", encoding="utf-8", errors=errors) as file:
        # Piece by piece: the text of a report on a thousand models is large.
        json.dump(value, file, indent=indent, **options)
        file.write("\n")


@contextlib.contextmanager
def written_aside(path: str | Path, flushed: bool = False) -> Iterator[Path]:
    """Give a path to write to; when the block ends, what was written there takes the place of `path`.

    Killed or failing on the way, `path` stays as it was: nobody ever reads half a file. flushed: have the system
    write it to the disk first, so that a power cut finds it whole.
    """
    path = Path(path)
    aside = path.with_name(f"aside.{path.name}")
    try:
        yield aside
        if flushed:
            flush(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)  # half a file would only take room
        raise


def flush(path: str | Path) -> None:
    """Have the system write `path`, a file or a folder, to the disk: a power cut then finds it whole."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as trouble:
        # Some drives cannot flush a folder; the file in it is flushed all the same.
        if trouble.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP) or not os.path.isdir(path):
            raise
    finally:
        os.close(handle)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make `target` the file `source` by a second name, which takes no room; a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
