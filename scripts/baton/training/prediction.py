"""What a model predicts for the test images, and how fast.

The process that trained a model predicts with it right away, as it is read back from its file, and keeps that for the
evaluation: another process would take longer to import TensorFlow than to predict.
"""

import gc
import hashlib
import json
import statistics
import time
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from baton.console import log
from baton.errors import SessionEnded
from baton.files import written_aside
from baton.study.identity import digest_data

REPEATS = 20  # predictions timed, after one that compiles
TIME_LEFT = 30  # seconds of a session in which no more is predicted
LONGEST = 2  # seconds after which no more are timed for a batch size


def predict_test(model, test, pause=lambda: None):
    """Return the probabilities (n, classes) that the model in a file gives, and its milliseconds per image.

    test: the file of n packed images. milliseconds: see `time_prediction`; pause: see `networks.predict`. TensorFlow is to be set
    up.
    """
    from baton.training import networks  # here: imported where a prediction is made, not where one is found

    network = networks.load(model)
    images = np.load(test, mmap_mode="r")
    return networks.predict(network, images, pause), time_prediction(network, images[:32])


def predict_and_keep(model, weights, session, images, manifest, kept_as):
    """Predict the test images with the model as it is read back from its file, and keep that for the evaluation.

    weights: class_weights.json; images, manifest: the packed test images; kept_as: where. Where the session ends before, or the
    disk fails, the evaluation predicts by itself.
    """

    def pause():
        if reason := session.reason_to_stop(TIME_LEFT):
            raise SessionEnded(reason)

    gc.collect()  # what trained is a circle, and its memory is needed
    try:
        pause()
        keep(kept_as, describe(model, manifest, weights), *predict_test(model, images, pause))
    except SessionEnded as reason:
        log.info("the test images are predicted later: %s", reason)
    except OSError as trouble:
        log.warning("the test images are predicted later: %s", trouble.strerror or trouble)


def time_prediction(network, images):
    """Return the median milliseconds per image at prediction, by batch size, compiled and in memory."""
    medians = {}
    for size in (1, 32):
        batch = np.resize(images, (size, *images.shape[1:]))
        seconds = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            network.predict_on_batch(batch)
            seconds.append(time.perf_counter() - start)
            if sum(seconds[1:]) > LONGEST:
                break
        medians[str(size)] = 1000 * statistics.median(seconds[1:]) / size
    return medians


def describe(model, test_manifest, weights):
    """Return what a prediction follows from: the model's bytes, the test images and how they were packed."""
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"model": digest, "test": digest_data(test_manifest, weights)}


def keep(path, origin, probabilities, milliseconds):
    """Keep a prediction at `path`; origin: of `describe`. Raises OSError."""
    header = {"origin": json.dumps(origin), "milliseconds": json.dumps(milliseconds)}
    try:
        with written_aside(path) as aside:
            save_file({"probabilities": probabilities}, aside, metadata=header)
    except SafetensorError as trouble:
        raise OSError(str(trouble)) from trouble


def find(path, origin):
    """Return the (probabilities, milliseconds) that are kept at `path`, or None where none of this origin can be read."""
    if not Path(path).exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if json.loads(header.get("origin", "null")) != origin:
                return None
            return file.get_tensor("probabilities"), json.loads(header["milliseconds"])
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
