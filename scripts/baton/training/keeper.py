"""Keeping the state of a run: whose it is, when to save it, and what to do when the disk will not have it."""

import contextlib
import itertools
import os
import platform
import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from baton.console import log
from baton.errors import MachineError
from baton.formatting import file_size
from baton.study.identity import PRECISIONS, UPDATE, Identity, fingerprint, list_changes, list_ways
from baton.study.progress import NEWEST, PREVIOUS, PROGRESS, Progress, read_progress, write_progress
from baton.training.precision import Choice
from baton.training.state import load_state, save_state

SAVING_SHARE = 0.01  # of the training time, at most
SOONEST_RETRY = 10  # seconds after a save that failed
# Where in the lock file its holder is named: Windows locks the first byte, and lets nobody else read it.
HOLDER_AT = 1 if os.name == "nt" else 0


class Keeper:
    """The states of one run, in state/MODEL/SEED/FINGERPRINT/, and progress.json beside them for people.

    The fingerprint is of all that the training run follows from. Change one thing and the training run is
    another one, with a folder of its own; change it back, and the first resumes.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: Identity,
        saving_share: float = SAVING_SHARE,
        study: dict[str, Any] | None = None,
    ):
        """folder: state/MODEL/SEED; identity: what `identify` returns; study: settings to note in progress.json."""
        self.folder, self.identity, self.saving_share = Path(folder), identity, saving_share
        self.study = study
        self.current = self.folder / fingerprint(identity)
        self.progress = self.folder / PROGRESS
        self.cost = 0.0  # seconds of the last save
        self.overspent = 0.0  # seconds by which the saves since the first have gone over their share
        self.next_save = self.last_save = 0.0  # monotonic times
        self.saved_at: tuple[int, int] | None = None  # (epoch, step) of the last good save
        self.trouble: str | None = None  # why the last save failed

    @property
    def begun(self) -> bool:
        """Whether there is a state to resume from."""
        return any((self.current / name).exists() for name in (NEWEST, PREVIOUS))

    @contextlib.contextmanager
    def only_writer(self, worth_waiting=lambda: False):
        """Hold the run for this process. Raises UserError, with who and since when, where another does.

        The system gives the lock back when its process ends, however it ends. worth_waiting: asked once a
        second whether to wait for that.
        """
        with self._in_reach():
            self.current.mkdir(parents=True, exist_ok=True)
            lock = self.folder / "lock"
            # A marker file in place of a lock, as where a system has none, would outlive a kill.
            held = None
            if FileLock is not SoftFileLock:
                held = FileLock(lock, fallback_to_soft=False, preserve_lock_file=True)
        try:
            self._hold(held, lock, worth_waiting)
            yield
        finally:
            with contextlib.suppress(OSError):  # its drive went away meanwhile, and the lock with it
                if held:
                    held.release()

    def _hold(self, held, lock, worth_waiting):
        with self._in_reach():
            try:
                if held is None:
                    raise OSError("this system has no such locks")
                for seconds in itertools.count():
                    try:
                        held.acquire(blocking=False)
                        break
                    except Timeout:
                        holder = _read_holder(lock)
                    if not worth_waiting():
                        raise MachineError(
                            f"{self.folder} is in use by {holder}. Wait for it to end, or end it; nothing was changed."
                        )
                    if seconds == 0:
                        log.info("waiting for %s to end, which trains this", holder)
                    time.sleep(1)
            except OSError as trouble:
                log.warning(
                    "%s cannot be locked (%s): do not train it twice at the same time, which would go unnoticed",
                    self.folder,
                    trouble,
                )
            _write_holder(lock, f"process {os.getpid()} on {socket.gethostname()} since {now()}")

    @contextlib.contextmanager
    def _in_reach(self):
        """Say in one sentence that the disk of the states fails, as a drive does that is not connected."""
        try:
            yield
        except OSError as trouble:
            raise MachineError(
                f"{self.folder} cannot be used ({trouble.strerror or trouble}). Nothing was changed: once its disk "
                "or drive is back, run the same command again to resume."
            ) from trouble

    def load(self):
        """Return the state to resume from, or None; say so where the last one was of another training run.

        Raises UserError where its disk fails: to train from the start would be the loss of all that is there.
        """
        before = read_progress(self.progress)  # it is for people: its loss is no harm
        if before.get("state", self.current.name) != self.current.name:
            log.warning(
                "the last session trained something else: %s. Its state is kept in %s.",
                "; ".join(list_changes(before.get("identity") or {}, self.identity, [UPDATE])),
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
            existing = sum(file.stat().st_size for file in self.current.glob("*.safetensors"))
            free = shutil.disk_usage(self.current).free
        if free + existing < 3 * one:
            raise MachineError(
                f"{self.current} needs {file_size(3 * one)} for the states of this model, and its disk has "
                f"{file_size(free)} free. Free some space and run the same command again."
            )
        if not self.save(training):
            raise MachineError(f"{self.current}: {self.trouble}. Nothing was trained.")

    def save(self, training):
        """Save the state and return True; where the disk will not have it, log why and return False."""
        start = time.monotonic()
        try:
            save_state(self.current, *training.to_state())
            write_progress(self.progress, self._describe(training))
        except OSError as trouble:
            self.trouble = trouble.strerror or str(trouble)
            log.warning("the state could not be saved (%s); trying again later", self.trouble)
            self.next_save = time.monotonic() + max(SOONEST_RETRY, self.cost / self.saving_share)
            return False
        end = time.monotonic()
        self.trouble, self.cost = None, end - start
        # What a save took beyond its share, as on a disk that slows down, the next ones wait for.
        if self.saved_at:
            allowed = self.saving_share * (end - self.last_save)
            self.overspent = max(0.0, self.overspent + self.cost - allowed)
        self.last_save, self.saved_at = end, (training.epoch, training.step)
        self.next_save = end + (self.overspent + self.cost) / self.saving_share
        return True

    @property
    def due(self) -> bool:
        """Whether to save now: as often as its share of the time allows, and after a failure once in a while."""
        return time.monotonic() >= self.next_save

    def _describe(self, training):
        done = training.epoch + training.step / training.steps
        return Progress(
            epoch=training.epoch,
            epochs=training.settings["epochs"],
            complete=training.complete,
            machine=platform.node(),
            epoch_seconds=training.seconds / done if done else None,
            unended_sessions=count_unended(training.sessions),  # this one too, which may be killed
            state=self.current.name,
            identity=self.identity,
            study=self.study,
        )


def take_way(state: str | Path, identity: Identity, setting: str, choice: Choice) -> Identity:
    """Return an identity with the precision and the update of the training run: those that it was begun with, if it was.

    identity: without them; setting: the precision that the config asks for; choice: what is chosen for it today; state: as
    for Keeper.
    """
    others = [other for other in PRECISIONS if other != choice.precision] if setting == "auto" else []
    today, *earlier = list_ways(identity, [choice.precision, *others])
    begun = next((way for way in (today, *earlier) if Keeper(state, way).begun), today)
    if begun["precision"] != choice.precision:
        log.info("begun in %s, which precision: auto chose there: it resumes in it", begun["precision"])
    return begun


def _read_holder(lock):
    text = b""
    with (
        contextlib.suppress(OSError),
        open(lock, "rb") as file,
    ):  # who holds it is a help; that it is held is certain
        file.seek(HOLDER_AT)
        text = file.read()
    return text.decode("utf-8", "replace").strip() or "another process"


def _write_holder(lock, text):
    with open(lock, "r+b" if lock.exists() else "wb") as file:
        file.seek(HOLDER_AT)
        file.write(text.encode())
        file.truncate()


def count_unended(sessions: list[dict[str, Any]]) -> int:
    """Return how many of the last sessions, one after the other, ended without warning, or have not ended yet."""
    return sum(1 for _ in itertools.takewhile(lambda session: session["reason"] is None, reversed(sessions)))


def now() -> str:
    """Return the time in UTC, as ISO 8601 text."""
    return datetime.now(UTC).isoformat(timespec="seconds")
