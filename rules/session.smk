"""The session, which is one call of snakemake: its end, its lock after a crash, and how far it came.

Snakemake's own lock stays behind when its process is killed or the power goes, and keeps the next
call from starting. It does not say whose it is; so each call leaves its name in .snakemake/baton/.
"""

import atexit
import glob
import os
import signal
import socket
import sys
import time

import psutil

SESSIONS = ".snakemake/baton"
BEGAN = time.time()


def announce_end(minutes):
    """Tell the jobs of this call when its session ends (seconds since 1970; empty for never)."""
    os.environ.setdefault("BATON_SESSION_ENDS", "" if minutes is None else f"{BEGAN + 60 * minutes}")


def hand_on_warnings():
    """From now on hand USR2 on to the jobs of this call, as SIGTERM.

    Before a time limit Slurm warns only the first process of a job's step, which is its Snakemake.
    """
    if not hasattr(signal, "SIGUSR2"):
        return  # Windows

    def hand_on(_number, _frame):
        for job in psutil.Process().children(recursive=True):
            try:
                job.terminate()
            except psutil.Error:  # gone already
                pass

    signal.signal(signal.SIGUSR2, hand_on)


def session_file(process):
    return f"{SESSIONS}/{socket.gethostname()} {process.pid}"


def is_dead(name):
    """Whether the call that left `name` ended; of another machine nobody knows."""
    host, pid = name.rsplit(" ", 1)
    if host != socket.gethostname():
        return False
    try:
        return not any("snakemake" in word for word in psutil.Process(int(pid)).cmdline())
    except psutil.NoSuchProcess:
        return True


def note_session():
    """Leave this call's name until it ends. Before it locks, or a kill between the two would leave a lock for good."""
    os.makedirs(SESSIONS, exist_ok=True)
    open(session_file(psutil.Process()), "w").close()
    atexit.register(forget_session)


def forget_session():
    if os.path.exists(session_file(psutil.Process())):
        os.remove(session_file(psutil.Process()))


def release_dead_lock():
    """Take Snakemake's lock away where every call that could hold it is dead."""
    names = os.listdir(SESSIONS) if os.path.isdir(SESSIONS) else []
    names = [name for name in names if f"{SESSIONS}/{name}" != session_file(psutil.Process())]
    if names and all(is_dead(name) for name in names):
        for lock in glob.glob(".snakemake/locks/*.lock"):
            os.remove(lock)
        for name in names:
            os.remove(f"{SESSIONS}/{name}")


def tell_progress():
    """Print how far each run is, and that the same command goes on."""
    lines, unfinished = [], 0
    for run in RUNS:
        trained, done = "not begun", False
        if at := read_progress(run):
            trained = f"{at['epoch']} of {run.settings['epochs']} epochs"
            done = at["complete"] and at["epochs"] == run.settings["epochs"]
        unfinished += not done
        lines.append(f"{run.name}: {'done, ' if done else ''}{trained}")
    if unfinished:
        lines.append(
            f"{unfinished} of {len(RUNS)} trainings are not done: the same command goes on with them."
        )
    print(*lines, sep="\n", file=sys.stderr)
