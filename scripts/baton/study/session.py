"""The session: how long this process may train, and what asks it to stop."""

import math
import os
import signal
import socket
import time

import psutil

from baton.errors import SessionEnded

# SIGHUP: the terminal, or the line to it, was closed.
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP")
SIGNALS = [name for name in NAMES if hasattr(signal, name)]
# The Snakefile puts here when the session ends, for all jobs of one call of snakemake: see announce_end().
ENDS = "BATON_SESSION_ENDS"
# Each Snakemake puts here who it is, for the jobs that it starts.
SNAKEMAKE = "BATON_SNAKEMAKE"


class Session:
    """Tells a training when to stop: before its time is up, after a signal, or without its Snakemake.

    runtime: minutes this job has, None for no limit; ends: when the session ends, by the clock, None for never;
    parent: the process without which to stop; clock: seconds, which nobody sets back or forward; age: seconds of the job that
    are over.
    """

    def __init__(self, runtime=None, ends=None, parent=None, clock=time.monotonic, age=0.0):
        self.clock, self.parent = clock, parent
        job_ends = math.inf if runtime is None else clock() + 60 * runtime - age
        session_ends = math.inf if ends is None else ends
        self.ends = min(job_ends, session_ends)
        self.limit = "the job's runtime" if job_ends <= session_ends else "session_minutes"
        self.signal = None

    def catch_signals(self):
        """From now on a signal is only noted: the training run leaves at the end of its step."""

        def note(number, _frame):
            self.signal = signal.Signals(number).name

        for name in SIGNALS:
            number = getattr(signal, name)
            if name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup: it is to outlive its terminal
            signal.signal(number, note)

    def reason_to_stop(self, seconds_needed):
        """Return why the training run must stop now, or None.

        seconds_needed: what another step and a save may take, so that both still fit.
        """
        if self.signal:
            return f"it received {self.signal}"
        if self.parent is not None and not is_alive(self.parent):
            return "its Snakemake is gone"
        if self.seconds_left() < seconds_needed:
            return f"the time is up ({self.limit})"
        return None

    def seconds_left(self):
        return self.ends - self.clock()


def announce_end(seconds):
    """Tell the jobs of this call that its session ends in `seconds`, None for never.

    By this machine's monotonic clock, which jobs here share; other machines have only the time of day.
    """
    text = "" if seconds is None else f"{time.time() + seconds} {time.monotonic() + seconds} {machine()}"
    os.environ.setdefault(ENDS, text)


def session_end():
    """Return when the session ends that was announced, by this machine's monotonic clock in seconds, or None."""
    text = os.environ.get(ENDS)
    if not text:
        return None
    day, *here = text.split(" ", 2)
    if here and here[1] == machine():
        return float(here[0])
    return time.monotonic() + float(day) - time.time()


def process_age():
    """Return for how many seconds this process has been, those before it started anew (os.execv) included."""
    return max(0.0, time.time() - psutil.Process().create_time())


def announce_snakemake():
    """Tell the jobs that this Snakemake starts which process it is; each Snakemake on the way to a job does."""
    process = psutil.Process()
    os.environ[SNAKEMAKE] = f"{process.pid} {process.create_time()} {pid_namespace()}"


def find_snakemake():
    """Return the Snakemake that started this process (psutil.Process), or None.

    Killed outright, it cannot signal its jobs; each has to check whether it is still there. Raises
    SessionEnded where it is gone already. None where none announced itself, and where this process is in a container
    that sees other process numbers than it.
    """
    if SNAKEMAKE not in os.environ:
        return None
    pid, created, namespace = os.environ[SNAKEMAKE].split(" ", 2)
    if namespace != pid_namespace():
        return None
    try:
        process = psutil.Process(int(pid))
        if is_same(process, float(created)) and is_alive(process):
            return process
    except psutil.NoSuchProcess:
        pass
    raise SessionEnded("not trained: its Snakemake is gone. Run the same command again to resume.")


def pid_namespace():
    """Return a text that is the same for all processes which see the same process numbers."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "this machine's"  # no Linux


def machine():
    """Return a text that distinguishes this machine, since it was started, and its containers from others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {pid_namespace()}"
    except OSError:  # no Linux
        return socket.gethostname()


def is_same(process, created):
    """Whether a psutil.Process was created at `created`: numbers are given to new processes again."""
    return abs(process.create_time() - created) < 1


def is_alive(process):
    """Whether a psutil.Process runs still; one that ended and was not yet waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
