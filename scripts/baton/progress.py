"""How far the training of a run is, as its states and its finished models tell; the Snakefile and the plan ask.

A state or model of other settings or other data is none of this run's: what counts is the identity that training
itself goes by. Only the standard library.
"""

import json
import os
from itertools import product
from types import SimpleNamespace

from baton import finished
from baton.identity import (
    PRECISIONS,
    digest_data,
    fingerprint,
    identify,
    ignored_when_finished,
    list_changes,
    stopped_early,
)

STATES = ("state.safetensors", "previous.safetensors")  # as baton.state writes them


def read_progress(folder):
    """Return what the training of a run (MODEL/seed_N) last said of how far it is; empty where it has not begun."""
    try:
        with open(f"state/{folder}/progress.json", encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def how_far(run, augmentation, study, threads=None):
    """Return how far a run is: epoch (how many are trained), done, begun, and changes: why what is there is another's.

    run: name, seed, folder, packed and settings, as attributes; study: the settings that the data follow from;
    threads: of a training, None where that is not known. The packed images are believed to be those of the study,
    where they are there and it has not changed.
    """
    settings, last = run.settings, read_progress(run.folder)
    asked, others = identify(settings, augmentation, run.seed), []
    data = _data_of(run)
    if data:
        asked["data"] = data
    if settings["precision"] != "auto":
        asked["precision"] = settings["precision"]
    unknown = set() if data else {"data"}

    for _, record in finished.records(f"results/models/{run.folder}"):
        changes = list_changes(record["identity"], asked, {*unknown, *ignored_when_finished(settings)})
        changes += _changes_of_study(record.get("study"), study)
        if not changes and finished.is_trained(record, settings["epochs"]):
            return SimpleNamespace(epoch=record["epochs"], done=True, begun=True, changes=[])
        others.append(changes)
    was = last.get("identity") or {}
    changes = _changes_of_study(last.get("study"), study)
    for state in [] if changes else _find_states(run, asked, was, threads):
        early = stopped_early(settings["patience"], state["epoch"], state["best_epoch"])
        record = {"epochs": state["epoch"], "stopped_early": early}
        done = finished.is_trained(record, settings["epochs"])
        return SimpleNamespace(epoch=state["epoch"], done=done, begun=True, changes=[])
    if was:
        # What the machine decides is named only where it is known to differ.
        known = {
            "devices",
            *(() if threads else ("threads",)),
            *(() if "precision" in asked else ("precision",)),
        }
        changes += list_changes(was, asked | ({"threads": threads} if threads else {}), {*unknown, *known})
        others.append(changes)
    return SimpleNamespace(epoch=0, done=False, begun=False, changes=min(others, key=len, default=[]))


def _find_states(run, asked, was, threads):
    """Yield the values of the states that a run's training would go on from; was: the last session's identity."""
    if "data" not in asked and "data" in was:  # not packed: believed to be what it was
        asked = asked | {"data": was["data"]}
    choices = {
        "threads": [threads] if threads else dict.fromkeys([was.get("threads", 2), 2, 1]),
        "devices": dict.fromkeys([was.get("devices", 1), 1]),
        "precision": [asked["precision"]] if "precision" in asked else PRECISIONS,
    }
    for chosen in product(*choices.values()):
        folder = f"state/{run.folder}/{fingerprint(asked | dict(zip(choices, chosen, strict=True)))}"
        for name in STATES:
            values = _read_values(os.path.join(folder, name))
            if values:
                yield values
                break


def _read_values(path):
    """Return what a state file says beside its arrays, None where it cannot be read.

    The start of a safetensors file is the length of its header and the header, JSON.
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        values = json.loads(header["__metadata__"]["values"])
        return values if {"epoch", "best_epoch"} <= set(values) else None
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return None


def _data_of(run):
    """Return the digest of the data as packed, None where they are not."""
    try:
        return digest_data(
            f"{run.packed}/train.csv", f"{run.packed}/validation.csv", "results/data/class_weights.json"
        )
    except OSError:
        return None


def _changes_of_study(was, study):
    """Return in what the settings that data follow from differ; nothing where it was not noted down."""
    return list_changes(_flatten(was), _flatten(study)) if was else []


def _flatten(study):
    """Return {"holdout.seed": 1, ...} from {"holdout": {"seed": 1}}, as it is after a way through JSON.

    A path counts wherever it is told from; the order of the classes' scale changes no data.
    """
    study = json.loads(json.dumps(study))
    flat = {f"{section}.{key}": value for section, keys in study.items() for key, value in keys.items()}
    flat.pop("data.ordered", None)
    return {
        key: os.path.abspath(value) if key in ("data.images", "data.annotations") and value else value
        for key, value in flat.items()
    }
