"""The answers to images as counts for each class: what a model with `targets: answers` learns, and is tested against."""

import numpy as np

from baton.manifests import read_manifest


def read_shares(path, packed, classes):
    """Return the shares of each image's answers, (images, classes) float32, and the means of the answers, (images,) or None.

    path: of answers_learned.csv or answers_tested.csv (image, mean, and answers of each class in their order); packed: the
    manifest of packed images (image, label, parent), of which synthetic ones have their parents' answers; classes: how many.
    An image none of whose answers is of a class, such as one between two ranges, has the share 1 in that of its label. Means
    are None where answers are no numbers.
    """
    rows = read_manifest(path).set_index("image")
    rows = rows.loc[packed["parent"].where(packed["parent"] != "", packed["image"])]
    counts = rows.drop(columns="mean").to_numpy(np.float32)
    if counts.shape[1] != classes:
        raise ValueError(f"{path}: {counts.shape[1]} classes of {classes}")
    none = counts.sum(axis=1) == 0
    counts[none, packed["label"].to_numpy(int)[none]] = 1
    means = None if (rows["mean"] == "").any() else rows["mean"].to_numpy(float)
    return counts / counts.sum(axis=1, keepdims=True), means
