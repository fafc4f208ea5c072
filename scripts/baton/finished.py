"""Finished trainings, kept where Snakemake does not delete them, and given back from there byte for byte.

Snakemake deletes what a rule made before it runs the rule again, and it has many reasons to: a fresh clone, a
touched file, a lost `.snakemake`. So all that a finished training wrote is linked a second time into
results/models/MODEL/seed_N/finished/FINGERPRINT_EPOCHS/, which no rule declares. Links take no room; where a file
system has none, there are copies. Only the standard library: the Snakefile imports this.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

from baton.identity import MEANING, digest_data, fingerprint, identify, ignored_when_finished, list_changes

FILES = {
    "model": "model.keras",
    "history": "history.csv",
    "curves": "curves.svg",
    "curves_png": "curves.png",
    "summary": "training.json",
}
RECORD = "identity.json"  # beside them: identity, study (the settings of its data), epochs, stopped_early


def keep(folder, record):
    """Keep the outputs that lie in `folder` (results/models/MODEL/seed_N), under what `record` says of them.

    record: what RECORD holds. Killed half-way, this leaves nothing under a name that `find` looks at.
    """
    folder = Path(folder)
    place = folder / "finished" / f"{fingerprint(record['identity'])}_{record['epochs']}"
    aside = place.with_name(f"aside_{place.name}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in FILES.values():
        if (folder / name).exists():
            _link(folder / name, aside / name)
    (aside / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if place.exists():
        shutil.rmtree(place)
    os.replace(aside, place)


def records(folder):
    """Yield (place, record) of each training that is kept below results/models/MODEL/seed_N."""
    for path in sorted(Path(folder, "finished").glob(f"*/{RECORD}")):
        if path.parent.name.startswith("aside_") or not (path.parent / FILES["model"]).exists():
            continue
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record, dict):
                yield path.parent, record


def clear(folder):
    """Remove the outputs from `folder`: written over, they would change in what is kept as well."""
    for name in FILES.values():
        Path(folder, name).unlink(missing_ok=True)


def is_trained(record, epochs):
    """Whether what a record tells of is all that is asked for with `epochs`."""
    return record["epochs"] == epochs or (record["stopped_early"] and record["epochs"] < epochs)


def find(folder, identity, settings):
    """Return where the finished training lies that settings ask for, or None.

    identity: as `identify` returns it; what settings leave to the machine may differ, and what fits best is taken.
    """
    fitting = [
        (len(list_changes(record["identity"], identity)), place)
        for place, record in records(folder)
        if is_trained(record, settings["epochs"])
        and not list_changes(record["identity"], identity, ignored_when_finished(settings))
    ]
    return min(fitting)[1] if fitting else None


def give_back(place, folder):
    """Put the outputs of the training that is kept at `place` back into `folder`."""
    clear(folder)
    for name in FILES.values():
        if (place / name).exists():
            _link(place / name, Path(folder, name))
            os.utime(Path(folder, name))  # Snakemake would find them older than what they are made from


def keep_what_is_there(folder, packed, weights, synthetic_seed=None):
    """Keep the outputs in `folder`, as an earlier version left them, under the identity that they tell of.

    packed: the folder of packed images; weights: class_weights.json; synthetic_seed: of the synthetic images, where
    the manifests tell that it is the same. Nothing where they are kept already, or where nobody knows any more
    what they were trained on.
    """
    folder = Path(folder)
    model, summary = folder / FILES["model"], folder / FILES["summary"]
    if not (model.exists() and summary.exists()):
        return
    if any(os.path.samefile(model, place / FILES["model"]) for place, _ in records(folder)):
        return
    # Whatever keeps this from being done: it is a precaution, and no reason not to go on.
    with contextlib.suppress(OSError, ValueError, KeyError):
        facts = json.loads(summary.read_text(encoding="utf-8"))
        identity = facts.get("identity") or _reconstruct(facts, model, packed, weights, synthetic_seed)
        epochs, patience = facts["epochs"], facts["settings"]["patience"]
        kept = [(record["identity"], record["epochs"]) for _, record in records(folder)]
        if (identity, epochs) not in kept:  # where there are no links, it is kept as a copy
            stopped_early = patience is not None and epochs - facts["kept"]["epoch"] >= patience
            record = {"identity": identity, "study": facts.get("study")}
            keep(folder, record | {"epochs": epochs, "stopped_early": stopped_early})


def _reconstruct(facts, model, packed, weights, synthetic_seed):
    """Return the identity of a training whose training.json does not tell it; raises OSError where data are gone."""
    data = [f"{packed}/train.csv", f"{packed}/validation.csv", weights]
    if any(os.stat(path).st_mtime_ns > model.stat().st_mtime_ns for path in data):
        raise OSError("the data were made anew since")
    settings = facts["settings"]
    if settings.get("synthetic_fraction") and synthetic_seed is not None:
        settings = settings | {"synthetic_seed": synthetic_seed}
    identity = identify(
        settings,
        facts["augmentation"],
        facts["seed"],
        precision=facts["precision"],
        threads=facts["threads"],
        devices=facts["devices"],
        data=digest_data(*data),
    )
    # Trained when these did something else.
    return {name: value for name, value in identity.items() if not name.startswith(MEANING)}


def _link(source, target):
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
