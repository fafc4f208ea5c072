"""The keeper of a run: one writer, the right state, saves as often as they may cost, and a disk that fails."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from baton import keeper as module
from baton.keeper import SOONEST_RETRY, Keeper
from baton.logs import UserError
from baton.state import NEWEST, PREVIOUS, load_state

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
IDENTITY = {"l2": 0.1, "seed": 1, "threads": 2}


class Clock:
    """Stands in for `time`: goes on only when told, and by `cost` with every save."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def make_training(epoch=3, step=7, size=1000):
    """Return what a keeper needs of a training, with a state of about `size` bytes."""
    weights = np.full(size // 4, epoch, np.float32)
    return SimpleNamespace(
        epoch=epoch,
        step=step,
        settings={"epochs": 9},
        complete=False,
        to_state=lambda: ({"weights": weights}, {"epoch": epoch, "step": step}),
        state_bytes=lambda: weights.nbytes,
    )


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "net/seed_1", IDENTITY)
    with keeper.only_writer():
        yield keeper


def fail_with(number):
    def fail(*_arguments):
        raise OSError(number, os.strerror(number))

    return fail


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from baton.keeper import Keeper
with Keeper(sys.argv[2], {"l2": 0.1}).only_writer():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process of its own that holds the run in tmp_path until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(SCRIPTS), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


class TestOnlyWriter:
    def test_a_second_process_is_told_who_holds_it_where_and_since_when(self, tmp_path, holder):
        with pytest.raises(UserError) as refusal, Keeper(tmp_path, IDENTITY).only_writer():
            pytest.fail("two writers")
        who = rf"process {holder.pid} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d"
        assert re.search(rf"{re.escape(str(tmp_path))} is in use by {who}", str(refusal.value))
        assert "nothing was changed" in str(refusal.value)

    def test_being_refused_leaves_the_holders_name_in_the_lock(self, tmp_path, holder):
        before = (tmp_path / "lock").read_text()
        for _ in range(2):
            with pytest.raises(UserError), Keeper(tmp_path, IDENTITY).only_writer():
                pass
        assert (tmp_path / "lock").read_text() == before

    def test_another_identity_of_the_same_run_is_refused_too(self, tmp_path, holder):
        with pytest.raises(UserError, match="is in use"), Keeper(tmp_path, {"l2": 0.2}).only_writer():
            pass

    def test_the_lock_of_a_killed_process_does_not_block(self, tmp_path, holder):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert f"process {holder.pid} " in (tmp_path / "lock").read_text()
        with Keeper(tmp_path, IDENTITY).only_writer():
            assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()

    def test_an_error_while_it_is_held_gives_it_back(self, tmp_path):
        with pytest.raises(ZeroDivisionError), Keeper(tmp_path, IDENTITY).only_writer():
            raise ZeroDivisionError
        with Keeper(tmp_path, IDENTITY).only_writer():
            pass

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
    def test_a_file_system_without_locks_is_trained_on_with_a_warning(
        self, tmp_path, monkeypatch, caplog, number
    ):
        monkeypatch.setattr(module.fcntl, "flock", fail_with(number))
        with Keeper(tmp_path, IDENTITY).only_writer():
            (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"{tmp_path} cannot be locked" in record.getMessage()
        assert os.strerror(number) in record.getMessage()
        assert "do not train it twice at a time" in record.getMessage()

    def test_a_system_without_locks_is_trained_on_with_a_warning(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(module, "fcntl", None)
        with Keeper(tmp_path, IDENTITY).only_writer():
            assert "this system has no such locks" in caplog.text


class TestIdentity:
    def test_the_order_of_keys_does_not_matter_and_every_value_does(self, tmp_path):
        folder = Keeper(tmp_path, IDENTITY).current
        assert Keeper(tmp_path, dict(reversed(IDENTITY.items()))).current == folder
        others = {Keeper(tmp_path, IDENTITY | {key: 5}).current for key in IDENTITY}
        assert len(others | {folder}) == 1 + len(IDENTITY)

    def test_the_same_identity_finds_its_state_and_says_nothing(self, keeper, caplog):
        keeper.save(make_training(epoch=4))
        assert Keeper(keeper.folder, IDENTITY).load()[1]["epoch"] == 4
        assert caplog.records == []

    def test_a_changed_one_names_old_and_new_value_and_keeps_the_old_state(self, keeper, caplog):
        keeper.save(make_training(epoch=4))
        other = Keeper(keeper.folder, {"l2": 0.2, "seed": 1, "data": "abc"})
        assert other.load() is None
        (record,) = caplog.records
        assert "l2 was 0.1 and is 0.2" in record.getMessage()
        assert "threads was 2 and is None" in record.getMessage()
        assert "data was None and is abc" in record.getMessage()
        assert "seed" not in record.getMessage().partition(". Its state")[0]
        assert f"kept in {keeper.current}" in record.getMessage()
        assert load_state(keeper.current)[1]["epoch"] == 4

    def test_changed_back_the_first_state_goes_on(self, keeper, caplog):
        keeper.save(make_training(epoch=4))
        other = Keeper(keeper.folder, IDENTITY | {"l2": 0.2})
        with_other = Keeper(keeper.folder, IDENTITY | {"l2": 0.2})
        other.current.mkdir()
        with_other.save(make_training(epoch=1))
        assert Keeper(keeper.folder, IDENTITY).load()[1]["epoch"] == 4
        assert "l2 was 0.2 and is 0.1" in caplog.text

    @pytest.mark.parametrize("content", ["", "{", "not json", "[]", "null", "{}"])
    def test_a_damaged_progress_file_harms_nothing(self, keeper, content):
        keeper.save(make_training(epoch=4))
        (keeper.folder / "progress.json").write_text(content)
        assert Keeper(keeper.folder, IDENTITY).load()[1]["epoch"] == 4

    def test_the_progress_tells_the_epoch_and_which_state(self, keeper):
        keeper.save(make_training(epoch=4))
        progress = json.loads((keeper.folder / "progress.json").read_text())
        assert progress == {
            "epoch": 4,
            "epochs": 9,
            "complete": False,
            "state": keeper.current.name,
            "identity": IDENTITY,
        }


@pytest.fixture
def clock(monkeypatch):
    """A clock that only a save moves on, by `clock.cost` seconds."""
    clock, real = Clock(), module.save_state
    clock.cost = 1.0

    def slow(*arguments):
        clock.now += clock.cost
        real(*arguments)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "save_state", slow)
    return clock


class TestDue:
    @pytest.mark.parametrize("cost", [0.02, 1.0, 3.5])
    @pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
    def test_a_save_is_due_when_it_costs_its_share_of_the_time(self, keeper, clock, cost, share):
        keeper.saving_share, clock.cost = share, cost
        assert keeper.save(make_training())
        assert keeper.cost == pytest.approx(cost)
        saved = clock.now
        clock.now = saved + cost / share - 0.001
        assert not keeper.due
        clock.now = saved + cost / share + 0.001
        assert keeper.due

    def test_a_save_of_one_second_is_due_again_after_a_hundred(self, keeper, clock):
        keeper.save(make_training())
        assert keeper.next_save - clock.now == pytest.approx(100)

    def test_it_is_due_before_the_first(self, keeper):
        assert keeper.due

    def test_dearer_saves_come_less_often(self, keeper, clock):
        saved, training = [], make_training()
        for second in range(20_000):
            clock.now += 1.0
            if keeper.due:
                clock.cost = 0.5 if second < 10_000 else 2.0
                keeper.save(training)
                saved.append(second)
        first, second = (sum(low <= at < low + 10_000 for at in saved) for low in (0, 10_000))
        assert 190 <= first <= 201 and 48 <= second <= 52


class TestFailingDisk:
    def test_a_save_that_fails_says_why_and_harms_nothing(self, keeper, monkeypatch, caplog):
        assert keeper.save(make_training(epoch=1)) and keeper.save(make_training(epoch=2, step=5))
        before = {path.name: path.read_bytes() for path in keeper.current.iterdir()}
        with monkeypatch.context() as patch:
            patch.setattr(module, "save_state", fail_with(errno.ENOSPC))
            assert keeper.save(make_training(epoch=3)) is False
        assert keeper.trouble == "No space left on device"
        assert keeper.saved_at == (2, 5)
        assert "could not be saved (No space left on device); trying again later" in caplog.text
        assert {path.name: path.read_bytes() for path in keeper.current.iterdir()} == before

    def test_it_is_tried_again_and_then_all_is_well(self, keeper, clock, monkeypatch):
        clock.cost = 0.02
        keeper.save(make_training(epoch=1))
        with monkeypatch.context() as patch:
            patch.setattr(module, "save_state", fail_with(errno.EIO))
            keeper.save(make_training(epoch=2))
        assert not keeper.due, "not at every step"
        clock.now += SOONEST_RETRY + 0.001
        assert keeper.due
        assert keeper.save(make_training(epoch=3, step=1))
        assert (keeper.trouble, keeper.saved_at) == (None, (3, 1))
        assert load_state(keeper.current)[1]["epoch"] == 3

    def test_a_drive_that_vanishes_and_comes_back(self, keeper, tmp_path):
        keeper.save(make_training(epoch=1))
        keeper.folder.rename(tmp_path / "away")
        assert keeper.save(make_training(epoch=2)) is False
        assert not keeper.folder.exists(), "no folder takes the drive's place"
        (tmp_path / "away").rename(keeper.folder)
        assert keeper.save(make_training(epoch=3))
        assert load_state(keeper.current)[1]["epoch"] == 3
        (keeper.current / NEWEST).unlink()
        assert load_state(keeper.current)[1]["epoch"] == 1

    def test_a_progress_file_that_cannot_be_written_harms_no_state(self, keeper, monkeypatch):
        keeper.save(make_training(epoch=1))
        monkeypatch.setattr(Keeper, "_tell_progress", fail_with(errno.ENOSPC))
        keeper.save(make_training(epoch=2))
        assert load_state(keeper.current)[1]["epoch"] == 2
        assert (keeper.current / PREVIOUS).exists()


Usage = namedtuple("Usage", "total used free")


class TestFirstSave:
    def test_a_disk_too_small_for_three_states_is_refused_with_both_sizes(self, keeper, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**10, 0, 29_000_000))
        with pytest.raises(UserError) as refusal:
            keeper.first_save(make_training(size=10_000_000))
        assert "needs 30 MB" in str(refusal.value) and "has 29 MB free" in str(refusal.value)
        assert os.listdir(keeper.current) == []

    def test_the_states_that_are_there_count(self, keeper, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**10, 0, 31_000_000))
        training = make_training(size=10_000_000)
        keeper.first_save(training)
        keeper.first_save(training)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**10, 0, 10_000_000))
        keeper.first_save(training)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**10, 0, 9_000_000))
        with pytest.raises(UserError, match="Free some space"):
            keeper.first_save(training)

    def test_a_save_that_fails_is_refused_before_the_first_step(self, keeper, monkeypatch):
        monkeypatch.setattr(module, "save_state", fail_with(errno.EROFS))
        with pytest.raises(UserError, match="Read-only file system. Nothing was trained"):
            keeper.first_save(make_training())
