"""Images decoded in several processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from baton.data import processes
from baton.data.processes import count_processes, decoders
from baton.errors import MachineError, UserError

SCRIPTS = Path(__file__).parents[1] / "scripts"
forked = pytest.mark.skipif(not processes.CAN_FORK, reason="processes are forked on Linux alone")
# Decodes for ever, and prints the processes in which it does.
ENDLESS = """
import os
from baton.data.processes import decoders

def work(path):
    return os.getpid()

with decoders(work, 2) as run:
    seen = set()
    for pid in run((str(number) for number in range(10**9)), 1):
        if pid not in seen:
            seen.add(pid)
            print(pid, flush=True)
"""


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("at_a_time", [1, 7, 1000])
@pytest.mark.parametrize("can_fork", [processes.CAN_FORK, False])
def test_what_is_found_comes_in_the_order_of_the_paths(count, at_a_time, can_fork, monkeypatch):
    monkeypatch.setattr(processes, "CAN_FORK", can_fork)
    with decoders(lambda path: (path, os.getpid()), count) as run:
        for last in (100, 0, 5):  # one split after the other
            found = list(run((str(number) for number in range(last)), at_a_time))
            assert [path for path, _ in found] == [str(number) for number in range(last)]
            assert all((pid == os.getpid()) != can_fork for _, pid in found)


@forked
def test_few_paths_are_taken_before_their_results_are():
    taken = []

    def paths():
        for number in range(1000):
            taken.append(number)
            yield str(number)

    with decoders(len, 2) as run:
        results = run(paths(), 3)
        assert next(results) == 1
        assert len(taken) == 3 * 5  # twice as many lots as processes wait, and the one that is read
        results.close()


@pytest.mark.parametrize("can_fork", [processes.CAN_FORK, False])
def test_what_is_wrong_with_an_image_is_told(can_fork, monkeypatch):
    monkeypatch.setattr(processes, "CAN_FORK", can_fork)

    def refuse(path):
        if path == "5":
            raise UserError(f"image {path} is gone")
        return path

    with pytest.raises(UserError, match="^image 5 is gone$"), decoders(refuse, 2) as run:
        list(run((str(number) for number in range(100)), 2))


@forked
def test_a_process_that_is_killed_is_an_error_of_the_machine():
    def die(path):
        if path == "20":
            os.kill(os.getpid(), signal.SIGKILL)
        return path

    with (
        pytest.raises(MachineError, match="as the system does where memory is short"),
        decoders(die, 2) as run,
    ):
        list(run((str(number) for number in range(100)), 4))


@pytest.mark.parametrize(
    ("cores", "mem_mb", "count"),
    # 300 MB are for two Snakemakes, 300 for the process that reads, 400 for each that decodes.
    [
        (16, 7000, 16),
        (16, 6999, 15),
        (16, 2000, 3),
        (16, 900, 1),
        (2, 100, 1),
        (2, 100_000, 2),
        (16, None, 16),
    ],
)
def test_no_more_decode_than_memory_is_enough_for(cores, mem_mb, count, caplog):
    caplog.set_level("INFO")
    assert count_processes(cores, mem_mb) == count
    fewer = [f"decoding on {count} of {cores} cores: there is memory for no more, {mem_mb} MB"]
    assert [record.message for record in caplog.records] == (fewer if count < cores else [])


@forked
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_none_is_left_where_the_one_that_forked_them_is_ended(number):
    command = [sys.executable, "-c", ENDLESS]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, text=True, **quiet) as program:
        try:
            assert len({program.stdout.readline() for _ in range(2)}) == 2
            program.send_signal(number)
            program.communicate(timeout=60)  # ends when the last of them has closed its output
        finally:
            program.kill()
    assert program.returncode != 0
