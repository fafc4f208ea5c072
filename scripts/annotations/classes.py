"""From answers to classes: what `data.classes` makes of labels, and one class per image from several answers."""

import math

import numpy as np
import pandas as pd

from baton.data.labels import normalize_label, sort_labels
from baton.errors import UserError, some
from baton.formatting import as_number
from baton.study.labels import list_ranges

RANGES = "a range of data.classes"


class Classes:
    """What `data.classes` makes of labels: their own class, one that merges several, or one that is a range of a number.

    classes: as the config has it; labels: all that there are, to tell a folder's name ("01") from a number. Raises UserError
    where two names are one label.
    """

    def __init__(self, classes, labels):
        self.ranges = list_ranges(classes)
        self.merged = None
        if classes is None or self.ranges:
            self.names = [str(name) for name in classes or ()]
            return
        labels = set(labels)

        def as_there(label):  # a folder's name stands as it is ("01"), the CSV's labels are normalized
            return str(label) if str(label) in labels else normalize_label(label)

        listed = isinstance(classes, list)
        pairs = (
            [(as_there(label), as_there(label)) for label in classes]
            if listed
            else [(as_there(old), str(new)) for new, olds in classes.items() for old in olds]
        )
        named = [old for old, _ in pairs]
        if twice := sorted({label for label in named if named.count(label) > 1}):
            raise UserError(
                f"data.classes: {some(twice)} is there twice: to a CSV, 8, 08 and 8.0 are one number. Keep one."
            )
        self.merged = dict(pairs)
        self.names = list(dict.fromkeys(self.merged.values()))

    def of(self, labels):
        """Return the class of each of a Series of labels, missing where it has none."""
        if self.ranges:
            return self.cut(labels.map(as_number).astype(float))
        return labels if self.merged is None else labels.map(self.merged)

    def cut(self, values):
        """Return the class of each of a Series of numbers by the ranges, missing where it is in none."""
        # A mean that floats make 2.9999999999999996 is 3.
        values = values.map(lambda value: float(f"{value:.12g}"))
        found = pd.Series(np.nan, index=values.index, dtype=object)
        for name, low, high in self.ranges:
            is_highest = name == self.ranges[-1][0]
            found[(values >= low) & ((values <= high) if is_highest else (values < high))] = name
        return found


def label_images(frame, combine, classes, left_out):
    """Return image and class of each image that has one, from its answers; frame: image, label, row.

    combine: None, "median", "mean", "majority" (of classes) or "majority_of_labels": see config.yaml; classes: as the
    config has it. An image without a majority has no class. Raises UserError for several answers with None, for answers
    that are no numbers where numbers are needed, and for a class without images.
    """
    chosen = Classes(classes, frame["label"])
    if combine in ("median", "mean") or chosen.ranges:
        refuse_words(frame, f"data.combine: {combine}" if combine in ("median", "mean") else RANGES)
    if combine is None:
        refuse_several(frame)
        combined = frame.assign(**{"class": chosen.of(frame["label"])})[["image", "class"]]
    elif combine in ("median", "mean"):
        combined = combine_numbers(frame, combine, chosen)
    else:
        combined = take_majority(frame, chosen, combine, left_out)
        frame = frame[frame["image"].isin(combined["image"])]
    if combine is not None:
        left_out.add(len(frame) - len(combined), "answers", f"combined into one per image by {combine}")
    return keep_named(combined, chosen, sort_labels(frame["label"]), left_out)


def choose_classes(frame, classes, left_out):
    """Return image and class of each image that has one, by its only label; frame: image, label."""
    chosen = Classes(classes, frame["label"])
    if chosen.ranges:
        refuse_words(frame, RANGES)
    combined = frame.assign(**{"class": chosen.of(frame["label"])})
    return keep_named(combined, chosen, sort_labels(frame["label"]), left_out)


def refuse_words(frame, what):
    """Raise UserError for a label that is no number, where `what` needs numbers."""
    numbers = frame["label"].map(as_number)
    for place in frame.index[numbers.isna()]:
        where = f"row {frame.loc[place, 'row']}" if "row" in frame else frame.loc[place, "image"]
        raise UserError(
            f"{where}: the answer {frame.loc[place, 'label']} is not a number, which {what} needs."
        )


def refuse_several(frame):
    answers = frame.groupby("image").size()
    several = answers[answers > 1]
    if len(several):
        raise UserError(
            f"{len(several)} images have several answers (up to {several.max()}): {some(several.index)}. "
            "Keep the rows of one annotator and one question with data.where, or set data.combine."
        )


def combine_numbers(frame, combine, chosen):
    """Return image and class, by the median or mean of its answers: cut by ranges, else rounded, halves up."""
    values = frame["label"].map(as_number).groupby(frame["image"]).agg(combine)
    if not np.isfinite(values).all():
        image = values.index[~np.isfinite(values)][0]
        raise UserError(f"the answers for {image} are too large to be combined (data.combine: {combine}).")
    whole = values if chosen.ranges else values.map(lambda value: str(math.floor(value + 0.5)))
    classes = chosen.cut(whole) if chosen.ranges else chosen.of(whole)
    return classes.rename_axis("image").rename("class").reset_index()


def take_majority(frame, chosen, combine, left_out):
    """Return image and class, by the most frequent class of its answers, or by its most frequent answer.

    An answer that is of no class stands for itself: where most answers are such a one, the image has no class.
    """
    classes = chosen.of(frame["label"])
    merged = combine == "majority"
    votes = frame.assign(
        **{
            "class": classes,
            "vote": classes.where(classes.notna(), frame["label"]) if merged else frame["label"],
            "is_class": classes.notna(),
        }
    )
    votes = votes.groupby(["image", "is_class", "vote"]).agg(
        votes=("row", "size"), **{"class": ("class", "first")}
    )
    votes = votes.reset_index()
    most = votes.groupby("image")["votes"].transform("max")
    winners = votes[votes["votes"] == most]
    tied = winners["image"].duplicated(keep=False)
    of = "classes" if merged and (chosen.ranges or chosen.merged is not None) else "answers"
    left_out.add(winners[tied]["image"].nunique(), "images", f"no majority: a tie between {of}")
    combined = winners[~tied][["image", "class"]]
    if combined.empty:
        raise UserError(f"data.combine: majority leaves no image: every one has a tie between {of}.")
    return combined.reset_index(drop=True)


def keep_named(frame, chosen, labels, left_out):
    """Return image and class of the images that have a class. Raises UserError where a class has none; labels: that there are."""
    missing = [name for name in chosen.names if not (frame["class"] == name).any()]
    if missing:
        raise UserError(
            f"data.classes: no image is {'in the range of' if chosen.ranges else 'labelled'} {some(missing)}. "
            f"Labels there are: {some(labels, 30)}."
        )
    without = "in no range of data.classes" if chosen.ranges else "a label that data.classes does not name"
    left_out.add(frame["class"].isna().sum(), "images", without)
    return frame[frame["class"].notna()][["image", "class"]]
