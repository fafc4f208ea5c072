"""Run a part of a benchmark in a process of its own, so that neither its memory nor its threads are another part's."""

import subprocess


def read_output(command):
    """Return what a command prints; its errors are not shown. Raises CalledProcessError where it fails."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
