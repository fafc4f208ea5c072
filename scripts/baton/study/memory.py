"""The memory that jobs ask a cluster for, in MB, by what they do (a training run: baton.study.cost).

What was measured (`make bench` shows it): a process with pandas and matplotlib 300 MB, with TensorFlow 700, and the two
Snakemakes of a Slurm job 300.
"""

import math

from baton.study.identity import synthetic_batch
from baton.study.slurm import largest_node

SNAKEMAKES = 300


def of_decoding(threads: int, images: int) -> float:
    """Return about what it takes to decode photos: of 24 megapixels, 400 MB per thread (290 for JPEG, 385 for PNG)."""
    return SNAKEMAKES + 300 + 400 * threads + 0.001 * images


def of_packing(size: int, synthetic_fraction: float, threads: int, images: int) -> float:
    """Return about what it takes to pack images, each resized to `size`.

    Synthetic images need TensorFlow, and its augmentation 12 copies of a batch in float32.
    """
    packing = of_decoding(threads, images) + 5 * threads * 3 * size * size / 1e6
    if not synthetic_fraction:
        return packing
    return packing + 400 + 12 * synthetic_batch(size) * 12 * size * size / 1e6


def of_report(runs: int, models: int, classes: int, images: int, test_images: int) -> float:
    """Return about what it takes to write the report on runs of models; images: all, of which `test_images` in the test split."""
    tables = runs * (0.05 + 0.0006 * classes) + classes * classes * 1e-4 + 0.001 * images
    return SNAKEMAKES + 800 + tables + runs * test_images * 1e-6 + models * models * 0.0006


def doubled(needed: float, times: int) -> int:
    """Return what to ask for, whole MB, after a job was killed so many times without a warning: it may have been too little.

    Twice as much each time, up to four times, and no more than the largest node of the cluster has.
    """
    more = needed * 2 ** min(times, 2)
    if more > needed and (most := largest_node()):
        more = max(needed, min(more, most))
    return math.ceil(more)
