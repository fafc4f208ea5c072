"""Keeping the state of a run: whose it is, when to save it, and what to do when the disk will not have it."""

import contextlib
import itertools
import json
import os
import platform
import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from baton.identity import fingerprint, list_changes
from baton.logs import MachineError, log
from baton.state import NEWEST, PREVIOUS, load_state, save_state

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SAVING_SHARE = 0.01  # of the training time, at most
SOONEST_RETRY = 10  # seconds after a save that failed


class Keeper:
    """The states of one run, in state/MODEL/SEED/FINGERPRINT/, and progress.json beside them for people.

    The fingerprint is of all that the training follows from. Change one thing and the training is
    another one, with a folder of its own; change it back, and the first goes on.
    """

    def __init__(self, folder, identity, saving_share=SAVING_SHARE, study=None):
        """folder: state/MODEL/SEED; identity: what `identify` returns; study: settings to note in progress.json."""
        self.folder, self.identity, self.saving_share = Path(folder), identity, saving_share
        self.study = study
        self.current = self.folder / fingerprint(identity)
        self.cost = 0.0  # seconds of the last save
        self.next_save = 0.0
        self.saved_at = None  # (epoch, step) of the last good save
        self.trouble = None  # why the last save failed

    @property
    def begun(self):
        """Whether there is a state to go on from."""
        return any((self.current / name).exists() for name in (NEWEST, PREVIOUS))

    @contextlib.contextmanager
    def only_writer(self, worth_waiting=lambda: False):
        """Hold the run for this process. Raises UserError, with who and since when, where another does.

        The system gives the lock back when its process ends, however it ends. worth_waiting: asked once a
        second whether to wait for that.
        """
        with self._in_reach():
            self.current.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / "lock", "a+", encoding="utf-8")  # noqa: SIM115
        try:
            self._hold(file, worth_waiting)
            yield
        finally:
            with contextlib.suppress(OSError):  # its drive went away meanwhile, and the lock with it
                file.close()

    def _hold(self, file, worth_waiting):
        with self._in_reach():
            try:
                for seconds in itertools.count():
                    if _lock(file):
                        break
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    if not worth_waiting():
                        raise MachineError(
                            f"{self.folder} is in use by {holder}. Wait for it to end, or end it; nothing was changed."
                        )
                    if seconds == 0:
                        log.info("waiting for %s to end, which trains this", holder)
                    time.sleep(1)
            except OSError as trouble:
                log.warning(
                    "%s cannot be locked (%s): do not train it twice at a time, nobody would notice",
                    self.folder,
                    trouble,
                )
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now()}")
            file.flush()

    @contextlib.contextmanager
    def _in_reach(self):
        """Say in one sentence that the disk of the states fails, as a drive does that is not connected."""
        try:
            yield
        except OSError as trouble:
            raise MachineError(
                f"{self.folder} cannot be used ({trouble.strerror or trouble}). Nothing was changed: once its disk "
                "or drive is back, the same command goes on."
            ) from trouble

    def load(self):
        """Return the state to go on from, or None; say so where the last one was of another training.

        Raises UserError where its disk fails: to train from the start would be the loss of all that is there.
        """
        progress = self.folder / "progress.json"
        before = None
        with contextlib.suppress(OSError, ValueError):  # it is for people: its loss is no harm
            before = json.loads(progress.read_text(encoding="utf-8"))
        if before and before["state"] != self.current.name:
            log.warning(
                "the last session trained something else: %s. Its state is kept in %s.",
                "; ".join(list_changes(before["identity"], self.identity)),
                self.folder / before["state"],
            )
        with self._in_reach():
            return load_state(self.current)

    def first_save(self, training):
        """Save before the first step: this shows that it can be done, and what it costs.

        Raises UserError where the disk has no room for the states of a training (three, while saving).
        """
        one = training.state_bytes()
        with self._in_reach():
            there = sum(file.stat().st_size for file in self.current.glob("*.safetensors"))
            free = shutil.disk_usage(self.current).free
        if free + there < 3 * one:
            raise MachineError(
                f"{self.current} needs {3 * one / 1e6:.0f} MB for the states of this model, and its disk has "
                f"{free / 1e6:.0f} MB free. Free some space and run the same command again."
            )
        if not self.save(training):
            raise MachineError(f"{self.current}: {self.trouble}. Nothing was trained.")

    def save(self, training):
        """Save the state and return True; where the disk will not have it, log why and return False."""
        start = time.monotonic()
        try:
            save_state(self.current, *training.to_state())
            self._tell_progress(training)
        except OSError as trouble:
            self.trouble = trouble.strerror or str(trouble)
            log.warning("the state could not be saved (%s); trying again later", self.trouble)
            self.next_save = time.monotonic() + max(SOONEST_RETRY, self.cost / self.saving_share)
            return False
        self.trouble = None
        self.saved_at = (training.epoch, training.step)
        self.cost = time.monotonic() - start
        self.next_save = time.monotonic() + self.cost / self.saving_share
        return True

    @property
    def due(self):
        """Whether to save now: as often as its share of the time allows, and after a failure once in a while."""
        return time.monotonic() >= self.next_save

    def _tell_progress(self, training):
        done = training.epoch + training.step / training.steps
        progress = {
            "epoch": training.epoch,
            "epochs": training.settings["epochs"],
            "complete": training.complete,
            "machine": platform.node(),
            "epoch_seconds": training.seconds / done if done else None,
            # This one too, which may be killed.
            "unended_sessions": count_unended(training.sessions),
            "state": self.current.name,
            "identity": self.identity,
            "study": self.study,
        }
        aside = self.folder / "progress.tmp"
        aside.write_text(json.dumps(progress, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, self.folder / "progress.json")


def _lock(file):
    """Lock `file` and return True, or False where another process has locked it. Raises OSError where none can."""
    if fcntl is None:
        raise OSError("this system has no such locks")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def count_unended(sessions):
    """Return how many of the last sessions, one after the other, ended without a word, or have not ended yet."""
    return sum(1 for _ in itertools.takewhile(lambda session: session["reason"] is None, reversed(sessions)))


def now():
    """Return the time in UTC, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")
