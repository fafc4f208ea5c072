"""What all parts need: the config, checked; the RUNS to train; the folders that are watched.

A run is one training: a model (an entry of `models:`) with one of its seeds.
"""

import difflib
import json
import math
import os
import re
from itertools import chain, product
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config, validate


MOST_MODELS = 2000  # of a sweep
SPELLED = {".": "p", "-": "m", "+": ""}  # in the name of a model: 1e-05 is 1em05


def explain(error):
    """Return a jsonschema error as one sentence that names the key and, for a typo, the likely one."""
    if error.validator == "anyOf":
        # Of the kinds of value there may be, the one that fits best says what is wrong.
        nearest = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
        if len(nearest.absolute_path) > len(error.absolute_path) or nearest.validator != "type":
            error = nearest
    key = ".".join(str(part) for part in error.absolute_path) or "the config"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in known]
        guesses = [difflib.get_close_matches(str(name), known, n=1) for name in unknown]
        hints = [f" (did you mean {guess[0]}?)" if guess else "" for guess in guesses]
        named = ", ".join(f"{name}{hint}" for name, hint in zip(unknown, hints))
        return f"config: unknown key in {key}: {named}. Known there: {', '.join(known)}."
    hint = ""
    if isinstance(error.instance, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", error.instance, re.IGNORECASE):
        hint = " YAML takes this for text: write it with a point, such as 1.0e-3."
    if isinstance(error.instance, bool):
        hint = " YAML takes yes, no, on and off for true and false: put the word in quotes."
    return f"config: {key}: {error.message}.{hint}"


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
    names = [model["name"] for model in config["models"]]
    if not names:
        raise WorkflowError("config: models: there is none, and no sweep makes one.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WorkflowError(f"config: models: a name is used twice: {', '.join(twice)}.")
    if config["verify"] not in (None, *names):
        raise WorkflowError(f"config: verify: there is no model {config['verify']}.")
    size = config["images"]["size"]
    for model in config["models"]:
        if size >> model["layers"] < 1:
            raise WorkflowError(
                f"config: models: {model['name']} halves {size} px {model['layers']} times, to nothing. "
                "Give it fewer layers, or raise images.size."
            )


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
    """Return the values that a key of a sweep stands for: a range written out, a list as it is; key: for errors."""
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


def expand(sweep):
    """Return the models of a sweep: one for each combination of its values, named after them."""
    fixed = {key: value for key, value in sweep.items() if not isinstance(value, (dict, list)) or key == "seeds"}
    varied = {
        key: spread(sweep[key], f"sweep {sweep['name']}: {key}") for key in sorted(sweep) if key not in fixed
    }
    count = math.prod(len(values) for values in varied.values())
    if count > MOST_MODELS:
        raise WorkflowError(
            f"config: sweep {sweep['name']}: {count:,} models; {MOST_MODELS:,} is the most. Vary fewer values."
        )
    models = []
    for values in product(*varied.values()):
        chosen = dict(zip(varied, values))
        parts = [f"{key}_{tidy(value, key)}" for key, value in chosen.items()]
        name = re.sub(r"\W", lambda sign: SPELLED.get(sign[0], "_"), "_".join([sweep["name"], *parts]))
        models.append(fixed | chosen | {"name": name})
    return models


def list_runs(config):
    """Return what to train: name, model, seed, architecture and training settings of each."""
    runs = []
    for model in config["models"]:
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
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WorkflowError(f"config: models: two trainings would be called {', '.join(twice)}.")
    return runs


def count_weights(settings, size):
    """Return about how many weights a network has; without its last layer, which depends on the data."""
    channels, weights = 3, 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        weights += kernels * (channels * settings["kernel_size"] ** 2 + 1)
        channels, size = kernels, size // 2
    return weights + settings["dense"] * (size * size * channels + 1)


def memory_of(run, size):
    """Return a function for `resources: mem_mb`: about what training and evaluating a run take, in MB.

    TensorFlow and Snakemake take 1,500 MB; weights, gradients, Adam's two averages, the best weights and copies of
    them while saving 9 x 4 bytes a weight; a batch's activations and their gradients 3 x 4 bytes a pixel and kernel.
    """
    settings = run.settings
    pixels = size * size * settings["kernels"] * sum(0.5**number for number in range(settings["layers"]))
    activations = 12 * settings["batch_size"] * pixels
    needed = 1500 + (36 * count_weights(settings, size) + activations) / 1e6

    def ask(wildcards):
        # Killed without a warning: that may have been for want of memory. Twice as much each time, up to four times.
        killed = read_progress(run).get("unended_sessions", 0)
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
try:
    # Types first: filling in the defaults trips over a section that is not one.
    validate(config, "schemas/config.schema.yaml", set_default=False)
    config["models"] = [*config["models"], *chain(*map(expand, config.pop("sweep", [])))]
    validate(config, "schemas/config.schema.yaml")
except WorkflowError as error:
    raise WorkflowError(explain(error.__context__)) from None
classes = config["data"].pop("classes")  # their order is a setting
for section in config:
    config[section] = tidy(config[section], section)
config["data"]["classes"] = classes
check(config)
RUNS = list_runs(config)
ENVIRONMENT = "../envs/baton.yaml"
SMALLEST = min(RUNS, key=lambda run: count_weights(run.settings, config["images"]["size"]))
RUNS_BY_MODEL = {
    model["name"]: [run for run in RUNS if run.model == model["name"]] for model in config["models"]
}
if PREDICTION["model"] not in (None, *RUNS_BY_MODEL):
    raise WorkflowError(
        f"--config model={PREDICTION['model']}: there is no such model. There are: {', '.join(RUNS_BY_MODEL)}."
    )
