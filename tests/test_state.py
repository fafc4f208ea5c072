"""The state file: what goes in comes out, and a good one is left whatever happens to a save.

The kills between two system calls are made with ptrace: a child saves, is stopped before and after
each of its system calls, and is killed at the n-th stop, for every n there is.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from baton.errors import UserError
from baton.training import state
from baton.training.state import NEWEST, PREVIOUS, UNREADABLE, load_state, save_state

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64"),
]
OLD = {"weights": np.arange(12, dtype=np.float32)}, {"epoch": 1}
NEW = {"weights": np.arange(12, dtype=np.float32) + 100}, {"epoch": 2}


def bits(arrays):
    """Return what arrays are, to the last bit: dtype, shape and bytes by name."""
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


def assert_holds(folder, expected):
    arrays, values = load_state(folder)
    assert bits(arrays) == bits(expected[0])
    assert values == expected[1]


def save_two(folder):
    """Save OLD, then NEW."""
    save_state(folder, *OLD)
    save_state(folder, *NEW)


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_dtype_and_bit_pattern_comes_back(self, tmp_path, dtype):
        size = np.dtype(dtype).itemsize
        raw = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 256, 64 * size, np.uint8)
        arrays = {
            "flat": raw.view(dtype),
            "deep": raw.view(dtype).reshape(4, 2, 8),
            "scalar": raw[:size].view(dtype).reshape(()),
            "empty": raw[:0].view(dtype).reshape(0, 3),
        }
        save_state(tmp_path, arrays, {})
        assert_holds(tmp_path, (arrays, {}))

    def test_nan_payloads_and_signed_zeros_keep_their_bits(self, tmp_path):
        patterns = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x7F800000, 0x80000000, 1], np.uint32)
        save_state(tmp_path, {"odd": patterns.view(np.float32)}, {})
        np.testing.assert_array_equal(load_state(tmp_path)[0]["odd"].view(np.uint32), patterns)

    @pytest.mark.parametrize("view", ["transposed", "strided", "reversed", "fortran"])
    def test_arrays_that_are_not_contiguous_come_back(self, tmp_path, view):
        whole = np.arange(24, dtype=np.float32).reshape(4, 6)
        views = {
            "transposed": whole.T,
            "strided": whole[:, ::2],
            "reversed": whole[::-1],
            "fortran": np.asfortranarray(whole),
        }
        save_state(tmp_path, {"view": views[view]}, {})
        np.testing.assert_array_equal(load_state(tmp_path)[0]["view"], views[view])

    def test_values_come_back_with_every_digit_nan_and_unicode(self, tmp_path):
        values = {
            "history": [
                {"loss": 0.1 + 0.2, "val_loss": float("nan")},
                {"loss": 5e-324, "val_loss": float("inf")},
            ],
            "best_epoch": None,
            "reason": "Ctrl-C – Größe",
        }
        save_state(tmp_path, {}, values)
        assert repr(load_state(tmp_path)[1]) == repr(values)

    def test_an_empty_folder_has_no_state(self, tmp_path):
        assert load_state(tmp_path) is None

    def test_a_folder_that_went_away_is_not_made_anew(self, tmp_path):
        with pytest.raises(OSError):
            save_state(tmp_path / "drive", *OLD)
        assert not (tmp_path / "drive").exists()

    def test_the_newest_is_loaded_and_the_one_before_is_kept(self, tmp_path):
        save_two(tmp_path)
        assert_holds(tmp_path, NEW)
        os.remove(tmp_path / NEWEST)
        assert_holds(tmp_path, OLD)

    def test_the_file_is_on_the_disk_before_it_takes_its_name(self, tmp_path, monkeypatch):
        save_state(tmp_path, *OLD)
        calls = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)

            def noting(*arguments, name=name, real=real):
                if name == "fsync":
                    calls.append((name, Path(os.readlink(f"/proc/self/fd/{arguments[0]}")).name))
                else:
                    calls.append((name, Path(arguments[1]).name))
                return real(*arguments)

            monkeypatch.setattr(os, name, noting)
        save_state(tmp_path, *NEW)
        assert calls == [
            ("fsync", "aside.tmp"),
            ("replace", PREVIOUS),
            ("replace", NEWEST),
            ("fsync", tmp_path.name),
        ]

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
    def test_a_drive_that_cannot_flush_a_folder_is_saved_on(self, tmp_path, monkeypatch, number):
        flushed, real = [], os.fsync

        def fsync(handle):
            if os.path.isdir(f"/proc/self/fd/{handle}"):
                raise OSError(number, os.strerror(number))
            flushed.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
            real(handle)

        monkeypatch.setattr(state.os, "fsync", fsync)
        save_two(tmp_path)
        assert flushed == ["aside.tmp"] * 2
        assert_holds(tmp_path, NEW)

    def test_a_state_that_cannot_be_opened_is_not_taken_for_absent(self, tmp_path, monkeypatch):
        save_two(tmp_path)

        def missing(path, framework):
            raise FileNotFoundError(f"No such file or directory: {path}")  # as safetensors says of any reason

        monkeypatch.setattr(state, "safe_open", missing)
        with pytest.raises(OSError, match="it was there and cannot be opened") as trouble:
            load_state(tmp_path)
        assert (trouble.value.errno, trouble.value.filename) == (errno.EIO, str(tmp_path / NEWEST))


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def make_foreign(path):
    save_file({"weights": np.zeros(3)}, path)


def make_older(path):
    save_file(OLD[0], path, metadata={"baton": "0", "values": "{}"})


def make_unsigned(path):
    save_file(OLD[0], path, metadata={"baton": "1"})


def make_text(path):
    path.write_text("this is not a state at all, and longer than eight bytes")


SIZE = 400  # of the states above, about; cuts beyond it are of the whole file less a few bytes
DAMAGES = {
    **{
        f"cut to {length}": lambda path, n=length: cut(path, n)
        for length in [0, 1, 7, 8, 9, 40, 100, 200, SIZE // 2]
    },
    **{f"cut by {length}": lambda path, n=length: cut(path, -n) for length in [1, 2, 4, 16, 47, 48, 49]},
    "foreign": make_foreign,
    "older": make_older,
    "unsigned": make_unsigned,
    "text": make_text,
}
WORDS = {"foreign": "not a state of Baton", "older": "a state of format 0, and this Baton reads format 1"}


class TestDamaged:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_one_before_is_used_with_a_warning_that_names_the_file(self, tmp_path, caplog, damage):
        save_two(tmp_path)
        DAMAGES[damage](tmp_path / NEWEST)
        assert_holds(tmp_path, OLD)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert f"{tmp_path / NEWEST} is {WORDS.get(damage, 'damaged')}" in record.getMessage()
        assert "resuming from the state before it" in record.getMessage()

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_next_save_does_not_put_the_bad_one_in_the_place_of_the_good_one(self, tmp_path, damage):
        save_two(tmp_path)
        DAMAGES[damage](tmp_path / NEWEST)
        bad = (tmp_path / NEWEST).read_bytes()
        load_state(tmp_path)
        save_state(tmp_path, *NEW)
        assert_holds(tmp_path, NEW)
        assert (tmp_path / UNREADABLE).read_bytes() == bad
        os.remove(tmp_path / NEWEST)
        assert_holds(tmp_path, OLD)

    def test_no_single_flipped_bit_goes_unnoticed(self, tmp_path):
        save_two(tmp_path)
        whole = (tmp_path / NEWEST).read_bytes()
        for position in range(len(whole)):
            flip(tmp_path / NEWEST, position, position % 8)
            arrays, values = load_state(tmp_path)
            # White space round the JSON of the header may change without changing what it says.
            if (values, bits(arrays)) != (OLD[1], bits(OLD[0])):
                assert (values, bits(arrays)) == (NEW[1], bits(NEW[0])), f"byte {position}"
                assert position < len(whole) - NEW[0]["weights"].nbytes, f"byte {position}"
            (tmp_path / UNREADABLE).unlink(missing_ok=True)
            (tmp_path / NEWEST).write_bytes(whole)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_two_bad_ones_are_refused_and_left_alone(self, tmp_path, damage):
        save_two(tmp_path)
        for name in (NEWEST, PREVIOUS):
            DAMAGES[damage](tmp_path / name)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(UserError) as refusal:
            load_state(tmp_path)
        for name in (NEWEST, PREVIOUS):
            assert f"{tmp_path / name} is {WORDS.get(damage, 'damaged')}" in str(refusal.value)
        assert f"move {tmp_path} away" in str(refusal.value)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_bad_newest_without_another_is_refused_and_left_alone(self, tmp_path):
        save_state(tmp_path, *OLD)
        cut(tmp_path / NEWEST, 50)
        with pytest.raises(UserError, match="no state can be read"):
            load_state(tmp_path)
        assert os.listdir(tmp_path) == [NEWEST]

    def test_half_a_save_aside_is_not_taken_for_a_state(self, tmp_path):
        save_two(tmp_path)
        (tmp_path / "aside.tmp").write_bytes((tmp_path / NEWEST).read_bytes()[:100])
        assert_holds(tmp_path, NEW)


# Runs in a process of its own: SAVER forks a child for every stop, which asks to be traced and saves.
SAVER = """
import ctypes, json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from baton.training.state import NEWEST, load_state, save_state

folder, before = sys.argv[2], sys.argv[3]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
TRACEME, SYSCALL = 0, 24

def trace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")

def state(number):  # large enough for several writes, small enough to be read a thousand times
    return {f"{name}": np.full(9000, number, np.float32) for name in "abc"}, {"epoch": number}

def number_of(found):
    if found is None:
        return None
    arrays, values = found
    number = values["epoch"]
    good = set(arrays) == set("abc") and all((array == number).all() for array in arrays.values())
    return number if good else "mixed"

def prepare():
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    if before == "two":
        save_state(folder, *state(1))
    if before != "none":
        save_state(folder, *state(2))
    if before == "torn":
        save_state(folder, *state(9))
        with open(os.path.join(folder, NEWEST), "r+b") as file:
            file.truncate(1000)

outcomes, stops, cleared = [], 0, None
while True:
    stops += 1
    prepare()
    child = os.fork()
    if child == 0:
        try:
            libc.ptrace(TRACEME, 0, None, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            if before == "torn":
                load_state(folder)  # puts the torn one out of the way
            save_state(folder, *state(3))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for _ in range(stops):
        trace(SYSCALL, child)
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            break
    if not os.WIFSTOPPED(status):
        break  # it came to its end: every stop was tried
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    outcomes.append(number_of(load_state(folder)))
    if cleared is None and any(name.startswith(".tmp") for name in os.listdir(folder)):
        save_state(folder, *state(4))
        cleared = os.listdir(folder)
print(json.dumps([outcomes, cleared]))
"""


def kill_at_every_stop(folder, before):
    """Return what was found after a save of state 3 was killed at its first, second, ... system call stop."""
    done = subprocess.run(
        [sys.executable, "-c", SAVER, str(SCRIPTS), str(folder), before],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes, cleared = json.loads(done.stdout)
    assert cleared and set(cleared) <= {NEWEST, PREVIOUS, UNREADABLE}, "the next save clears what a kill left"
    return outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace as Linux has it")
class TestKilledBetweenSystemCalls:
    @pytest.mark.parametrize("before", ["one", "two", "torn"])
    def test_the_old_or_the_new_state_is_there_whole(self, tmp_path, before):
        outcomes = kill_at_every_stop(tmp_path, before)
        assert set(outcomes) == {2, 3}
        assert outcomes == sorted(outcomes), "once the new one is there it stays"
        assert (
            outcomes.count(2) > 20 and outcomes.count(3) >= 4
        )  # stops in writing; stops in flushing the folder

    def test_the_first_save_of_all_is_there_whole_or_not_at_all(self, tmp_path):
        outcomes = kill_at_every_stop(tmp_path, "none")
        new = outcomes.index(3)
        assert outcomes == [None] * new + [3] * (len(outcomes) - new)
        assert new > 20


FULL = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from baton.training.state import load_state, save_state
folder, how, room = sys.argv[2], sys.argv[3], int(sys.argv[4])
def state(number, count):
    return {"a": np.full(count, number, np.float32)}, {"epoch": number}
save_state(folder, *state(1, 1000))
save_state(folder, *state(2, 1000))
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
before = {name: open(f"{folder}/{name}", "rb").read() for name in os.listdir(folder)}
for attempt in range(3):
    try:
        save_state(folder, *state(3, 1_000_000))
    except OSError as error:
        print("OSError", error)
    after = {name: open(f"{folder}/{name}", "rb").read() for name in os.listdir(folder)}
    assert after == before, (sorted(before), sorted(after))
if how == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
save_state(folder, *state(4, 1000))
assert load_state(folder)[1] == {"epoch": 4}
print("saved again")
"""


class TestFullDisk:
    """Room for small states and not for a large one: three saves fail and harm nothing, then one succeeds."""

    @pytest.mark.parametrize("room", [0, 1, 100, 4096, 1_000_000, 3_999_000])
    def test_a_write_that_is_cut_short_anywhere(self, tmp_path, room):
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(SCRIPTS), str(tmp_path), "limit", str(room)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 4 and lines[3] == "saved again"
        assert all(line.startswith("OSError") and "File too large" in line for line in lines[:3])

    def test_a_file_system_that_is_full(self, tmp_path):
        mount = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
        alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh", str(tmp_path)]
        if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
            pytest.skip(
                "this system lets no user mount a file system of its own; the limit above stands for it"
            )
        done = subprocess.run(
            [*alone, sys.executable, "-c", FULL, str(SCRIPTS), str(tmp_path), "disk", "0"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 4 and lines[3] == "saved again"
        assert all(line.startswith("OSError") and "No space left on device" in line for line in lines[:3])

    def test_a_disk_that_cannot_flush(self, tmp_path, monkeypatch):
        save_two(tmp_path)

        def fail(_handle):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(state.os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output error"):
            save_state(tmp_path, {"weights": np.zeros(3)}, {"epoch": 3})
        assert_holds(tmp_path, NEW)
        assert sorted(os.listdir(tmp_path)) == [PREVIOUS, NEWEST]


def test_a_save_needs_room_for_one_state_more_and_no_memory_for_a_copy_of_the_largest(tmp_path):
    """Peak memory of a save, in a process of its own: far below a second copy of the arrays."""
    script = (
        "import sys, resource; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np; from baton.training.state import save_state\n"
        "arrays = {'a': np.ones(50_000_000, np.float32)}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "save_state(sys.argv[2], arrays, {})\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(SCRIPTS), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) / 1024 < 100, "MB; the array has 200"
    assert (tmp_path / NEWEST).stat().st_size == pytest.approx(200_000_000, rel=0.001)


@pytest.mark.parametrize(
    "number, of_a_folder, raises",
    [
        (errno.EINVAL, True, False),
        (errno.ENOTSUP, True, False),
        (errno.EINVAL, False, True),  # a file must be flushed
        (errno.EIO, True, True),  # a disk that fails is no drive without the call
        (errno.EIO, False, True),
    ],
)
def test_what_a_flush_that_fails_means(tmp_path, monkeypatch, number, of_a_folder, raises):
    def fail(_handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    path = tmp_path if of_a_folder else tmp_path / "state"
    if not of_a_folder:
        path.write_bytes(b"state")
    with pytest.raises(OSError) if raises else contextlib.nullcontext():
        state.flush(path)
