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
            if (
                facts.st_dev,
                facts.st_ino,
            ) in entered:  # links may go in circles: their names are what counts
                digest.update(f"{above}\0{os.path.realpath(path)}\n".encode("utf-8", "surrogateescape"))
                continue
            entered.add((facts.st_dev, facts.st_ino))
            with os.scandir(path) as entries:
                found = sorted(
                    (entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name
                )
        except OSError as error:
            raise ConfigError(
                f"config: data.images: cannot read {error.filename}: {error.strerror}."
            ) from None
        folders = []
        for entry in found:
            name = f"{above}{entry.name}"
            try:
                if entry.is_dir() and not entry.name.lower().endswith(IMAGES + HEIC):
                    if not is_own_folder(entry.path):
                        folders.append((f"{name}/", entry.path))
                    continue
                if not entry.name.lower().endswith(IMAGES + HEIC):
                    continue
                facts = entry.stat()
                line = f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
            except OSError:  # a link that leads nowhere
                line = f"{name}\0\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        pending += reversed(folders)
    return digest.hexdigest()[:16]


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
