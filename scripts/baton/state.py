"""The state of a training: one file that holds all of it, and cannot run code when it is read.

The file is safetensors: arrays by name, and the rest as JSON in its header, with a SHA-256 of both.
It is written aside, flushed to disk and renamed, and the one before is kept, so that a good one is
there whenever the machine stops.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from baton.logs import UserError, log

FORMAT = 1
NEWEST, PREVIOUS = "state.safetensors", "previous.safetensors"


class UnreadableState(Exception):
    """A state file that is torn, foreign or of another format; the message says which."""


def save_state(folder, arrays, values):
    """Save `arrays` (numpy arrays by name) and `values` (whatever JSON holds) in `folder`, in one rename."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    aside, newest = folder / "state.tmp", folder / NEWEST
    text = json.dumps(values)
    header = {"baton": str(FORMAT), "values": text, "sha256": _digest(arrays, text)}
    save_file(arrays, aside, metadata=header)
    _flush(aside)
    if newest.exists():
        os.replace(newest, folder / PREVIOUS)
    os.replace(aside, newest)
    _flush(folder)


def load_state(folder):
    """Return (arrays, values) of the newest state in `folder` that is whole, or None where there is none.

    Raises UserError when there are state files and none can be read: they are left alone.
    """
    troubles = []
    for name in (NEWEST, PREVIOUS):
        path = Path(folder) / name
        try:
            state = _read(path)
        except FileNotFoundError:
            continue
        except UnreadableState as trouble:
            troubles.append(f"{path}: {trouble}")
            continue
        for trouble in troubles:
            log.warning("%s; going on from the state before it", trouble)
        return state
    if troubles:
        raise UserError(
            f"no state can be read: {'; '.join(troubles)}. Move {folder} away to train from the start."
        )
    return None


def _read(path):
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("baton") != str(FORMAT):
                raise UnreadableState("not a state of this version of Baton")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UnreadableState(f"damaged ({error})") from error
    if header.get("sha256") != _digest(arrays, header.get("values", "")):
        raise UnreadableState("damaged (its checksum differs)")
    return arrays, json.loads(header["values"])


def _digest(arrays, text):
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _flush(path):
    """Have the system write `path` to the disk, so that a power cut after the rename finds it whole."""
    if os.name == "nt" and os.path.isdir(path):
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDWR if os.path.isfile(path) else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
