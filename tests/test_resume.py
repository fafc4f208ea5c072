"""Training runs that are stopped and run again, to the last bit; and what retrains a finished one.

Two studies of the same images and config: one stopped in each way a machine may stop it, one trained in one go
to the same epoch. All is on that makes an epoch random: order, dropout, flip and rotation.
"""

import csv
import json
import os
import re
import signal
from types import SimpleNamespace

import pytest
from conftest import (
    ENDLESS,
    Call,
    Study,
    copy_study,
    newest_states,
    packed_for_training,
    read_weights,
    result_of,
    run_script,
    same_arrays,
    save_images,
    take_stock,
    wait_until,
)

from baton.training.state import load_state

RUN = "results/models/net/seed_1"
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 4, "test": 2},
    "images": {"size": 16},
    "augmentation": {"flip": "horizontal", "rotation": 0.1},
    "training": {"epochs": ENDLESS, "batch_size": 4, "dropout": 0.5, "precision": "float32"},
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 8, "layers": 1}],
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A study whose images are packed, ready to train, of which others here get a copy."""
    study = Study(tmp_path_factory.mktemp("packed"), CONFIG)
    save_images(study / "photos/red", "red", 20)
    save_images(study / "photos/green", "green", 15)
    study.run("pack")
    return study


def with_training(**settings):
    return CONFIG | {"training": CONFIG["training"] | settings}


def take_states(study):
    """Return the stock of state/ without the lock, which says who was there last."""
    return {path: entry for path, entry in take_stock(study / "state").items() if not path.endswith("/lock")}


def epochs_in_log(study):
    """Return the epochs that the last session trained."""
    return [int(epoch) for epoch in re.findall(r" epoch (\d+) of \d+: val", study.log("train/net/seed_1"))]


def stop_after(study, epochs, number):
    """Run the training run, send it (and nothing else) the signal `number` after some epochs; return the Outcome."""
    log = study / "logs/train/net/seed_1.log"
    log.unlink(missing_ok=True)
    with Call(study, "train_net", cores=2) as call:
        wait_until(
            lambda: log.exists() and len(epochs_in_log(study)) >= epochs, f"the end of {epochs} epochs"
        )
        os.kill(call.training().pid, number)
        return call.end()


@pytest.fixture(scope="module")
def stopped(packed, tmp_path_factory):
    """The study stopped by its clock after one step, by SIGTERM and by SIGKILL, then run to the end.

    `stops` has, for each session, its Outcome, the epochs in its log, the progress and the files it left.
    """
    study = copy_study(packed, tmp_path_factory.mktemp("stopped"), CONFIG)
    stops = {}

    def note(name, outcome):
        stops[name] = SimpleNamespace(
            outcome=outcome,
            epochs=epochs_in_log(study),
            progress=study.json("../state/net/seed_1/progress.json"),
            outputs=sorted(path.name for path in (study / RUN).glob("*")),
        )

    note("time", study.try_run("train_net", "--set-resources", "train_net:runtime=0"))
    note("SIGTERM", stop_after(study, 4, signal.SIGTERM))
    note("SIGKILL", stop_after(study, 8, signal.SIGKILL))
    study.configure(with_training(epochs=stops["SIGKILL"].progress["epoch"] + 12))
    note("end", study.run("train_net"))
    return SimpleNamespace(study=study, stops=stops, **vars(result_of(study, "net/seed_1")))


@pytest.fixture(scope="module")
def whole(packed, tmp_path_factory, stopped):
    """The study trained in one go, and what came of it."""
    epochs = stopped.summary["epochs"]
    study = copy_study(packed, tmp_path_factory.mktemp("whole"), with_training(epochs=epochs))
    outcome = study.run("train_net")
    return SimpleNamespace(study=study, outcome=outcome, **vars(result_of(study, "net/seed_1")))


def sentence(outcome):
    """Return the one sentence in which the training says why its session is over."""
    said = re.findall(r"^train/net/seed_1: ((?:stopped|not trained).*)$", outcome.output, re.MULTILINE)
    assert len(said) == 1, outcome.output
    return said[0]


class TestStopped:
    def test_too_short_a_time_ends_the_session_in_one_sentence(self, stopped):
        stop = stopped.stops["time"]
        assert stop.outcome.code != 0
        assert "runtime" in sentence(stop.outcome) and "run the same command again" in sentence(stop.outcome)
        assert stop.epochs == [] and stop.progress["epoch"] == 0

    def test_sigterm_ends_the_session_in_one_sentence(self, stopped):
        stop = stopped.stops["SIGTERM"]
        assert stop.outcome.code != 0
        assert f"of {ENDLESS}: it received SIGTERM. The state is saved" in sentence(stop.outcome)
        assert len(stop.epochs) >= 4 and stop.epochs == list(range(1, len(stop.epochs) + 1))
        assert stop.progress["epoch"] == stop.epochs[-1] and not stop.progress["complete"]

    def test_a_stopped_session_prints_no_traceback_and_how_far_it_is(self, stopped):
        for name in ("time", "SIGTERM", "SIGKILL"):
            stop = stopped.stops[name]
            assert "Traceback" not in stop.outcome.output
            assert f"net: {stop.progress['epoch']} of {ENDLESS} epochs" in stop.outcome.output
            assert "To resume: " in stop.outcome.output

    def test_a_stopped_session_leaves_no_model(self, stopped):
        for name in ("time", "SIGTERM", "SIGKILL"):
            assert stopped.stops[name].outputs == [], name

    def test_kill_9_loses_what_came_after_the_last_save_and_no_more(self, stopped):
        before, killed, end = (stopped.stops[name] for name in ("SIGTERM", "SIGKILL", "end"))
        assert killed.outcome.code != 0
        assert killed.epochs[0] == before.epochs[-1] + 1 and len(killed.epochs) >= 8
        assert before.progress["epoch"] <= killed.progress["epoch"] <= killed.epochs[-1] + 1
        assert end.epochs == [killed.progress["epoch"] + number for number in range(1, 13)]

    def test_every_session_says_where_it_goes_on(self, stopped):
        assert "resuming from" not in stopped.stops["time"].outcome.output
        for before, name in (("time", "SIGTERM"), ("SIGTERM", "SIGKILL"), ("SIGKILL", "end")):
            epoch = stopped.stops[before].progress["epoch"] + 1
            assert f"resuming from epoch {epoch}, step" in stopped.stops[name].outcome.output

    def test_the_history_has_every_epoch_and_the_same_bytes_as_one_in_one_go(self, whole, stopped):
        rows = list(csv.DictReader(stopped.history.decode().splitlines()))
        assert [int(row["epoch"]) for row in rows] == list(range(1, whole.summary["epochs"] + 1))
        assert stopped.history == whole.history

    def test_the_weights_are_the_same_to_the_last_bit(self, whole, stopped):
        assert same_arrays(stopped.weights, whole.weights)

    def test_optimizer_and_generators_are_the_same_to_the_last_bit(self, whole, stopped):
        arrays, _ = whole.state
        assert any("optimizer" in name for name in arrays)
        assert any("seed_generator" in name for name in arrays)
        assert same_arrays(stopped.state[0], arrays)

    def test_the_same_epoch_is_kept(self, whole, stopped):
        assert stopped.summary["kept"] == whole.summary["kept"]

    def test_the_summary_tells_of_every_session(self, whole, stopped):
        assert [session["reason"] for session in whole.summary["sessions"]] == ["all done"]
        reasons = [session["reason"] for session in stopped.summary["sessions"]]
        assert reasons[-3:] == ["it received SIGTERM", None, "all done"], "kill -9 leaves no reason"


@pytest.fixture(scope="module")
def raised(whole):
    whole.study.configure(with_training(epochs=whole.summary["epochs"] + 2))
    outcome = whole.study.run("train_net")
    return SimpleNamespace(
        outcome=outcome,
        epochs=epochs_in_log(whole.study),
        history=whole.study.read(f"{RUN}/history.csv"),
        weights=read_weights(whole.study / f"{RUN}/model.keras"),
    )


@pytest.fixture(scope="module")
def lowered(whole, raised):
    """To a number of epochs at which it was never finished: at fewer it was, and that model is kept."""
    whole.study.configure(with_training(epochs=whole.summary["epochs"] + 1))
    before = take_states(whole.study)
    outcome = whole.study.try_run("train_net")
    return SimpleNamespace(outcome=outcome, before=before, after=take_states(whole.study))


@pytest.fixture(scope="module")
def back(whole, lowered):
    """The epochs as they were, and the model's file deleted."""
    whole.study.configure(with_training(epochs=whole.summary["epochs"] + 2))
    (whole.study / f"{RUN}/model.keras").unlink(missing_ok=True)
    return whole.study.run("train_net")


@pytest.fixture(scope="module")
def penalised(stopped):
    stopped.study.configure(with_training(l2=0.01, epochs=3))
    outcome = stopped.study.run("train_net")
    return SimpleNamespace(
        outcome=outcome, epochs=epochs_in_log(stopped.study), history=stopped.study.read(f"{RUN}/history.csv")
    )


class TestChanged:
    """What changing the config of a finished training run does."""

    def test_raising_the_epochs_goes_on(self, whole, raised):
        epochs = whole.summary["epochs"]
        assert f"resuming from epoch {epochs + 1}, step 0" in raised.outcome.output
        assert raised.epochs == [epochs + 1, epochs + 2]
        assert raised.history.startswith(whole.history)
        assert len(raised.history.splitlines()) == 1 + epochs + 2

    def test_lowering_the_epochs_is_refused_with_the_reason(self, whole, lowered):
        epochs = whole.summary["epochs"]
        assert lowered.outcome.code != 0
        said = f"net is trained for {epochs + 2} epochs and the config asks for {epochs + 1}: training cannot"
        assert said in lowered.outcome.output
        assert f"Set epochs to {epochs + 2} or more" in lowered.outcome.output
        assert "Traceback" not in lowered.outcome.output
        assert lowered.before == lowered.after

    def test_a_model_whose_file_is_gone_comes_back_without_training(self, whole, raised, back):
        assert "trained already: the finished model is restored from" in back.output
        assert epochs_in_log(whole.study) == []
        assert same_arrays(read_weights(whole.study / f"{RUN}/model.keras"), raised.weights)
        assert whole.study.read(f"{RUN}/history.csv") == raised.history

    def test_a_changed_training_key_trains_anew_and_says_what_differs(self, whole, penalised):
        assert (
            "the last session trained something else: l2 was 0.0001 and is 0.01." in penalised.outcome.output
        )
        assert "resuming from" not in penalised.outcome.output
        assert penalised.epochs == [1, 2, 3]
        assert penalised.history.splitlines()[1] != whole.history.splitlines()[1]

    def test_the_key_changed_back_gives_the_first_training_back_without_training(
        self, whole, stopped, penalised
    ):
        stopped.study.configure(with_training(epochs=stopped.summary["epochs"]))
        outcome = stopped.study.run("train_net")
        assert "trained already: the finished model is restored from" in outcome.output
        assert epochs_in_log(stopped.study) == []
        assert same_arrays(read_weights(stopped.study / f"{RUN}/model.keras"), stopped.weights)
        assert stopped.study.read(f"{RUN}/history.csv") == stopped.history


FULL_AT_THE_END = """
import errno, json, sys
sys.path[:0] = json.loads(sys.argv[1])
import train
from baton.training import keeper
from baton.study.session import Session

save, failed = keeper.save_state, []

def save_state(folder, arrays, values):
    if values["epoch"] == 2 and not failed:
        failed.append(True)
        raise OSError(errno.ENOSPC, "No space left on device")
    save(folder, arrays, values)

keeper.save_state = save_state
train.main(**json.load(sys.stdin), session=Session())
"""


def test_last_state_that_could_not_be_saved_is_saved_after_the_model(stopped, tmp_path):
    arguments = {
        "packed": packed_for_training(stopped.study, "16px"),
        "weights": str(stopped.study / "results/data/class_weights.json"),
        "outputs": {
            "model": str(tmp_path / "model.keras"),
            "history": str(tmp_path / "history.csv"),
            "curves": str(tmp_path / "curves.svg"),
            "summary": str(tmp_path / "training.json"),
        },
        "state": str(tmp_path / "state"),
        "board": str(tmp_path / "board"),
        "threads": 1,
        "settings": stopped.summary["settings"] | {"epochs": 2},
        "augmentation": stopped.summary["augmentation"],
        "seed": 1,
    }
    outcome = run_script(FULL_AT_THE_END, arguments)
    assert outcome.code == 0, outcome.output
    assert "the state could not be saved (No space left on device); trying again later" in outcome.output
    (newest,) = newest_states(tmp_path, "state")
    values = load_state(newest.parent)[1]
    assert (values["epoch"], values["sessions"][-1]["reason"]) == (2, "all done")
    assert json.loads((tmp_path / "state/progress.json").read_text())["complete"]
    assert json.loads((tmp_path / "training.json").read_text())["epochs"] == 2
