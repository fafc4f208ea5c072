"""The calls of snakemake in a study's folder: their names, their signs of life, and Snakemake's lock after a crash.

Snakemake's own lock stays behind when its process is killed or the power goes, and keeps the next
call from starting. It does not say whose it is; so each call leaves its name in .snakemake/baton/, and shows there
every few seconds that it is alive: of another machine or container, this is all that can be known.
"""

import atexit
import glob
import json
import os
import re
import socket
import sys
import threading
import time
from contextlib import suppress

import psutil

from baton.study.session import is_same, machine

BEAT, DEAD = 15, 180  # seconds between signs of life, and without one until a call counts as dead


def calls_folder():
    """Return the folder of the calls' names, absolute: where Snakemake stands when it ends is another folder."""
    return os.path.abspath(".snakemake/baton")


def note_call():
    """Leave this call's name until it ends, and return its path; None where it cannot be written.

    Before Snakemake locks, or a kill between the two would leave a lock for good.
    """
    folder, process = calls_folder(), psutil.Process()
    name = f"{folder}/{socket.gethostname()} {process.pid} {process.create_time()}"
    aside = f"{folder}/{process.pid}.tmp"  # no name of a call: nobody reads it half written
    try:
        os.makedirs(folder, exist_ok=True)
        with open(aside, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "pid": process.pid, "created": process.create_time()}, file)
        os.replace(aside, name)
    except OSError:  # Snakemake itself will say that it cannot write here
        return None
    ended = threading.Event()

    def beat():
        while not ended.wait(BEAT):
            with suppress(OSError):  # its drive is away, and may come back
                os.utime(name)

    def forget():
        ended.set()
        if os.path.exists(name):
            os.remove(name)

    threading.Thread(target=beat, daemon=True).start()
    atexit.register(forget)
    return name


def since_sign_of_life(path, own):
    """Return the seconds since a call on another machine last showed that it lives; own: this call's name, or None.

    By the clock of the disk that both write to: machines' clocks differ.
    """
    if own:
        os.utime(own)
    return (os.stat(own).st_mtime if own else time.time()) - os.stat(path).st_mtime


def read_call(path):
    """Return who left its name at `path`: machine, pid and created; None for what is no name of a call.

    An earlier version wrote nothing into the file: created is then None, and machine too for that of another host.
    """
    name = re.fullmatch(r"(\S+) (\d+)( [\d.]+)?", os.path.basename(path))
    if not name:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if not text:
            here = name[1] == socket.gethostname()
            return {"machine": machine() if here else None, "pid": int(name[2]), "created": None}
        call = json.loads(text)
        return {"machine": str(call["machine"]), "pid": int(call["pid"]), "created": float(call["created"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_dead(path, call, own):
    """Whether the call that left its name at `path` ended; call: of read_call."""
    if call["machine"] is None:
        return False
    if call["machine"] != machine():
        return since_sign_of_life(path, own) > DEAD
    try:
        process = psutil.Process(call["pid"])
        if call["created"] is None:
            return not any("snakemake" in word for word in process.cmdline())
        return not is_same(process, call["created"])
    except psutil.NoSuchProcess:
        return True


def release_dead_lock(own):
    """Take Snakemake's lock away where every call that could hold it is dead; own: this call's name, or None."""
    paths = [path for path in glob.glob(f"{glob.escape(calls_folder())}/*") if path != own]
    others = {path: call for path in paths if (call := read_call(path))}
    alive = [path for path, call in others.items() if not is_dead(path, call, own)]
    locks = glob.glob(".snakemake/locks/*.lock")
    if others and not alive:
        for path in [*locks, *others]:
            os.remove(path)
    elif locks and own:
        for path in alive:
            host, silent = os.path.basename(path).split(" ")[0], since_sign_of_life(path, own)
            if others[path]["machine"] != machine() and silent > 2 * BEAT:
                print(
                    (
                        f"This folder is locked by a call on {host}, which gave its last sign of life {silent:.0f} s ago. "
                        f"If it is dead, the same command takes the lock away in {max(DEAD - silent, 0):.0f} s."
                        if others[path]["machine"]
                        else f"This folder is locked by a call on {host}, of an earlier version, which shows no sign of life. "
                        f"If it is dead, `snakemake --unlock` takes the lock away."
                    ),
                    file=sys.stderr,
                )
