"""The models of a study: those of `models:`, and those that each `sweep:` makes of its values."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

from baton.errors import ConfigError, some
from baton.study.config import Config, Validate, check_schema

Model = dict[str, Any]  # an entry of `models:` or `sweep:`

MOST_MODELS = 2000  # of a sweep
OF_THE_IMAGES = ("size", "synthetic_fraction")  # of `images`, what a model may override
SPELLED = {".": "p", "-": "m", "+": ""}  # in the name of a model: 1e-05 is 1em05


def make_models(config: Config, validate: Validate) -> tuple[list[Model], list[str]]:
    """Return all models of the config, those of `models`, then those that each sweep makes, and notes for the user.

    config, validate: see baton.study.config.read_config. Of a sweep's models that are the same but for their name only
    one is made, the first or the one that is trained: the others would train to the same bits, and count as equals in
    every comparison. Raises ConfigError.
    """
    models, notes = list(config["models"]), []
    for number, sweep in enumerate(config["sweep"]):
        made_by = f"sweep.{number}"
        candidates = expand({key: value for key, value in sweep.items() if key != "impossible"}, made_by)
        check_schema(config | {"models": candidates, "sweep": []}, validate, made_by)
        candidates, reasons = leave_out_impossible(candidates, sweep, made_by, config)
        notes += reasons
        twins: dict[tuple, list] = {}  # what counts of a model: those that the sweep makes of it
        for model in candidates:
            twins.setdefault(what_counts(model, config), []).append(model)
        for same in twins.values():
            # One that is trained already stays the one, should values be added before its own.
            trained = (model for model in same if os.path.exists(f"results/models/{model['name']}"))
            chosen = next(trained, same[0])
            models.append(chosen)
            notes += [
                f"config: {made_by}: {model['name']} is left out: it is {chosen['name']} by another name."
                for model in same
                if model is not chosen
            ]
    named: dict[tuple, str] = {}
    for model in models:
        first = named.setdefault(what_counts(model, config), model["name"])
        if first != model["name"]:
            notes.append(f"config: {model['name']} is {first} by another name: both give the same result.")
    check_names_of(models, config, notes)
    return models, notes


def expand(sweep: Model, key: str) -> list[Model]:
    """Return the models of a sweep: one for each combination of its values, named after them; key: for errors.

    The order of the keys and the number of values make no difference to a name: one that is added leaves the
    training runs of the others as they are.
    """
    varied = {name: value for name, value in sweep.items() if isinstance(value, list) and name != "seeds"}
    if math.prod(len(values) for values in varied.values()) > MOST_MODELS:
        raise ConfigError(
            f"config: {key}: it makes more than {MOST_MODELS:,} models, the maximum. Vary fewer values."
        )
    models = []
    for values in product(*varied.values()):
        chosen = dict(zip(varied, values, strict=True))
        parts = [f"{name}_{'null' if value is None else value}" for name, value in chosen.items()]
        name = "_".join([sweep["name"], *parts])
        name = re.sub(r"\W", lambda sign: SPELLED.get(sign[0], "_"), name, flags=re.ASCII)
        models.append(sweep | chosen | {"name": name})
    return models


def leave_out_impossible(
    candidates: list[Model], sweep: Model, made_by: str, config: Config
) -> tuple[list[Model], list[str]]:
    """Return those of the models that a sweep made which can be built, and notes; refuse, where the sweep says so."""
    impossible = [model["name"] for model in candidates if halves_to_nothing(model, config)]
    if not impossible:
        return candidates, []
    why = "more layers than their images (size) can be halved"
    if sweep["impossible"] == "refuse" or len(impossible) == len(candidates):
        raise ConfigError(
            f"config: {made_by}: {len(impossible)} of its {len(candidates)} models have {why}: {some(impossible)}. "
            "Give them fewer layers or larger images, or set impossible: leave_out in this sweep."
        )
    possible = [model for model in candidates if not halves_to_nothing(model, config)]
    return possible, [f"config: {made_by}: left out, having {why}: {', '.join(impossible)}."]


def halves_to_nothing(model: Model, config: Config) -> bool:
    """Whether a model has more layers than its images can be halved."""
    return model.get("size", config["images"]["size"]) >> model["layers"] < 1


def merge_settings(model: Model, config: Config) -> dict[str, Any]:
    """Return all settings of a model: its own over those of `training` and, of `images`, what a model may have its own."""
    return {key: config["images"][key] for key in OF_THE_IMAGES} | config["training"] | model


def what_counts(model: Model, config: Config) -> tuple:
    """Return all that a model's training runs follow from, to compare; without what its initial weights do not use."""
    settings = merge_settings(model, config)
    del settings["name"]
    if settings["initializer"] != "normal":
        del settings["stddev"]
    return tuple(sorted((key, repr(value)) for key, value in settings.items()))


def check_names_of(models: list[Model], config: Config, notes: list[str]) -> None:
    """Refuse a study without models, models of one name, and a name to verify that none has."""
    names = [model["name"] for model in models]
    if not names:
        raise ConfigError("config: models: there is none, and no sweep makes one.")
    if twice := find_twice(names):
        where = "models and sweep" if config["sweep"] else "models"
        raise ConfigError(f"config: {where}: a name is used twice: {twice}.")
    if config["verify"] not in (None, *names):
        raise ConfigError(
            f"config: verify: there is no model {config['verify']}.{why_left_out(config['verify'], notes)}"
        )


def check_reserved(names: Iterable[str], rules: Iterable[str]) -> None:
    """Refuse models named like a rule, the group of the data's jobs, or a folder of ours; rules: their names.

    Such a model would share its files, or its job on a cluster, with that. Capitals do not distinguish names: they do
    not on every disk.
    """
    names = list(names)
    reserved = {name.casefold() for name in rules} | {"data", "finished"}
    for name in names:
        if name.casefold() in reserved:
            raise ConfigError(
                f"config: models: {name} is a name of Baton's own, of a rule or a folder. Call the model something else."
            )
    if twice := find_twice(name.casefold() for name in names):
        raise ConfigError(
            f"config: models: names that differ only in capitals are one folder on some disks: {twice}."
        )


def find_twice(names: Iterable[str]) -> str:
    """Return the names that are there more than once as text, the first few of many; empty for none."""
    return some(sorted(name for name, count in Counter(names).items() if count > 1))


def why_left_out(name: str, notes: list[str]) -> str:
    """Return why a model is left out, after a space; empty where no note says so."""
    return "".join(f" {note}" for note in notes if name in re.split(r"[\s.,:]+", note))
