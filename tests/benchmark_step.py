"""Print where the time of a training step goes, op by op, and how near its convolutions are to the processor's limit.

    PYTHONPATH=scripts:tests python tests/benchmark_step.py [MODEL [SIZE]]

By TensorFlow's profiler, for each model of the study at 150 px, or for one: milliseconds of each kind of op in a step of 32
images (ops run beside each other, so they add up to more than the step). The convolutions' multiplications by their time, and by
that of the whole step, as a share of what a product of two 2048 x 2048 matrices reaches in the same number format: a step that
did nothing else would reach what they do at most. Each model in a process of its own; two minutes.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from benchmark import CONFIG, make_trainer, seconds_for, settings_of

from baton.training import networks

# isort: split
import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

STEPS, MATRIX, SHOWN = 4, 2048, 9
EXECUTOR = ("Process", "Run")  # what runs the ops, and is none


def matrix_peak(precision):
    """Return how many multiplications per second a product of two large matrices reaches, in the precision of a model."""
    kind = keras.DTypePolicy(precision).compute_dtype
    matrix = tf.cast(tf.random.normal((MATRIX, MATRIX), seed=1), kind)
    product = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b)))
    product(matrix, matrix).numpy()
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        product(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - start)
    return MATRIX**3 / statistics.median(seconds)


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
                ops[kind[1].removeprefix("_Mkl")] += event.duration_ps / 1e9 / STEPS
    return ops, 1000 * seconds / STEPS


def describe(name, size):
    batch = (
        np.random.default_rng(1).integers(0, 256, (32, size, size, 3), np.uint8),
        np.arange(32, dtype=np.int32) % 9,
        np.ones(32, np.float32),
    )
    precision = networks.choose_precision("auto").precision
    trainer = make_trainer(name, size, "auto")
    ops, step = profile(trainer, batch)
    convolving = sum(value for kind, value in ops.items() if "Conv2D" in kind)
    peak = matrix_peak(precision)
    share = 1000 * convolution_multiplications(settings_of(name), size, 32) / peak
    longest = ", ".join(f"{kind} {value:.0f}" for kind, value in ops.most_common(SHOWN))
    print(
        f"{name} at {size} px, {precision}: a step in {step:.0f} ms; convolutions {convolving:.0f} ms, at "
        f"{share / convolving:.2f} of the matrix peak of {2 * peak / 1e9:.0f} GFLOP/s ({share / step:.2f} by the whole step). "
        f"{longest}",
        flush=True,
    )


def main():
    if len(sys.argv) > 2:
        describe(sys.argv[1], int(sys.argv[2]))
        return
    for name in sys.argv[1:] or [model["name"] for model in CONFIG["models"]]:
        subprocess.run([sys.executable, __file__, name, "150"], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
