"""What all parts need: the config, checked; the RUNS to train; the folders that are watched.

A run is one training: a model (an entry of `models:`) with one of its seeds.
"""

import difflib
import json
import math
import os
import re
from collections import Counter
from itertools import chain, product
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config, validate

MOST_MODELS = 2000  # of a sweep
SPELLED = {".": "p", "-": "m", "+": ""}  # in the name of a model: 1e-05 is 1em05


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
    if config["images"]["synthetic_fraction"] and not any(config["augmentation"].values()):
        raise WorkflowError(
            "config: images.synthetic_fraction: with every augmentation off the new images would be "
            "copies. Turn one on, or set it to 0."
        )
    names = [model["name"] for model in MODELS]
    if not names:
        raise WorkflowError("config: models: there is none, and no sweep makes one.")
    twice = find_twice(names)
    if twice:
        where = "models and sweep" if config["sweep"] else "models"
        raise WorkflowError(f"config: {where}: a name is used twice: {twice}.")
    if config["verify"] not in (None, *names):
        raise WorkflowError(f"config: verify: there is no model {config['verify']}.")
    size = config["images"]["size"]
    for model in MODELS:
        if size >> model["layers"] < 1:
            raise WorkflowError(
                f"config: models: {model['name']} halves {size} px {model['layers']} times, to nothing. "
                "Give it fewer layers, or raise images.size."
            )


def find_twice(names):
    """Return the names that are there more than once as text, the first few of many; empty for none."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
    return ", ".join(twice[:5]) + more


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


def make_models(config):
    """Return all models of the config: those of `models`, then those that each sweep makes."""
    models = list(config["models"])
    for number, sweep in enumerate(config["sweep"]):
        made_by = f"sweep.{number}"
        made = expand(sweep, made_by)
        check_schema(config | {"models": made, "sweep": []}, made_by)
        models += made
    return models


def list_runs(config):
    """Return what to train: name, model, seed, architecture and training settings of each."""
    runs = []
    for model in MODELS:
        settings = dict(sorted({**config["training"], **model}.items()))
        seeds = settings.pop("seeds")
        for seed in seeds:
            name = model["name"] if len(seeds) == 1 else f"{model['name']}_seed_{seed}"
            runs.append(
                SimpleNamespace(
                    name=name,
                    model=model["name"],
                    seed=seed,
                    folder=f"{model['name']}/seed_{seed}",
                    settings=settings,
                )
            )
    twice = find_twice(run.name for run in runs)
    if twice:
        raise WorkflowError(f"config: models: two trainings would be called {twice}.")
    return runs


def count_weights(settings, size):
    """Return about how many weights a network has; without its last layer, which depends on the data."""
    channels, weights = 3, 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        weights += kernels * (channels * settings["kernel_size"] ** 2 + 1)
        channels, size = kernels, size // 2
    return weights + settings["dense"] * (size * size * channels + 1)


def memory_of(run):
    """Return a function for `resources: mem_mb`: about what training and evaluating a run take, in MB.

    TensorFlow and two Snakemakes take 1,500 MB; weights, gradients, Adam's two averages, the best weights and the
    copies of a save 12 x 4 bytes a weight (7 to 12 were measured on the study's models at 150 px); a batch's
    activations and their gradients 3 x 4 bytes a pixel and kernel.
    """
    settings, size = run.settings, config["images"]["size"]
    pixels = size * size * settings["kernels"] * sum(0.5**number for number in range(settings["layers"]))
    activations = 12 * settings["batch_size"] * pixels
    needed = 1500 + (48 * count_weights(settings, size) + activations) / 1e6

    def ask(wildcards, attempt):
        # Killed without a warning: that may have been for want of memory. Twice as much each time, up to four times.
        # One that has not saved once left no trace of it: there every attempt counts.
        killed = read_progress(run).get("unended_sessions", attempt - 1)
        return math.ceil(needed * 2 ** min(killed, 2))

    return ask


def read_progress(run):
    """Return what a run's training last said of how far it is; empty where it has not begun."""
    try:
        with open(f"state/{run.folder}/progress.json") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def watched_folders(data):
    """Return the user's folders in which a file added or removed must be noticed: one level, no images."""
    depth = {"class_folders": 1, "split_folders": 2}.get(data["source"], 0)
    folders = [data["images"]]
    try:
        for _ in range(depth):
            folders = [
                entry.path
                for folder in folders
                for entry in os.scandir(folder)
                if entry.is_dir() and not entry.name.startswith(".")
            ]
    except OSError as error:
        raise WorkflowError(f"data.images: cannot read {error.filename}: {error.strerror}.")
    return sorted(folders)


PREDICTION = take_prediction(config)
# Types first: filling in the defaults trips over a section that is not one.
check_schema(config, set_default=False)
check_schema(config)
classes = config["data"].pop("classes")  # their order is a setting
for section in config:
    config[section] = tidy(config[section], section)
config["data"]["classes"] = classes
MODELS = make_models(config)
check(config)
RUNS = list_runs(config)
ENVIRONMENT = "../envs/baton.yaml"
BY_WEIGHTS = sorted(RUNS, key=lambda run: count_weights(run.settings, config["images"]["size"]))
SMALLEST, LARGEST = BY_WEIGHTS[0], BY_WEIGHTS[-1]
RUNS_BY_MODEL = {model["name"]: [] for model in MODELS}
for run in RUNS:
    RUNS_BY_MODEL[run.model].append(run)
if PREDICTION["model"] not in (None, *RUNS_BY_MODEL):
    raise WorkflowError(
        f"--config model={PREDICTION['model']}: there is no such model. There are: {', '.join(RUNS_BY_MODEL)}."
    )
