"""The session: whose time is up first, which signal came, and whether Snakemake is still there."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from baton.errors import SessionEnded
from baton.study import session as module
from baton.study.session import ENDS, SIGNALS, SNAKEMAKE, Session, announce_end, find_snakemake, session_end

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class TestClock:
    @pytest.mark.parametrize(
        ("runtime", "ends", "left", "limit"),
        [
            (10, None, 600, "the job's runtime"),
            (None, 300, 300, "session_minutes"),
            (10, 300, 300, "session_minutes"),
            (10, 900, 600, "the job's runtime"),
            (0, 300, 0, "the job's runtime"),
            (10, -5, -5, "session_minutes"),
        ],
    )
    def test_the_first_end_counts_and_is_named(self, runtime, ends, left, limit):
        clock = Clock()
        session = Session(runtime, None if ends is None else clock.now + ends, clock=clock)
        assert session.seconds_left() == pytest.approx(left)
        clock.now += max(left, 0) + 1
        assert session.reason_to_stop(0) == f"the time is up ({limit})"

    def test_without_a_limit_it_never_stops(self):
        clock = Clock()
        session = Session(clock=clock)
        clock.now += 1e9
        assert session.reason_to_stop(1e6) is None

    def test_it_stops_while_a_step_and_a_save_still_fit(self):
        clock = Clock()
        session = Session(1, clock=clock)
        stops = []
        for _ in range(60):
            stops.append(session.reason_to_stop(12.5) is not None)
            clock.now += 1
        assert stops.index(True) == 48, "12 s left are less than 12.5 s"

    def test_the_runtime_counts_from_the_jobs_start_and_the_session_from_its_own(self):
        clock = Clock()
        ends = clock.now + 5 * 3600
        clock.now += 4 * 3600  # a model that starts in hour four
        session = Session(300, ends, clock=clock)
        assert session.seconds_left() == 3600
        assert session.limit == "session_minutes"

    def test_what_is_over_of_the_job_is_not_of_the_session(self):
        clock = Clock()
        assert Session(10, clock=clock, age=240).seconds_left() == pytest.approx(360)
        assert Session(10, clock.now + 300, clock=clock, age=240).seconds_left() == pytest.approx(300)

    @pytest.mark.parametrize("text", [None, ""])
    def test_no_end_was_announced(self, monkeypatch, text):
        monkeypatch.delenv(ENDS, raising=False)
        if text is not None:
            monkeypatch.setenv(ENDS, text)
        assert session_end() is None

    def test_the_end_that_was_announced_stays_where_the_time_of_day_is_set(self, monkeypatch):
        monkeypatch.setattr(os, "environ", {})
        announce_end(100)
        for hours in (-1, 1):
            moved = time.time() + 3600 * hours
            with monkeypatch.context() as clock:
                clock.setattr(time, "time", lambda moved=moved: moved)
                session = Session(1, session_end())
                assert session.seconds_left() == pytest.approx(60, abs=5)
                assert session.limit == "the job's runtime"
                assert Session(3, session_end()).seconds_left() == pytest.approx(100, abs=5)

    def test_on_another_machine_the_time_of_day_tells_the_end(self, monkeypatch):
        for announced in (f"{time.time() + 100} {time.monotonic() + 5000} another", f"{time.time() + 100}"):
            monkeypatch.setenv(ENDS, announced)
            assert Session(ends=session_end()).seconds_left() == pytest.approx(100, abs=5)

    def test_the_first_that_announced_an_end_is_heard(self, monkeypatch):
        monkeypatch.setattr(os, "environ", {})
        announce_end(100)
        announce_end(None)
        assert Session(ends=session_end()).seconds_left() == pytest.approx(100, abs=5)


@pytest.fixture
def handlers():
    """The handlers of this process are put back after the test."""
    before = {name: signal.getsignal(getattr(signal, name)) for name in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


class TestSignals:
    def test_these_are_caught(self):
        assert SIGNALS == ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP"]

    @pytest.mark.parametrize("name", SIGNALS)
    def test_a_signal_is_a_reason_to_stop_and_nothing_else_happens(self, handlers, name):
        session = Session()
        session.catch_signals()
        assert session.reason_to_stop(0) is None
        os.kill(os.getpid(), getattr(signal, name))
        assert session.reason_to_stop(0) == f"it received {name}"

    def test_under_nohup_a_closed_terminal_stops_nothing(self, handlers):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        session = Session()
        session.catch_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        assert session.reason_to_stop(0) is None

    def test_a_signal_is_named_before_the_time(self, handlers):
        clock = Clock()
        session = Session(1, clock=clock)
        session.catch_signals()
        clock.now += 3600
        assert session.reason_to_stop(0) == "the time is up (the job's runtime)"
        os.kill(os.getpid(), signal.SIGTERM)
        assert session.reason_to_stop(0) == "it received SIGTERM"

    def test_more_signals_do_not_end_the_process(self, handlers):
        session = Session()
        session.catch_signals()
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert session.reason_to_stop(0).startswith("it received SIG")


# A process that announces itself as Snakemake's do starts a child that looks for it and says what it sees, once a line.
CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from baton.study.session import Session, find_snakemake
session = Session(parent=find_snakemake())
print(session.parent.pid if session.parent else None, flush=True)
for line in sys.stdin:
    print(session.reason_to_stop(0), flush=True)
"""
PARENT = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[2])
from baton.study.session import announce_snakemake
announce_snakemake()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
print(child.pid, flush=True)
child.wait()
"""


class Family:
    """A Snakemake (not the real one) and its child; the pipes are the child's."""

    def __init__(self):
        self.snakemake = subprocess.Popen(
            [sys.executable, "-u", "-c", PARENT, CHILD, str(SCRIPTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.child = psutil.Process(int(self.snakemake.stdout.readline()))
        self.found = self.snakemake.stdout.readline().strip()

    def ask(self):
        self.snakemake.stdin.write("?\n")
        self.snakemake.stdin.flush()
        return self.snakemake.stdout.readline().strip()


@pytest.fixture
def family():
    family = Family()
    yield family
    for process in (family.child, family.snakemake):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    family.snakemake.communicate()


class TestOrphan:
    def test_the_snakemake_above_is_found_and_is_no_reason_to_stop(self, family):
        assert family.found == str(family.snakemake.pid)
        assert family.ask() == "None"

    def test_a_killed_one_is_noticed_even_before_it_was_waited_for(self, family):
        assert family.ask() == "None"
        family.snakemake.send_signal(signal.SIGKILL)  # not waited for: a zombie
        deadline = time.monotonic() + 30
        while psutil.Process(family.snakemake.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
        assert family.ask() == "its Snakemake is gone"

    def test_a_killed_one_is_noticed_after_it_was_waited_for(self, family):
        family.snakemake.send_signal(signal.SIGKILL)
        family.snakemake.wait()
        assert family.ask() == "its Snakemake is gone"

    def test_a_stopped_one_is_still_there(self, family):
        family.snakemake.send_signal(signal.SIGSTOP)
        assert family.ask() == "None"
        family.snakemake.send_signal(signal.SIGCONT)

    def test_without_a_snakemake_above_there_is_none_to_watch(self, monkeypatch):
        monkeypatch.delenv(SNAKEMAKE, raising=False)
        monkeypatch.setenv(ENDS, "")
        assert find_snakemake() is None

    def test_one_that_announced_itself_and_is_not_there_is_gone(self, monkeypatch):
        """Killed while the training run still started: nobody else would ever tell it to stop."""
        ended = subprocess.Popen([sys.executable, "-c", ""])
        created = psutil.Process(ended.pid).create_time()
        ended.wait()
        monkeypatch.setenv(SNAKEMAKE, f"{ended.pid} {created} {module.pid_namespace()}")
        with pytest.raises(SessionEnded, match="its Snakemake is gone"):
            find_snakemake()

    def test_another_process_that_got_its_number_is_not_it(self, monkeypatch):
        created = psutil.Process().create_time()
        monkeypatch.setenv(SNAKEMAKE, f"{os.getpid()} {created} {module.pid_namespace()}")
        assert find_snakemake().pid == os.getpid()
        monkeypatch.setenv(SNAKEMAKE, f"{os.getpid()} {created - 60} {module.pid_namespace()}")
        with pytest.raises(SessionEnded, match="its Snakemake is gone"):
            find_snakemake()

    def test_in_a_container_that_sees_other_processes_there_is_none_to_watch(self, monkeypatch):
        monkeypatch.setenv(SNAKEMAKE, f"{2**22 - 1} 1000.0 pid:[1]")
        assert find_snakemake() is None


def test_a_process_that_is_gone_while_it_is_looked_at_is_not_alive():
    class Gone:
        def is_running(self):
            return True

        def status(self):
            raise psutil.NoSuchProcess(1)

    assert module.is_alive(Gone()) is False
