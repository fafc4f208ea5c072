"""Evaluate a trained model on the test split."""

import json

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from baton import logs, networks
from baton.logs import log
from baton.manifests import read_manifest, write_manifest

# isort: split
import keras


def measure(labels, probabilities, classes):
    """Return accuracy, cross-entropy, figures of each class and the confusion matrix (rows: true class).

    labels: (n,) class indices; probabilities: (n, classes); classes: their names. Precision and
    recall are None where nothing was predicted or nothing is there to be found, F1 where neither.
    """
    predicted = probabilities.argmax(axis=1)
    exact = probabilities.astype(float)  # float32 sums to 1 only nearly
    indices = np.arange(len(classes))
    columns = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=np.nan)
    per_class = [
        {
            "class": label,
            "precision": none_for_nan(precision),
            "recall": none_for_nan(recall),
            "f1": none_for_nan(f1),
            "images": int(images),
        }
        for label, precision, recall, f1, images in zip(classes, *columns, strict=True)
    ]
    return {
        "images": len(labels),
        "accuracy": accuracy_score(labels, predicted),
        "cross_entropy": log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=indices),
        "classes": per_class,
        "confusion": confusion_matrix(labels, predicted, labels=indices).tolist(),
    }


def none_for_nan(value):
    """JSON knows no NaN."""
    return None if np.isnan(value) else float(value)


def main(model, test, test_manifest, weights, metrics_json, predictions_csv, threads):
    """Write metrics.json and predictions.csv (image, class, predicted, and each class's probability)."""
    networks.set_up(threads, "float32", seed=0)  # the model brings its own precision
    network = keras.saving.load_model(model, compile=False)
    manifest = read_manifest(test_manifest)
    with open(weights, encoding="utf-8") as file:
        classes = json.load(file)["classes"]
    labels = manifest["label"].to_numpy(int)
    probabilities = networks.predict(network, np.load(test, mmap_mode="r"))
    metrics = measure(labels, probabilities, classes)
    log.info("%d test images: accuracy %.4f", metrics["images"], metrics["accuracy"])
    with open(metrics_json, "w", encoding="utf-8") as file:
        json.dump(metrics, file, indent=2, ensure_ascii=False)
        file.write("\n")
    table = manifest[["image", "class"]].assign(predicted=[classes[i] for i in probabilities.argmax(axis=1)])
    for index, label in enumerate(classes):
        table[f"probability {label}"] = probabilities[:, index]
    write_manifest(table, predictions_csv)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(
        *(snakemake.input[name] for name in ("model", "test", "test_manifest", "weights")),
        snakemake.output.metrics,
        snakemake.output.predictions,
        snakemake.threads,
    )
