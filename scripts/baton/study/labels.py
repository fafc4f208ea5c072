"""Names and labels in the config: those that came changed, are there twice, or mean something else to Snakemake."""

import math
import re
from itertools import chain, pairwise
from typing import Any

from baton.errors import ConfigError
from baton.study.spelling import NUMBER, yaml_number

# Keys of `data` whose values are names of the user's own.
NAMED: tuple[str, ...] = (
    "images",
    "annotations",
    "image_column",
    "label_column",
    "annotator_column",
    "split_column",
    "split_names",
    "group_column",
    "group_pattern",
    "where",
    "no_answer",
    "classes",
)


def refuse_changed_names(data: Any) -> None:
    """Refuse names and labels that are dates, yes or no, or numbers with decimals: they were text once, spelled otherwise.

    data: of the config, not checked yet. In what is read as it is spelled there are none.
    """
    if not isinstance(data, dict):
        return
    pending = [(f"data.{key}", data[key]) for key in NAMED if key in data and data[key] is not None]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            refuse_changed(key, *value)
            pending += [(f"{key}.{name}", inner) for name, inner in value.items() if not is_range(inner)]
        elif isinstance(value, list):
            pending += [(key, inner) for inner in value]
        elif value is not None:
            refuse_changed(key, value)


def refuse_changed(key: str, *names: Any) -> None:
    for name in names:
        if not isinstance(name, str) and type(name) is not int:
            spelled = {"True": "yes", "False": "no", "None": "null"}.get(str(name), str(name))
            raise ConfigError(
                f"config: {key}: {name} came as {type(name).__name__}, not as the text that it was: put it in quotes, as it is "
                f'spelled in the data, such as "{spelled}".'
            )


def check_classes(classes: Any) -> None:
    """Refuse labels that are in two classes, and ranges that share a number; classes: of the config."""
    if not isinstance(classes, dict):
        return
    if ranges := list_ranges(classes):
        if len(ranges) < len(classes):
            others = [name for name, value in classes.items() if not is_range(value)]
            raise ConfigError(
                f"config: data.classes: some classes are ranges and some are lists of labels ({', '.join(others)}). Write all of "
                "them as ranges, {from: 3, to: 5}, or all as lists."
            )
        for name, low, high in ranges:
            if not low < high:
                raise ConfigError(f"config: data.classes.{name}: no number is from {low:g} to {high:g}.")
        for (name, _, high), (other, low, _) in pairwise(ranges):
            if low < high:
                raise ConfigError(
                    f"config: data.classes: {name} and {other} share the numbers from {low:g} on. A range ends before its `to`, at "
                    "which the next one begins."
                )
        return
    merged = [str(label) for label in chain(*classes.values())]
    twice = sorted({label for label in merged if merged.count(label) > 1})
    if twice:
        raise ConfigError(f"config: data.classes: in more than one class: {', '.join(twice)}.")


def is_range(value: Any) -> bool:
    """Whether a class is written as {from: 3, to: 5}."""
    return isinstance(value, dict)


def list_ranges(classes: Any) -> list[tuple[str, float, float]]:
    """Return (class, from, to) of the classes that are ranges of a number, the lowest first; infinite where it is open."""
    if not isinstance(classes, dict):
        return []
    ranges = [
        (str(name), float(value.get("from", -math.inf)), float(value.get("to", math.inf)))
        for name, value in classes.items()
        if is_range(value)
    ]
    return sorted(ranges, key=lambda one: one[1:])


def describe_class(old: Any) -> str:
    """Return what one of data.classes is made of: "1, 2", or "numbers from 3 up to 5" of a range."""
    if isinstance(old, dict):
        low, high = (f"{old[key]:g}" if key in old else "" for key in ("from", "to"))
        return f"numbers {f'from {low} up to {high}' if low and high else f'from {low} on' if low else f'below {high}'}"
    return ", ".join(map(str, old))


def put_in_order(classes: Any) -> Any:
    """Return data.classes with ranges from the lowest to the highest; as they stand if that is from the highest to the lowest.

    The order of classes is that of their indices, and of the scale.
    """
    names = [name for name, _, _ in list_ranges(classes)]
    if not names or list(classes) == names[::-1]:
        return classes
    return {name: classes[name] for name in names}


def merges_ranges(classes: Any) -> bool:
    """Whether each class of data.classes is merged from numbers, all of them above those of the class before, or below."""
    if not isinstance(classes, dict):
        return False
    if list_ranges(classes):
        return True
    merged = [[str(label) for label in labels] for labels in classes.values()]
    # A label such as 2024_01 is a month.
    if not all(NUMBER.fullmatch(label) and "_" not in label for label in chain(*merged)):
        return False
    pairs = list(pairwise([yaml_number(label) for label in labels] for labels in merged))
    return all(max(one) < min(other) for one, other in pairs) or all(
        min(one) > max(other) for one, other in pairs
    )


def refuse_several_tellers(data: dict[str, Any]) -> None:
    """Refuse two keys that would both say who answered, or both what belongs together; data: of the config."""
    columns = data["label_column"]
    if data["annotator_column"] and (isinstance(columns, list) or "*" in columns):
        raise ConfigError(
            "config: data.annotator_column: label_column names a column for each annotator. Set one of the two."
        )
    if data["group_column"] and data["group_pattern"]:
        raise ConfigError("config: data.group_column and data.group_pattern: set one of the two.")
    for key in ("annotator_column", "split_column", "group_column"):
        if data[key] and data["source"] not in ("annotations", "demo"):
            raise ConfigError(
                f"config: data.{key}: there is no CSV with source: {data['source']}. Set it to null."
            )
    try:
        re.compile(data["group_pattern"] or "")
    except re.error as trouble:
        raise ConfigError(
            f"config: data.group_pattern: {data['group_pattern']} is not a regular expression: {trouble}."
        ) from None
    names = [(str(name).casefold(), split) for split, every in data["split_names"].items() for name in every]
    if twice := sorted({name for name, _ in names if [one for one, _ in names].count(name) > 1}):
        raise ConfigError(f"config: data.split_names: {', '.join(twice)} is there twice.")


def has_answers(data: dict[str, Any]) -> bool:
    """Whether labels are made of several answers of several people; data: of the config."""
    return data["combine"] is not None and data["annotator_column"] not in data["where"]


def are_splits_given(data: dict[str, Any]) -> bool:
    """Whether the data say which image is for training and which for test; data: of the config."""
    return data["source"] == "split_folders" or data["split_column"] is not None


def refuse_placeholders(key: str, path: str) -> None:
    """Refuse a path in which Snakemake would fill something in: {cat} is a wildcard of it, <cat> a path variable."""
    if found := re.search(r"\{.*\}|<.*>", path):
        raise ConfigError(
            f"config: {key}: {path} has {found[0]} in it, which Snakemake takes for a placeholder. Give the folder or file "
            "another name, or link to it under one."
        )
