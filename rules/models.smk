"""What is trained: MODELS, those of `models:` and of `sweep:`, and RUNS.

A run is one training: a model with one of its seeds.
"""

import math
import os
import re
from collections import Counter
from itertools import product
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError

from baton.console import some

MOST_MODELS = 2000  # of a sweep
SPELLED = {".": "p", "-": "m", "+": ""}  # in the name of a model: 1e-05 is 1em05


def spread(values, key):
    """Return the values that a key of a sweep stands for: a range written out, a list as it is; key: for errors.

    Of a range with too many for a sweep, no more than that it has.
    """
    if not isinstance(values, dict):
        return values
    first, last = values["from"], values["to"]
    if "step" in values and "factor" in values:
        raise WorkflowError(f"config: {key}: a range has a step or a factor, not both.")
    if "factor" in values and first <= 0:
        raise WorkflowError(f"config: {key}: a range with a factor starts above 0.")
    if last < first:
        raise WorkflowError(f"config: {key}: a range goes from the smaller to the larger number.")
    factor, step = values.get("factor", 1), 0 if "factor" in values else values.get("step", 1)
    spread_out = []
    for number in range(MOST_MODELS + 1):
        value = float(f"{first * factor**number + step * number:.12g}")  # 0.3, not 0.30000000000000004
        if value > last:
            break
        spread_out.append(int(value) if value.is_integer() else value)
    return spread_out


def expand(sweep, key):
    """Return the models of a sweep: one for each combination of its values, named after them; key: for errors.

    The order of the keys and the number of values make no difference to a name: one that is added leaves the
    trainings of the others as they are.
    """
    varied = {
        name: spread(value, f"{key}.{name}")
        for name, value in sweep.items()
        if isinstance(value, (dict, list)) and name != "seeds"
    }
    if math.prod(len(values) for values in varied.values()) > MOST_MODELS:
        raise WorkflowError(
            f"config: {key}: it makes more than {MOST_MODELS:,} models, which is the most. Vary fewer values."
        )
    models = []
    for values in product(*varied.values()):
        chosen = dict(zip(varied, values))
        parts = [f"{name}_{'null' if value is None else value}" for name, value in chosen.items()]
        name = "_".join([sweep["name"], *parts])
        name = re.sub(r"\W", lambda sign: SPELLED.get(sign[0], "_"), name, flags=re.ASCII)
        models.append(sweep | chosen | {"name": name})
    return models


def halves_to_nothing(model, config):
    """Whether a model has more layers than its images can be halved."""
    return model.get("size", config["images"]["size"]) >> model["layers"] < 1


def what_counts(model, config):
    """Return all that a model's trainings follow from, to compare; what its initial weights do not ask for is left out."""
    settings = {**config["images"], **config["training"], **model}
    del settings["name"]
    if settings["initializer"] != "normal":
        del settings["stddev"]
    return tuple(sorted((key, repr(value)) for key, value in settings.items()))


def make_models(config):
    """Return all models of the config, those of `models`, then those that each sweep makes, and notes for the user.

    Of a sweep's models that are the same but for their name only one is made, the first or the one that is trained: the
    others would train to the same bits, and count as equals in every comparison.
    """
    models, notes = list(config["models"]), []
    for number, sweep in enumerate(config["sweep"]):
        made_by = f"sweep.{number}"
        made = expand({key: value for key, value in sweep.items() if key != "impossible"}, made_by)
        check_schema(config | {"models": made, "sweep": []}, made_by)
        impossible = [model["name"] for model in made if halves_to_nothing(model, config)]
        why = "more layers than their images (size) can be halved"
        if impossible and (sweep["impossible"] == "refuse" or len(impossible) == len(made)):
            raise WorkflowError(
                f"config: {made_by}: {len(impossible)} of its {len(made)} models have {why}: {some(impossible)}. "
                "Give them fewer layers or larger images, or set impossible: leave_out in this sweep."
            )
        if impossible:
            notes.append(f"config: {made_by}: left out, having {why}: {', '.join(impossible)}.")
        made = [model for model in made if not halves_to_nothing(model, config)]
        twins = {}  # what counts of a model: those that the sweep makes of it
        for model in made:
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
    named = {}
    for model in models:
        first = named.setdefault(what_counts(model, config), model["name"])
        if first != model["name"]:
            notes.append(f"config: {model['name']} is {first} by another name: both give the same result.")
    return models, notes


def find_twice(names):
    """Return the names that are there more than once as text, the first few of many; empty for none."""
    return some(sorted(name for name, count in Counter(names).items() if count > 1))


def tell_of(name):
    """Return why a model is left out, after a space; empty where nothing says so."""
    return "".join(f" {note}" for note in NOTES if name in re.split(r"[\s.,:]+", note))


def check_models(config):
    """Refuse models that cannot be told apart, and a name that none has."""
    names = [model["name"] for model in MODELS]
    if not names:
        raise WorkflowError("config: models: there is none, and no sweep makes one.")
    twice = find_twice(names)
    if twice:
        where = "models and sweep" if config["sweep"] else "models"
        raise WorkflowError(f"config: {where}: a name is used twice: {twice}.")
    if config["verify"] not in (None, *names):
        raise WorkflowError(
            f"config: verify: there is no model {config['verify']}.{tell_of(config['verify'])}"
        )


def check_names(rules):
    """Refuse models named like a rule, the group of the data's jobs, or a folder of ours; rules: their names.

    Such a model would share its files, or its job on a cluster, with that. Capitals do not tell names apart: they do
    not on every disk.
    """
    taken = {name.casefold() for name in rules} | {"data", "finished"}
    for name in RUNS_BY_MODEL:
        if name.casefold() in taken:
            raise WorkflowError(
                f"config: models: {name} is a name of Baton's own, of a rule or a folder. Call the model something else."
            )
    twice = find_twice(name.casefold() for name in RUNS_BY_MODEL)
    if twice:
        raise WorkflowError(
            f"config: models: names that differ only in capitals are one folder on some disks: {twice}."
        )


def list_runs(config):
    """Return what to train: name, model, seed, folders, architecture and training settings of each."""
    runs = []
    for model in MODELS:
        settings = dict(sorted({**config["images"], **config["training"], **model}.items()))
        size, layers, synthetic = (settings[key] for key in ("size", "layers", "synthetic_fraction"))
        if halves_to_nothing(model, config):
            raise WorkflowError(
                f"config: models: {model['name']} halves {size} px {layers} times, to nothing. "
                "Give it fewer layers, or larger images (size)."
            )
        if synthetic and not any(config["augmentation"].values()):
            raise WorkflowError(
                "config: augmentation: every one is off, and the images that synthetic_fraction adds for "
                f"{model['name']} would be copies. Turn one on, or set synthetic_fraction to 0."
            )
        if synthetic and config["data"]["source"] == "split_folders":
            # Which they are drawn with; where the holdout is drawn with it too, the manifests follow from it.
            settings["synthetic_seed"] = config["holdout"]["seed"]
        images = f"{size}px_synthetic_{synthetic}" if synthetic else f"{size}px"
        seeds = settings.pop("seeds")
        for seed in seeds:
            name = model["name"] if len(seeds) == 1 else f"{model['name']}_seed_{seed}"
            runs.append(
                SimpleNamespace(
                    name=name,
                    model=model["name"],
                    seed=seed,
                    folder=f"{model['name']}/seed_{seed}",
                    packed=f"results/data/packed/{images}",
                    settings=settings,
                )
            )
    twice = find_twice(run.name for run in runs)
    if twice:
        raise WorkflowError(f"config: models: two trainings would be called {twice}.")
    return runs


MODELS, NOTES = make_models(config)
check_models(config)
RUNS = list_runs(config)
RUNS_BY_MODEL = {model["name"]: [] for model in MODELS}
for run in RUNS:
    RUNS_BY_MODEL[run.model].append(run)
if PREDICTION["model"] not in (None, *RUNS_BY_MODEL):
    raise WorkflowError(
        f"--config model={PREDICTION['model']}: there is no such model.{tell_of(PREDICTION['model'])} There are: "
        f"{', '.join(RUNS_BY_MODEL)}."
    )
