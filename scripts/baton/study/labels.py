"""Names and labels in the config: those that came changed, are there twice, or mean something else to Snakemake."""

import re
from itertools import chain, pairwise
from typing import Any

from baton.errors import ConfigError
from baton.study.spelling import NUMBER, yaml_number


def refuse_changed_names(data: Any) -> None:
    """Refuse names and labels that are dates, yes or no, or numbers with decimals: they were text once, spelled otherwise.

    data: of the config, not checked yet. In what is read as it is spelled there are none.
    """
    named = ("images", "annotations", "image_column", "label_column", "where", "no_answer", "classes")
    pending = [(f"data.{key}", data[key]) for key in named if key in data] if isinstance(data, dict) else []
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            refuse_changed(key, *value)
            pending += [(f"{key}.{name}", inner) for name, inner in value.items()]
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
    """Refuse labels that are in two classes; classes: of the config."""
    if not isinstance(classes, dict):
        return
    merged = [str(label) for label in chain(*classes.values())]
    twice = sorted({label for label in merged if merged.count(label) > 1})
    if twice:
        raise ConfigError(f"config: data.classes: in more than one class: {', '.join(twice)}.")


def merges_ranges(classes: Any) -> bool:
    """Whether each class of data.classes is merged from numbers, all of them above those of the class before, or below."""
    if not isinstance(classes, dict):
        return False
    merged = [[str(label) for label in labels] for labels in classes.values()]
    # A label such as 2024_01 is a month.
    if not all(NUMBER.fullmatch(label) and "_" not in label for label in chain(*merged)):
        return False
    pairs = list(pairwise([yaml_number(label) for label in labels] for labels in merged))
    return all(max(one) < min(other) for one, other in pairs) or all(
        min(one) > max(other) for one, other in pairs
    )


def refuse_placeholders(key: str, path: str) -> None:
    """Refuse a path in which Snakemake would fill something in: {cat} is a wildcard of it, <cat> a path variable."""
    if found := re.search(r"\{.*\}|<.*>", path):
        raise ConfigError(
            f"config: {key}: {path} has {found[0]} in it, which Snakemake takes for a placeholder. Give the folder or file "
            "another name, or link to it under one."
        )
