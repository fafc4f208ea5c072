"""The session, which is one call of snakemake: its end, its lock after a crash, and how far it came.

Snakemake's own lock stays behind when its process is killed or the power goes, and keeps the next
call from starting. It does not say whose it is; so each call leaves its name in .snakemake/baton/, and shows there
every few seconds that it is alive: of another machine or container, this is all that can be known.
"""

import atexit
import glob
import json
import os
import re
import signal
import socket
import sys
import threading
import time

import psutil
from snakemake.exceptions import WorkflowError

from baton import slurm
from baton.finished import keep_what_is_there
from baton.progress import how_far
from baton.session import announce_end, announce_snakemake, is_same, machine

SESSIONS = os.path.abspath(".snakemake/baton")  # where Snakemake stands when it ends is another folder
BEAT, DEAD = 15, 180  # seconds between signs of life, and without one until a call counts as dead
BEGAN = time.monotonic()
TO_SHOW = []


def seconds_left():
    """Return the seconds until the session ends, None for never."""
    minutes = config["session_minutes"]
    return None if minutes is None else BEGAN + 60 * minutes - time.monotonic()


def end_jobs(*_signal):
    """Send SIGTERM to all that this Snakemake started: trainings save and leave."""
    for job in psutil.Process().children(recursive=True):
        try:
            job.terminate()
        except psutil.Error:  # gone already
            pass


def hand_on_warnings():
    """From now on hand USR2 on to the jobs of this call, as SIGTERM.

    Before a time limit Slurm warns only the first process of a job's step, which is its Snakemake.
    """
    if hasattr(signal, "SIGUSR2"):  # not on Windows
        signal.signal(signal.SIGUSR2, end_jobs)


def hand_on_the_end():
    """From now on hand SIGTERM on to the jobs of this call, then leave as Snakemake does.

    `docker stop`, Kubernetes and service managers signal one process, and kill all soon after. Snakemake starts
    no more jobs then, but lets those that run go on to their end.
    """
    leave = signal.getsignal(signal.SIGTERM)

    def end(*arguments):
        leave(*arguments)
        while True:  # a job may have been about to start
            end_jobs()
            time.sleep(1)

    def hand_on(*arguments):
        # A thread: what leaves takes a lock that the interrupted thread may hold.
        threading.Thread(target=end, args=arguments, daemon=True).start()

    signal.signal(signal.SIGTERM, hand_on)


def end_before_the_start():
    """End on SIGTERM until there are jobs: the first process of a container ignores what it does not ask for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM before anything was started."))


def note_session():
    """Leave this call's name until it ends. Before it locks, or a kill between the two would leave a lock for good."""
    process = psutil.Process()
    name = f"{SESSIONS}/{socket.gethostname()} {process.pid} {process.create_time()}"
    try:
        os.makedirs(SESSIONS, exist_ok=True)
        file = open(name, "w", encoding="utf-8")
    except OSError:  # Snakemake itself will say that it cannot write here
        return None
    with file:
        json.dump({"machine": machine(), "pid": process.pid, "created": process.create_time()}, file)
    ended = threading.Event()

    def beat():
        while not ended.wait(BEAT):
            try:
                os.utime(name)
            except OSError:  # its drive is away, and may come back
                pass

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
    paths = [path for path in glob.glob(f"{glob.escape(SESSIONS)}/*") if path != own]
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


def keep_finished():
    """Keep what trainings of an earlier version left, before a rule that runs again deletes it."""
    for run in RUNS:
        keep_what_is_there(f"results/models/{run.folder}", run.packed, "results/data/class_weights.json")


def refuse_fewer_epochs(jobs):
    """Refuse, before Snakemake deletes anything, to train what is trained for more epochs than are asked for."""
    starting = {job.rule.name for job in jobs}
    for run in RUNS:
        if f"train_{run.name}" not in starting:
            continue
        more = how_far(run, config["augmentation"], STUDY, threads_here())
        if not more.done and more.epoch > run.settings["epochs"]:
            raise WorkflowError(
                f"config: training.epochs: {run.name} is trained for {more.epoch} epochs and the config asks for "
                f"{run.settings['epochs']}: a training cannot be shortened. Set epochs to {more.epoch} or more, or move "
                f"state/{run.folder} and results/models/{run.folder} away to train anew. Nothing was changed."
            )


def teach_slurm():
    """Make up for what the Slurm plugin lacks, where it is the one that runs this call's jobs."""
    slurm.forget_mistakes()
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin and not slurm.teach(plugin):
        print(
            "WARNING: this version of Snakemake's Slurm plugin is not the one that Baton knows (see requirements.lock): a job "
            "that the cluster forgets may be waited for without end, and mistakes in the config are submitted again.",
            file=sys.stderr,
        )


def note_what_to_show(jobs):
    """Note the logs of those jobs of a cluster whose result is what they say."""
    for job in jobs:
        if job.rule.name in ("plan", "predict", "verify_resume"):
            TO_SHOW.extend(map(str, job.log))


def show_logs():
    """Print what the jobs said whose logs are noted: on a cluster, their terminal is a file."""
    for path in TO_SHOW:
        try:
            with open(path, encoding="utf-8", errors="backslashreplace") as file:
                said = file.read()
        except OSError as error:
            said = f"cannot be read: {error.strerror}"
        print(f"{path}:", said, sep="\n", file=sys.stderr)


def tell_notes():
    """Print which models of the config are not made, or are the same."""
    print(*NOTES, sep="\n", end="\n" if NOTES else "", file=sys.stderr)


def threads_here():
    """Return with how many threads a training runs here, None where that is a cluster's choice."""
    return None if workflow.non_local_exec or not workflow.cores else min(2, workflow.cores)


def is_data_changed():
    """Whether images or labels are newer than what was read of them, as Snakemake will find."""
    try:
        read = os.stat("results/data/classes.csv").st_mtime_ns
        paths = [config["data"]["annotations"], *watched_folders(config["data"])]
        return any(os.stat(path).st_mtime_ns > read for path in paths if path)
    except OSError:
        return False


def tell_progress():
    """Print how far each run is, and that the same command goes on."""
    lines, unfinished = [], 0
    for run in RUNS:
        at = how_far(run, config["augmentation"], STUDY, threads_here())
        trained = f"{at.epoch} of {run.settings['epochs']} epochs" if at.begun else "not begun"
        if at.changes:
            trained = f"trains anew: {'; '.join(at.changes)}"
        unfinished += not at.done
        lines.append(f"{run.name}: {'done, ' if at.done else ''}{trained}")
    if is_data_changed():
        lines.append(
            "Images or labels have changed since they were read. Where that changes what a training is given, it "
            "trains anew, whatever is said here."
        )
    if unfinished:
        lines.append(
            f"{unfinished} of {len(RUNS)} trainings are not done: the same command goes on with them."
        )
    print(*lines, sep="\n", file=sys.stderr)
