"""The classes that a study would have, as its first stages would read them, and the holdout that they can bear."""

import logging

from baton.console import log
from baton.data.labels import sort_labels
from baton.errors import some
from baton.study.config import BATON, load
from sort_into_classes import Counts, choose_classes, from_annotations, from_folders, take_files_once

MOST_HELD_OUT = 50  # images of a class for validation, and as many for test
HELD_OUT = 5  # of a class every fifth, or fewer
LEAST_IMAGES = 5  # of a class
LISTED = 12  # annotators, questions or classes in a comment


def hold_out(smallest):
    """Return how many images of each class to hold out for validation, and as many for test."""
    return min(MOST_HELD_OUT, max(1, smallest // HELD_OUT))


def read_classes(data):
    """Return image and class of every image that a study with these settings of `data` has."""
    data = load(BATON / "config.yaml")["data"] | data
    counts = Counts("left out", "reason"), Counts("note", "note")
    read = from_folders if data["source"].endswith("folders") else from_annotations
    log.setLevel(logging.WARNING)  # what is left out will be said when the study runs
    try:
        return take_files_once(
            choose_classes(read(data, *counts), data["classes"], counts[0]), data, counts[0]
        )
    finally:
        log.setLevel(logging.INFO)


def count_images(frame):
    """Return the images of each class, in order; frame: image and class."""
    found = frame["class"].value_counts()
    return {label: int(found[label]) for label in sort_labels(found.index)}


def add_holdout(text, counts):
    """Write the classes, where some are too small, and the holdout that the smallest can bear."""
    small = [label for label, count in counts.items() if count < LEAST_IMAGES]
    kept = [label for label in counts if label not in small]
    text.comment(f"{len(counts)} classes: {listed(counts, 'images')}", 2)
    if len(kept) < 2:
        text.comment(
            f"Fewer than two classes have {LEAST_IMAGES} images: merge some, new name: [old labels]", 2
        )
        text.fill_in("classes", 2)
    elif small:
        text.comment(
            f"Left out are those with fewer than {LEAST_IMAGES} images: {some(small, LISTED)}. To merge them into others: "
            "{new name: [old label, old label], ...}",
            2,
        )
        text.add("classes", kept, 2)
    text.blank()
    text.comment("Images of each class that are held out; all others are for training")
    text.section("holdout")
    if len(kept) < 2:
        text.fill_in("validation", 2)
        text.fill_in("test", 2)
        return
    smallest = min(kept, key=counts.__getitem__)
    number = hold_out(counts[smallest])
    text.comment(f"the smallest class, {smallest}, has {counts[smallest]:,} images", 2)
    text.add("validation", number, 2)
    text.add("test", number, 2)


def listed(counts, unit):
    """Return "1: 20 images, 2: 31, ... and 4 more"."""
    shown = [
        f"{name}: {count:,}{' ' + unit if place == 0 else ''}"
        for place, (name, count) in enumerate(list(counts.items())[:LISTED])
    ]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
