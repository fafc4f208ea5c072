"""One process of a call of snakemake: the signal that it alone gets, and the lock that it leaves on another machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest
from conftest import ENDLESS, Call, Study, newest_states, run_script, save_images, wait_until

from baton.training.state import load_state

CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 2, "test": 2},
    "images": {"size": 16},
    "training": {"epochs": ENDLESS, "batch_size": 4, "precision": "float32"},
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("calls"), CONFIG)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 10)
    study.run("pack")
    return study


def sessions(study):
    """Return the sessions that the newest state tells of."""
    (newest,) = newest_states(study / "state", "net/seed_1")
    return load_state(newest.parent)[1]["sessions"]


def wait_for_training(study, text):
    """Wait until this call trains: text() is what it has printed."""
    wait_until(lambda: "epoch 2 of " in text() or "resuming from" in text(), "the training run")


def wait_for_end(process, output):
    """Return the exit code of a call; fail with what it printed and what runs where it does not end."""
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        running = [child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)]
        pytest.fail(f"still running after SIGTERM: {running}\n{output.read_text()}")


@pytest.fixture(scope="module")
def stopped(study):
    """Snakemake, alone, gets SIGTERM; it is started as few start it, with a flag before -m."""
    command = study.command("train_net", python=("-u",))
    output = study / "stopped.txt"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command, cwd=study.folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for_training(study, output.read_text)
        training = next(
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.cmdline()[-1].endswith(".train.py")
        )
        os.kill(process.pid, signal.SIGTERM)
        code = wait_for_end(process, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    gone = not training.is_running() or training.status() == psutil.STATUS_ZOMBIE
    return SimpleNamespace(code=code, gone=gone, text=output.read_text(), session=sessions(study)[-1])


# One thread gets the signal, while the main thread waits for a lock that only the end gives it.
OTHER_THREAD = """
import signal, subprocess, sys, threading, time
sys.path[:0] = __import__("json").loads(sys.argv[1])
from baton.study.signals import hand_on_the_end

job = subprocess.Popen(["sleep", "600"])
left = threading.Semaphore(0)
signal.signal(signal.SIGTERM, lambda *_: left.release())
hand_on_the_end()
sleeper = threading.Thread(target=time.sleep, args=(600,), daemon=True)
sleeper.start()
threading.Timer(0.5, signal.pthread_kill, (sleeper.ident, signal.SIGTERM)).start()
left.acquire()
print("left, and the job ended by", job.wait())
"""


class TestSigterm:
    def test_whichever_thread_it_interrupts(self):
        done = run_script(OTHER_THREAD, None)
        assert (done.code, done.output) == (0, f"left, and the job ended by {-signal.SIGTERM}\n")

    def test_the_training_saves_and_all_end(self, stopped):
        assert stopped.code not in (0, -signal.SIGTERM)
        assert stopped.gone
        assert stopped.session["reason"] == "it received SIGTERM"
        assert "it received SIGTERM. The state is saved: run the same command again to resume" in stopped.text

    def test_how_far_it_is_is_told_and_no_name_is_left(self, stopped, study):
        assert "1 of 1 training runs are not done" in stopped.text
        assert os.listdir(study / ".snakemake/baton") == []
        assert not list((study / ".snakemake/locks").glob("*.lock"))

    def test_as_the_first_process_of_a_container(self, study, stopped):
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
            pytest.skip("no right to make a process namespace")
        before = len(sessions(study))
        output = study / "first.txt"
        with open(output, "wb") as file:
            outer = subprocess.Popen(
                [*unshare, *study.command("train_net")], cwd=study.folder, stdout=file, stderr=file
            )
        try:
            wait_for_training(study, output.read_text)
            (first,) = psutil.Process(outer.pid).children()
            assert f"NSpid:\t{first.pid}\t1\n" in open(f"/proc/{first.pid}/status").read()  # noqa: SIM115
            os.kill(first.pid, signal.SIGTERM)
            assert wait_for_end(outer, output) != 0
        finally:
            outer.kill()
        assert len(sessions(study)) == before + 1
        assert sessions(study)[-1]["reason"] == "it received SIGTERM"


def leave_lock(study, name, age, content=None):
    """Leave Snakemake's lock, and the name of a call on another machine that showed `age` seconds ago that it lives."""
    locks, names = study / ".snakemake/locks", study / ".snakemake/baton"
    for folder in (locks, names):
        folder.mkdir(parents=True, exist_ok=True)
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text("results/data/classes.csv\n")
    path = names / name
    path.write_text("" if content is None else json.dumps(content))
    now = time.time()
    os.utime(path, (now - age, now - age))
    return path


OTHER = {"machine": "another machine", "pid": 1, "created": 5.0}


class TestLocks:
    @pytest.fixture(autouse=True)
    def fresh(self, study):
        shutil.rmtree(study / ".snakemake/locks", ignore_errors=True)
        shutil.rmtree(study / ".snakemake/baton", ignore_errors=True)
        os.utime(study / "photos/red/1.png")  # something to do, so that it locks

    def test_one_that_gave_no_sign_of_life_is_dead(self, study):
        path = leave_lock(study, "elsewhere 1 5.0", 600, OTHER)
        study.run("sort_into_classes")
        assert not path.exists() and os.listdir(study / ".snakemake/baton") == []

    def test_a_restarted_container_of_the_same_name_is_another(self, study):
        leave_lock(study, f"{socket.gethostname()} 1 5.0", 600, OTHER)
        study.run("sort_into_classes")

    def test_one_that_may_live_is_told_of_and_not_touched(self, study):
        path = leave_lock(study, "elsewhere 1 5.0", 60, OTHER)
        outcome = study.try_run("sort_into_classes")
        assert outcome.code != 0 and "LockException" in outcome.output
        assert "This folder is locked by a call on elsewhere" in outcome.output
        assert "takes the lock away in 1" in outcome.output  # 180 - 60, less what this took
        assert os.listdir(study / ".snakemake/baton") == [path.name]  # the call that failed left no name
        assert list((study / ".snakemake/locks").glob("*.lock"))
        os.utime(path, (1, 1))
        study.run("sort_into_classes")

    def test_of_an_earlier_version_on_another_machine_nobody_knows(self, study):
        leave_lock(study, "elsewhere 1", 6000)
        outcome = study.try_run("sort_into_classes")
        assert outcome.code != 0 and "LockException" in outcome.output
        shutil.rmtree(study / ".snakemake/baton")
        shutil.rmtree(study / ".snakemake/locks")

    def test_a_call_shows_that_it_lives(self, study):
        with Call(study, "train_net") as call:
            name = wait_until(
                lambda: next(iter((study / ".snakemake/baton").glob("* * *")), None), "the call's name"
            )
            assert json.loads(name.read_text())["pid"] == call.process.pid
            os.utime(name, (1, 1))
            wait_until(lambda: name.stat().st_mtime > 1000, "a sign of life")


def test_a_call_that_fails_leaves_no_name(study):
    study.configure(CONFIG | {"models": []})
    assert study.try_run("pack").code != 0
    study.configure(CONFIG)
    outcome = study.try_run("no_such_rule")
    assert outcome.code != 0
    assert not os.path.isdir(study / ".snakemake/baton") or os.listdir(study / ".snakemake/baton") == []
