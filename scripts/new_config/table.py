"""The config of images that a table of annotations says something of."""

from collections import Counter

import pandas as pd

from annotations.tables import open_table, read_table
from baton.console import log
from baton.data.labels import sort_labels
from baton.errors import UserError, some
from new_config.columns import are_numbers, find_image_column, find_roles, has_decimals
from new_config.holdout import LISTED, add_holdout, count_images, hold_out, listed, read_classes
from new_config.text import ConfigText


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
