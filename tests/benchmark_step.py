"""Print how long a training step takes beside one of an earlier version, where its time goes, and how near that is to the limit.

    PYTHONPATH=scripts:tests python tests/benchmark_step.py [MODEL ...]

For each model of the study at 150 px, or for those named:

- a step of 32 images beside one as Baton took it up to commit 5a87b6d and as plain Keras does: ReLU before pooling, flip and
  rotation one after the other, Keras' Adam, the L2 penalty in the loss, and the kernels that TensorFlow takes by itself. In
  turns, each in its own process, since kernels are chosen for a whole process; the median of the ratios.
- by TensorFlow's profiler, milliseconds of each kind of op in a step (ops run beside each other, so they add up to more than
  the step). The convolutions' multiplications by their time, and by that of the whole step, as a share of what a product of
  two 2048 x 2048 matrices reaches in the same number format: a step that did nothing else would reach what they do at most.

Ten minutes.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from benchmark import CONFIG, make_trainer, seconds_for, settings_of
from own_process import read_output

from baton.training import kernels, networks
from baton.training.trainer import Trainer

# isort: split
import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

SIZE, PAIRS, STEPS, MATRIX, SHOWN = 150, 7, 3, 2048, 9
EXECUTOR = ("Process", "Run", "Start")  # what runs the ops, and is none

XLA = {"ExecuteAsyncOnStream": "compiled by XLA"}


def matrix_peak(precision):
    """Return how many multiplications per second a product of two large matrices reaches at best, in the precision of a model."""
    kind = keras.DTypePolicy(precision).compute_dtype
    matrix = tf.cast(tf.random.normal((MATRIX, MATRIX), seed=1), kind)
    product = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b)))
    product(matrix, matrix).numpy()
    seconds = []
    for _ in range(30):
        start = time.perf_counter()
        product(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - start)
    return MATRIX**3 / min(seconds)


def convolution_multiplications(settings, size, batch):
    """Return the multiplications of a step's convolutions: forward, and for the gradients of kernels and of inputs.

    The first has no gradient of its input.
    """
    channels, side, total = 3, size, 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        forward = side * side * kernels * channels * settings["kernel_size"] ** 2
        total += forward * (3 if number else 2)
        channels, side = kernels, side // 2
    return batch * total


def profile(trainer, batch):
    """Return the milliseconds of each kind of op in a step, and of the step."""
    with tempfile.TemporaryDirectory() as folder:
        seconds_for(trainer, [batch] * 3)
        tf.profiler.experimental.start(folder)
        seconds = seconds_for(trainer, [batch] * STEPS)
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    ops = Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            kind = re.fullmatch(r".*:(\w+)", names[event.metadata_id])  # NAME:KIND
            if kind and kind[1] not in EXECUTOR:
                ops[XLA.get(kind[1], kind[1].removeprefix("_MklNative").removeprefix("_Mkl"))] += (
                    event.duration_ps / 1e9 / STEPS
                )
    return ops, 1000 * seconds / STEPS


def relu_before_pooling(network):
    """Return the network with each ReLU before the pooling that it follows, as both stood up to commit 5a87b6d.

    With layers of its own: of one that is called twice, Keras gives the output of the first time.
    """
    x, pooling = network.input, None
    for layer in network.layers[1:]:
        layer = type(layer).from_config(layer.get_config())
        if layer.name.startswith("pooling"):
            pooling = layer
            continue
        x = layer(x)
        if pooling:
            x, pooling = pooling(x), None
    return keras.Model(network.input, x)


def make_earlier_trainer(name):
    """Return the Trainer with the step of earlier versions."""
    settings = settings_of(name) | {"size": SIZE}
    network = networks.build_network(settings, CONFIG["augmentation"], 9, seed=1)
    return Trainer(relu_before_pooling(network), settings["learning_rate"], update=None)


def draw_batch():
    return (
        np.random.default_rng(1).integers(0, 256, (32, SIZE, SIZE, 3), np.uint8),
        np.arange(32, dtype=np.int32) % 9,
        np.ones(32, np.float32),
    )


def serve(trainer):
    """Take STEPS steps for each line of the standard input, and print how long they took."""
    batch = draw_batch()
    seconds_for(trainer, [batch] * 3)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds_for(trainer, [batch] * STEPS), flush=True)


@contextmanager
def serving(kind, name):
    """Start a process that takes steps of a kind, "today" or "earlier"; yield a function that has it take some, in seconds."""
    environment = dict(os.environ)
    if kind == "earlier":
        environment = environment | {kernels.EARLIER: "1"}
        environment.pop(kernels.ONEDNN, None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, __file__, kind, name]
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:

        def take_steps():
            process.stdin.write("go\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        assert process.stdout.readline() == "ready\n", f"{kind} steps of {name} cannot be taken"
        yield take_steps
        process.stdin.close()


def compare_steps(name):
    """Return the ratios of an earlier step's time to today's, and today's milliseconds, of steps in turns."""
    ratios, milliseconds = [], []
    with serving("today", name) as today, serving("earlier", name) as earlier:
        for number in range(PAIRS):
            order = (earlier, today) if number % 2 else (today, earlier)
            seconds = {take_steps: take_steps() for take_steps in order}
            ratios.append(seconds[earlier] / seconds[today])
            milliseconds.append(1000 * seconds[today] / STEPS)
    return ratios, milliseconds


def describe(name):
    """Print where the time of a model's step goes."""
    precision = networks.choose_precision("auto").precision
    ops, step = profile(make_trainer(name, SIZE, "auto"), draw_batch())
    convolving = sum(value for kind, value in ops.items() if "Conv2D" in kind)
    peak = matrix_peak(precision)
    share = 1000 * convolution_multiplications(settings_of(name), SIZE, 32) / peak
    longest = ", ".join(f"{kind} {value:.0f}" for kind, value in ops.most_common(SHOWN))
    print(
        f"convolutions {convolving:.0f} ms, at {share / convolving:.2f} of the matrix peak of {2 * peak / 1e9:.0f} GFLOP/s "
        f"({share / step:.2f} by the whole step). {longest}"
    )


def compare(names):
    """Print what is said above of each model, and the geometric mean of all."""
    precision = networks.choose_precision("auto").precision
    medians = []
    for name in names:
        ratios, milliseconds = compare_steps(name)
        medians.append(statistics.median(ratios))
        print(
            f"{name} at {SIZE} px, {precision}: a step in {statistics.median(milliseconds):.0f} ms, {medians[-1]:.2f} times as "
            f"fast as the earlier one ({min(ratios):.2f} to {max(ratios):.2f}, {PAIRS} pairs); "
            + read_output([sys.executable, __file__, "describe", name]).strip(),
            flush=True,
        )
    print(f"times as fast as the earlier step, geometric mean: {statistics.geometric_mean(medians):.2f}")


def main(*words):
    match words:
        case ["describe", name]:
            describe(name)
        case ["today", name]:
            serve(make_trainer(name, SIZE, "auto"))
        case ["earlier", name]:
            networks.set_up(2, networks.choose_precision("auto").precision, seed=1)
            serve(make_earlier_trainer(name))
        case names:
            compare(names or [model["name"] for model in CONFIG["models"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
