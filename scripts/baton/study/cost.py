"""What a CNN costs, by its settings alone: weights, multiplications, and the memory and threads that training takes."""

from typing import NamedTuple

from baton.study.identity import Settings

# Multiplications of a step, forward, up to which a second thread brings little: see `threads_of_training`.
SMALL_STEP = 8e8
VALIDATED_TOGETHER = 64  # images: VALIDATION_BATCH of baton.training.batches


class Size(NamedTuple):
    """Of a network: its weights (biases included), and the multiplications of one image's forward pass."""

    weights: int
    multiplications: int


def measure(settings: Settings, classes: int = 0) -> Size:
    """Return the Size of a network; classes: 0 leaves its last layer out, where the data are not known yet.

    Each layer is a convolution, kernel_size x kernel_size over all channels with padding, twice as many kernels as the
    layer before, and a 2 x 2 max pooling that halves the side; then a dense layer and one to the classes.
    """
    channels, side, weights, multiplications = 3, settings["size"], 0, 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        kernel_weights = kernels * channels * settings["kernel_size"] ** 2
        weights += kernel_weights + kernels
        multiplications += side * side * kernel_weights
        channels, side = kernels, side // 2
    dense = settings["dense"]
    for inputs, outputs in ((side * side * channels, dense), (dense, classes)):
        weights += (inputs + 1) * outputs
        multiplications += inputs * outputs
    return Size(weights, multiplications)


def count_activations(settings: Settings) -> float:
    """Return the numbers that the convolutions put out for one image."""
    pixels = settings["size"] ** 2
    return pixels * settings["kernels"] * sum(0.5**number for number in range(settings["layers"]))


def threads_of_training(settings: Settings) -> int:
    """Return with how many threads a model trains: by what a step costs, never by the machine, since they decide bits.

    Two training runs of a thread each did 1.29 to 1.50 times the steps of one with two threads where a step has up to
    0.5e9 multiplications (models 3, 4 and 6 at 32 px), 1.12 to 1.27 from 1.4e9 to 3.4e9 (models 1, 2 and 5), and 1.01 to 1.10
    at 96 px, on a processor with AVX-512; with AVX2 alone 1.23 to 1.35, 1.04 to 1.26, and 1.13 to 1.24 (model_5: 1.77).
    Alone, one of them did 0.5 to 0.8 times the steps. `make bench` measures it.
    """
    return 1 if measure(settings).multiplications * settings["batch_size"] <= SMALL_STEP else 2


def memory_of_training(settings: Settings) -> float:
    """Return about what training and evaluating a model take, in MB.

    TensorFlow and two Snakemakes take 1,500 MB; weights, gradients, Adam's two averages, the best weights and the
    copies of a save 12 x 4 bytes per weight (7 to 12 were measured on the study's models at 150 px); a batch's
    activations and their gradients 3 x 4 bytes per pixel and kernel. Where batches are small, a layer's outputs for the
    images that are validated together take more: 4 bytes for each, and those that are pooled.
    """
    training = 12 * settings["batch_size"] * count_activations(settings)
    validation = 5 * VALIDATED_TOGETHER * settings["size"] ** 2 * settings["kernels"]
    return 1500 + (48 * measure(settings).weights + max(training, validation)) / 1e6
