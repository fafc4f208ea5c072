"""The answers of annotators: which columns and rows are asked for, what is an answer and what is none."""

import re
import unicodedata
from collections import Counter

import pandas as pd

from baton.console import log
from baton.data.labels import normalize_label, sort_labels
from baton.errors import UserError, some
from baton.formatting import as_number
from baton.study.labels import is_range

DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+", re.ASCII)
ZEROS = re.compile(r"[-+]?0\d")  # before a number: then it is rather a name


def find_label_columns(headers, data, notes):
    """Return the columns that hold answers; headers: the columns' names under each separator that the table may have.

    A column of the very name counts before a pattern. Raises UserError where a pattern fits no column.
    """
    asked = data["label_column"]
    if isinstance(asked, list):
        return asked
    if "*" not in asked or any(asked in header for header in headers):
        return [asked]
    pattern = re.compile(".*".join(map(re.escape, asked.split("*"))))
    others = {data[key] for key in ("image_column", "split_column", "group_column")} | set(data["where"])
    columns = max(
        ([name for name in header if pattern.fullmatch(name) and name not in others] for header in headers),
        key=len,
    )
    if not columns:
        raise UserError(
            f"{data['annotations']}: no column is called like {asked} (data.label_column). "
            f"Its columns are: {some(headers[0], 20)}."
        )
    log.info("%s is read as %s", asked, some(columns, 100))
    notes.add(len(columns), "columns", f"{asked} is read as a column for each annotator")
    return columns


def choose_rows(frame, data, left_out, notes):
    """Return the rows that `data.where` asks for; frame: text, its index the rows of the table.

    Numbers are compared as numbers, but 010 is not 10 where the column has both: there it is a name.
    """
    keep = frame
    for column, value in data["where"].items():
        cells = keep[column].map(normalize_label)
        rows = cells == normalize_label(value)
        if not rows.any():
            raise UserError(
                f"{data['annotations']}: no row has {value} in column {column} "
                f"(data.where). It has: {some(sort_labels(cells), 20)}."
            )
        spelled = keep[column].str.strip()
        others = rows & (spelled != str(value))
        # With zeros in front it is a name, and no other spelling of a number that is there itself.
        names = others & (spelled.map(ZEROS.match).notna() | (ZEROS.match(str(value)) is not None))
        if (rows & ~others).any():
            names_there = _spellings(spelled[names])
            notes.add(
                names.sum(), "rows", f"{names_there} in column {column} is not the {value} of data.where"
            )
            rows, others = rows & ~names, others & ~names
        read = f"{_spellings(spelled[others])} in column {column} is read as the {value} of data.where"
        notes.add(others.sum(), "rows", read)
        keep = keep[rows]
    left_out.add(len(frame) - len(keep), "rows", "not what data.where asks for")
    return keep


def _spellings(labels):
    return some(sorted(set(labels)))


def read_answers(frame, data, labels, separator, left_out, notes):
    """Return the rows that hold an answer: image, label, row, annotator, and split where data has its column.

    labels: the columns with answers; of several, each is an annotator, and a row of the table gives one row of each. A label
    that `data.classes` names is one, whatever data.no_answer says. separator: of the table; where it is no comma, labels such
    as 4,5 are numbers if all are.
    """
    keep = stack_annotators(frame, data, labels)
    unit = "rows" if len(labels) == 1 else "answers"
    no_image = keep["image"] == ""
    left_out.add(no_image.sum(), unit, "the image column is empty")
    keep = keep[~no_image]
    spelled = keep["label"].str.strip()
    empty = spelled == ""
    left_out.add(empty.sum(), unit, "no answer")
    keep, spelled = keep[~empty], spelled[~empty]
    none = is_no_answer(spelled, data["no_answer"], data["classes"])
    for code, count in sorted(Counter(spelled[none]).items()):
        left_out.add(count, unit, f"no answer: {code}")
    keep, spelled = keep[~none], spelled[~none]
    if keep.empty:
        raise UserError(
            f"{data['annotations']}: no answer is left. Check data.label_column ({some(labels)}), data.where "
            "and data.no_answer."
        )
    return keep.assign(label=name_labels(spelled, separator, notes))


def stack_annotators(frame, data, labels):
    """Return one row per cell of the `labels`: image, label, row, annotator (empty where it is not known), split."""
    given = {"annotator": "annotator_column", "split": "split_column"}
    columns = {"image": frame[data["image_column"]].str.strip(), "row": frame.index}
    columns |= {name: frame[data[key]].str.strip() for name, key in given.items() if data[key]}
    keep = pd.DataFrame({"annotator": "", **columns}, index=frame.index)
    if len(labels) == 1:
        return keep.assign(label=frame[labels[0]])
    parts = [keep.assign(label=frame[name], annotator=name) for name in labels]
    return pd.concat(parts).sort_values("row", kind="stable", ignore_index=True)


def is_no_answer(spelled, codes, classes):
    """Return for each label whether it is one of the codes for no answer, in any case, and no label that classes name."""
    named = classes or []
    if isinstance(classes, dict):
        named = [label for olds in classes.values() if not is_range(olds) for label in olds]
    asked = {normalize_label(label) for label in named}
    none = {normalize_label(code).casefold() for code in codes}
    labels = spelled.map(normalize_label)
    return labels.map(str.casefold).isin(none) & ~labels.isin(asked)


def name_labels(spelled, separator, notes):
    """Return the labels in one spelling each, and note what became one and what did not.

    spelled: as they stand, without white space around them.
    """
    commas = spelled.map(DECIMAL_COMMA.fullmatch).notna()
    if (
        commas.any()
        and (commas | spelled.map(as_number).notna()).all()
        and not spelled.str.contains(".", regex=False).any()
    ):
        how = "" if separator != "," else " (were the commas between thousands, take them out)"
        notes.add(
            commas.sum(), "answers", f"a comma is read as a decimal point: {spelled[commas].iloc[0]}{how}"
        )
        spelled = spelled.str.replace(",", ".", regex=False)
    elif commas.any():
        shown = spelled[commas].iloc[0]
        notes.add(
            commas.sum(), "answers", f"a comma is no decimal point, since not all are such numbers: {shown}"
        )
    labels = spelled.map(lambda label: unicodedata.normalize("NFC", normalize_label(label)))
    for label, spellings in spelled.groupby(labels).agg(Counter).items():
        others = {spelling: count for spelling, count in spellings.items() if spelling != label}
        if others and len(spellings) > 1:
            shown = some(sorted(others)) if as_number(label) is not None else "accents in another encoding"
            notes.add(sum(others.values()), "answers", f"read as {label}: {shown}")
    counts = Counter(labels)
    for same in _group_by(str.casefold, counts):
        notes.add(
            sum(counts[label] for label in same),
            "answers",
            f"labels that differ in capitals alone stay apart: {some(same)}",
        )
    if far := far_off(counts):
        rest = [label for label in counts if label not in far]
        low, high = min(rest, key=float), max(rest, key=float)
        notes.add(
            sum(counts[label] for label in far),
            "answers",
            f"far off the others, which are from {low} to {high}: {some(far)}. Where that stands for no answer, name it in "
            "data.no_answer",
        )
    return labels


def _group_by(key, labels):
    """Return the groups of two labels or more that have the same key, in order."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(key(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def far_off(counts):
    """Return the labels over twice as far from all others as these from one another, such as 99 on a scale of 1 to 9.

    counts: {label: answers}. Empty where the labels are not all numbers, or the others fewer than two next to one another.
    """
    if any(as_number(label) is None for label in counts):
        return []
    values = sorted(counts, key=float)
    for side in (values, values[::-1]):
        for number in range(2, len(side)):
            rest = side[:number]
            if (
                number == 2 and abs(float(rest[1]) - float(rest[0])) != 1
            ):  # no and yes, or two steps of a scale
                continue
            span, gap = abs(float(rest[-1]) - float(rest[0])), abs(float(side[number]) - float(rest[-1]))
            if gap > 2 * span and sum(counts[label] for label in rest) > sum(counts.values()) / 2:
                return sort_labels(side[number:])
    return []
