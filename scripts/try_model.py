"""Try one model out on images of noise: what its training, its saving and its evaluation take on this machine.

A process of its own, which plan.py starts: it does all that a training run does (starts TensorFlow, compiles, steps,
validates, saves, writes its outputs, evaluates). Its arguments are JSON on standard input, what it found is written
to the file that is named.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

import train
from baton.files import write_json
from baton.manifests import write_manifest
from baton.training import networks
from baton.training.batches import VALIDATION_BATCH
from baton.training.keeper import Keeper
from baton.training.prediction import time_prediction

STEPS, VALIDATION_BATCHES = 4, 2  # of an epoch
LEARNING_RATE = (
    1e-6  # no step costs more or less by it, and a model that diverges ends its epoch: it could not be timed
)
SECONDS = 4  # of epochs at full speed, and at least one


def age():
    """Return for how many seconds this process has been running."""
    return time.time() - psutil.Process().create_time()


def peak_memory():
    """Return the most memory that this process ever held, in bytes."""
    if os.name == "nt":
        return psutil.Process().memory_info().peak_wset
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def write_noise(folder, settings, classes):
    """Write packed images of noise, answers to them and class weights; return their paths, as train.prepare wants them."""
    draw, size = np.random.default_rng(1), settings["size"]
    counts = {"train": STEPS * settings["batch_size"], "validation": VALIDATION_BATCHES * VALIDATION_BATCH}
    packed, answers = {"answers": folder / "answers.csv"}, []
    for split, count in counts.items():
        packed |= {split: folder / f"{split}.npy", f"{split}_manifest": folder / f"{split}.csv"}
        np.save(packed[split], draw.integers(0, 256, (count, size, size, 3), np.uint8))
        labels = draw.integers(0, classes, count)
        names = [f"{split} {number}" for number in range(count)]
        write_manifest(
            pd.DataFrame({"image": names, "label": labels, "parent": ""}), packed[f"{split}_manifest"]
        )
        answers.append(
            pd.DataFrame({"image": names, "mean": ""}).join(pd.DataFrame(np.eye(classes, dtype=int)[labels]))
        )
    write_manifest(pd.concat(answers), packed["answers"])  # for a model that learns them
    weights = folder / "class_weights.json"
    write_json(weights, {"classes": list(range(classes)), "weights": [1] * classes})
    return packed, weights


def time_epochs(training):
    """Train some epochs; return the seconds of each batch of a typical one and of what is beyond, and when the first ended."""
    epochs, full_speed = [], 0.0
    while len(epochs) < 2 or sum(map(sum, epochs[1:])) < SECONDS:
        moments = [time.monotonic()]
        training.run_epoch(lambda: moments.append(time.monotonic()))  # noqa: B023
        epochs.append(np.diff([*moments, time.monotonic()]).tolist())
        if len(epochs) == 1:
            full_speed = age()
    return np.median(epochs[1:], axis=0), full_speed


def compare_formats(trainings):
    """Return the seconds of a step of each of the `trainings` {precision: Training}, measured in turns: speed drifts."""
    seconds = {precision: [] for precision in trainings}
    for training in trainings.values():
        time_steps(training)  # compiles
    started = time.monotonic()
    while min(map(len, seconds.values())) < 2 or time.monotonic() - started < SECONDS:
        for precision, training in trainings.items():
            seconds[precision].append(time_steps(training))
    return {precision: float(np.median(values)) for precision, values in seconds.items()}


def time_steps(training):
    """Return the seconds of a step, the mean over the batches of the training images, whatever becomes of the weights."""
    start, steps = time.monotonic(), 0
    for batch in training.train.batches(training.settings["batch_size"]):
        is_number = training.trainer.train_step(*batch)
        steps += 1
    bool(is_number)  # waits for the last one
    return (time.monotonic() - start) / steps


def try_out(settings, augmentation, classes, threads, gpus, folder):
    """Train on noise for some seconds and return what everything took.

    folder: for its files, on the disk that states are saved to. Seconds: start (all but the steps until training
    is at full speed), step, validation_batch, epoch (what an epoch takes beyond these), save, finish, evaluate
    (but for the predictions), predict (of an image); bytes: memory at most, state, model; parameters; formats: the
    precision in_force, and the seconds of a step by precision where the hardware computes more than one.
    """
    imported, folder = age(), Path(folder)
    settings = settings | {"learning_rate": LEARNING_RATE}
    packed, weights = write_noise(folder, settings, classes)
    precision = networks.choose_precision(settings["precision"]).precision
    if gpus == 0:
        networks.hide_gpus()
    # On a cluster, the plan may have fewer than the training run will.
    gpus = min(gpus or 0, networks.count_gpus())

    def prepare(precision):
        return train.prepare(packed, weights, threads, settings, augmentation, 1, precision, gpus)

    training, set_up = prepare(precision)
    typical, full_speed = time_epochs(training)

    keeper = Keeper(folder / "state", {})
    keeper.current.mkdir(parents=True)
    for _ in range(2):  # the second replaces one, as all but the first do
        keeper.save(training)
    memory = peak_memory()
    finish = time.monotonic()
    outputs = {"model": "model.keras", "history": "h.csv", "curves": "c.svg", "summary": "s.json"}
    outputs = {name: folder / path for name, path in outputs.items()}
    train.write_outputs(training, set_up, **outputs)
    finish = time.monotonic() - finish

    images = np.load(packed["validation"])[:64]
    evaluate = time.monotonic()
    network = networks.load(outputs["model"])
    time_prediction(network, images[:32])
    evaluate = time.monotonic() - evaluate
    predict = time.monotonic()
    networks.predict(network, images)
    predict = (time.monotonic() - predict) / len(images)
    others = [other for other in networks.list_formats() if other != precision]
    trainings = {precision: training} | {other: prepare(other)[0] for other in others}
    return {
        "formats": {"in_force": precision, "seconds": compare_formats(trainings) if others else {}},
        "start": full_speed - typical.sum(),
        "step": np.mean(typical[:STEPS]),
        "validation_batch": np.mean(typical[STEPS:-1]),
        "epoch": typical[-1],
        "save": keeper.cost,
        "finish": finish,
        # By the process that trained; another, which imports no TensorFlow, makes the measures of it.
        "evaluate": 0.4 * imported + evaluate,
        "predict": predict,
        "memory_bytes": memory,
        "state_bytes": training.state_bytes(),
        "model_bytes": outputs["model"].stat().st_size,
        "parameters": training.trainer.network.count_params(),
    }


if __name__ == "__main__":
    write_json(sys.argv[1], try_out(**json.load(sys.stdin)))
