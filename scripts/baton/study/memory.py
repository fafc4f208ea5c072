"""The memory that jobs ask for, in MB, by what they do (a training run: baton.study.cost), and what this machine has.

What was measured (`make bench` shows it): a process with pandas and matplotlib 300 MB, with TensorFlow 700, and the two
Snakemakes of a Slurm job 300.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from baton.study.identity import synthetic_batch
from baton.study.slurm import largest_node

SNAKEMAKES = 300
DECODING = 400  # by each process that decodes photos
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def of_decoding(threads: int, images: int) -> float:
    """Return about what it takes to decode photos: of 24 megapixels, 400 MB per process (290 for JPEG, 385 for PNG, its own 10)."""
    return SNAKEMAKES + 300 + DECODING * threads + 0.0001 * images


def decoding_processes(mem_mb: int, most: int) -> int:
    """Return how many processes, up to `most`, decode photos in so much memory: see `of_decoding`; one at least."""
    return max(1, min(most, int((mem_mb - of_decoding(0, 0)) // DECODING)))


def of_agreement(answers: int) -> float:
    """Return about what it takes to measure the agreement of annotators, by their answers."""
    return SNAKEMAKES + 500 + 0.002 * answers


def of_ceiling(answers: int) -> float:
    """Return about what it takes to estimate the best possible accuracy: imagined answers, and the table of the real ones."""
    return SNAKEMAKES + 1500 + 0.001 * answers


def of_copies(images: int) -> float:
    """Return about what it takes to find the copies among images: their thumbnails, hashes and lowest frequencies."""
    return SNAKEMAKES + 500 + 0.006 * images


def of_packing(size: int, synthetic_fraction: float, threads: int, images: int) -> float:
    """Return about what it takes to pack images, each resized to `size`.

    Of those that wait to be written five lots per process are held, of 1 MB or one image. Synthetic images need TensorFlow, and
    its augmentation 12 copies of a batch in float32.
    """
    packing = of_decoding(threads, images) + 5 * threads * max(1, 3 * size * size / 1e6)
    if not synthetic_fraction:
        return packing
    return packing + 400 + 12 * synthetic_batch(size) * 12 * size * size / 1e6


def of_report(runs: int, models: int, classes: int, images: int, test_images: int) -> float:
    """Return about what it takes to write the report on runs of models; images: all, of which `test_images` in the test split."""
    tables = runs * (0.05 + 0.0006 * classes) + classes * classes * 1e-4 + 0.001 * images
    return SNAKEMAKES + 800 + tables + runs * test_images * 1e-6 + models * models * 0.0006


def of_this_machine() -> int:
    """Return the memory, whole MB, that jobs on this machine can have together.

    What no other program uses, and no more than the limit of a container or another control group that this process is in.
    """
    return int(min([psutil.virtual_memory().available, *_cgroup_limits()]) / 1e6)


def _cgroup_limits() -> Iterator[int]:
    """Yield the limits, in bytes, of the control groups of this process, of version 1 or 2; a group's parents limit it too."""
    with suppress(OSError):
        for line in OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            root, name = (
                (CGROUPS, "memory.max") if not controllers else (CGROUPS / "memory", "memory.limit_in_bytes")
            )
            own = root / path.lstrip("/")
            # A container sees its own group as the root, and may know it by a path from outside, which is not there.
            for place in (own, *own.parents):
                if place.is_relative_to(root):
                    with suppress(OSError, ValueError):  # no such group, or "max"
                        yield int((place / name).read_text())


def doubled(needed: float, times: int) -> int:
    """Return what to ask for, whole MB, after a job was killed so many times without a warning: it may have been too little.

    Twice as much each time, up to four times, and no more than the largest node of the cluster has.
    """
    more = needed * 2 ** min(times, 2)
    if more > needed and (most := largest_node()):
        more = max(needed, min(more, most))
    return math.ceil(more)
