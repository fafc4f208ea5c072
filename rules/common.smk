"""What several parts need: how large a run is, what memory it asks for; what its data follow from; the folders that are watched."""

import hashlib
import math
import os

from snakemake.exceptions import WorkflowError

from baton.finished import model_of
from baton.progress import read_progress

ENVIRONMENT = "../envs/baton.yaml"


def count_weights(settings):
    """Return about how many weights a network has; without its last layer, which depends on the data."""
    channels, size, weights = 3, settings["size"], 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        weights += kernels * (channels * settings["kernel_size"] ** 2 + 1)
        channels, size = kernels, size // 2
    return weights + settings["dense"] * (size * size * channels + 1)


def memory_of(run):
    """Return a function for `resources: mem_mb`: about what training and evaluating a run take, in MB.

    TensorFlow and two Snakemakes take 1,500 MB; weights, gradients, Adam's two averages, the best weights and the
    copies of a save 12 x 4 bytes a weight (7 to 12 were measured on the study's models at 150 px); a batch's
    activations and their gradients 3 x 4 bytes a pixel and kernel.
    """
    settings, size = run.settings, run.settings["size"]
    pixels = size * size * settings["kernels"] * sum(0.5**number for number in range(settings["layers"]))
    activations = 12 * settings["batch_size"] * pixels
    needed = 1500 + (48 * count_weights(settings) + activations) / 1e6

    def ask(wildcards, attempt):
        # Killed without a warning: that may have been for want of memory. Twice as much each time, up to four times.
        # One that has not saved once left no trace of it: there every attempt counts.
        killed = read_progress(run.folder).get("unended_sessions", attempt - 1)
        return math.ceil(needed * 2 ** min(killed, 2))

    return ask


def watched_folders(data):
    """Return the user's folders in which a file added or removed must be noticed: one level, no images."""
    depth = {"class_folders": 1, "split_folders": 2}.get(data["source"], 0)
    folders = [data["images"]]
    try:
        for _ in range(depth):
            folders = [
                entry.path
                for folder in folders
                for entry in os.scandir(folder)
                if entry.is_dir() and not entry.name.startswith(".")
            ]
    except OSError as error:
        raise WorkflowError(f"data.images: cannot read {error.filename}: {error.strerror}.")
    return sorted(folders)


def find_model(run):
    """Return the model of a run that is there already, which is used as it is; None where it is to be made first."""
    place = model_of(f"results/models/{run.folder}")
    return place and f"{place}/model.keras"


def digest_of_model(model):
    """Return a text that changes when the model at a path is another one; None where there is none."""
    try:
        with open(os.path.join(os.path.dirname(model or ""), "training.json"), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:12]
    except OSError:
        return None


# The settings that the images and labels of a training follow from.
STUDY = {key: config[key] for key in ("data", "holdout")}
BY_WEIGHTS = sorted(RUNS, key=lambda run: count_weights(run.settings))
# Each folder of packed images, with the settings of a run that reads it.
PACKED = {os.path.basename(run.packed): run.settings for run in RUNS}
SMALLEST, LARGEST = BY_WEIGHTS[0], BY_WEIGHTS[-1]
