"""The config, checked: every key is there after this, of the schema's type, and spelled in one way.

`--config model=NAME images=FOLDER`, which asks for predictions, is taken out of it, to PREDICTION.
"""

import difflib
import math
import os
import re
from itertools import chain

from snakemake.exceptions import WorkflowError
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config, validate


def explain(error, made_by=None):
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
                f"characters; {error.validator_value} is the most. Give the sweep a shorter name, or vary fewer keys."
            )
        path = [made_by, *path[2:]]
    key = ".".join(path) or "the config"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in known]
        guesses = [difflib.get_close_matches(str(name), known, n=1) for name in unknown]
        hints = [f" (did you mean {guess[0]}?)" if guess else "" for guess in guesses]
        named = ", ".join(f"{name}{hint}" for name, hint in zip(unknown, hints))
        return f"config: unknown key in {key}: {named}. Known there: {', '.join(known)}."
    message, hint = error.message, ""
    if error.validator == "anyOf":  # not one of its kinds fits
        kinds = chain(*(listed(inner.validator_value) for inner in error.context))
        message = f"{error.instance!r} is not of type {', '.join(map(repr, kinds))}"
    if isinstance(error.instance, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", error.instance, re.IGNORECASE):
        hint = " YAML takes this for text: write it with a point, such as 1.0e-3."
    if isinstance(error.instance, bool):
        hint = " YAML takes yes, no, on and off for true and false: put the word in quotes."
    return f"config: {key}: {message}.{hint}"


def listed(value):
    return value if isinstance(value, list) else [value]


def check_schema(config, made_by=None, **how):
    """Refuse a config that is not of the schema, in one sentence. made_by: see explain()."""
    try:
        validate(config, "schemas/config.schema.yaml", **how)
    except WorkflowError as error:
        raise WorkflowError(explain(error.__context__, made_by)) from None


def tidy(value, key):
    """Return a config value with sorted keys and whole numbers whole.

    Snakemake compares settings as they are spelled: 0.0 for 0, or keys in another order, would train anew.
    """
    if isinstance(value, dict):
        return {name: tidy(value[name], f"{key}.{name}") for name in sorted(value)}
    if isinstance(value, list):
        return [tidy(item, f"{key}.{number}") for number, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise WorkflowError(f"config: {key}: {value} is not a finite number.")
        return int(value) if value.is_integer() else value
    return value


def check(config):
    """Refuse what a schema cannot: keys that depend on one another, and files that are not there."""
    data = config["data"]
    needed = ["images"] + ["annotations"] * (data["source"] in ("annotations", "demo"))
    for key in needed:
        path = data[key]
        if path is None:
            raise WorkflowError(f"config: data.{key} is needed for source: {data['source']}.")
        if data["source"] != "demo" and not os.path.exists(path):
            raise WorkflowError(f"config: data.{key}: there is no {path} (looked in {os.getcwd()}).")
        if data["source"] != "demo" and os.path.isdir(path) != (key == "images"):
            kind = "folder" if key == "images" else "file"
            raise WorkflowError(f"config: data.{key}: {path} is not a {kind}.")
    if isinstance(data["classes"], dict):
        if any(isinstance(name, bool) for name in data["classes"]):
            raise WorkflowError(
                "config: data.classes: a class is called True or False. YAML takes yes, no, on and off for "
                "these: put the word in quotes."
            )
        merged = [str(label) for label in chain(*data["classes"].values())]
        twice = sorted({label for label in merged if merged.count(label) > 1})
        if twice:
            raise WorkflowError(f"config: data.classes: in more than one class: {', '.join(twice)}.")


def take_prediction(config):
    """Take `--config model=NAME images=FOLDER` out of the config: model and images, None where not given.

    `images` is also a section of the config, which this folder then hides; it is read again.
    """
    taken = {"model": config.pop("model", None), "images": None}
    if isinstance(config["images"], str):
        taken["images"] = config["images"]
        config["images"] = {}
        for path in [*workflow.configfiles, *workflow.config_settings.configfiles]:
            update_config(config["images"], load_configfile(path).get("images") or {})
    return taken


PREDICTION = take_prediction(config)
# Types first: filling in the defaults trips over a section that is not one.
check_schema(config, set_default=False)
check_schema(config)
classes = config["data"].pop("classes")  # their order is a setting
for section in config:
    config[section] = tidy(config[section], section)
config["data"]["classes"] = classes
check(config)
