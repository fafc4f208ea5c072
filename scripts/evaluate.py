"""Evaluate a trained model on the test split: its predictions, how right and how confident it is, and how fast."""

import statistics
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from baton import console
from baton.console import log
from baton.files import read_json, write_json
from baton.formatting import MOST_NUMBERED, as_number, decimals
from baton.manifests import read_manifest, write_manifest
from baton.results import guessing, metrics, scale
from baton.study.identity import training_of
from baton.training import networks

# isort: split
import keras

REPEATS = 20  # predictions timed, after one that compiles
LONGEST = 10  # seconds of timing, at most


def measure(labels, probabilities, classes, ordered):
    """Return all that the report says of one model's predictions.

    labels: (n,) class indices; probabilities: (n, classes); classes: their names; ordered: whether they
    are places on a scale, None: if every name is a number. In `classes`, precision is None where nothing
    was predicted, recall where there is nothing to be found, F1 where neither.
    """
    if ordered is None:
        ordered = all(as_number(label) is not None for label in classes)
    predicted = metrics.predicted_classes(probabilities)
    indices = np.arange(len(classes))
    columns = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=np.nan)
    return {
        **metrics.accuracy(labels, probabilities),
        **metrics.class_averages(labels, probabilities),
        "log_loss": metrics.log_loss(labels, probabilities),
        "top_2_accuracy": metrics.top_2_accuracy(labels, probabilities),
        "calibration": metrics.calibration(labels, probabilities),
        "answers": metrics.constant_answers(labels, probabilities),
        "guessing": guessing.guessing(
            labels, probabilities, scale.read_scale(classes)["order"] if ordered else None
        ),
        "ordered": scale.ordered(labels, probabilities, classes) if ordered else None,
        "classes": [
            {
                "class": label,
                "precision": metrics.none_for_nan(precision),
                "recall": metrics.none_for_nan(recall),
                "f1": metrics.none_for_nan(f1),
                "images": int(images),
            }
            for label, precision, recall, f1, images in zip(classes, *columns, strict=True)
        ],
        "confusion": confusion_matrix(labels, predicted, labels=indices).tolist(),
        "mistakes": metrics.most_confident_mistakes(labels, probabilities),
    }


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
            if sum(seconds) > LONGEST:
                break
        medians[str(size)] = 1000 * statistics.median(seconds[1:] or seconds) / size
    return medians


def main(model, summary, test, test_manifest, weights, metrics_json, predictions_csv, threads, ordered):
    """Write metrics.json and predictions.csv (image, class, predicted, and each class's probability).

    summary: training.json, of which metrics.json says which training it is of. A model that diverged gives no
    probabilities; what it predicted is then empty.
    """
    networks.set_up(threads, "float32", seed=0)  # the model brings its own precision
    network = keras.saving.load_model(model, compile=False)
    manifest = read_manifest(test_manifest)
    classes = read_json(weights)["classes"]
    labels, images = manifest["label"].to_numpy(int), np.load(test, mmap_mode="r")
    probabilities = networks.predict(network, images)
    test = measure(labels, probabilities, classes, ordered)
    test["milliseconds"] = time_prediction(network, images[:32])
    test["model_bytes"] = Path(model).stat().st_size
    test["training"] = training_of(read_json(summary))
    log.info("%d test images: accuracy %s", test["images"], decimals(test["accuracy"], 4))
    # One line per number would be 3 MB of the confusion matrix of 500 classes.
    write_json(metrics_json, test, indent=2 if len(classes) <= MOST_NUMBERED else None, ensure_ascii=False)
    names = [*classes, ""]  # the last for no answer, -1
    table = manifest[["image", "class"]].assign(
        predicted=[names[index] for index in metrics.predicted_classes(probabilities)]
    )
    for index, label in enumerate(classes):
        table[f"probability {label}"] = probabilities[:, index]
    write_manifest(table, predictions_csv)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        *(snakemake.input[name] for name in ("model", "summary", "test", "test_manifest", "weights")),
        snakemake.output.metrics,
        snakemake.output.predictions,
        snakemake.threads,
        **snakemake.params,
    )
