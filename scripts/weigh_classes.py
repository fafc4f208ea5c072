"""Number the classes and weigh each by how rare it is in training."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from baton import console
from baton.console import log
from baton.data.grey import WHOLE
from baton.data.labels import normalize_label, sort_labels
from baton.errors import UserError
from baton.files import read_json, write_json
from baton.manifests import read_categories


def order_classes(frame, order):
    """Return the classes in the order of their indices: as `asked` in data.classes, else sorted.

    Raises UserError when a split holds a class that training does not, whose index no model knows.
    """
    classes = sort_labels(frame.loc[frame["split"] == "train", "class"].unique())
    for split in ("validation", "test"):
        unknown = sorted(set(frame.loc[frame["split"] == split, "class"].unique()) - set(classes))
        if unknown:
            raise UserError(f"{split} holds classes that training does not: {', '.join(unknown)}.")
    return sorted(classes, key=order.index) if order else classes


def main(images_csv, grey_json, weights_json, classes):
    """Write class_weights.json: the classes in the order of their indices, and the weight of each.

    And the ranges of grey images of more than 8 bits (grey), where they are not those of earlier versions: what training
    sees follows from them.

    The weight of a class is n / (k * n_class), with n training images and k classes
    (King & Zeng 2001; scikit-learn's "balanced").
    """
    frame = read_categories(images_csv, ["class", "split"])
    there = set(frame["class"].cat.categories)
    order = [label if label in there else normalize_label(label) for label in map(str, classes)]
    ordered = order_classes(frame, order)
    numbers = frame.loc[frame["split"] == "train", "class"].cat.set_categories(ordered).cat.codes.to_numpy()
    weights = compute_class_weight("balanced", classes=np.arange(len(ordered)), y=numbers)
    for label, weight in zip(ordered, weights, strict=True):
        log.info("class %s: weight %.4f", label, weight)
    ranges = {sample: limits for sample, limits in read_json(grey_json).items() if tuple(limits) != WHOLE}
    grey = {"grey": ranges} if ranges else {}
    write_json(weights_json, {"classes": ordered, "weights": weights.tolist()} | grey, ensure_ascii=False)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(snakemake.input.images, snakemake.input.grey, snakemake.output.weights, **snakemake.params)
