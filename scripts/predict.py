"""Predict every image below a folder with a trained model."""

import csv
import os
from itertools import islice
from pathlib import Path

import numpy as np

from baton import console
from baton.console import log, show_progress
from baton.data import damage
from baton.data.images import SUFFIXES, DamagedImage, decode_resized, list_files, map_images
from baton.data.links import folder_name, short_digest
from baton.data.passed_over import count_passed_over, why_passed_over
from baton.errors import UserError
from baton.files import read_json, written_aside
from baton.study.finished import FILES, read_training
from baton.training import networks
from baton.training.batches import PREDICTION_BATCH


def read_or_reason(path, size, megapixels, ranges):
    """Return the image at `path` resized to (size, size, 3) uint8 and None, or None and what is wrong with it."""
    try:
        pixels = decode_resized(path, size, megapixels, ranges)
        broken, warning = damage.read_warnings(path)
    except DamagedImage as trouble:
        return None, str(trouble)
    if warning:
        log.warning("read with a warning of the decoder: %s: %s", path, warning)
    return (None, broken) if broken else (pixels, None)


def predict_files(network, folder, files, threads, megapixels, ranges):
    """Yield (file, probabilities, None) or (file, None, reason) for each of the `files` below `folder`.

    megapixels, ranges: see decode_image.
    """
    size = network.input.shape[1]
    paths = [os.path.join(folder, file) for file in files]
    read = map_images(lambda path: read_or_reason(path, size, megapixels, ranges), paths, threads)
    progress = iter(show_progress(zip(files, read, strict=True), "predicting", len(files), "image"))
    while batch := list(islice(progress, PREDICTION_BATCH)):
        pixels = [image for _, (image, _) in batch if image is not None]
        rows = iter(networks.predict(network, np.stack(pixels)) if pixels else ())
        for file, (image, reason) in batch:
            yield file, None if image is None else next(rows), reason


def name_table(name, images):
    """Return the path of the CSV for a model's name and a folder of images: each folder has its own."""
    real = os.path.realpath(images)
    return f"results/predictions/{name}/{folder_name(os.path.basename(real))}_{short_digest(real)}.csv"


def main(model, name, threads, images, settings, augmentation, megapixels):
    """Write file, class, the probability of each class, and the reason where a file could not be read.

    model: its file, with training.json beside it; name: of the model; images: the folder to predict; settings,
    augmentation: the model's, by the config; megapixels: the most that an image may have.
    """
    if not model or images is None:
        raise UserError("name the model and the folder: snakemake predict --config model=NAME images=FOLDER")
    if not os.path.isdir(images):
        raise UserError(f"images={images}: there is no such folder.")
    found = list_files(images)
    for reason, count in count_passed_over(found):
        log.info("left out: %d files: %s", count, reason)
    files = [path for path in found if why_passed_over(path) is None]
    if not files:
        raise UserError(
            f"images={images}: the folder holds no file named like an image ({', '.join(SUFFIXES)})."
        )
    classes, changes = read_training(os.path.dirname(model), settings, augmentation)
    if classes is None:
        raise UserError(
            f"{name} was trained by an earlier version of Baton, which did not record the names of its classes, and "
            f"its data have changed since. Train it again: snakemake --forcerun train_{name}"
        )
    console.warn_of_other_training(changes)
    # Of a model of an earlier version none are recorded: its own images were scaled in another way.
    ranges = read_json(Path(model).with_name(FILES["summary"])).get("grey")
    predictions_csv = name_table(name, images)
    networks.set_up(threads, "float32", seed=0)  # the model brings its own precision
    network = networks.load(model)
    Path(predictions_csv).parent.mkdir(parents=True, exist_ok=True)
    unreadable = 0
    with (
        written_aside(predictions_csv) as aside,
        open(aside, "w", encoding="utf-8", errors="surrogateescape", newline="") as table,
    ):
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["file", "class", *(f"probability {label}" for label in classes), "reason"])
        for file, probabilities, reason in predict_files(network, images, files, threads, megapixels, ranges):
            if reason is not None:
                unreadable += 1
                writer.writerow([file, "", *[""] * len(classes), reason])
            elif np.isfinite(probabilities).all():
                writer.writerow([file, classes[probabilities.argmax()], *probabilities.tolist(), ""])
            else:
                raise UserError(
                    f"{name} diverged in training: what it predicts ({file} was the first) are not probabilities. "
                    "Nothing was written. Use another model, or train it with other settings (a lower learning_rate)."
                )
    log.info("%d images, %d of them unreadable: %s", len(files), unreadable, predictions_csv)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    options = dict(snakemake.params.items())
    main(**options | {"model": snakemake.input.model or options["model"]}, threads=snakemake.threads)
