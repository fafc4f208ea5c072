"""Prove on this machine that a training run that is killed and resumed is the uninterrupted one, bit for bit.

One model trains a few epochs straight through, and again with its process killed (SIGKILL) at random
moments; then every variable, the best weights and the history are compared.
"""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from baton import console
from baton.console import log
from baton.errors import UserError
from baton.training.state import NEWEST, load_state

EPOCHS, KILLS = 3, 5
ATTEMPTS = 5  # at a training run that can be killed before it ends
SAVING_SHARE = 0.5  # of the time: so often that every kill finds another state
CHILD = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from baton import console
import train
from baton.study.session import Session
console.start(sys.argv[2])
train.main(**json.load(sys.stdin), session=Session())
"""


class Trial:
    """One training run in processes of its own, in a folder of its own."""

    def __init__(self, folder, arguments):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        names = {
            "model": "model.keras",
            "history": "history.csv",
            "curves": "curves.svg",
            "summary": "training.json",
        }
        self.arguments = arguments | {
            "outputs": {key: str(self.folder / name) for key, name in names.items()},
            "state": str(self.folder / "state"),
            "board": str(self.folder / "board"),
        }

    def start(self):
        """Start the training where it was left and return its process, once it trains (or has ended)."""
        command = [sys.executable, "-c", CHILD, json.dumps(sys.path), str(self.folder / "training.log")]
        before = self.saved_at()
        with open(self.folder / "output.txt", "a") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True
            )
        process.stdin.write(json.dumps(self.arguments))
        process.stdin.close()
        for _ in range(2):  # the first save comes before the first step, the second after it
            while process.poll() is None and self.saved_at() == before:
                time.sleep(0.01)
            before = self.saved_at()
        return process

    def saved_at(self):
        """Return when the state was last saved, in nanoseconds; 0 where it never was."""
        with contextlib.suppress(FileNotFoundError):  # between two renames
            return max((path.stat().st_mtime_ns for path in self.folder.glob(f"state/*/{NEWEST}")), default=0)
        return 0

    def finish(self):
        """Train to the end."""
        if self.start().wait() != 0:
            raise UserError(f"the training run failed: see {self.folder / 'output.txt'}.")

    def result(self):
        """Return (arrays, values) of the state."""
        return load_state(next(path.parent for path in self.folder.glob(f"state/*/{NEWEST}")))


def kill_at_random(trial, seconds, draw):
    """Run the training and kill it, KILLS times, somewhere in its `seconds`; return how often it was alive to be killed."""
    killed = 0
    for _ in range(KILLS):
        process = trial.start()
        try:
            process.wait(draw.uniform(0, 2 * seconds / KILLS))
            break  # it came to its end
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    return killed


def first_difference(straight, resumed):
    """Return the name of the first thing that differs between two states, or None."""
    (arrays, values), (others, other_values) = straight, resumed
    for name in sorted(set(arrays) | set(others)):
        if name not in arrays or name not in others or arrays[name].tobytes() != others[name].tobytes():
            return name
    for row, other in zip(values["history"], other_values["history"], strict=False):
        if repr(row) != repr(other):  # repr: NaN is itself here
            return f"the history of epoch {row['epoch']}"
    for name in ("epoch", "step", "best_epoch"):
        if values[name] != other_values[name]:
            return name
    return None


def main(packed, weights, threads, settings, augmentation, seed, folder):
    """Train twice and compare; raises UserError naming the first thing that differs."""
    shutil.rmtree(folder, ignore_errors=True)
    arguments = {
        "packed": packed,
        "weights": weights,
        "threads": threads,
        "settings": settings | {"epochs": EPOCHS},
        "augmentation": augmentation,
        "seed": seed,
        "saving_share": SAVING_SHARE,
    }
    log.info("%s, seed %d: %d epochs straight through", settings["name"], seed, EPOCHS)
    straight = Trial(f"{folder}/straight", arguments)
    straight.finish()
    expected = straight.result()
    log.info("again, with kills at random moments")
    seconds = expected[1]["seconds"]
    for _ in range(ATTEMPTS):
        shutil.rmtree(f"{folder}/resumed", ignore_errors=True)
        resumed = Trial(f"{folder}/resumed", arguments)
        if killed := kill_at_random(resumed, seconds, random.Random()):
            break
        seconds /= 2  # the machine did more else before, or the moment was drawn late
    else:
        raise UserError(
            "nothing is shown: the training run was over before it could be killed. Try a larger model, with "
            "--config verify=MODEL."
        )
    resumed.finish()
    found = resumed.result()
    for session in found[1]["sessions"][1:]:
        epoch, step = session["from"]
        log.info("killed, and resumed from step %d in epoch %d", step, epoch + 1)
    if difference := first_difference(expected, found):
        raise UserError(
            f"not equal: after {killed} kills, {difference} differs. Please report this with the files in {folder}."
        )
    count = sum(np.size(array) for array in expected[0].values())
    log.info(
        "equal, bit for bit: %d numbers in %d variables and %d history rows, after %d kills",
        count,
        len(expected[0]),
        len(expected[1]["history"]),
        killed,
    )


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(dict(snakemake.input.items()), snakemake.input.weights, snakemake.threads, **snakemake.params)
