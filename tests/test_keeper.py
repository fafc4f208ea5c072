"""The keeper of a run: one writer, the right state, saves as often as they may cost, and a disk that fails."""

import builtins
import errno
import fcntl
import hashlib
import json
import os
import platform
import random
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

from baton.errors import UserError
from baton.study.identity import digest_data, identify, ignored_when_finished, list_changes
from baton.training import keeper as module
from baton.training import state
from baton.training.keeper import SOONEST_RETRY, Keeper
from baton.training.state import NEWEST, PREVIOUS, load_state

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
IDENTITY = {"l2": 0.1, "seed": 1, "threads": 2}


class Clock:
    """Stands in for `time`: goes on only when told, and by `cost` with every save."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def make_training(epoch=3, step=7, size=1000):
    """Return what a keeper needs of a training run, with a state of about `size` bytes."""
    weights = np.full(size // 4, epoch, np.float32)
    return SimpleNamespace(
        epoch=epoch,
        step=step,
        steps=8,
        settings={"epochs": 9},
        complete=False,
        seconds=12.5,
        sessions=[{"reason": "it received SIGTERM"}, {"reason": None}],
        to_state=lambda: ({"weights": weights}, {"epoch": epoch, "step": step}),
        state_bytes=lambda: weights.nbytes,
    )


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "net/seed_1", IDENTITY)
    with keeper.only_writer():
        yield keeper


def fail_with(number):
    def fail(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return fail


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from baton.training.keeper import Keeper
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

    def test_the_lock_of_an_earlier_version_is_respected(self, tmp_path):
        """It was a flock on the same file, with the holder's name in it."""
        with open(tmp_path / "lock", "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write("process 7 on old since 2026-01-02T03:04:05+00:00")
            file.flush()
            with (
                pytest.raises(UserError, match="in use by process 7 on old since 2026-01-02"),
                Keeper(tmp_path, IDENTITY).only_writer(),
            ):
                pytest.fail("two writers")
        with Keeper(tmp_path, IDENTITY).only_writer():
            assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
            with open(tmp_path / "lock", "a+", encoding="utf-8") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_no_marker_file_is_left_in_place_of_a_lock(self, tmp_path):
        with Keeper(tmp_path, IDENTITY).only_writer():
            pass
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["lock"]

    def test_another_identity_of_the_same_run_is_refused_too(self, tmp_path, holder):
        with pytest.raises(UserError, match="is in use"), Keeper(tmp_path, {"l2": 0.2}).only_writer():
            pass

    def test_the_lock_of_a_killed_process_does_not_block(self, tmp_path, holder):
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert f"process {holder.pid} " in (tmp_path / "lock").read_text()
        with Keeper(tmp_path, IDENTITY).only_writer():
            assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()

    def test_what_is_waited_for_is_said_once(self, tmp_path, holder, caplog, monkeypatch):
        slept = []

        def sleep(seconds):
            assert len(caplog.records) == 1  # said before the first wait, and not again
            slept.append(seconds)
            if len(slept) == 3:
                holder.kill()
                holder.wait()

        monkeypatch.setattr(module.time, "sleep", sleep)
        with caplog.at_level("INFO"), Keeper(tmp_path, IDENTITY).only_writer(lambda: True):
            pass
        assert slept[:3] == [1, 1, 1]
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1 and said[0].startswith(f"waiting for process {holder.pid} on ")

    def test_an_error_while_it_is_held_gives_it_back(self, tmp_path):
        with pytest.raises(ZeroDivisionError), Keeper(tmp_path, IDENTITY).only_writer():
            raise ZeroDivisionError
        with Keeper(tmp_path, IDENTITY).only_writer():
            pass

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
    def test_a_file_system_without_locks_is_trained_on_with_a_warning(
        self, tmp_path, monkeypatch, caplog, number
    ):
        monkeypatch.setattr(fcntl, "flock", fail_with(number))
        with Keeper(tmp_path, IDENTITY).only_writer():
            (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"{tmp_path} cannot be locked" in record.getMessage()
        assert os.strerror(number) in record.getMessage()
        assert "do not train it twice at the same time" in record.getMessage()

    def test_a_system_without_locks_is_trained_on_with_a_warning(self, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr(module, "FileLock", module.SoftFileLock)  # as filelock itself does there
        with Keeper(tmp_path, IDENTITY).only_writer():
            assert "this system has no such locks" in caplog.text


class TestIdentity:
    def test_what_a_training_follows_from_and_nothing_else(self):
        settings = {"name": "net", "epochs": 9, "precision": "auto", "l2": 0.1, "synthetic_fraction": 0}
        expected = {"l2": 0.1, "augmentation.flip": None, "seed": 1, "data": "abc"}
        assert identify(settings, {"flip": None}, 1, data="abc") == expected
        more = settings | {"synthetic_fraction": 0.2, "synthetic_seed": 4}
        synthetic = {"synthetic_fraction": 0.2, "synthetic_seed": 4}
        assert identify(more, {"flip": None}, 1, data="abc") == expected | synthetic

    @pytest.mark.parametrize(
        "size, fraction, changed",
        [
            (224, 0.2, []),
            (225, 0, []),
            (225, 0.2, ["the meaning of augmentation synthetic images"]),
            (512, 0.2, ["the meaning of augmentation synthetic images"]),
        ],
    )
    def test_large_synthetic_images_are_others_and_what_is_finished_stays(self, size, fraction, changed):
        settings = {"size": size, "synthetic_fraction": fraction, "precision": "float32"}
        found = identify(settings, {"flip": None}, 1)
        before = {"size": size, "augmentation.flip": None, "seed": 1}
        before |= {"synthetic_fraction": fraction} if fraction else {}
        assert sorted(set(found) - set(before)) == changed
        assert list_changes(before, found, ignored_when_finished(settings)) == []

    @pytest.mark.parametrize(
        "augmentation, changed",
        [
            ({"flip": "horizontal", "contrast": 0}, []),
            ({"flip": "vertical", "contrast": 0}, []),
            ({"flip": "horizontal_and_vertical", "contrast": 0}, ["the meaning of augmentation flip"]),
            ({"flip": None, "contrast": 0.1}, ["the meaning of augmentation contrast"]),
        ],
    )
    def test_what_means_another_thing_now_is_another_identity_and_nothing_else_is(
        self, augmentation, changed
    ):
        found = identify({"l2": 0}, augmentation, 1)
        before = {"l2": 0, "seed": 1} | {f"augmentation.{key}": value for key, value in augmentation.items()}
        assert sorted(set(found) - set(before)) == changed
        assert [change.partition(" was ")[0] for change in list_changes(before, found)] == changed

    def test_the_digest_of_the_data_is_of_what_is_in_each_file(self, tmp_path):
        paths = [tmp_path / name for name in ("train.csv", "validation.csv", "class_weights.json")]
        for path in paths:
            path.write_bytes(path.name.encode())
        found = digest_data(*paths)
        assert found == hashlib.sha256(b"train.csvvalidation.csvclass_weights.json").hexdigest()[:16]
        for path in paths:
            path.write_bytes(b"other")
            assert digest_data(*paths) != found
            path.write_bytes(path.name.encode())
        assert digest_data(*paths) == found

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
            "machine": platform.node(),
            "epoch_seconds": 12.5 / 4.875,
            "unended_sessions": 1,
            "state": keeper.current.name,
            "identity": IDENTITY,
            "study": None,
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

    def test_a_save_that_took_longer_than_expected_is_made_up_for(self, keeper, clock):
        keeper.save(make_training())
        began, spent, draw = clock.now, 0.0, random.Random(1)
        for _ in range(50):
            clock.now = keeper.next_save
            clock.cost = draw.choice([0.2, 1.0, 3.0, 30.0])
            keeper.save(make_training())
            spent += clock.cost
            assert spent + clock.cost <= 0.01 * (keeper.next_save - began), "with one more like the last"
        # To catch up is no reason to save late for good: after one as cheap as before, an interval like the first.
        clock.now, clock.cost = keeper.next_save, 1.0
        keeper.save(make_training())
        clock.now = keeper.next_save
        keeper.save(make_training())
        assert keeper.next_save - clock.now == pytest.approx(100, rel=0.02)

    def test_time_without_saves_is_no_reason_for_many(self, keeper, clock):
        keeper.save(make_training())
        clock.now += 100_000
        keeper.save(make_training())
        assert keeper.next_save - clock.now == pytest.approx(100)


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
        monkeypatch.setattr(module, "write_progress", fail_with(errno.ENOSPC))
        keeper.save(make_training(epoch=2))
        assert load_state(keeper.current)[1]["epoch"] == 2
        assert (keeper.current / PREVIOUS).exists()


AWAY = "Transport endpoint is not connected"
# What a save does on the drive, in turn: (where it is called from, its name, which call of it).
CALLS = [
    *((state.os, "listdir", 1), (state, "save_file", 1), (state.os, "fsync", 1), (state.os, "replace", 1)),
    *((state.os, "replace", 2), (state.os, "fsync", 2), (builtins, "open", 1), (module.os, "replace", 3)),
]


def lose(patch, owner, name, call=1, first=None):
    """Let the drive be away from the n-th call of a function on; `first`: only calls with this first argument."""
    real, calls = getattr(owner, name), []

    def function(*arguments, **options):
        if first is None or str(arguments[0]).startswith(str(first)):
            calls.append(arguments)
            if len(calls) >= call:
                raise OSError(errno.ENOTCONN, AWAY)
        return real(*arguments, **options)

    patch.setattr(owner, name, function)


class TestDriveThatIsNotConnected:
    @pytest.mark.parametrize(("owner", "name", "call"), CALLS)
    def test_while_saving_it_costs_that_save_and_no_more(self, keeper, monkeypatch, owner, name, call):
        assert keeper.save(make_training(epoch=1)) and keeper.save(make_training(epoch=2))
        with monkeypatch.context() as patch:
            lose(patch, owner, name, call)
            assert keeper.save(make_training(epoch=3)) is False
            assert keeper.save(make_training(epoch=4)) is False
        assert keeper.trouble == AWAY
        saved = (
            2 if (owner, name, call) in CALLS[:5] else 3
        )  # the last calls come after the state has its name
        assert Keeper(keeper.folder, IDENTITY).load()[1]["epoch"] >= saved
        assert keeper.save(make_training(epoch=5)) and keeper.trouble is None
        arrays, values = Keeper(keeper.folder, IDENTITY).load()
        assert values["epoch"] == 5 and (arrays["weights"] == 5).all()
        assert set(os.listdir(keeper.current)) == {NEWEST, PREVIOUS}
        assert json.loads((keeper.folder / "progress.json").read_text())["epoch"] == 5

    @pytest.mark.parametrize(
        ("owner", "name", "call"),
        [
            (Path, "mkdir", 1),
            (builtins, "open", 1),
            (module.os, "getpid", 1),
        ],  # the last in place of writing to the lock
    )
    def test_at_the_start_it_is_told_in_a_sentence(self, tmp_path, monkeypatch, owner, name, call):
        keeper = Keeper(tmp_path / "net/seed_1", IDENTITY)
        with monkeypatch.context() as patch:
            lose(patch, owner, name, call, first=tmp_path if name != "getpid" else None)
            with pytest.raises(UserError) as refusal, keeper.only_writer():
                pytest.fail("without a drive")
        assert str(refusal.value) == (
            f"{keeper.folder} cannot be used ({AWAY}). Nothing was changed: once its disk or drive is back, run "
            "the same command again to resume."
        )
        with keeper.only_writer():
            assert keeper.save(make_training(epoch=1))

    def test_a_link_to_a_drive_that_is_not_mounted_is_told_and_nothing_made_in_its_place(self, tmp_path):
        (tmp_path / "state").symlink_to(tmp_path / "drive/state")
        with pytest.raises(UserError, match="cannot be used"):
            Keeper(tmp_path / "state/net/seed_1", IDENTITY).only_writer().__enter__()
        assert os.listdir(tmp_path) == ["state"]

    @pytest.mark.parametrize("lost", [NEWEST, PREVIOUS, ""])
    def test_a_state_out_of_reach_is_never_trained_anew(self, keeper, monkeypatch, lost):
        keeper.save(make_training(epoch=1)) and keeper.save(make_training(epoch=2))
        if lost == PREVIOUS:
            (keeper.current / NEWEST).unlink()
        before = {path.name: path.read_bytes() for path in keeper.current.iterdir()}
        with monkeypatch.context() as patch:
            lose(patch, builtins, "open", first=keeper.current / lost)
            with pytest.raises(UserError, match=AWAY):
                keeper.load()
        assert {path.name: path.read_bytes() for path in keeper.current.iterdir()} == before

    @pytest.mark.parametrize("name", ["disk_usage", "save_state"])
    def test_before_the_first_step_it_is_told_in_a_sentence(self, keeper, monkeypatch, name):
        lose(monkeypatch, shutil if name == "disk_usage" else module, name)
        with pytest.raises(UserError, match=AWAY):
            keeper.first_save(make_training())

    def test_a_lock_that_cannot_be_closed_does_not_undo_what_is_done(self, tmp_path, monkeypatch):
        release, done = module.FileLock.release, []

        def fail(lock, *arguments, **options):
            """As on a drive that went away: the lock is gone, and it can only be told so."""
            release(lock, *arguments, **options)
            raise OSError(errno.ENOTCONN, AWAY)

        monkeypatch.setattr(module.FileLock, "release", fail)
        with Keeper(tmp_path, IDENTITY).only_writer():
            done.append("all")
        assert done == ["all"]
        with pytest.raises(KeyError), Keeper(tmp_path, IDENTITY).only_writer():
            raise KeyError("what really happened")
        assert done == ["all"]


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
