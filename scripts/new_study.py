"""Look at a folder of images and a table of annotations, and write the config of a study of them.

What is written is what was found, with counts; where that leaves a choice, FILL_IN stands there with what there is to
choose from, and Snakemake names that line until it is filled in.
"""

import logging
import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from annotations.names import Names
from annotations.tables import open_table, read_table
from baton import console
from baton.console import log
from baton.data.images import name_files
from baton.data.labels import sort_labels
from baton.data.passed_over import why_passed_over
from baton.errors import UserError, some
from baton.study.config import BATON, load
from new_config.columns import are_numbers, find_image_column, find_roles, has_decimals
from new_config.text import ConfigText
from sort_into_classes import SPLITS, Counts, choose_classes, from_annotations, from_folders, take_files_once

MOST_HELD_OUT = 50  # images of a class for validation, and as many for test
HELD_OUT = 5  # of a class every fifth, or fewer
LEAST_IMAGES = 5  # of a class
LISTED = 12  # annotators, questions or classes in a comment
OTHER_NAMES = {"train": ("training",), "validation": ("val", "valid", "dev"), "test": ("testing",)}


def find(path, called_in, kind):
    """Return the path of what was named on the command line, relative to the study's folder, which is the current one.

    called_in: the folder that the command was typed in. Raises UserError where it is in neither, or in both.
    """
    exists = os.path.isdir if kind == "folder" else os.path.isfile
    places = [os.path.abspath(os.path.join(folder, path)) for folder in (called_in, ".")]
    found = list({os.path.realpath(place): place for place in reversed(places) if exists(place)}.values())
    if not found:
        raise UserError(
            f"there is no {kind} {path} (looked in {some(dict.fromkeys(map(os.path.dirname, places)))})."
        )
    if len(found) > 1:
        raise UserError(f"{path} may be {found[0]} or {found[1]}: give the whole path.")
    relative = os.path.relpath(found[0])
    return found[0] if relative.count("..") > 2 else relative.replace(os.sep, "/")


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


# --- Folders


def describe_folders(text, images, names):
    """Write the config of images that lie in class folders, or in train/, validation/ and test/."""
    files = [path for path in names.by_name if why_passed_over(path) is None]
    if not files:
        others = len(names.by_name)
        raise UserError(
            f"the folder {images} holds no images{f', but {others} other files' if others else ''}. Name the folder that "
            "holds them: images=FOLDER."
        )
    tops = Counter(path.split("/")[0] for path in files if "/" in path)
    if not tops:
        raise UserError(
            f"{images} holds {len(files):,} images and no folders of classes. Name the table that says what they are: "
            "annotations=CSV. Or put the images of each class into a folder of its name."
        )
    splits = [name for name in SPLITS if name in tops]
    called = {
        name: split
        for name in tops
        for split, others in OTHER_NAMES.items()
        if name.lower() in (split, *others)
    }
    if len(splits) == len(SPLITS):
        source = "split_folders"
    elif len(called) > 1 and len(called) >= len(tops) - 1:
        missing = [split for split in SPLITS if split not in splits]
        raise UserError(
            f"{images} looks split already ({some(sorted(called))}), but the folder{'' if len(missing) == 1 else 's'} "
            f"{some(missing)} {'is' if len(missing) == 1 else 'are'} missing: the names are train, validation and test. Rename "
            "or add folders (links will do), or name one of them to draw the splits from it: images="
            f"{images}/{sorted(called)[0]}."
        )
    else:
        source = "class_folders"
    log.info(
        "%s: %s images, %s",
        images,
        f"{len(files):,}",
        "split already" if source == "split_folders" else "in folders",
    )
    frame = read_classes({"source": source, "images": images})
    counts = count_images(frame)
    text.section("data")
    if source == "split_folders":
        shape = "train/CLASS/, validation/CLASS/ and test/CLASS/"
        text.comment(
            f"{shape}; used as they are: {listed({split: tops[split] for split in SPLITS}, 'images')}", 2
        )
    else:
        text.comment("a folder for each class; the holdout is drawn", 2)
    text.add("source", source, 2)
    text.comment(f"{len(files):,} images", 2)
    text.add("images", images, 2)
    if source == "class_folders":
        add_holdout(text, counts)
    else:
        add_given_classes(text, counts, frame)


def add_given_classes(text, counts, frame):
    """Write the classes of images that are split already, where some miss from training."""
    text.comment(f"{len(counts)} classes: {listed(counts, 'images')}", 2)
    there = {split: set(frame.loc[frame["image"].str.startswith(f"{split}/"), "class"]) for split in SPLITS}
    trained = [label for label in counts if label in there["train"]]
    if len(trained) < len(counts):
        text.comment(
            f"Left out are those without training images: {some((c for c in counts if c not in trained), LISTED)}",
            2,
        )
        text.add("classes", trained, 2)
    for split in SPLITS[1:]:
        if lacking := [label for label in trained if label not in there[split]]:
            text.comment(f"In {split}/ there are no images of {some(lacking, LISTED)}", 2)


# --- A table


def describe_table(text, images, annotations, names):
    """Write the config of images that a table says something of."""
    if not names.by_name:
        raise UserError(
            f"the folder {images} holds no images. Name the folder that holds them: images=FOLDER."
        )
    header = open_table(annotations)[1]
    columns = [name for name in header if name and header.count(name) == 1]
    frame = read_frame(annotations, columns, None)
    image = find_image_column(frame, names, annotations, images)
    if columns[0] != image:
        columns.sort(key=lambda name: name != image)
        frame = read_frame(annotations, columns, names.knows)
    roles = find_roles(frame, image)
    log.info("%s: %s rows; columns %s", annotations, f"{len(frame):,}", some(header, 20))
    answered = frame.loc[frame[image].str.strip() != "", image].str.strip().drop_duplicates()
    found, _ = names.find_all(list(answered))
    missing = [cell for cell in answered if cell not in found]

    text.section("data")
    text.comment("a folder of images and a table of what annotators said of them", 2)
    text.add("source", "annotations", 2)
    text.comment(f"{len(set(names.by_name.values())):,} files", 2)
    text.add("images", images, 2)
    text.comment(f"{len(frame):,} rows; its columns: {some(header, 20)}", 2)
    text.add("annotations", annotations, 2)
    text.comment(f"names {len(answered):,} images", 2)
    text.add("image_column", image, 2)
    data = {"source": "annotations", "images": images, "annotations": annotations, "image_column": image}
    if missing:
        text.comment(
            f"{len(missing):,} of them are not in the folder and are left out: {some(missing, 3)}", 2
        )
        text.add("missing_images", "skip", 2)
        data["missing_images"] = "skip"
    add_answer(text, frame, roles, data)


def read_frame(annotations, columns, is_image):
    table = read_table(annotations, columns, is_image)
    return pd.DataFrame([cells for _, cells in table.rows], columns=columns, dtype=str)


def add_answer(text, frame, roles, data):
    """Write which column is the answer, which rows count, how several answers are combined, the classes and the holdout."""
    label = roles.candidates[0] if len(roles.candidates) == 1 else None
    if label:
        text.add("label_column", label, 2)
    else:
        text.comment("The answer that is to be learned; these columns may be it:", 2)
        for name in roles.candidates:
            text.comment(f"  {name}: {describe_values(frame[name])}", 2)
        text.fill_in("label_column", 2)
    questions = count_values(frame, roles.question)
    people = count_values(frame, roles.annotator)
    if people:
        text.comment(f"{len(people):,} annotators in column {roles.annotator}: {listed(people, 'rows')}", 2)
    where, asked = {}, None
    if len(questions) > 1:
        text.comment(
            f"{len(questions):,} questions in column {roles.question}: {listed(questions, 'rows')}", 2
        )
    if people:
        text.comment(
            f"For the answers of one annotator alone, add a line {roles.annotator}: NAME under `where`", 2
        )
    if len(questions) > 1:
        text.section("where", 2)
        text.fill_in(roles.question, 4)
    elif questions:
        asked = next(iter(questions))
        where[roles.question] = asked
        text.section("where", 2)
        text.add(roles.question, asked, 4)
    if label is None or len(questions) > 1:
        add_open_end(text, frame, roles, label, data, questions)
        return
    data |= {"label_column": label, "where": where}
    data["combine"] = add_combine(text, frame, roles.image, label)
    add_holdout(text, count_images(read_classes(data)))


def add_combine(text, frame, image, label):
    """Write how the answers of an image become one; return the method, None where each has one."""
    answers = frame[frame[label].str.strip() != ""]
    several = answers[image].value_counts()
    cells = answers[label].str.strip()
    if (several > 1).any():
        method = "median" if are_numbers(cells) else "majority"
        how = (
            "median and mean are rounded to a whole number"
            if method == "median"
            else "an image with a tie is left out"
        )
        text.comment(
            f"{(several > 1).sum():,} images have several answers, up to {several.max():,}; {how}", 2
        )
    elif has_decimals(cells) and cells.nunique() > 2:
        method = "mean"
        text.comment(
            f"its values are numbers such as {cells.iloc[0]}: each is rounded to a whole one, which is its class",
            2,
        )
    else:
        return None
    text.add("combine", method, 2)
    return method


def add_open_end(text, frame, roles, label, data, questions):
    """Write what follows from a choice that is still open, for each way to choose."""
    choices = (
        [(label, {roles.question: asked}) for asked in questions]
        if label
        else [(name, {}) for name in roles.candidates]
    )
    if len(questions) > 1 and label is None:
        choices = [(name, {roles.question: asked}) for asked in questions for name in roles.candidates]
    found = []
    for name, where in choices[:LISTED]:
        rows = frame
        for column, value in where.items():
            rows = rows[rows[column].str.strip() == value]
        scratch = ConfigText()
        combine = add_combine(scratch, rows, roles.image, name)
        try:
            counts = count_images(
                read_classes(data | {"label_column": name, "where": where, "combine": combine})
            )
        except UserError as error:
            found.append((name, where, combine, str(error)))
        else:
            found.append((name, where, combine, counts))
    methods = [combine for _, _, combine, _ in found if combine]
    if methods:
        text.comment("Where an image has several answers: median or mean (of numbers), or majority", 2)
        text.add("combine", Counter(methods).most_common(1)[0][0], 2)
    text.blank()
    text.comment("Images of each class that are held out; all others are for training")
    for name, where, combine, counts in found:
        chosen = next(iter(where.values()), name)
        combined = f" by {combine}" if combine else ""
        if isinstance(counts, str):
            text.comment(f"  {chosen}{combined}: {counts}")
            continue
        smallest = min(counts.values())
        bears = (
            f"at most {hold_out(smallest):,}"
            if smallest >= 3
            else "merge or leave out the smallest (data.classes)"
        )
        text.comment(f"  {chosen}{combined}: {listed(counts, 'images')}; {bears}")
    text.section("holdout")
    text.fill_in("validation", 2)
    text.fill_in("test", 2)


def describe_values(column):
    """Return how many values a column has, and which come most often."""
    counts = column[column.str.strip() != ""].str.strip().value_counts()
    if has_decimals(counts.index.to_series()):
        return (
            f"{len(counts):,} numbers, from {min(counts.index, key=float)} to {max(counts.index, key=float)}"
        )
    shown = sort_labels(counts.index) if len(counts) <= LISTED else list(counts.index)
    return f"{len(counts):,} values, {listed({name: int(counts[name]) for name in shown}, 'rows')}"


def count_values(frame, column):
    """Return {value: rows} of a column, the most frequent first; {} for None."""
    if column is None:
        return {}
    cells = frame[column].str.strip()
    return {str(value): int(count) for value, count in cells[cells != ""].value_counts().items()}


def main(images, annotations, called_in, config="config.yaml"):
    """Write the config of a study into the current folder. Raises UserError where that cannot be begun.

    images, annotations: as named on the command line, None where not; called_in: the folder it was typed in.
    """
    study = os.path.basename(os.getcwd())
    if os.path.lexists(config):
        raise UserError(
            f"there is a {config} in {os.getcwd()} already, and it stays as it is. Name another folder: --directory my-study."
        )
    if images is None:
        raise UserError(
            "name the folder of images, and the table if there is one: snakemake new_study --directory my-study --config "
            "images=photos annotations=ratings.csv."
        )
    images = find(images, called_in, "folder")
    names = Names(name_files(images))
    text = ConfigText()
    text.comment(
        f"The study {study}. Every other choice has its default in Baton's config.yaml, whose comments are the manual."
    )
    text.blank()
    if annotations is None:
        describe_folders(text, images, names)
    else:
        describe_table(text, images, find(annotations, called_in, "file"), names)
    content = str(text)
    with open(config, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write(content)
    directory = os.path.relpath(".", called_in)
    asked = "" if directory == "." else f" --directory {quote(directory)}"
    path = os.path.relpath(os.path.abspath(config), called_in)
    log.info("written: %s\n%s", os.path.abspath(config), content)
    log.info(
        "%sNext: snakemake -n%s --configfile %s",
        f"{text.open} lines are to be filled in (FILL_IN). " if text.open else "",
        asked,
        quote(path),
    )


def quote(path):
    return path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    console.start(Path(snakemake.log[0]))
    main(**snakemake.params)
