"""The config, checked: every key is there after this, of the schema's type, and spelled in one way.

Defaults are config.yaml (and examples/demo.yaml for the demo), laid under whatever config arrives: from files, from
the command line, or from a workflow that uses this one as a module.
"""

import difflib
import math
import os
import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from jsonschema import ValidationError

from baton.errors import ConfigError
from baton.study.labels import (
    check_classes,
    put_in_order,
    refuse_changed_names,
    refuse_placeholders,
    refuse_several_tellers,
)
from baton.study.spelling import is_octal, read_argument, read_config_file, take_types

Config = dict[str, Any]
Validate = Callable[..., None]  # snakemake.utils.validate

BATON = Path(__file__).resolve().parents[3]
MOST = 10**300  # of a number: more is no float
MOST_LISTED = 2000  # values of a range that a message writes out
SCHEMA = str(BATON / "rules/schemas/config.schema.yaml")


def complete(given: Config) -> Config:
    """Return the whole config: `given` laid over the defaults. A dictionary is merged key by key, the rest replaces."""
    config = load(BATON / "config.yaml")
    data = given.get("data", {})
    if not isinstance(data, dict) or data.get("source", config["data"]["source"]) == "demo":
        lay_over(config, load(BATON / "examples/demo.yaml"))
    return lay_over(config, given)


def load(path: str | Path) -> Config:
    """Return the config in one of Baton's own YAML files."""
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def lay_over(config: Config, other: Config) -> Config:
    """Lay the keys of `other` over `config`, as Snakemake does with a config file, and return it."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            lay_over(config[key], value)
        else:
            config[key] = lay_over({}, value) if isinstance(value, dict) else value
    return config


def read_given(given: Config, settings: Any) -> tuple[Config, dict[str, str | None]]:
    """Return what differs from the defaults, as its user spelled it, and what `--config` names, else None.

    given: as Snakemake read it; settings: Snakemake's ConfigSettings, None where only values arrive, as for a module.
    Named are the model and images of `snakemake predict`, the images and annotations of `snakemake new_study`. `images` is
    also a section of the config; a folder is one where it is not one.
    """
    named: dict[str, str | None] = {"model": None, "images": None, "annotations": None}
    if settings is None:
        if isinstance(given.get("images"), str):
            raise ConfigError(
                "config: images: a folder stands where the section `images` belongs. To predict with a study that is "
                "used as a module, call `snakemake predict` on Baton's own Snakefile."
            )
        given = dict(given)
        named["model"] = given.pop("model", None)
        if not isinstance(named["model"], (str, type(None))):
            raise ConfigError("config: unknown key: model (did you mean models?).")
        return given, named
    spelled: Config = {}
    for path in settings.configfiles:
        try:
            lay_over(spelled, read_config_file(path))
        except (yaml.YAMLError, UnicodeDecodeError) as trouble:
            raise ConfigError(f"{path}: not YAML in UTF-8: {' '.join(str(trouble).split())}.") from None
    if "model" in spelled:
        raise ConfigError("config: unknown key: model (did you mean models?).")
    for entry in settings.config_args or ():
        key, value = read_argument(entry)
        if key in named and not isinstance(value, dict):
            # A name, whatever YAML would make of it.
            named[key] = entry.partition("=")[2].strip("'\"") or None
        else:
            lay_over(spelled, {key: value})
    return spelled, named


def read_config(given: Config, validate: Validate) -> Config:
    """Return the whole config, checked and in one spelling. Raises ConfigError.

    given: what differs from the defaults, see read_given; validate: snakemake.utils.validate, which fills in the schema's
    defaults.
    """
    schema = load(SCHEMA)
    config = take_types(complete(given), schema, schema)
    refuse_changed_names(config["data"])
    refuse_ranges(config["sweep"])
    # Types first: filling in the defaults trips over a section that is not one.
    check_schema(config, validate, set_default=False)
    check_schema(config, validate)
    classes = config["data"].pop("classes")  # their order is a setting
    config = {section: tidy(value, section) for section, value in config.items()}
    check_classes(classes)
    config["data"]["classes"] = put_in_order(classes)
    refuse_several_tellers(config["data"])
    return config


def check_schema(config: Config, validate: Validate, made_by: str | None = None, **options: Any) -> None:
    """Refuse a config that is not of the schema, in one sentence. made_by: see explain()."""
    try:
        validate(config, SCHEMA, **options)
    except Exception as error:
        if not isinstance(error.__context__, ValidationError):
            raise
        raise ConfigError(explain(error.__context__, made_by)) from None


def explain(error: Any, made_by: str | None = None) -> str:
    """Return a jsonschema error as one sentence that names the key and, for a typo, the likely one.

    made_by: the key of the sweep that made the config's models, where it was not the user who wrote them.
    """
    if error.validator == "anyOf":
        # Of the kinds of value there may be, the one that fits best says what is wrong.
        nearest = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
        if len(nearest.absolute_path) > len(error.absolute_path) or nearest.validator != "type":
            error = nearest
    path = [str(part) for part in error.absolute_path]
    if made_by and path[0] == "models":
        if error.validator == "maxLength":
            return (
                f"config: {made_by}: a model would be called {error.instance}, which has {len(error.instance)} "
                f"characters; at most {error.validator_value} are allowed. Give the sweep a shorter name, or vary fewer keys."
            )
        path = [made_by, *path[2:]]
    key = ".".join(path) or "the config"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in known]
        guesses = [difflib.get_close_matches(str(name), known, n=1) for name in unknown]
        hints = [f" (did you mean {guess[0]}?)" if guess else "" for guess in guesses]
        named = ", ".join(f"{name}{hint}" for name, hint in zip(unknown, hints, strict=True))
        return f"config: unknown key in {key}: {named}. Known there: {', '.join(known)}."
    message, hint = error.message, ""
    if error.validator == "anyOf":  # not one of its kinds fits
        kinds = chain(*(as_list(inner.validator_value) for inner in error.context))
        message = f"{error.instance!r} is not of type {', '.join(map(repr, kinds))}"
    if isinstance(error.instance, str) and is_octal(error.instance):
        hint = " A number that begins with 0 is another one to YAML: write it without."
    return f"config: {key}: {message}.{hint}"


def refuse_ranges(sweeps: Any) -> None:
    """Refuse {from: 8, to: 32, factor: 2} with the list to write instead; sweeps: not checked yet.

    Earlier versions had ranges beside lists; a list of the same values makes models of the same names.
    """
    for number, sweep in enumerate(as_list(sweeps)):
        for key, value in sweep.items() if isinstance(sweep, dict) else ():
            if isinstance(value, dict):
                values = list_range(value)
                instead = f"[{', '.join(values)}]" if values else "a list of the values, such as [8, 16, 32]"
                raise ConfigError(
                    f"config: sweep.{number}.{key}: the values of a sweep are a list, not a range: write {instead}."
                )


def list_range(value: dict[str, Any]) -> list[str]:
    """Return, as YAML reads them, the numbers of {from, to, step or factor}; nothing where that is no range of a few."""
    first: Any = value.get("from")
    last: Any = value.get("to")
    step, factor = value.get("step", 0 if "factor" in value else 1), value.get("factor", 1)
    numbers = (first, last, step, factor)
    if not set(value) <= {"from", "to", "step", "factor"} or {"step", "factor"} <= set(value):
        return []
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers):
        return []
    try:
        first, last, step, factor = map(float, numbers)
    except OverflowError:
        return []
    if not all(map(math.isfinite, (first, last, step, factor))):
        return []
    if step < 0 or factor < 1 or (step, factor) == (0, 1) or (first <= 0 < factor - 1):
        return []
    values: list[str] = []
    for number in range(MOST_LISTED + 1):
        try:
            exact = float(f"{first * factor**number + step * number:.12g}")  # 0.3, not 0.30000000000000004
        except OverflowError:
            return values
        if exact > last:
            return values
        text = str(int(exact)) if exact.is_integer() else repr(exact)
        values.append(re.sub(r"^(-?\d+)e", r"\1.0e", text))  # 1e-05 is text to YAML
    return []


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def tidy(value: Any, key: str) -> Any:
    """Return a config value with sorted keys and whole numbers whole.

    Snakemake compares settings as they are spelled: 0.0 for 0, or keys in another order, would train from the start.
    """
    if isinstance(value, dict):
        return {name: tidy(value[name], f"{key}.{name}") for name in sorted(value, key=str)}
    if isinstance(value, list):
        return [tidy(item, f"{key}.{number}") for number, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConfigError(f"config: {key}: {value} is not a finite number.")
        value = int(value) if value.is_integer() else value
    if isinstance(value, int) and abs(value) > MOST and not key.startswith("data."):
        raise ConfigError(f"config: {key}: a number of {len(str(value))} digits is too large.")
    return value


def check_data(data: dict[str, Any], made_before: bool = False) -> None:
    """Refuse a source without its images or CSV; data: of the config. Raises ConfigError.

    made_before: rules of another workflow may make them, so whether they are there is seen when they are read.
    """
    needed = ["images"] + ["annotations"] * (data["source"] in ("annotations", "demo"))
    for key in needed:
        path = data[key]
        if path is None:
            raise ConfigError(f"config: data.{key} is needed for source: {data['source']}.")
        if data["source"] == "demo" or made_before:
            continue
        if not os.path.exists(path):
            raise ConfigError(f"config: data.{key}: there is no {path} (looked in {os.getcwd()}).")
        refuse_placeholders(f"data.{key}", path)
        if os.path.isdir(path) != (key == "images"):
            kind = "folder" if key == "images" else "file"
            raise ConfigError(f"config: data.{key}: {path} is not a {kind}.")
