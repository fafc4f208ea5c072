"""How far the training of a run is, as its state and its finished models tell; the Snakefile and the plan ask.

A state or model of other settings or other data is none of this run's: what counts is the identity that training
itself goes by. Only the standard library.
"""

import json
from types import SimpleNamespace

from baton import finished
from baton.identity import digest_data, identify, ignored_when_finished, list_changes


def read_progress(folder):
    """Return what the training of a run (MODEL/seed_N) last said of how far it is; empty where it has not begun."""
    try:
        with open(f"state/{folder}/progress.json", encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def how_far(run, augmentation, study, threads=None):
    """Return how far a run is: epoch (how many are trained), done (all of them), changes (why it trains anew), begun.

    run: name, seed, folder, packed and settings, as attributes; study: the settings that the data follow from;
    threads: of a training, None where that is not known. The packed images are believed to be those of the study,
    where they are there and it has not changed.
    """
    settings = run.settings
    identity, unknown = identify(settings, augmentation, run.seed), {"devices"}
    for name, value in (("threads", threads), ("precision", settings["precision"]), ("data", _data_of(run))):
        if value in (None, "auto"):
            unknown.add(name)
        else:
            identity[name] = value

    def changes(record, but):
        found = list_changes(record["identity"], identity, {*unknown, *but})
        if record.get("study"):
            found += list_changes(_flatten(record["study"]), _flatten(study))
        return found

    others = []
    for _, record in finished.records(f"results/models/{run.folder}"):
        anew = changes(record, ignored_when_finished(settings))
        if not anew and finished.is_trained(record, settings["epochs"]):
            return SimpleNamespace(epoch=record["epochs"], done=True, changes=[], begun=True)
        others.append(anew)
    at = read_progress(run.folder)
    if not at.get("identity"):
        return SimpleNamespace(epoch=0, done=False, changes=min(others, key=len, default=[]), begun=False)
    if anew := changes(at, ()):
        return SimpleNamespace(epoch=0, done=False, changes=anew, begun=False)
    stopped_early = at["complete"] and at["epoch"] < at["epochs"]
    record = {"epochs": at["epoch"], "stopped_early": stopped_early}
    done = finished.is_trained(record, settings["epochs"])
    return SimpleNamespace(epoch=at["epoch"], done=done, changes=[], begun=True)


def _data_of(run):
    """Return the digest of the data as packed, None where they are not."""
    try:
        return digest_data(
            f"{run.packed}/train.csv", f"{run.packed}/validation.csv", "results/data/class_weights.json"
        )
    except OSError:
        return None


def _flatten(study):
    """Return {"holdout.seed": 1, ...} from {"holdout": {"seed": 1}}, as it is after a way through JSON."""
    study = json.loads(json.dumps(study))
    return {f"{section}.{key}": value for section, keys in study.items() for key, value in keys.items()}
