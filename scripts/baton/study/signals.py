"""Signals to this call of snakemake: what ends it, and what is handed on to its jobs."""

import signal
import socket
import sys
import threading
import time
from contextlib import suppress

import psutil


def end_jobs(*_signal):
    """Send SIGTERM to all that this Snakemake started: training runs save and leave."""
    with suppress(psutil.Error):
        for job in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # gone already
                job.terminate()


def hand_on_warnings():
    """From now on hand USR2 on to the jobs of this call, as SIGTERM.

    Before a time limit Slurm warns only the first process of a job's step, which is its Snakemake.
    """
    if hasattr(signal, "SIGUSR2"):  # not on Windows
        signal.signal(signal.SIGUSR2, end_jobs)


def hand_on_the_end():
    """From now on hand SIGTERM on to the jobs of this call, then leave as Snakemake does.

    `docker stop`, Kubernetes and service managers signal one process, and kill all soon after. Snakemake starts
    no more jobs then, but lets those that run finish.
    """
    leave = signal.getsignal(signal.SIGTERM)
    heard, told = socket.socketpair()  # sockets: Windows knows no pipe that does not block
    told.setblocking(False)
    # The signal's number arrives here whichever thread it interrupts. A handler in Python runs in the main thread only,
    # which another thread's signal does not wake, and may interrupt it while it holds a lock that leaving takes.
    signal.set_wakeup_fd(told.detach())
    signal.signal(signal.SIGTERM, lambda *_: None)

    def end():
        while heard.recv(1) != bytes([signal.SIGTERM]):
            pass
        end_jobs()
        if callable(leave):
            leave(signal.SIGTERM, None)
        while True:  # a job may have been about to start
            time.sleep(1)
            with suppress(Exception):  # whatever one look at the processes meets, the next is a second away
                end_jobs()

    threading.Thread(target=end, daemon=True).start()


def end_before_the_start():
    """End on SIGTERM until there are jobs: the first process of a container ignores what it does not ask for."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM before anything was started."))
