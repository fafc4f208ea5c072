"""What earlier versions of Baton left goes on as it began: states of the versions before, and ways to begin."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import newest_states
from test_training import OFF, SETTINGS, run_main

from baton.errors import SessionEnded
from baton.study import status
from baton.study.identity import COMPILED, IN_ONE_PASS, UPDATE, identify, list_ways
from baton.study.runs import Run
from baton.study.session import Session
from baton.training import keeper, kernels, networks, optimizers
from baton.training.state import load_state

EARLIER = Path(__file__).parent / "earlier"
HOW = {"precision": "float32", "dropout": 0.5}
AUGMENTED = {"augmentation": OFF | {"flip": "horizontal", "rotation": 0.1}}
# Folder of what a version left, its update, and how it was made.
LEFT = [("keras_update", None, HOW), ("in_one_pass", IN_ONE_PASS, HOW | AUGMENTED)]
every_version = pytest.mark.parametrize("version, update, how", LEFT, ids=[left[0] for left in LEFT])


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setenv(kernels.EARLIER, "1")  # or the tests would start anew in their place
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def left_behind(tmp_path, version):
    """A folder with the state of an earlier version, after two epochs of four."""
    shutil.copytree(EARLIER / version / "state", tmp_path / "state")
    return tmp_path


def state_of(folder):
    (newest,) = newest_states(folder, "state")
    return load_state(newest.parent)


def finished_of(version):
    (folder,) = (EARLIER / version / "finished").iterdir()
    return folder


@every_version
def test_an_unfinished_one_resumes_where_it_stopped_with_the_update_that_it_began_with(
    left_behind, version, update, how, caplog
):
    caplog.set_level("INFO")
    before = state_of(left_behind)[1]["history"]
    expected = json.loads((finished_of(version) / "training.json").read_text())
    found = run_main(left_behind, epochs=4, **how)
    assert "begun by an earlier version of Baton: it resumes with the steps of that version" in caplog.text
    assert "resuming from epoch 3, step 0" in caplog.text
    reason = "set in the config" if update else None  # the earliest noted none down
    assert f"float32 ({reason or 'as an earlier version began it'}), 1 threads" in caplog.text
    assert found["precision_reason"] == reason
    assert state_of(left_behind)[1]["history"][:2] == before and found["sessions"][-1]["from"] == [2, 0]
    assert found["identity"] == expected["identity"] and found["identity"].get(UPDATE) == update
    # On another processor than that it began on, in the last digits.
    assert found["last"] == pytest.approx(expected["last"], abs=1e-3)


@pytest.mark.parametrize("update", [None, IN_ONE_PASS])
def test_to_the_bits_of_one_that_was_not_interrupted_by_the_update(update, tmp_path, monkeypatch):
    def as_before(identity, precisions):
        return [way for way in list_ways(identity, precisions) if way.get(UPDATE) == update]

    monkeypatch.setattr(optimizers, "LARGE", 1)
    how = HOW | AUGMENTED
    whole, begun, today = (tmp_path / name for name in ("whole", "begun", "today"))
    for folder in (whole, begun, today):
        folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "list_ways", as_before)
        run_main(whole, epochs=4, **how)
        run_main(begun, epochs=2, **how)
    run_main(begun, epochs=4, **how)
    run_main(today, epochs=4, **how)
    (expected, _), (found, _), (other, _) = map(state_of, (whole, begun, today))
    assert expected.keys() == found.keys() == other.keys() and len(expected) > 15
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    # The update of today is the same but for rounding; were it the same bits, this would show nothing.
    weights = [
        name for name in expected if name.startswith("network/") and expected[name].dtype == np.float32
    ]
    assert not all(np.array_equal(expected[name], other[name]) for name in weights)
    for name in weights:
        np.testing.assert_allclose(other[name], expected[name], atol=1e-3, err_msg=name)


@pytest.mark.skipif(not kernels.X86, reason="oneDNN is left as it is elsewhere")
@pytest.mark.parametrize("set_before", [None, "0"])
def test_with_the_kernels_that_tensorflow_takes_by_itself(set_before):
    program = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from baton.study.session import process_age
young = process_age()  # TensorFlow takes seconds to import
from baton.training import kernels, networks
from tensorflow.python.util import _pywrap_util_port
if os.environ.get(kernels.ONEDNN) == "1":
    assert _pywrap_util_port.IsMklEnabled()
print(os.getpid(), young, process_age(), os.environ.get(kernels.ONEDNN), sys.argv[2], flush=True)
kernels.start_anew_with_earlier()
kernels.start_anew_with_earlier()
print("ready")
"""
    environment = own_environment()
    if set_before:
        environment[kernels.ONEDNN] = set_before
    done = subprocess.run(
        [sys.executable, "-c", program, os.pathsep.join(sys.path), "a word"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, ready = done.stdout.splitlines()
    (pid, _, before, *words), (again, after, _, *others) = (line.split(" ", 4) for line in (first, second))
    assert words == ["1", "a word"] and others == [str(set_before), "a word"] and ready == "ready"
    assert pid == again and float(after) > float(before), "its minutes go on"


def own_environment():
    return {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "BATON_"))}


@every_version
def test_a_signal_that_came_before_it_would_start_anew_ends_it(
    left_behind, version, update, how, monkeypatch
):
    monkeypatch.delenv(kernels.EARLIER)
    session = Session()
    session.signal = "SIGTERM"
    monkeypatch.setattr("test_training.Session", lambda: session)
    with pytest.raises(SessionEnded, match="not trained: it received SIGTERM"):
        run_main(left_behind, epochs=4, **how)


@every_version
def test_a_finished_model_is_evaluated_with_the_kernels_it_was_trained_with(version, update, how, tmp_path):
    program = """
import json, os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
import evaluate
training = json.loads(sys.argv[3])
evaluate.find_or_predict(sys.argv[2], sys.argv[4], None, None, training, None, None)
from baton.training import kernels
print(os.environ.get(kernels.ONEDNN))
"""
    kept = finished_of(version)
    run_main(tmp_path, epochs=1, **how)  # whose images these are
    training = json.loads((kept / "training.json").read_text())
    found = []
    for update_of_it in (training["identity"].get(UPDATE), COMPILED):
        training["identity"][UPDATE] = update_of_it
        words = [
            os.pathsep.join(sys.path),
            kept / "model.keras",
            json.dumps(training),
            tmp_path / "validation.npy",
        ]
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env=own_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout.strip())
    assert found == ["None", "1" if kernels.X86 else "None"]


@every_version
def test_a_finished_model_is_given_back(version, update, how, tmp_path, caplog):
    caplog.set_level("INFO")
    kept = finished_of(version)
    shutil.copytree(kept.parent, tmp_path / "results/models/net/seed_1/finished")
    run_main(tmp_path, epochs=4, **how)
    assert "trained already: the finished model is restored" in caplog.text
    found = (tmp_path / "results/models/net/seed_1/model.keras").read_bytes()
    assert found == (kept / "model.keras").read_bytes()
    assert not list((tmp_path / "state").glob("*/state.safetensors")), "no state was begun"


@every_version
def test_the_status_knows_it(left_behind, version, update, how, monkeypatch):
    (left_behind / "state").rename(left_behind / "seed_1")
    (left_behind / "state/net").mkdir(parents=True)
    (left_behind / "seed_1").rename(left_behind / "state/net/seed_1")
    settings = SETTINGS | {"size": 8, "dense": 16, "kernels": 4, "epochs": 4, "l2": 0.001, **HOW}
    monkeypatch.chdir(left_behind)
    found = status.how_far(Run("net", "net", 1, settings, how.get("augmentation", OFF)), {}, threads=1)
    assert (found.epoch, found.done, found.begun, found.changes) == (2, False, True, [])


def test_a_new_one_is_compiled_and_says_so(tmp_path):
    found = run_main(tmp_path, epochs=1, **HOW)
    assert found["identity"][UPDATE] == COMPILED


@every_version
def test_its_model_predicts_what_it_predicted(version, update, how, tmp_path):
    kept = finished_of(version)
    model = keras.saving.load_model(kept / "model.keras", compile=False)
    run_main(tmp_path, epochs=1, **how)  # whose images these are
    probabilities = networks.predict(model, np.load(tmp_path / "validation.npy"))
    with open(kept / "history.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    epoch = json.loads((kept / "training.json").read_text())["kept"]["epoch"]
    accuracy = (probabilities.argmax(axis=1) == np.arange(24) % 3).mean()
    assert accuracy == pytest.approx(float(rows[epoch - 1]["val_accuracy"]))


def test_ways_to_begin_come_in_order_and_each_is_another_identity():
    identity = identify(SETTINGS, OFF, 1, threads=2)
    ways = list_ways(identity, ["mixed_bfloat16", "float32"])
    assert [(way["precision"], way.get(UPDATE)) for way in ways] == [
        ("mixed_bfloat16", COMPILED),
        ("mixed_bfloat16", IN_ONE_PASS),
        ("mixed_bfloat16", None),
        ("float32", COMPILED),
        ("float32", IN_ONE_PASS),
        ("float32", None),
    ]
    assert all(identity.items() <= way.items() for way in ways)
