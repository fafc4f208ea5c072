"""The memory that jobs ask a cluster for, in MB, by what they do. Standard library only: the Snakefile imports this.

What was measured (`make bench` shows it): a process with pandas and matplotlib 300 MB, with TensorFlow 700, and the two
Snakemakes of a Slurm job 300.
"""

import math

from baton.identity import synthetic_batch
from baton.slurm import largest_node

SNAKEMAKES = 300


def count_weights(settings):
    """Return about how many weights a network has; without its last layer, which depends on the data."""
    channels, size, weights = 3, settings["size"], 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        weights += kernels * (channels * settings["kernel_size"] ** 2 + 1)
        channels, size = kernels, size // 2
    return weights + settings["dense"] * (size * size * channels + 1)


def of_training(settings):
    """Return about what training and evaluating a model take.

    TensorFlow and two Snakemakes take 1,500 MB; weights, gradients, Adam's two averages, the best weights and the
    copies of a save 12 x 4 bytes a weight (7 to 12 were measured on the study's models at 150 px); a batch's
    activations and their gradients 3 x 4 bytes a pixel and kernel.
    """
    size = settings["size"]
    pixels = size * size * settings["kernels"] * sum(0.5**number for number in range(settings["layers"]))
    activations = 12 * settings["batch_size"] * pixels
    return 1500 + (48 * count_weights(settings) + activations) / 1e6


def of_decoding(threads, images):
    """Return about what it takes to decode photos: of 24 megapixels, 400 MB a thread (290 for JPEG, 385 for PNG)."""
    return SNAKEMAKES + 300 + 400 * threads + 0.001 * images


def of_packing(size, synthetic_fraction, threads, images):
    """Return about what it takes to pack images, each resized to `size`.

    Synthetic images need TensorFlow, and its augmentation 12 copies of a batch in float32.
    """
    packing = of_decoding(threads, images) + 5 * threads * 3 * size * size / 1e6
    if not synthetic_fraction:
        return packing
    return packing + 400 + 12 * synthetic_batch(size) * 12 * size * size / 1e6


def of_report(runs, models, classes, images, tested):
    """Return about what it takes to write the report on runs of models; images: all, of which `tested` in the test split."""
    tables = runs * (0.05 + 0.0006 * classes) + classes * classes * 1e-4 + 0.001 * images
    return SNAKEMAKES + 800 + tables + runs * tested * 1e-6 + models * models * 0.0006


def doubled(needed, times):
    """Return what to ask for, whole MB, after a job was killed so many times without a warning: it may have been too little.

    Twice as much each time, up to four times, and no more than the largest node of the cluster has.
    """
    more = needed * 2 ** min(times, 2)
    if more > needed and (most := largest_node()):
        more = max(needed, min(more, most))
    return math.ceil(more)
