"""What a training run follows from: its identity, by which its state and its finished model are found again."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypedDict


class Settings(TypedDict, total=False):
    """All settings of a run: of its network, its training and its images; see config.yaml."""

    name: str
    kernels: int
    kernel_size: int
    dense: int
    layers: int
    size: int
    synthetic_fraction: float
    synthetic_seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    l2: float
    dropout: float
    initializer: str
    stddev: float
    class_weights: str
    monitor: str
    patience: int | None
    precision: str
    targets: str


# By name, what a training run follows from.
Identity = dict[str, Any]

# Decided by the machine and the call, not by the study. They decide bits, so a training run resumes only where they
# are the same; once finished, it is the same training wherever it is looked at.
OF_THE_MACHINE = ("threads", "devices", "device")
# What computes a training run. Of its identity where that is one GPU; without it, the processor, or what computed it for an
# earlier version, which did not note that.
DEVICE, GPU, PROCESSOR = "device", "a GPU", "the processor"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# How a step is computed: the update of the weights in one pass over them, flips and rotation in one over the images; and
# compiled, where it pays. A training run goes on as it began: those of earlier versions began without being compiled, or
# without any of it.
UPDATE, IN_ONE_PASS, COMPILED = "update", "in one pass", "in one pass, compiled"
MEANING = "the meaning of augmentation"
SYNTHETIC = f"{MEANING} synthetic images"
SYNTHETIC_BATCH, SYNTHETIC_BYTES = 256, 256 * 224 * 224 * 12  # images, and bytes of them in float32


def learns_answers(settings: Settings) -> bool:
    """Whether a training run learns the answers to each image, and not its label."""
    return settings.get("targets", "label") != "label"


def identify(settings: Settings, augmentation: dict[str, Any], seed: int, **facts: Any) -> Identity:
    """Return by name what a training run follows from; facts: what only the training itself finds out, its data and such.

    Not its name, not its number of epochs, and not the precision that was asked for: the one in force counts.
    """
    identity = {key: value for key, value in settings.items() if key not in ("name", "epochs", "precision")}
    if identity.get("synthetic_fraction") == 0:
        del identity["synthetic_fraction"]  # so that states from before models had it are found
    if not learns_answers(settings):
        identity.pop("targets", None)  # likewise
    identity |= {f"augmentation.{key}": value for key, value in augmentation.items()}
    # What these two do was another thing once: training runs of that time that used them are others.
    if augmentation.get("contrast"):
        identity[f"{MEANING} contrast"] = "less or more (before: more only)"
    if augmentation.get("flip") == "horizontal_and_vertical":
        identity[f"{MEANING} flip"] = "a draw for each direction (before: one for both)"
    batch = synthetic_batch(settings.get("size", 1))  # the earliest versions did not record it
    if identity.get("synthetic_fraction") and batch < SYNTHETIC_BATCH:
        identity[SYNTHETIC] = f"drawn {batch} at a time (before: {SYNTHETIC_BATCH})"
    return identity | {"seed": seed} | facts


def identify_wanted(settings: Settings, augmentation: dict[str, Any], seed: int, **facts: Any) -> Identity:
    """Return `identify` of what the config asks for: with the precision that it names, without one for `auto`."""
    named = {} if settings["precision"] == "auto" else {"precision": settings["precision"]}
    return identify(settings, augmentation, seed, **named, **facts)


def list_ways(identity: Identity, precisions: Iterable[str]) -> list[Identity]:
    """Return an identity with each of the ways in which a training run may have been begun, the one of today first.

    precisions: those that it may compute in, the one that would be chosen today first.
    """
    return [
        identity | {"precision": precision} | update
        for precision in precisions
        for update in ({UPDATE: COMPILED}, {UPDATE: IN_ONE_PASS}, {})
    ]


def synthetic_batch(size: int) -> int:
    """Return how many synthetic images of a size are drawn at a time: fewer where they are large, as memory is finite.

    Which ones come out depends on it.
    """
    return max(1, min(SYNTHETIC_BATCH, SYNTHETIC_BYTES // (12 * size * size)))


def fingerprint(identity: Identity) -> str:
    """Return the name of the folder for what has this identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def digest_data(*paths: str | Path) -> str:
    """Return a SHA-256 over the files that say which images and labels a training run sees.

    Read once, as long as their sizes and times are the same: the hundreds of models of a sweep share them.
    """
    facts = [os.stat(path) for path in paths]
    return _digest(tuple((os.fspath(p), f.st_mtime_ns, f.st_size) for p, f in zip(paths, facts, strict=True)))


@cache
def _digest(files):
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def list_changes(before: Mapping, now: Mapping, ignored: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each thing in which two identities differ, without those that are `ignored`."""
    without = {DEVICE: PROCESSOR}
    return [
        f"{name} was {before.get(name, without.get(name))} and is {now.get(name, without.get(name))}"
        for name in sorted((set(before) | set(now)) - set(ignored))
        if before.get(name) != now.get(name)
    ]


def training_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what distinguishes the training run of a training.json from others of the same model and seed."""
    return {
        "identity": summary.get("identity"),
        "epochs": summary["epochs"],
        "kept": summary["kept"]["epoch"],
    }


def stopped_early(
    patience: int | None, epochs: int, best_epoch: int | None, diverged: dict[str, int] | None = None
) -> bool:
    """Whether a training run ended, or would end, before its last epoch.

    epochs: that are trained. So it does where none of the last `patience` was better than the best, and where it diverged, at the
    end of that epoch.
    """
    has_diverged = diverged is not None and diverged["epoch"] <= epochs
    return has_diverged or (patience is not None and epochs - (best_epoch or 0) >= patience)


def ignored_when_finished(settings: Settings) -> tuple[str, ...]:
    """Return what of an identity a finished training need not share with what these settings ask for.

    `auto` asks for no precision of its own: the one that it chose where the training ran belongs to that training run. So
    do the update and the synthetic images of the version that trained it.
    """
    return (*OF_THE_MACHINE, SYNTHETIC, UPDATE, *(["precision"] if settings["precision"] == "auto" else []))
