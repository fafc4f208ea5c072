"""progress.json: what a training run says of how far it is, beside its states; written and read here only.

Who depends on it: the keeper, to say why a state is another training run's; `status` and the plan, through
baton.study.status; the memory that a job asks for, after it was killed (baton.study.runs); the report, for runs that
are not finished; the plan, for the speed of an earlier session.
"""

import json
from pathlib import Path
from typing import Any, TypedDict, cast

from baton.files import read_json, write_json, written_aside

# The state files of a training run: the last, and the one before.
NEWEST, PREVIOUS = "state.safetensors", "previous.safetensors"
PROGRESS = "progress.json"


class Progress(TypedDict, total=False):
    """What progress.json holds; of an earlier version some keys may be missing."""

    epoch: int  # trained
    epochs: int  # asked for
    complete: bool
    machine: str
    epoch_seconds: float | None
    unended_sessions: int  # the last ones, in a row, that ended without warning; this one, while it runs
    state: str  # name of the folder of its states
    identity: dict[str, Any]
    study: dict[str, Any] | None  # the settings that its data follow from


def read_progress(path: str | Path) -> Progress:
    """Return the Progress in progress.json; empty where there is none, or what is there cannot be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return Progress()
    whole = isinstance(found, dict) and isinstance(found.get("identity") or {}, dict)
    return cast(Progress, found) if whole else Progress()


def write_progress(path: str | Path, progress: Progress) -> None:
    """Write a Progress, aside and renamed. Raises OSError."""
    with written_aside(path) as aside:
        write_json(aside, progress)


def read_state_values(folder: str | Path) -> dict[str, Any] | None:
    """Return what the newest readable state file in a folder says beside its arrays, None where there is none."""
    for name in (NEWEST, PREVIOUS):
        if values := _read_values(Path(folder, name)):
            return values
    return None


def _read_values(path: Path) -> dict[str, Any] | None:
    """The start of a safetensors file is the length of its header and the header, JSON."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        values = json.loads(header["__metadata__"]["values"])
        return values if {"epoch", "best_epoch"} <= set(values) else None
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return None
