"""The classes that a study would have, as its first stages would read them, and the holdout that they can bear."""

import logging

import pandas as pd

from baton.console import log
from baton.data.labels import sort_labels
from baton.errors import some
from baton.study.config import BATON, load
from new_config.text import can_be_spelled, count
from sort_into_classes import Counts, from_annotations, from_folders, take_files_once

MOST_HELD_OUT = 50  # images of a class for validation, and as many for test
HELD_OUT = 5  # of a class every fifth, or fewer
LEAST_IMAGES = 5  # of a class
LISTED = 12  # annotators, questions or classes in a comment


def hold_out(smallest):
    """Return how many images of each class to hold out for validation, and as many for test."""
    return min(MOST_HELD_OUT, max(1, smallest // HELD_OUT))


def default_of(key):
    """Return what data.KEY is where a config does not name it."""
    return load(BATON / "config.yaml")["data"][key]


def read_classes(data):
    """Return image and class of every image that a study with these settings of `data` has, and what is said on the way.

    The latter are sentences on what was left out, and on what was not taken literally.
    """
    data = load(BATON / "config.yaml")["data"] | data
    left_out, notes = Counts("left out", "reason"), Counts("note", "note")
    read = from_folders if data["source"].endswith("folders") else from_annotations
    log.setLevel(logging.WARNING)  # it will be said again when the study runs
    try:
        frame = take_files_once(read(data, left_out, notes).frame, data, left_out)
    finally:
        log.setLevel(logging.INFO)
    said = [
        f"Left out: {count(number, unit.removesuffix('s'))}: {what}"
        for what, unit, number in left_out.rows
        if "data.where" not in what and not what.startswith("combined into")
    ]
    return frame, said + [
        f"{count(number, unit.removesuffix('s'))}: {what}" for what, unit, number in notes.rows
    ]


def count_images(frame: pd.DataFrame) -> dict[str, int]:
    """Return the images of each class, in order; frame: image and class."""
    found = frame["class"].value_counts()
    return {label: int(found[label]) for label in sort_labels(found.index)}


def add_holdout(text, counts):
    """Write the classes, where some are too small, and the holdout that the smallest can bear."""
    small = [label for label, number in counts.items() if number < LEAST_IMAGES]
    kept = [label for label in counts if label not in small]
    text.comment(f"{count(len(counts), 'class', 'classes')}: {listed(counts, 'image')}", 2)
    is_open = False
    if len(kept) < 2:
        text.comment(
            f"Fewer than two of them have {LEAST_IMAGES} images. Merge some, {{new name: [old label, old label], ...}}, or "
            "find more images",
            2,
        )
        is_open = True
    elif small:
        text.comment(
            f"Left out are those with fewer than {LEAST_IMAGES} images: {some(small, LISTED)}. To merge them into others: "
            "{new name: [old label, old label], ...}",
            2,
        )
        is_open = not all(map(can_be_spelled, kept))
        if not is_open:
            text.add("classes", kept, 2)
    if is_open:
        text.fill_in("classes", 2)
    text.blank()
    text.comment("Images of each class that are held out; all others are for training")
    text.section("holdout")
    if is_open:
        text.comment("what the smallest of the classes can bear: a fifth of its images, 50 at most", 2)
        text.fill_in("validation", 2)
        text.fill_in("test", 2)
        return
    smallest = min(kept, key=counts.__getitem__)
    number = hold_out(counts[smallest])
    text.comment(f"the smallest class, {smallest}, has {count(counts[smallest], 'image')}", 2)
    text.add("validation", number, 2)
    text.add("test", number, 2)


def listed(counts, unit):
    """Return "1: 20 images, 2: 31, ... and 4 more"."""
    shown = [
        f"{name}: {count(number, unit) if place == 0 else f'{number:,}'}"
        for place, (name, number) in enumerate(list(counts.items())[:LISTED])
    ]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
