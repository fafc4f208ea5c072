"""How far each run is, as its states and its finished models show; for `status`, the plan and the end of a session.

A state or model of other settings or other data is none of this run's: what counts is the identity that training
itself goes by.
"""

import json
import os
from dataclasses import dataclass, field
from typing import Any

from baton.study import finished
from baton.study.gpus import usable_gpus
from baton.study.identity import (
    DEVICE,
    GPU,
    UPDATE,
    identify_wanted,
    ignored_when_finished,
    list_changes,
    stopped_early,
)
from baton.study.progress import read_progress, read_state_values
from baton.study.runs import CLASSES, Run
from baton.study.scan import recall


@dataclass(frozen=True)
class Status:
    """How far a run is. epoch: how many are trained; on_gpu: by one; changes: why what is there is another training run's."""

    epoch: int = 0
    done: bool = False
    begun: bool = False
    on_gpu: bool = False
    changes: list[str] = field(default_factory=list)

    @property
    def lacks_gpu(self) -> bool:
        """Whether a GPU began it and none can be used here, without which it trains from the start."""
        return self.on_gpu and not self.done and not usable_gpus()


def how_far(run: Run, data: dict[str, Any], threads: int | None = None) -> Status:
    """Return the Status of a Run.

    data: the settings that the data follow from; threads: of a training run, None where that is not known. The packed
    images are believed to be those of the study, where they are there and it has not changed.
    """
    settings, last = run.settings, read_progress(run.files.progress)
    digest, reasons = run.digest_of_packed, []
    known_data = {"data": digest} if digest else {}
    wanted = identify_wanted(settings, run.augmentation, run.seed, **known_data)
    unknown = set() if digest else {"data"}

    for _, record in finished.records(run.files.models):
        changes = list_changes(record["identity"], wanted, {*unknown, *ignored_when_finished(settings)})
        changes += _changes_of_data(record.get("study"), data)
        if not changes and finished.is_trained(record, settings["epochs"]):
            return Status(record["epochs"], done=True, begun=True)
        reasons.append(changes)
    previous = last.get("identity") or {}
    changes = _changes_of_data(last.get("study"), data)
    folders = [] if changes else (folder for _, folder in run.find_states(threads))
    for state in filter(None, map(read_state_values, folders)):
        early = stopped_early(
            settings["patience"], state["epoch"], state["best_epoch"], state.get("diverged")
        )
        record = {"epochs": state["epoch"], "stopped_early": early}
        done = finished.is_trained(record, settings["epochs"])
        return Status(state["epoch"], done=done, begun=True, on_gpu=state.get("device") == GPU)
    if previous:
        # What the machine decides is named only where it is known to differ.
        known = {
            "devices",
            DEVICE,
            UPDATE,
            *(() if threads else ("threads",)),
            *(() if "precision" in wanted else ("precision",)),
        }
        changes += list_changes(
            previous, wanted | ({"threads": threads} if threads else {}), {*unknown, *known}
        )
        reasons.append(changes)
    return Status(changes=min(reasons, key=len, default=[]))


def _changes_of_data(before: dict | None, now: dict) -> list[str]:
    """Return in what the settings that data follow from differ; nothing where they were not noted down."""
    if not before:
        return []
    then, now = _flatten(before), _flatten(now)
    new_keys = set(now) - set(then)  # an earlier version had none of them, and nobody knows what it did
    return list_changes(then, now, new_keys)


def _flatten(data: dict) -> dict[str, Any]:
    """Return {"holdout.seed": 1, ...} from {"holdout": {"seed": 1}}, as it is after a way through JSON.

    A path is the same from wherever it is written; the order of the classes' scale changes no data.
    """
    data = json.loads(json.dumps(data))
    flat = {f"{section}.{key}": value for section, keys in data.items() for key, value in keys.items()}
    flat.pop("data.ordered", None)
    return {
        key: os.path.abspath(value) if key in ("data.images", "data.annotations") and value else value
        for key, value in flat.items()
    }


def describe_progress(study, threads: dict[str, int | None], call: str = "snakemake") -> list[str]:
    """Return lines that say how far each run of the Study is, and what to do about those that are not done.

    threads: with how many each trains, by its name, None where that is not known; call: the command that resumes.
    """
    lines, unfinished = [], 0
    for run in study.runs:
        status = how_far(run, study.data, threads[run.name])
        trained = f"{status.epoch} of {run.settings['epochs']} epochs" if status.begun else "not begun"
        if status.lacks_gpu:
            trained += ", on a GPU (none can be used here: without one it trains from the start)"
        if status.changes:
            trained = f"trains from the start: {'; '.join(status.changes)}"
        unfinished += not status.done
        lines.append(f"{run.name}: {'done, ' if status.done else ''}{trained}")
    if is_data_changed(study):
        lines.append(
            "Images or labels have changed since they were read. Where that changes what a model is trained on, it "
            "trains from the start, whatever is said here."
        )
    if unfinished:
        lines.append(f"{unfinished} of {len(study.runs)} training runs are not done. To resume: {call}")
    return lines


def is_data_changed(study) -> bool:
    """Whether images or labels are newer than what was read of them, as Snakemake will find."""
    try:
        read_at = os.stat(CLASSES).st_mtime_ns
        annotations = study.config["data"]["annotations"]
        changed = bool(annotations) and os.stat(annotations).st_mtime_ns > read_at
        return changed or recall() not in (None, study.images_seen)
    except OSError:
        return False
