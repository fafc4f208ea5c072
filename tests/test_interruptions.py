"""Studies that are killed, signalled, cut off by a clock or by a full disk, each against one that was left alone.

Everything is on that makes a training random or gives it a memory: order, flip, rotation, dropout,
class weights, early stopping; two seeds. The stories take their time in TensorFlow's start, so all
begin at once, two at a time (`stories`), and each test waits for its own.
"""

import contextlib
import errno
import io
import logging
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import (
    ENDLESS,
    Call,
    Study,
    copy_study,
    newest_states,
    packed_for_training,
    result_of,
    run_script,
    same_arrays,
    save_images,
    saved_at,
    wait_until,
)

import verify_resume
from baton import console
from baton.errors import UserError
from baton.training.state import load_state

SEED = int(os.environ.get("BATON_TEST_SEED", 20261124))  # of the moments and the victims
KILLS = 4  # per story, in `make test`
SOAK_KILLS, SOAK_STUDIES = 25, 4
SESSION_SECONDS = 30  # of the session that stops midway; a busy machine needs half of it to start
SEEDS = (1, 2)
PATIENT = 400  # epochs; the training lasts more than these, long enough for all the kills on a fast machine
EPOCHS = 2000  # none gets so far: patience ends it
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 4, "test": 4},
    "images": {"size": 10},
    "augmentation": {"flip": "horizontal", "rotation": 0.1},
    "training": {
        "epochs": EPOCHS,
        "patience": PATIENT,
        "batch_size": 4,
        "dropout": 0.5,
        "class_weights": "balanced",
        "precision": "float32",
        "seeds": list(SEEDS),
    },
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2}],
}
ENDLESS_CONFIG = CONFIG | {"training": CONFIG["training"] | {"epochs": ENDLESS, "patience": None}}


def pack(folder, config=CONFIG):
    """Return a study whose images are packed, ready to train."""
    study = Study(folder, config)
    save_images(study / "photos/red", "red", 24)
    save_images(study / "photos/green", "green", 16)
    study.run("pack", "weigh_classes", cores=1)
    return study


def saved(study):
    """Return when any state of the study was last saved, in nanoseconds; 0 where none was."""
    return saved_at(study / "state", "net/seed_*")


def state_of(study, seed):
    """Return the values of a seed's state, or None where there is none."""
    newest = newest_states(study / "state", f"net/seed_{seed}")
    return load_state(newest[0].parent)[1] if newest else None


def assert_equal(found, expected, how):
    """Assert that two results are the same, bit for bit; `how` says what was done to the first."""
    assert verify_resume.first_difference(expected.state, found.state) is None, how
    assert found.state[0].keys() == expected.state[0].keys() and len(found.state[0]) > 20, how
    assert found.history == expected.history, how
    assert found.summary["kept"] == expected.summary["kept"], how
    assert same_arrays(found.weights, expected.weights), how
    if found.predictions is not None:  # to evaluate takes a start of TensorFlow
        assert found.predictions == expected.predictions, how


class Victim(Call):
    """A call that something is done to once it trains."""

    def __init__(self, study, *arguments):
        self.before = saved(study)
        super().__init__(study, *arguments)

    def wait_for_training(self):
        """Wait until a training run has saved once and ended an epoch, and return it; None where snakemake ended."""

        def begun():
            if self.process.poll() is not None:
                return True
            with contextlib.suppress(
                FileNotFoundError
            ):  # Snakemake removes it before it starts a training run
                logs = [path.read_text() for path in (self.study / "logs/train/net").glob("*.log")]
                return saved(self.study) != self.before and any(": val_accuracy" in text for text in logs)
            return False

        wait_until(begun, "the training run to begin")
        return self.training()


def is_gone(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_left(process, group):
    """Return whether a process of this process group lives."""
    try:
        return os.getpgid(process.pid) == group and not is_gone(process)
    except ProcessLookupError:
        return False


def kill_at_random(study, target, kills, draw, anywhere=0.0):
    """Run `target` until `kills` SIGKILLs have hit: the training run, snakemake or all; return what was killed.

    anywhere: share of the kills that may come at any time from snakemake's start on; the others
    come once the training run has begun.
    """
    killed = []
    while len(killed) < kills:
        with Victim(study, target) as call:
            if draw.random() < anywhere:
                timed_out = wait_for_end(call.process, draw.uniform(0, 10))
            else:
                call.wait_for_training()
                timed_out = wait_for_end(call.process, draw.uniform(0, 1))
            if not timed_out:
                assert call.process.returncode == 0, call.text()
                break
            victim = draw.choice(["training", "snakemake", "group"])
            training = call.training()
            if victim == "training" and training is None:
                victim = "snakemake"
            if victim == "training":
                with contextlib.suppress(psutil.NoSuchProcess):
                    training.kill()
                if call.end().code == 0:
                    break  # it was through
            elif victim == "snakemake":
                call.process.kill()
                call.orphan = True  # the next call starts beside it
            else:
                call.kill_group()
                call.process.wait()
            killed.append(victim)
    return killed


def wait_for_end(process, seconds):
    """Wait for a random moment; return whether the process still runs then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def go_on(study, seed):
    """Run the same command to the end, as a user would, and return the result."""
    study.run(f"train_net_seed_{seed}", cores=1)
    return result_of(study, f"net/seed_{seed}")


# The stories. Each gets a study of its own, and returns what the tests ask for.


def left_alone(study):
    study.run("train", cores=1)
    study.run("evaluate", cores=1)
    results = {seed: result_of(study, f"net/seed_{seed}") for seed in SEEDS}
    study.configure(CONFIG | {"session_minutes": 7})
    session_changed = study.run("-n", "train", cores=1)
    study.configure(CONFIG | {"session_minutes": None})
    resources = [f"train_net_seed_{seed}:runtime=9" for seed in SEEDS]
    runtime_changed = study.run("-n", "train", "--set-resources", *resources, cores=1)
    study.configure(CONFIG)
    return SimpleNamespace(
        results=results,
        session_changed=session_changed,
        runtime_changed=runtime_changed,
        status=study.run("status", cores=1),
    )


def killed(study, seed):
    draw = random.Random(SEED + seed)
    victims = kill_at_random(study, f"train_net_seed_{seed}", KILLS, draw)
    go_on(study, seed)
    study.run(f"evaluate_net_seed_{seed}", cores=1)
    return SimpleNamespace(victims=victims, result=result_of(study, f"net/seed_{seed}"))


def signalled(study):
    ends = {}
    for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"):
        with Victim(study, "train_net_seed_1") as call:
            training = call.wait_for_training()
            sent = time.monotonic()
            training.send_signal(getattr(signal, name))
            wait_until(lambda: is_gone(training), "the training run to end")  # noqa: B023
            seconds = time.monotonic() - sent
            outcome = call.end()
        values = state_of(study, 1)
        ends[name] = SimpleNamespace(outcome=outcome, seconds=seconds, values=values)
    return SimpleNamespace(ends=ends, result=go_on(study, 1))


def left(study):
    """Ctrl-C at the terminal; Snakemake killed once the training runs, and while it still starts."""
    with Victim(study, "train_net_seed_2") as call:
        training = call.wait_for_training()
        os.killpg(call.process.pid, signal.SIGINT)
        outcome = call.end()
        alive = [process for process in psutil.process_iter() if is_left(process, call.process.pid)]
    keyboard = SimpleNamespace(outcome=outcome, alive=alive, values=state_of(study, 2))

    with Victim(study, "train_net_seed_2") as call:
        training = call.wait_for_training()
        call.process.kill()
        call.process.wait()
        wait_until(lambda: is_gone(training), "the orphan to end")
        went_on = "resuming from epoch" in call.text()
        locks = list((study / ".snakemake/locks").iterdir())
        said = study.log("train/net/seed_2")
    orphan = SimpleNamespace(went_on=went_on, locks=locks, said=said, values=state_of(study, 2))

    with Victim(study, "train_net_seed_2") as call:
        young = wait_until(
            lambda: call.training() or call.process.poll() is not None, "the training run's process"
        )
        call.process.kill()
        call.process.wait()
        blocked = young is True
        wait_until(lambda: blocked or is_gone(young), "the young orphan to end")
    early = SimpleNamespace(
        blocked=blocked,
        values=state_of(study, 2),
        outputs=sorted(path.name for path in (study / "results/models/net/seed_2").glob("*")),
        said=study.log("train/net/seed_2"),
    )

    study.run("status", cores=1)  # releases the lock
    assert not any((study / ".snakemake/locks").glob("*.lock"))
    with Victim(study, "train_net_seed_2") as call:
        wait_until(lambda: any((study / ".snakemake/locks").glob("*.lock")), "Snakemake's lock")
        call.kill_group()
        call.process.wait()
    fresh_lock = study.try_run("train_net_seed_2", cores=1)
    if fresh_lock.code != 0:  # so that the other tests have a result
        study.run("train_net_seed_2", "--unlock", cores=1)
    return SimpleNamespace(
        keyboard=keyboard, orphan=orphan, early=early, fresh_lock=fresh_lock, result=go_on(study, 2)
    )


def clocked(study):
    """A session too short for a step, and one that stops a training midway while others want its study."""
    study.configure(ENDLESS_CONFIG | {"session_minutes": 0.01})
    short = study.try_run("train", cores=1)
    study.configure(ENDLESS_CONFIG)
    with Victim(study, "train_net_seed_1") as call:
        training = call.wait_for_training()
        locked = study.try_run("train", cores=1)
        beside = study.try_run("train_net_seed_1", "--nolock", cores=1)
        still = not is_gone(training)
        training.terminate()
        call.end()
    first = state_of(study, 1)
    study.configure(ENDLESS_CONFIG | {"session_minutes": SESSION_SECONDS / 60})
    with Victim(study, "train") as call:
        environment = wait_until(call.training, "the training run's process").environ()
        ends = float(environment["BATON_SESSION_ENDS"].split(" ")[0])
        midway = call.end()
    states = states_of(study)
    (seed,) = [seed for seed in SEEDS if said_by(midway, seed)] or [None]
    last = states[seed]["sessions"][-1]
    return SimpleNamespace(
        short=short,
        locked=locked,
        beside=beside,
        pid=training.pid,
        still=still,
        first=first,
        midway=midway,
        seed=seed,
        early=ends - datetime.fromisoformat(last["ended"]).timestamp(),
        states=states,
        status=study.run("status", cores=1),
        after=states_of(study),
    )


def states_of(study):
    """Return the values of each seed's state; None where there is none."""
    return {seed: state_of(study, seed) for seed in SEEDS}


def progress_lines(states):
    """Return what is printed of how far the training runs are."""
    return [
        f"net_seed_{seed}: {state['epoch']} of {ENDLESS} epochs" if state else f"net_seed_{seed}: not begun"
        for seed, state in states.items()
    ]


def wait_for_computing(training, seconds):
    """Wait until a training run that may write nothing, no log either, has computed for so long, or is gone."""
    enough = training.cpu_times().user + seconds
    wait_until(lambda: is_gone(training) or training.cpu_times().user > enough, "the training run to go on")


def filled(study):
    """The disk takes no more than small files for a while, as if it were full, and then all again."""
    with Victim(study, "train_net_seed_1") as call:
        training = call.wait_for_training()
        resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        wait_for_computing(training, 0.5)  # a save that was all but done is done
        before = saved(study)
        wait_for_computing(training, 1.5)
        survived = not is_gone(training)
        has_saved = saved(study) != before
        if survived:
            resource.prlimit(training.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        outcome = call.end()
    return SimpleNamespace(survived=survived, saved=has_saved, outcome=outcome, result=go_on(study, 1))


def verified(study):
    """What `snakemake verify_resume` does, with fewer kills; and its judgement."""
    settings = {key: value for key, value in CONFIG["training"].items() if key != "seeds"}
    script = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1])\n"
        "import verify_resume; from baton import console\n"
        "console.start(sys.argv[2]); verify_resume.EPOCHS, verify_resume.KILLS = 50, 2\n"
        "verify_resume.main(**json.load(sys.stdin))\n"
    )
    arguments = {
        "packed": packed_for_training(study, "10px"),
        "weights": str(study / "results/data/class_weights.json"),
        "threads": 1,
        "settings": CONFIG["models"][0]
        | {
            "size": 10,
            "learning_rate": 0.001,
            "l2": 0.0001,
            "initializer": "he_normal",
            "monitor": "val_loss",
            "stddev": 0.1,
        }
        | settings,
        "augmentation": CONFIG["augmentation"] | {"zoom": 0, "brightness": 0, "contrast": 0},
        "seed": 1,
        "folder": str(study / "state/verify_resume"),
    }
    return run_script(script, arguments, str(study / "verify.log"))


STORIES = {
    "left alone": left_alone,
    "killed 1": lambda study: killed(study, 1),
    "killed 2": lambda study: killed(study, 2),
    "clocked": clocked,
    "left": left,
    "signalled": signalled,
    "filled": filled,
    "verified": verified,
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("studies") / "packed")


@pytest.fixture(scope="module")
def stories(packed):
    """Ask for a story by name and get what came of it."""
    with ThreadPoolExecutor(2) as pool:
        futures = {
            name: pool.submit(
                lambda tell=tell, name=name: tell(copy_study(packed, packed.folder.with_name(name), CONFIG))
            )
            for name, tell in STORIES.items()
        }
        yield lambda name: futures[name].result()
        for future in futures.values():
            future.cancel()


@pytest.fixture(scope="module")
def expected(stories):
    """The results of the study that was left alone, by seed."""
    return stories("left alone").results


def said_by(outcome, seed):
    """Return the sentences of a training run in what a call of snakemake printed, each once."""
    return list(dict.fromkeys(re.findall(rf"^train/net/seed_{seed}: (.*)$", outcome.output, re.MULTILINE)))


def ends_in_one_sentence(outcome, seed, sentence):
    """Assert that the training run's last line is `sentence` (a pattern), that no other is like it, and no traceback."""
    said = [line for line in said_by(outcome, seed) if line.startswith(("stopped", "not trained"))]
    assert len(said) == 1 and re.fullmatch(sentence, said[0]), outcome.output
    assert "Traceback" not in outcome.output


class TestLeftAlone:
    def test_early_stopping_ended_it_between_the_first_and_the_last_epoch(self, expected):
        for seed in SEEDS:
            history = expected[seed].history.decode().splitlines()[1:]
            assert len(history) == expected[seed].summary["kept"]["epoch"] + PATIENT < EPOCHS

    def test_the_seeds_differ(self, expected):
        assert expected[1].history != expected[2].history

    def test_changing_a_clock_retrains_nothing(self, stories):
        story = stories("left alone")
        for outcome in (story.session_changed, story.runtime_changed):
            assert outcome.jobs() == {} and "Nothing to be done" in outcome.output

    def test_status_prints_the_epochs_and_trains_nothing(self, stories, expected):
        story = stories("left alone")
        assert story.status.jobs() == {"status": 1}
        for seed in SEEDS:
            epochs = expected[seed].summary["epochs"]
            assert re.search(rf"net_seed_{seed}: done, {epochs} of {EPOCHS} epochs", story.status.output)


class TestKilled:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_study_killed_at_random_is_the_one_left_alone(self, stories, expected, seed):
        story = stories(f"killed {seed}")
        how = f"BATON_TEST_SEED={SEED}, killed: {story.victims}"
        assert len(story.victims) == KILLS, how
        assert_equal(story.result, expected[seed], how)
        assert len(story.result.predictions.splitlines()) == 1 + 8, how

    @pytest.mark.parametrize("seed", SEEDS)
    def test_every_session_begins_where_one_before_it_saved(self, stories, seed):
        story = stories(f"killed {seed}")
        sessions = story.result.summary["sessions"]
        places = [tuple(session["from"]) for session in sessions]
        assert places[0] == (0, 0) and places == sorted(places)
        assert len(sessions) <= KILLS + 1
        assert {session["reason"] for session in sessions[:-1]} <= {None, "its Snakemake is gone"}


class TestSignalled:
    @pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
    def test_it_saves_and_leaves_within_seconds_in_one_sentence(self, stories, name):
        end = stories("signalled").ends[name]
        assert end.seconds < 10
        assert end.outcome.code != 0
        last = end.values["sessions"][-1]
        assert last["reason"] == f"it received {name}"
        assert last["to"] == [end.values["epoch"], end.values["step"]]
        epoch, step = last["to"]
        ends_in_one_sentence(
            end.outcome,
            1,
            rf"stopped at step {step} of 6 in epoch {epoch + 1} of {EPOCHS}: it received {name}\. The state is saved: .*",
        )

    def test_it_goes_on_to_the_same_end(self, stories, expected):
        story = stories("signalled")
        assert_equal(story.result, expected[1], "a signal of each kind")
        places = [(tuple(row["from"]), tuple(row["to"])) for row in story.result.summary["sessions"]]
        assert len(places) == 5
        for (_, ended), (began, _) in zip(places, places[1:], strict=False):
            assert ended == began, "no step is lost or repeated"


class TestLeft:
    def test_ctrl_c_saves_and_leaves_no_process(self, stories):
        keyboard = stories("left").keyboard
        assert keyboard.outcome.code != 0
        assert keyboard.alive == []
        assert keyboard.values["sessions"][-1]["reason"] == "it received SIGINT"
        ends_in_one_sentence(
            keyboard.outcome, 2, r"stopped at step .*: it received SIGINT\. The state is saved: .*"
        )

    def test_the_next_call_goes_on_after_ctrl_c(self, stories):
        story = stories("left")
        assert story.orphan.went_on
        assert story.orphan.values["sessions"][1]["from"] == story.keyboard.values["sessions"][0]["to"]

    def test_an_orphan_saves_and_ends_by_itself(self, stories):
        orphan = stories("left").orphan
        assert orphan.values["sessions"][-1]["reason"] == "its Snakemake is gone"
        assert orphan.values["sessions"][-1]["to"] == [orphan.values["epoch"], orphan.values["step"]]
        assert "its Snakemake is gone. The state is saved" in orphan.said

    def test_the_lock_of_a_killed_snakemake_does_not_block(self, stories):
        story = stories("left")
        assert story.orphan.locks != [], "or this shows nothing"
        assert not story.early.blocked

    def test_one_whose_snakemake_is_killed_while_it_starts_does_not_train(self, stories):
        story = stories("left")
        assert story.early.values["sessions"] == story.orphan.values["sessions"], "no session was added"
        assert story.early.outputs == []
        assert "its Snakemake is gone" in story.early.said

    def test_a_lock_of_one_killed_as_soon_as_it_locked_does_not_block(self, stories):
        story = stories("left")
        assert story.fresh_lock.code == 0, story.fresh_lock.output

    def test_it_goes_on_to_the_same_end(self, stories, expected):
        assert_equal(stories("left").result, expected[2], "Ctrl-C, and Snakemake killed twice")


class TestClocked:
    """In which order Snakemake takes the two seeds is up to it."""

    def test_a_session_too_short_for_a_step_says_so_and_starts_no_other_model(self, stories):
        short = stories("clocked").short
        assert short.code != 0
        (seed,) = [seed for seed in SEEDS if said_by(short, seed)]
        ends_in_one_sentence(
            short,
            seed,
            r"not trained: the 0 s left of session_minutes are too short for one step and one save of this model\. "
            r"Give it more time and run the same command again\.",
        )
        assert f"net_seed_{3 - seed}: not begun" in short.output

    def test_a_session_stops_midway_in_time_and_starts_no_other_model(self, stories):
        story = stories("clocked")
        assert story.midway.code != 0
        assert said_by(story.midway, 3 - story.seed) == []
        ends_in_one_sentence(
            story.midway,
            story.seed,
            r"stopped at step .*: the time is up \(session_minutes\)\. The state is saved: .*",
        )
        state = story.states[story.seed]
        last = state["sessions"][-1]
        assert last["reason"] == "the time is up (session_minutes)"
        assert last["from"] < last["to"] == [state["epoch"], state["step"]]
        assert -1 < story.early < 10

    def test_what_is_done_is_printed_when_the_session_ends(self, stories):
        story = stories("clocked")
        for line in progress_lines(story.states):
            assert line in story.midway.output
        assert "2 of 2 training runs are not done. To resume: snakemake" in story.midway.output

    def test_status_prints_the_same_and_trains_nothing(self, stories):
        story = stories("clocked")
        for line in progress_lines(story.states):
            assert line in story.status.output
        assert story.status.jobs() == {"status": 1}
        assert story.after == story.states

    def test_a_second_snakemake_leaves_the_first_alone(self, stories):
        story = stories("clocked")
        assert story.locked.code != 0
        assert "lock" in story.locked.output.lower()
        assert [seed for seed in SEEDS if said_by(story.locked, seed)] == []

    def test_a_second_training_is_told_who_trains_and_leaves_it_alone(self, stories):
        story = stories("clocked")
        assert story.beside.code != 0
        (error,) = [line for line in said_by(story.beside, 1) if line.startswith("error: ")]
        who = rf"error: state/net/seed_1 is in use by process {story.pid} on \S+ since 20\S+\. Wait for it to end, .*"
        assert re.fullmatch(who, error)
        assert story.still
        sessions = [session for session in story.first["sessions"] if session["to"] != [0, 0]]
        assert [session["reason"] for session in sessions] == ["it received SIGTERM"], (
            "none by the one beside"
        )


class TestFilled:
    def test_training_goes_on_while_nothing_can_be_written(self, stories):
        story = stories("filled")
        assert story.survived, story.outcome.output
        assert not story.saved
        assert story.outcome.code == 0, story.outcome.output

    def test_the_end_is_the_same(self, stories, expected):
        story = stories("filled")
        assert_equal(story.result, expected[1], "a full disk")
        assert story.result.state[1]["sessions"][-1]["reason"] == "all done"

    def test_a_terminal_that_went_away_and_a_log_that_cannot_be_written_stop_nothing(
        self, tmp_path, monkeypatch
    ):
        class Closed(io.StringIO):
            def fail(self, *_arguments):
                raise OSError(errno.ENOSPC, "No space left on device")

            write = flush = fail

            def reconfigure(self, **_how):
                pass

        monkeypatch.setattr(sys, "stderr", Closed())
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        for name in ("handlers", "level", "propagate"):
            monkeypatch.setattr(console.log, name, getattr(console.log, name))
        monkeypatch.setattr(logging, "raiseExceptions", True)
        console.start(tmp_path / "training.log")
        console.log.handlers[0].stream = Closed()
        console.log.warning("epoch 1")
        assert list(console.show_progress(range(3), "steps", 3, "step")) == [0, 1, 2]
        console.log.handlers[0].stream = None


class TestVerified:
    def test_it_says_equal_and_what_was_compared(self, stories):
        outcome = stories("verified")
        assert outcome.code == 0, outcome.output
        verdict = re.search(
            r"equal, bit for bit: (\d+) numbers in (\d+) variables and 50 history rows, after (\d) kills",
            outcome.output,
        )
        numbers, variables, kills = map(int, verdict.groups())
        assert numbers > 400 and variables > 30 and kills >= 1

    def test_a_flipped_bit_is_found_and_named(self, expected):
        arrays, values = expected[1].state
        for name in arrays:
            changed = arrays[name].copy()
            changed.reshape(-1).view("uint8")[0] ^= 1
            assert (
                verify_resume.first_difference((arrays, values), (arrays | {name: changed}, values)) == name
            )

    def test_a_missing_variable_is_found_and_named(self, expected):
        arrays, values = expected[1].state
        name = sorted(arrays)[3]
        fewer = {key: array for key, array in arrays.items() if key != name}
        assert verify_resume.first_difference((arrays, values), (fewer, values)) == name

    @pytest.mark.parametrize(
        ("key", "found"), [("epoch", "epoch"), ("best_epoch", "best_epoch"), ("step", "step")]
    )
    def test_another_place_is_found_and_named(self, expected, key, found):
        arrays, values = expected[1].state
        other = values | {key: values[key] + 1}
        assert verify_resume.first_difference((arrays, values), (arrays, other)) == found

    def test_another_history_row_is_found_and_named(self, expected):
        arrays, values = expected[1].state
        rows = [dict(row) for row in values["history"]]
        rows[4]["val_loss"] += 1e-12
        found = verify_resume.first_difference((arrays, values), (arrays, values | {"history": rows}))
        assert found == "the history of epoch 5"

    def test_a_training_that_no_kill_hit_is_tried_in_less_time_and_proves_nothing(
        self, tmp_path, monkeypatch, expected
    ):
        tried = []
        monkeypatch.setattr(verify_resume.Trial, "finish", lambda _self: None)
        monkeypatch.setattr(verify_resume.Trial, "result", lambda _self: expected[1].state)
        monkeypatch.setattr(
            verify_resume, "kill_at_random", lambda _trial, seconds, _draw: tried.append(seconds) or 0
        )
        with pytest.raises(UserError, match="over before it could be killed"):
            verify_resume.main({}, "", 1, {"name": "net"}, {}, 1, tmp_path / "verify")
        seconds = expected[1].state[1]["seconds"]
        assert tried == [seconds, seconds / 2, seconds / 4, seconds / 8, seconds / 16]

    def test_a_difference_is_a_failure_that_names_it(self, tmp_path, monkeypatch, expected):
        """The two training runs are played: the second one comes back with a bit of its optimizer flipped."""
        arrays, values = expected[1].state
        name = next(name for name in sorted(arrays) if name.startswith("optimizer/"))
        bad = arrays[name].copy()
        bad.reshape(-1).view("uint8")[0] ^= 1
        results = {"straight": (arrays, values), "resumed": (arrays | {name: bad}, values)}
        monkeypatch.setattr(verify_resume.Trial, "finish", lambda _self: None)
        monkeypatch.setattr(verify_resume.Trial, "result", lambda self: results[Path(self.folder).name])
        monkeypatch.setattr(verify_resume, "kill_at_random", lambda *_arguments: 5)
        with pytest.raises(UserError, match=f"not equal: after 5 kills, {re.escape(name)} differs"):
            verify_resume.main({}, "", 1, {"name": "net"}, {}, 1, tmp_path / "verify")


@pytest.mark.soak
class TestSoak:
    """`make soak`: 100 kills in four studies, some of them before the training run has begun."""

    @pytest.mark.parametrize("number", range(SOAK_STUDIES))
    def test_studies_killed_a_hundred_times_are_the_one_left_alone(self, packed, tmp_path, number):
        long = CONFIG["training"] | {"epochs": 5000, "patience": 1800}
        config = CONFIG | {"training": long | {"seeds": [2 * number + 1, 2 * number + 2]}}
        straight = copy_study(packed, tmp_path / "straight", config)
        straight.run("evaluate", cores=1)
        study = copy_study(packed, tmp_path / "killed", config)
        draw = random.Random(SEED + 100 + number)
        victims = kill_at_random(study, "evaluate", SOAK_KILLS, draw, anywhere=0.3)
        study.run("evaluate", cores=1)
        how = f"BATON_TEST_SEED={SEED}, killed: {victims}"
        assert len(victims) == SOAK_KILLS, how
        for seed in config["training"]["seeds"]:
            found, expected = result_of(study, f"net/seed_{seed}"), result_of(straight, f"net/seed_{seed}")
            assert_equal(found, expected, how)
            assert found.predictions is not None, how
