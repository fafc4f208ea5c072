"""The config of images that a table of annotations says something of."""

import pandas as pd

from annotations.tables import list_headers, read_table
from baton.console import log
from baton.data.labels import sort_labels
from baton.errors import UserError, some
from new_config.columns import (
    are_numbers,
    choose_image_column,
    clean,
    find_roles,
    has_decimals,
    rate_image_columns,
)
from new_config.holdout import LISTED, add_holdout, count_images, default_of, hold_out, listed, read_classes
from new_config.text import count, spell

CHOICES = 8  # ways to choose that are described


def describe_table(text, images, annotations, names):
    """Write the config of images that a table says something of."""
    if not names.by_name:
        raise UserError(
            f"the folder {images} holds no images. Name the folder that holds them: images=FOLDER."
        )
    table, image, twice = read_whole(annotations, names, images)
    frame = clean(table, image, names, default_of("no_answer"))
    roles = find_roles(frame, image)
    log.info("%s: %s; columns %s", annotations, count(len(table), "row"), some(table, 20))
    answered = frame
    if len(roles.answers) == 1:
        answered = frame[frame[roles.answers[0]] != ""]
    files = set(names.by_name.values())
    there = answered[image].isin(files)
    missing = list(answered.loc[~there, image].drop_duplicates())

    text.section("data")
    text.comment("a folder of images and a table of what annotators said of them", 2)
    text.add("source", "annotations", 2)
    text.comment(f"{count(len(files), 'file')}", 2)
    text.add("images", images, 2)
    text.comment(f"{count(len(table), 'row')}; its columns: {some(table, 20)}", 2)
    if twice:
        text.comment(f"Not looked at, since each name is there more than once: {some(twice)}", 2)
    text.add("annotations", annotations, 2)
    text.comment(f"names {count(answered.loc[there, image].nunique(), 'image')} of the folder", 2)
    text.add("image_column", image, 2)
    data = {"source": "annotations", "images": images, "annotations": annotations, "image_column": image}
    # Where most are missing, the error of the study itself says how they nearly match.
    if missing and len(missing) < there.sum():
        text.comment(f"Not in the folder, and left out: {some(missing, 3)}", 2)
        text.add("missing_images", "skip", 2)
        data["missing_images"] = "skip"
    add_answer(text, frame, roles, data)


def read_whole(annotations, names, images):
    """Return the whole table, as text, the column that names the images, and names that more than one column has.

    Its separator, its rows and the column of images follow from each other: that which lets the cells of one column name
    images is taken.
    """
    best = None
    for header in list_headers(annotations):
        columns = [name for name in header if name and header.count(name) == 1]
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if heads := [name for name in columns if names.find(name) is not None]:
            raise UserError(
                f"{annotations}: the first row names an image, {heads[0]}. A first row with the names of the columns is needed."
            )
        for first in columns:
            ordered = [first, *(name for name in columns if name != first)]
            try:
                table = read_table(annotations, ordered, names.knows)
            except UserError as error:
                best = best or (None, error)
                continue
            frame = pd.DataFrame([cells for _, cells in table.rows], columns=ordered, dtype=str)
            rated = rate_image_columns(frame, names)
            found = choose_image_column(rated, annotations, images)
            if found == first:
                return frame, found, twice
            if found is None:
                best = best if best and best[0] is not None else (frame, None)
                break  # another column first changes nothing for a table that can be read
    frame, error = best or (None, None)
    if frame is None:
        raise error or UserError(f"{annotations}: a table needs two columns of different names.")
    raise UserError(
        f"{annotations}: no column names the images in {images}, of whose files some are "
        f"{some(sorted(set(names.by_name.values())), 3)}. Its columns are {some(frame, 10)}, and the first row has "
        f"{some(frame.iloc[0], 10)}. Give the folder that the names are relative to: images=FOLDER."
    )


def add_answer(text, frame, roles, data):
    """Write which column is the answer, which rows count, how several answers are combined, the classes and the holdout."""
    label = roles.answers[0] if len(roles.answers) == 1 else None
    others = [name for name in frame if name not in (roles.image, roles.annotator, roles.question)]
    if not others:
        raise UserError(
            f"{data['annotations']}: beside {roles.image} there is no column that could be the answer."
        )
    if label:
        text.comment(f"the answer that is to be learned: {describe_values(frame[label])}", 2)
        text.add("label_column", label, 2)
    else:
        candidates = roles.answers or others
        text.comment("The answer that is to be learned. These columns may be it:", 2)
        for name in candidates:
            text.comment(f"  {name}: {describe_values(frame[name])}", 2)
        text.fill_in("label_column", 2)
    people = count_values(frame, roles.annotator)
    if people:
        text.comment(
            f"{count(len(people), 'annotator')} in column {roles.annotator}: {listed(people, 'row')}. For the answers of one "
            f"alone, add a line {roles.annotator}: NAME under `where`",
            2,
        )
        text.add("annotator_column", roles.annotator, 2)
    questions = count_values(frame, roles.question)
    is_open = label is None or len(questions) > 1 or bool(roles.questions)
    where = add_where(text, frame, roles, questions)
    if is_open:
        add_open_end(text, frame, roles, data, questions)
        return
    data |= {"label_column": label, "where": where}
    rows = frame
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if combine := choose_combine(rows, roles.image, label):
        text.comment(describe_combine(rows, roles.image, label), 2)
        text.add("combine", combine, 2)
    found, said = read_classes(data | {"combine": combine})
    for sentence in said:
        text.comment(sentence, 2)
    if any("far off the others" in sentence for sentence in said):
        codes = default_of("no_answer")
        text.comment(
            "What is far off may stand for no answer. If so, add it to this list of codes, else write the list as it is: "
            f"[{', '.join(map(spell, codes))}]",
            2,
        )
        text.fill_in("no_answer", 2)
    add_holdout(text, count_images(found))


def add_where(text, frame, roles, questions):
    """Write the question, where it is known or to be chosen; return what `where` asks for."""
    if roles.questions:
        text.comment(
            "Images have several answers that may be to several questions. These columns may say which; write {column: value}, "
            "or {} for all rows:",
            2,
        )
        for name in roles.questions:
            text.comment(f"  {name}: {describe_values(frame[name])}", 2)
        text.fill_in("where", 2)
        return {}
    if len(questions) > 1:
        text.comment(
            f"{count(len(questions), 'question')} in column {roles.question}: {listed(questions, 'row')}", 2
        )
        text.section("where", 2)
        text.fill_in(roles.question, 4)
        return {}
    for asked in questions:
        text.section("where", 2)
        text.add(roles.question, asked, 4)
        return {roles.question: asked}
    return {}


def choose_combine(rows, image, label):
    """Return how the answers of an image become one: the method, None where each has one."""
    answers = rows[rows[label] != ""]
    if answers[image].duplicated().any():
        return "median" if are_numbers(answers[label]) else "majority"
    return "mean" if has_decimals(answers[label]) else None


def describe_combine(rows, image, label):
    answers = rows[rows[label] != ""]
    several = answers[image].value_counts()
    several = several[several > 1]
    if several.empty:
        return (
            f"its values are numbers such as {answers[label].iloc[0]}: each is rounded to a whole one, which is its class. Ranges cut them instead: "
            "classes: {low: {to: 3}, high: {from: 3}}"
        )
    how = (
        "median and mean are rounded to a whole number"
        if are_numbers(answers[label])
        else "an image with a tie is left out"
    )
    return f"{count(len(several), 'image')} with several answers, up to {several.max():,}; {how}"


def add_open_end(text, frame, roles, data, questions):
    """Write what follows from a choice that is still open, for each way to choose."""
    labels = roles.answers or []
    wheres = [{roles.question: asked} for asked in questions] if len(questions) > 1 else [{}]
    wheres = [] if roles.questions else wheres
    choices = [(label, where) for where in wheres for label in labels]
    lines, methods = [], set()
    for label, where in choices[:CHOICES]:
        rows = frame
        for column, value in where.items():
            rows = rows[rows[column] == value]
        combine = choose_combine(rows, roles.image, label)
        methods.add(combine)
        chosen = " of ".join([label] * (len(labels) > 1) + list(where.values())) or label
        combined = f", combine: {combine}" if combine else ""
        try:
            found, _ = read_classes(data | {"label_column": label, "where": where, "combine": combine})
        except UserError as error:
            lines.append(f"  {chosen}{combined}: {error}")
            continue
        counts = count_images(found)
        smallest = min(counts.values())
        bears = (
            f"at most {hold_out(smallest):,}"
            if smallest >= 3
            else "merge or leave out the smallest (data.classes)"
        )
        lines.append(f"  {chosen}{combined}: {listed(counts, 'image')}; {bears}")
    if len(choices) > CHOICES:
        lines.append(f"  and {len(choices) - CHOICES:,} more ways to choose")
    if len(methods) == 1 and (method := next(iter(methods))):
        text.comment("How several answers for an image become one", 2)
        text.add("combine", method, 2)
    elif methods != {None}:
        text.comment(
            "How several answers for an image become one: median or mean (of numbers, rounded), majority, or null where each "
            "image has one",
            2,
        )
        text.fill_in("combine", 2)
    text.blank()
    text.comment(
        "Images of each class that are held out; all others are for training. At most a fifth of the smallest class is a good "
        "number, 50 enough"
    )
    for line in lines:
        text.comment(line)
    text.section("holdout")
    text.fill_in("validation", 2)
    text.fill_in("test", 2)


def describe_values(column):
    """Return how many values a column has, and which come most often."""
    cells = column[column != ""]
    counts = cells.value_counts()
    if has_decimals(cells):
        return (
            f"{len(counts):,} numbers, from {min(counts.index, key=float)} to {max(counts.index, key=float)}"
        )
    shown = sort_labels(counts.index) if len(counts) <= LISTED else list(counts.index)
    return f"{count(len(counts), 'value')}, {listed({name: int(counts[name]) for name in shown}, 'row')}"


def count_values(frame, column):
    """Return {value: rows} of a column, the most frequent first; {} for None."""
    if column is None:
        return {}
    cells = frame[column]
    return {str(value): int(number) for value, number in cells[cells != ""].value_counts().items()}
