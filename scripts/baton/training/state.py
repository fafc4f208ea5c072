"""The state file (checkpoint) of a training run: one file that holds all of it, and cannot run code when it is read.

The file is safetensors: arrays by name, and the rest as JSON in its header, with a SHA-256 of both.
It is written aside, flushed to disk and renamed, and the one before is kept, so that a good one is
there whenever the machine stops.
"""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from baton.console import log
from baton.errors import UserError
from baton.files import flush
from baton.study.progress import NEWEST, PREVIOUS

FORMAT = 1
UNREADABLE = "unreadable.safetensors"


class UnreadableState(Exception):
    """A state file that is torn, foreign or of another format; the message says which."""


def save_state(folder, arrays, values):
    """Save `arrays` (numpy arrays by name) and `values` (whatever JSON holds) in `folder`.

    The folder must be there: a drive that went away must not be replaced by a folder in its place.
    Raises OSError; the states that were there before are then as good as they were.
    """
    folder = Path(folder)
    aside, newest = folder / "aside.tmp", folder / NEWEST
    # safetensors writes the memory as it lies: of a view that would be something else.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(values)
    header = {"baton": str(FORMAT), "values": text, "sha256": _digest(arrays, text)}
    try:
        for name in os.listdir(folder):
            if name.startswith(".tmp"):  # safetensors' own half file, of a save that was killed
                os.remove(folder / name)
        save_file(arrays, aside, metadata=header)
        flush(aside)
    except (OSError, SafetensorError) as trouble:
        aside.unlink(missing_ok=True)  # half a state would only take the room of a whole one
        raise trouble if isinstance(trouble, OSError) else OSError(str(trouble)) from trouble
    if newest.exists():
        os.replace(newest, folder / PREVIOUS)
    os.replace(aside, newest)
    flush(folder)


def load_state(folder):
    """Return (arrays, values) of the newest state in `folder` that is whole, or None where there is none.

    Raises UserError when there are state files and none can be read: they are left alone. Raises OSError
    when the disk fails: a state that is out of reach is neither absent nor damaged.
    """
    folder, troubles = Path(folder), []
    for name in (NEWEST, PREVIOUS):
        try:
            state = _read(folder / name)
        except FileNotFoundError:
            continue
        except UnreadableState as trouble:
            troubles.append(f"{folder / name} is {trouble}")
            continue
        if troubles:
            log.warning("%s; resuming from the state before it", troubles[0])
            # Out of the way: the next save would put it in the place of the one that is good.
            os.replace(folder / NEWEST, folder / UNREADABLE)
        return state
    if troubles:
        raise UserError(
            f"no state can be read: {'; '.join(troubles)}. To train from the start, move {folder} away."
        )
    return None


def _read(path):
    with open(path, "rb"):  # safe_open calls a file absent whatever keeps it from opening it
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if "baton" not in header:
                raise UnreadableState("not a state of Baton")
            if header["baton"] != str(FORMAT):
                raise UnreadableState(
                    f"a state of format {header['baton']}, and this Baton reads format {FORMAT}"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise OSError(errno.EIO, "it was there and cannot be opened", str(path)) from error
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
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
