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
from snakemake.exceptions import WorkflowError

from baton.finished import keep_what_is_there
from baton.progress import how_far

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


def keep_finished():
    """Keep what trainings of an earlier version left, before a rule that runs again deletes it."""
    for run in RUNS:
        # Where the holdout is drawn, another seed makes other manifests.
        seed = None if config["data"]["source"] == "split_folders" else config["holdout"]["seed"]
        keep_what_is_there(
            f"results/models/{run.folder}",
            run.packed,
            "results/data/class_weights.json",
            seed,
        )


def refuse_fewer_epochs(jobs):
    """Refuse, before Snakemake deletes anything, to train what is trained for more epochs than are asked for."""
    starting = {job.rule.name for job in jobs}
    for run in RUNS:
        if f"train_{run.name}" not in starting:
            continue
        more = how_far(run, config["augmentation"], STUDY)
        if not more.done and more.epoch > run.settings["epochs"]:
            raise WorkflowError(
                f"config: training.epochs: {run.name} is trained for {more.epoch} epochs and the config asks for "
                f"{run.settings['epochs']}: a training cannot be shortened. Set epochs to {more.epoch} or more, or move "
                f"state/{run.folder} and results/models/{run.folder} away to train anew. Nothing was changed."
            )


def tell_progress():
    """Print how far each run is, and that the same command goes on."""
    lines, unfinished = [], 0
    for run in RUNS:
        at = how_far(run, config["augmentation"], STUDY)
        trained = f"{at.epoch} of {run.settings['epochs']} epochs" if at.epoch else "not begun"
        if at.changes:
            trained = f"trains anew: {'; '.join(at.changes)}"
        unfinished += not at.done
        lines.append(f"{run.name}: {'done, ' if at.done else ''}{trained}")
    if unfinished:
        lines.append(
            f"{unfinished} of {len(RUNS)} trainings are not done: the same command goes on with them."
        )
    print(*lines, sep="\n", file=sys.stderr)
