"""What several parts need: what memory jobs ask for; what a run's data follow from; the folders that are watched."""

import hashlib
import json
import os

from snakemake.exceptions import WorkflowError

from baton import memory
from baton.finished import model_of
from baton.progress import read_progress

ENVIRONMENT = "../envs/baton.yaml"


def memory_of(run):
    """Return a function for `resources: mem_mb`: about what training and evaluating a run take, in MB."""

    def ask(wildcards, attempt):
        # One that has not saved once left no trace of a kill: there every attempt counts.
        killed = read_progress(run.folder).get("unended_sessions", attempt - 1)
        return memory.doubled(memory.of_training(run.settings), killed)

    return ask


def count_rows(path):
    """Return the rows of a manifest, 0 where it is not made yet."""
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return 0


def memory_of_decoding(wildcards, attempt, threads):
    """Return, for `resources: mem_mb`, about what decoding the images takes, in MB."""
    needed = memory.of_decoding(threads, count_rows("results/data/classes.csv"))
    return memory.doubled(needed, attempt - 1)


def memory_of_packing(wildcards, attempt, threads):
    """Return, for `resources: mem_mb`, about what packing a kind of images takes, in MB."""
    settings, images = PACKED[wildcards.images], count_rows("results/data/images.csv")
    needed = memory.of_packing(settings["size"], settings["synthetic_fraction"], threads, images)
    return memory.doubled(needed, attempt - 1)


def memory_of_report(wildcards, attempt):
    """Return, for `resources: mem_mb`, about what the report takes, in MB."""
    try:
        with open("results/data/class_weights.json", encoding="utf-8") as file:
            classes = len(json.load(file)["classes"])
    except (OSError, ValueError):
        classes = 0
    rows = (count_rows(path) for path in ("results/data/images.csv", f"{PICTURES}/test.csv"))
    needed = memory.of_report(len(RUNS), len(RUNS_BY_MODEL), classes, *rows)
    return memory.doubled(needed, attempt - 1)


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
BY_WEIGHTS = sorted(RUNS, key=lambda run: memory.count_weights(run.settings))
# Each folder of packed images, with the settings of a run that reads it.
PACKED = {os.path.basename(run.packed): run.settings for run in RUNS}
# The largest images there are: of them the report takes the pictures of mistakes.
PICTURES = max(RUNS, key=lambda run: run.settings["size"]).packed
SMALLEST, LARGEST = BY_WEIGHTS[0], BY_WEIGHTS[-1]
