"""Finished training runs, kept where Snakemake does not delete them, and given back from there byte for byte.

Snakemake deletes what a rule made before it runs the rule again, and it has many reasons to: a fresh clone, a
touched file, a lost `.snakemake`. So all that a finished training wrote is linked a second time into
results/models/MODEL/seed_N/finished/FINGERPRINT_EPOCHS/, which no rule declares. Links take no room; where a file
system has none, there are copies.
"""

import contextlib
import os
import shutil
from pathlib import Path

from baton.files import link_or_copy, read_json, write_json
from baton.study.identity import (
    MEANING,
    digest_data,
    fingerprint,
    identify,
    ignored_when_finished,
    list_changes,
    stopped_early,
)

FILES = {
    "model": "model.keras",
    "history": "history.csv",
    "curves": "curves.svg",
    "curves_png": "curves.png",
    "summary": "training.json",
}
# Beside them: identity, study (the settings of its data), epochs and stopped_early; of an earlier version also classes.
RECORD = "identity.json"


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
            link_or_copy(folder / name, aside / name)
    write_json(aside / RECORD, record)
    if place.exists():
        shutil.rmtree(place)
    os.replace(aside, place)


def records(folder):
    """Yield (place, record) of each training run that is kept below results/models/MODEL/seed_N."""
    for path in sorted(Path(folder, "finished").glob(f"*/{RECORD}")):
        if path.parent.name.startswith("aside_") or not (path.parent / FILES["model"]).exists():
            continue
        with contextlib.suppress(OSError, ValueError):
            record = read_json(path)
            if isinstance(record, dict) and set(record) >= {"identity", "epochs", "stopped_early"}:
                yield path.parent, record


def clear(folder):
    """Remove the outputs from `folder`: written over, they would change in what is kept as well."""
    for name in FILES.values():
        Path(folder, name).unlink(missing_ok=True)


def is_trained(record, epochs):
    """Whether the training run of a record is complete for this number of epochs."""
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
    """Put the outputs of the training run that is kept at `place` back into `folder`."""
    clear(folder)
    for name in FILES.values():
        if (place / name).exists():
            link_or_copy(place / name, Path(folder, name))
            os.utime(Path(folder, name))  # Snakemake would find them older than what they are made from


def keep_what_is_there(folder, packed, weights):
    """Keep the outputs in `folder`, as an earlier version left them, under the identity that they record.

    packed: the folder of packed images; weights: class_weights.json. Nothing where this training run is kept already, or
    where nobody knows any more what it was trained on.
    """
    folder = Path(folder)
    model, summary = folder / FILES["model"], folder / FILES["summary"]
    if not (model.exists() and summary.exists()):
        return
    # Whatever keeps this from being done: it is a precaution, and no reason to stop.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        facts = read_json(summary)
        record = {"identity": facts.get("identity"), "study": facts.get("study"), "epochs": facts["epochs"]}
        if not record["identity"]:
            record |= _reconstruct(facts, model, packed, weights)
        if any(
            record["identity"] == other["identity"] and record["epochs"] == other["epochs"]
            for _, other in records(folder)
        ):
            return
        patience, best_epoch = facts["settings"]["patience"], facts["kept"]["epoch"]
        early = stopped_early(patience, record["epochs"], best_epoch, facts.get("diverged"))
        keep(folder, record | {"stopped_early": early})


def _reconstruct(facts, model, packed, weights):
    """Return identity and classes of a training run whose training.json lacks them; OSError where the data are gone."""
    data = [f"{packed}/train.csv", f"{packed}/validation.csv", weights]
    if any(os.stat(path).st_mtime_ns > model.stat().st_mtime_ns for path in data):
        raise OSError("the data were made again since")
    identity = identify(
        facts["settings"],
        facts["augmentation"],
        facts["seed"],
        precision=facts["precision"],
        threads=facts["threads"],
        devices=facts["devices"],
        data=digest_data(*data),
    )
    # Trained when these did something else.
    identity = {name: value for name, value in identity.items() if not name.startswith(MEANING)}
    return {"identity": identity, "classes": read_json(weights)["classes"]}


def model_of(folder):
    """Return where the model of a run is that can be used: `folder` itself, else the last that was kept, else None."""
    if (Path(folder) / FILES["model"]).exists():
        return str(folder)
    kept = [(os.stat(place / FILES["model"]).st_mtime_ns, str(place)) for place, _ in records(folder)]
    return max(kept)[1] if kept else None


def read_training(place, settings, augmentation):
    """Return (classes, changes) of a model that is used as it is.

    place: of `model_of`; classes: in the order of its answers, None where an earlier version did not write them down
    and nobody knows them; changes: in what it was trained otherwise than the config says now.
    """
    place = Path(place)
    training = read_json(place / FILES["summary"])
    changes = list_changes(training["settings"], settings, ("name", "precision", "synthetic_seed"))
    changes += list_changes(
        *(
            {f"augmentation.{k}": v for k, v in part.items()}
            for part in (training["augmentation"], augmentation)
        )
    )
    classes = training.get("classes")
    if not classes:
        run = place.parent.parent if place.parent.name == "finished" else place
        alike = [
            record.get("classes")
            for other, record in records(run)
            if (other / FILES["summary"]).read_bytes() == (place / FILES["summary"]).read_bytes()
        ]
        classes = next(filter(None, alike), None)
    return classes, changes
