"""Number the classes and weigh each by how rare it is in training."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from baton import console
from baton.console import log
from baton.data.labels import normalize_label, sort_labels
from baton.errors import UserError
from baton.files import write_json
from baton.manifests import read_manifest


def order_classes(frame, order):
    """Return the classes in the order of their indices: as `asked` in data.classes, else sorted.

    Raises UserError when a split holds a class that training does not, whose index no model knows.
    """
    classes = sort_labels(frame.loc[frame["split"] == "train", "class"])
    for split in ("validation", "test"):
        unknown = sorted(set(frame.loc[frame["split"] == split, "class"]) - set(classes))
        if unknown:
            raise UserError(f"{split} holds classes that training does not: {', '.join(unknown)}.")
    return sorted(classes, key=order.index) if order else classes


def main(images_csv, weights_json, classes):
    """Write class_weights.json: the classes in the order of their indices, and the weight of each.

    The weight of a class is n / (k * n_class), with n training images and k classes
    (King & Zeng 2001; scikit-learn's "balanced").
    """
    frame = read_manifest(images_csv)
    order = [label if label in set(frame["class"]) else normalize_label(label) for label in map(str, classes)]
    ordered = order_classes(frame, order)
    labels = frame.loc[frame["split"] == "train", "class"].to_numpy(dtype=str)
    weights = compute_class_weight("balanced", classes=np.array(ordered), y=labels)
    for label, weight in zip(ordered, weights, strict=True):
        log.info("class %s: weight %.4f", label, weight)
    write_json(weights_json, {"classes": ordered, "weights": weights.tolist()}, ensure_ascii=False)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(snakemake.input.images, snakemake.output.weights, **snakemake.params)
