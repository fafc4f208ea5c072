"""What a training follows from: its identity, by which its state and its finished model are found again."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

# Decided by the machine and the call, not by the study. They decide bits, so a training goes on only where they
# are the same; once finished, it is the same training wherever it is looked at.
OF_THE_MACHINE = ("threads", "devices")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
MEANING = "the meaning of augmentation"
SYNTHETIC = f"{MEANING} synthetic images"
SYNTHETIC_BATCH, SYNTHETIC_BYTES = 256, 256 * 224 * 224 * 12  # images, and bytes of them in float32


def identify(settings, augmentation, seed, **found):
    """Return by name what a training follows from; found: what only the training itself finds out, its data and such.

    Not its name, not how long it goes on, and not the precision that was asked for: the one in force counts.
    """
    identity = {key: value for key, value in settings.items() if key not in ("name", "epochs", "precision")}
    if identity.get("synthetic_fraction") == 0:
        del identity["synthetic_fraction"]  # so that states from before models had it go on
    identity |= {f"augmentation.{key}": value for key, value in augmentation.items()}
    # What these two do was another thing once: trainings of that time that used them are others.
    if augmentation.get("contrast"):
        identity[f"{MEANING} contrast"] = "less or more (before: more only)"
    if augmentation.get("flip") == "horizontal_and_vertical":
        identity[f"{MEANING} flip"] = "a draw for each direction (before: one for both)"
    batch = synthetic_batch(settings.get("size", 1))  # the earliest versions did not tell it of a training
    if identity.get("synthetic_fraction") and batch < SYNTHETIC_BATCH:
        identity[SYNTHETIC] = f"drawn {batch} at a time (before: {SYNTHETIC_BATCH})"
    return identity | {"seed": seed} | found


def synthetic_batch(size):
    """Return how many synthetic images of a size are drawn at a time: fewer where they are large, as memory is finite.

    Which ones come out depends on it.
    """
    return max(1, min(SYNTHETIC_BATCH, SYNTHETIC_BYTES // (12 * size * size)))


def fingerprint(identity):
    """Return the name of the folder for what has this identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def digest_data(*paths):
    """Return a SHA-256 over the files that say which images and labels a training sees.

    Read once, as long as their sizes and times are the same: the hundreds of models of a sweep share them.
    """
    found = [os.stat(path) for path in paths]
    return _digest(tuple((os.fspath(p), f.st_mtime_ns, f.st_size) for p, f in zip(paths, found, strict=True)))


@cache
def _digest(files):
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def list_changes(was, identity, but=()):
    """Return a sentence for each thing in which two identities differ, those called `but` left aside."""
    return [
        f"{name} was {was.get(name)} and is {identity.get(name)}"
        for name in sorted((set(was) | set(identity)) - set(but))
        if was.get(name) != identity.get(name)
    ]


def training_of(summary):
    """Return what tells the training of a training.json from others of the same model and seed."""
    return {
        "identity": summary.get("identity"),
        "epochs": summary["epochs"],
        "kept": summary["kept"]["epoch"],
    }


def stopped_early(patience, epochs, best_epoch):
    """Whether a training ended, or would end, since none of the last `patience` epochs was better than the best."""
    return patience is not None and epochs - (best_epoch or 0) >= patience


def ignored_when_finished(settings):
    """Return what of an identity a finished training need not share with what these settings ask for.

    `auto` asks for no precision of its own: the one that it chose where the training ran belongs to that training. So
    do the synthetic images that an earlier version drew for it.
    """
    return (*OF_THE_MACHINE, SYNTHETIC, *(["precision"] if settings["precision"] == "auto" else []))
