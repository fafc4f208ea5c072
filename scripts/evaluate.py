"""Evaluate a trained model on the test split: its predictions, how right and how confident it is, and how fast."""

from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from baton import console
from baton.console import log
from baton.data.answers import read_shares
from baton.data.copies import name_groups
from baton.files import read_json, write_json
from baton.formatting import MOST_NUMBERED, as_number, decimals
from baton.manifests import read_manifest, write_manifest
from baton.results import clusters, guessing, metrics, scale
from baton.results.answers import against_answers
from baton.study.identity import COMPILED, PROCESSOR, UPDATE, training_of
from baton.training import kernels, prediction
from evaluation.card import write_card


def measure(labels, probabilities, classes, ordered, groups=None, answered=None):
    """Return all that the report says of one model's predictions.

    labels: (n,) class indices; probabilities: (n, classes); classes: their names; ordered: whether they
    are places on a scale, None: if every name is a number; groups: (n,), of images that are not independent; answered: shares
    and means of the images' answers (see read_shares), None where each has one. In `classes`, precision is None where
    nothing was predicted, recall where there is nothing to be found, F1 where neither.
    """
    if ordered is None:
        ordered = all(as_number(label) is not None for label in classes)
    predicted = metrics.predicted_classes(probabilities)
    indices = np.arange(len(classes))
    columns = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=np.nan)
    return {
        **metrics.accuracy(labels, probabilities, groups),
        **metrics.class_averages(labels, probabilities),
        "log_loss": metrics.log_loss(labels, probabilities),
        "top_2_accuracy": metrics.top_2_accuracy(labels, probabilities),
        "calibration": metrics.calibration(labels, probabilities),
        "answers": metrics.constant_answers(labels, probabilities),
        "guessing": guessing.guessing(
            labels, probabilities, scale.read_scale(classes)["order"] if ordered else None, groups
        ),
        "ordered": scale.ordered(labels, probabilities, classes, groups) if ordered else None,
        "against_answers": None
        if answered is None
        else against_answers(*answered, labels, probabilities, classes, ordered, groups),
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


def main(
    model,
    summary,
    test,
    test_manifest,
    weights,
    groups_csv,
    answers_csv,
    metrics_json,
    predictions_csv,
    card,
    ordered,
    kept_prediction=None,
):
    """Write metrics.json, predictions.csv (image, class, predicted, and each class's probability) and the model card.

    groups_csv: which images belong together; answers_csv: answers_tested.csv, None where each image has one answer; summary:
    training.json, of which metrics.json says which training it is of. A model that diverged gives no probabilities; what it predicted is then empty. kept_prediction: where training keeps its prediction, which is taken
    where it is of this model and these images; else it is predicted now, with the threads and kernels it was trained with.
    """
    manifest = read_manifest(test_manifest)
    classes = read_json(weights)["classes"]
    training = read_json(summary)
    labels = manifest["label"].to_numpy(int)
    probabilities, milliseconds = find_or_predict(
        model, test, test_manifest, weights, training, kept_prediction, (len(labels), len(classes))
    )
    groups = clusters.number_groups(name_groups(manifest["image"], read_manifest(groups_csv)))
    answered = read_shares(answers_csv, manifest, len(classes)) if answers_csv else None
    evaluation = measure(labels, probabilities, classes, ordered, groups, answered)
    evaluation["milliseconds"] = milliseconds
    evaluation["model_bytes"] = Path(model).stat().st_size
    evaluation["training"] = training_of(training)
    log.info("%d test images: accuracy %s", evaluation["images"], decimals(evaluation["accuracy"], 4))
    # One line per number would be 3 MB of the confusion matrix of 500 classes.
    indent = 2 if len(classes) <= MOST_NUMBERED else None
    write_json(metrics_json, evaluation, indent=indent, ensure_ascii=False)
    Path(card).write_text(
        write_card({"classes": classes} | training, evaluation, training.get("grey", {})),
        encoding="utf-8",
        errors="replace",
    )
    names = [*classes, ""]  # the last for no answer, -1
    table = manifest[["image", "class"]].assign(
        predicted=[names[index] for index in metrics.predicted_classes(probabilities)]
    )
    for index, label in enumerate(classes):
        table[f"probability {label}"] = probabilities[:, index]
    write_manifest(table, predictions_csv)


def find_or_predict(model, test, test_manifest, weights, training, kept_prediction, shape):
    """Return probabilities, of this shape, and milliseconds: those that training kept, or made now.

    training: training.json, whose device, threads and kernels the bits follow from.
    """
    if kept_prediction is not None:
        found = prediction.find(kept_prediction, prediction.describe(model, test_manifest, weights))
        if found and found[0].shape == shape:
            return found
    if training.get("identity", {}).get(UPDATE) != COMPILED:
        kernels.take_earlier()
    from baton.training import networks  # only here: importing TensorFlow takes longer than all the rest

    if training.get("device") == PROCESSOR:
        networks.hide_gpus()
    networks.set_up(training["threads"], "float32", seed=0)  # the model brings its own precision
    return prediction.predict_test(model, test)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        *(
            snakemake.input[name]
            for name in ("model", "summary", "test", "test_manifest", "weights", "groups")
        ),
        snakemake.input.get("answers"),
        snakemake.output.metrics,
        snakemake.output.predictions,
        snakemake.output.card,
        **snakemake.params,
    )
