"""The CNNs, and how Keras is set up so that training gives the same bits each time."""

import gc
import os
import sys
from contextlib import contextmanager
from typing import Any

import numpy as np

from baton.errors import MachineError
from baton.study.identity import Settings
from baton.training import kernels, precision
from baton.training.batches import PREDICTION_BATCH

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
kernels.choose()


@contextmanager
def _hushed():
    """Keep what native code writes to the terminal while TensorFlow is imported: no setting hushes it yet."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _absent(package):
    """Let a package look as if it were not installed, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextmanager
def _uncollected():
    """Look for no garbage: imports make many objects and leave none, and looking takes a quarter of their time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# Keras imports scikit-learn for wrappers that nothing here uses: a fifth of the time that a job takes to start.
with _hushed(), _absent("sklearn"), _uncollected():
    import keras
    import tensorflow as tf
    from keras import layers


def choose_precision(wanted: str) -> precision.Choice:
    """Return the precision that is wanted, and why; for "auto" see baton.training.precision."""
    return precision.choose(wanted, _gpu_generation())


def count_gpus() -> int:
    """Return on how many GPUs TensorFlow can compute here."""
    return len(tf.config.get_visible_devices("GPU"))


def sees_gpu() -> bool:
    """Whether TensorFlow can compute on a GPU of this machine."""
    return count_gpus() > 0


def hide_gpus() -> None:
    """Have TensorFlow compute on the processor alone: before it uses a device."""
    tf.config.set_visible_devices([], "GPU")


def list_formats() -> list[str]:
    """Return the precisions that this machine's GPU, or else its processor, computes."""
    return precision.list_formats(_gpu_generation())


def _gpu_generation():
    """Return the compute capability of the GPU, (0, 0) where it is unknown; None without a GPU."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    return tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))


def set_up(threads: int, precision: str, seed: int) -> None:
    """Make TensorFlow deterministic on `threads` threads and set the precision: float32, mixed_bfloat16 or mixed_float16.

    The thread count is part of the promise: another one adds up in another order.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    for device in tf.config.get_visible_devices("GPU"):
        # Other programs may use the GPU too; without this the first would take all its memory.
        tf.config.experimental.set_memory_growth(device, True)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)


def distribute(gpus):
    """Return the `tf.distribute` strategy of a training run on `gpus` GPUs, under whose scope to build it.

    With more than one, each has the network and computes a share of every batch. Raises UserError where there are not
    so many.
    """
    if gpus < 2:
        return tf.distribute.get_strategy()
    # Without any, the CPUs that TensorFlow was set up to see: this can be tried anywhere.
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < gpus:
        raise MachineError(
            f"resources: gpu: this model is to train on {gpus} GPUs, and TensorFlow finds {len(devices)} of type "
            f"{devices[0].device_type}. Ask for as many as the machine has."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices[:gpus]])


def augmentation_layers(augmentation, seed):
    """Return the layers for the config's `augmentation` that are on; input and output are 0 to 255.

    They compute in float32 always: bfloat16 has too few digits for the coordinates of a turned image.
    """
    make = {
        "flip": lambda value, **how: layers.RandomFlip(value, **how),
        "rotation": lambda value, **how: layers.RandomRotation(value, **how),
        "zoom": lambda value, **how: layers.RandomZoom(value, **how),
        "brightness": lambda value, **how: layers.RandomBrightness(value, value_range=(0, 255), **how),
        # Both bounds: of a single number Keras makes the upper one, and contrast would only rise.
        "contrast": lambda value, **how: layers.RandomContrast((value, value), value_range=(0, 255), **how),
    }
    values = dict(augmentation)
    if values["flip"] == "horizontal_and_vertical":
        # Keras draws once for both, which turns an image by 180 degrees or leaves it; never mirrors it.
        values |= {"flip": "horizontal", "flip_vertical": "vertical"}
        make["flip_vertical"] = make["flip"]
    return [
        make[kind](values[kind], seed=seed + number, dtype="float32", name=f"random_{kind}")
        for number, kind in enumerate(make)
        if values[kind]
    ]


def build_network(settings: Settings, augmentation: dict[str, Any], classes: int, seed: int):
    """Return the CNN as a Keras model from pixels to the probability of each class.

    settings: size (side of the images, in pixels), kernels, kernel_size, dense, layers, l2, dropout,
    initializer, stddev; classes: how many. Input: (batch, size, size, 3), plain pixels, 0 to 255.
    Output: (batch, classes), float32. The layer "logits" holds what the softmax is taken of.
    """

    def initializer(place):
        # One seed a place, so that all models draw the same weights for layers of one place and shape.
        kinds = {
            "normal": lambda s: keras.initializers.RandomNormal(0.0, settings["stddev"], seed=s),
            "he_normal": lambda s: keras.initializers.HeNormal(seed=s),
            "glorot_uniform": lambda s: keras.initializers.GlorotUniform(seed=s),
        }
        return kinds[settings["initializer"]](1000 * seed + place)

    def weights(place):
        penalty = keras.regularizers.L2(settings["l2"]) if settings["l2"] else None
        return {"kernel_initializer": initializer(place), "kernel_regularizer": penalty}

    images = keras.Input((settings["size"], settings["size"], 3), name="pixels", dtype="float32")
    x = images
    for layer in augmentation_layers(augmentation, seed):
        x = layer(x)
    x = layers.Rescaling(1 / 255, dtype="float32", name="scale")(x)
    for number in range(settings["layers"]):
        x = layers.Conv2D(
            settings["kernels"] * 2**number,
            settings["kernel_size"],
            padding="same",
            name=f"convolution_{number + 1}",
            **weights(number),
        )(x)
        # After the pooling, a quarter of the elements: the same function and gradient, to the last bit.
        x = layers.MaxPooling2D(2, name=f"pooling_{number + 1}")(x)
        x = layers.ReLU(name=f"relu_{number + 1}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(settings["dense"], activation="relu", name="dense", **weights(100))(x)
    if settings["dropout"]:
        x = layers.Dropout(settings["dropout"], seed=seed, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits", **weights(101))(x)
    return keras.Model(images, layers.Softmax(dtype="float32", name="probabilities")(logits))


def to_logits(network, augmented=False):
    """Return the part of `network` up to its logits: same layers, same weights. augmented: from after the augmentation.

    The loss is taken from these. From the probabilities it would be cut off where they round to 0,
    and with it the gradient, which happens at once with weights as large as the study's.
    """
    images = network.get_layer("scale").input if augmented else network.input
    return keras.Model(images, network.get_layer("logits").output)


def load(model):
    """Return the network in a .keras file, for prediction."""
    return keras.saving.load_model(model, compile=False)


def predict(network, images, pause=lambda: None):
    """Return the probability of each class, (n, classes), for (n, size, size, 3) images, PREDICTION_BATCH at a time.

    pause() is called before each batch; it ends the prediction by raising.
    """
    found = []
    for start in range(0, len(images), PREDICTION_BATCH):
        pause()
        # Random layers change the images unless they are called with training=False.
        found.append(network(images[start : start + PREDICTION_BATCH], training=False))
    return np.concatenate(found)


def for_prediction(network):
    """Return `network` in float32 and without what only training uses: other formats do not know it."""
    keras.config.set_dtype_policy("float32")
    pixels = keras.Input(network.input.shape[1:], dtype="float32", name="pixels")
    x = pixels
    for layer in network.layers[1:]:
        if layer.name.startswith("random_") or layer.name == "dropout":
            continue
        copy = type(layer).from_config(layer.get_config() | {"dtype": "float32"})
        x = copy(x)
        copy.set_weights(layer.get_weights())
    return keras.Model(pixels, x)
