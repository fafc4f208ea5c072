"""The user's images as they lie on the disk: a digest of their names, sizes and times, by which every change is noticed.

The call of snakemake makes one scan of the folder and reads no image. The jobs that it starts read the workflow again, and
take the digest from it: through the environment, or, where a cluster passes none on, from a file.
"""

import hashlib
import os
from contextlib import suppress

from baton.errors import ConfigError
from baton.files import HEIC, IMAGES, is_own_folder

DIGEST, REMEMBERED = "BATON_IMAGES", ".snakemake/images_seen"
MADE = "made by a rule"


def see_images(folder: str, is_call: bool, scans: bool) -> str:
    """Return the digest of the images in a folder.

    is_call: whether this process is the call of snakemake, and none of its jobs; scans: whether it looks, or believes that
    all is as it was when it last looked. Raises ConfigError for a folder that cannot be read.
    """
    told = None if is_call else os.environ.get(DIGEST)
    believed = told or (recall() if not (is_call and scans) else None)
    return believed or digest_images(folder)


def digest_images(folder: str) -> str:
    """Return a digest of the path, size and time of change of every image below a folder, by its name; without hidden ones."""
    digest, entered = hashlib.sha256(), set()
    pending = [("", folder)]
    while pending:
        above, path = pending.pop()
        try:
            facts = os.stat(path)
            # Links may go in circles: their names are what counts.
            if (facts.st_dev, facts.st_ino) in entered:
                digest.update(f"{above}\0{os.path.realpath(path)}\n".encode("utf-8", "surrogateescape"))
                continue
            entered.add((facts.st_dev, facts.st_ino))
            lines, folders = _list_folder(above, path)
        except OSError as error:
            raise ConfigError(
                f"config: data.images: cannot read {error.filename}: {error.strerror}."
            ) from None
        digest.update("".join(sorted(lines)).encode("utf-8", "surrogateescape"))
        pending += sorted(folders, key=lambda folder: folder[0][:-1], reverse=True)
    return digest.hexdigest()[:16]


def _list_folder(above: str, path: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return a line for each image in a folder, and the name and path of each folder in it; above: the folder's name."""
    lines, folders = [], []
    # In the order of the disk, and by names alone where the system can: a third of a million images' time.
    place = os.open(path, os.O_RDONLY) if os.scandir in os.supports_fd else None
    try:
        with os.scandir(path if place is None else place) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                try:
                    if entry.name.lower().endswith(IMAGES + HEIC):
                        facts = entry.stat()
                        lines.append(f"{above}{entry.name}\0{facts.st_size}\0{facts.st_mtime_ns}\n")
                    elif entry.is_dir() and not is_own_folder(inner := os.path.join(path, entry.name)):
                        folders.append((f"{above}{entry.name}/", inner))
                except OSError:  # a link that leads nowhere
                    lines.append(f"{above}{entry.name}\0\n")
    finally:
        if place is not None:
            os.close(place)
    return lines, folders


def hand_on(found: str) -> None:
    """Hand a digest on to the jobs of this call."""
    os.environ[DIGEST] = found


def remember(found: str) -> None:
    """Keep the digest of the images that are read now, for calls that do not look."""
    with suppress(OSError):  # Snakemake itself will say that it cannot write here
        os.makedirs(os.path.dirname(REMEMBERED), exist_ok=True)
        with open(REMEMBERED, "w", encoding="utf-8") as file:
            file.write(found)


def recall() -> str | None:
    """Return the digest that was last remembered, None where there is none."""
    try:
        with open(REMEMBERED, encoding="utf-8") as file:
            return file.read() or None
    except OSError:
        return None
