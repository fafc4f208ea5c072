"""Evaluate a trained model on the test split: what it says, how right and how sure it is, and how fast."""

import json
import statistics as averages
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from baton import logs, networks, statistics
from baton.console import MOST_NUMBERED, decimals
from baton.identity import training_of
from baton.labels import as_number
from baton.logs import log
from baton.manifests import read_json, read_manifest, write_manifest

# isort: split
import keras

REPEATS = 20  # predictions timed, after one that compiles
LONGEST = 10  # seconds of timing, at most


def measure(labels, probabilities, classes, ordered):
    """Return all that the report says of one model's answers.

    labels: (n,) class indices; probabilities: (n, classes); classes: their names; ordered: whether they
    are places on a scale, None: if every name is a number. In `classes`, precision is None where nothing
    was predicted, recall where there is nothing to be found, F1 where neither.
    """
    if ordered is None:
        ordered = all(as_number(label) is not None for label in classes)
    predicted = statistics.predicted_classes(probabilities)
    indices = np.arange(len(classes))
    columns = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=np.nan)
    return {
        **statistics.accuracy(labels, probabilities),
        **statistics.class_averages(labels, probabilities),
        "log_loss": statistics.log_loss(labels, probabilities),
        "top_2_accuracy": statistics.top_2_accuracy(labels, probabilities),
        "calibration": statistics.calibration(labels, probabilities),
        "answers": statistics.constant_answers(labels, probabilities),
        "guessing": statistics.guessing(
            labels, probabilities, statistics.read_scale(classes)["order"] if ordered else None
        ),
        "ordered": statistics.ordered(labels, probabilities, classes) if ordered else None,
        "classes": [
            {
                "class": label,
                "precision": statistics.none_for_nan(precision),
                "recall": statistics.none_for_nan(recall),
                "f1": statistics.none_for_nan(f1),
                "images": int(images),
            }
            for label, precision, recall, f1, images in zip(classes, *columns, strict=True)
        ],
        "confusion": confusion_matrix(labels, predicted, labels=indices).tolist(),
        "mistakes": statistics.most_confident_mistakes(labels, probabilities),
    }


def time_prediction(network, images):
    """Return the median milliseconds an image at prediction, by batch size, compiled and in memory."""
    medians = {}
    for size in (1, 32):
        batch = np.resize(images, (size, *images.shape[1:]))
        taken = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            network.predict_on_batch(batch)
            taken.append(time.perf_counter() - start)
            if sum(taken) > LONGEST:
                break
        medians[str(size)] = 1000 * averages.median(taken[1:] or taken) / size
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
    metrics = measure(labels, probabilities, classes, ordered)
    metrics["milliseconds"] = time_prediction(network, images[:32])
    metrics["model_bytes"] = Path(model).stat().st_size
    metrics["training"] = training_of(read_json(summary))
    log.info("%d test images: accuracy %s", metrics["images"], decimals(metrics["accuracy"], 4))
    with open(metrics_json, "w", encoding="utf-8") as file:
        # A line a number would be 3 MB of the confusion matrix of 500 classes.
        json.dump(metrics, file, indent=2 if len(classes) <= MOST_NUMBERED else None, ensure_ascii=False)
        file.write("\n")
    names = [*classes, ""]  # the last for no answer, -1
    table = manifest[["image", "class"]].assign(
        predicted=[names[index] for index in statistics.predicted_classes(probabilities)]
    )
    for index, label in enumerate(classes):
        table[f"probability {label}"] = probabilities[:, index]
    write_manifest(table, predictions_csv)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(
        *(snakemake.input[name] for name in ("model", "summary", "test", "test_manifest", "weights")),
        snakemake.output.metrics,
        snakemake.output.predictions,
        snakemake.threads,
        **snakemake.params,
    )
