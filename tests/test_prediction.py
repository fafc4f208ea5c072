"""The prediction of the test images that training makes and the evaluation takes: the same bits, and only where it is of this model."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Study, packed_for_training, run_script, save_images

from baton.training import networks, prediction

CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 4, "test": 6},
    "images": {"size": 16},
    "training": {"epochs": 3, "batch_size": 8, "precision": "mixed_bfloat16"},
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
}
KEPT = "state/net/seed_1/test_prediction.safetensors"
# The evaluation of the study in the current folder, where TensorFlow cannot be imported.
WITHOUT_TENSORFLOW = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
sys.modules["tensorflow"] = sys.modules["keras"] = None
import evaluate
evaluate.main(**json.load(sys.stdin))
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("prediction"), CONFIG)
    for colour in ("red", "green", "blue"):
        save_images(study / "photos" / colour, colour, 20)
    study.run("train_net")
    return study


def evaluate_without_tensorflow(study, out):
    packed, run = "results/data/packed/16px", "results/models/net/seed_1"
    return run_script(
        WITHOUT_TENSORFLOW,
        {
            "model": str(study / f"{run}/model.keras"),
            "summary": str(study / f"{run}/training.json"),
            "test": str(study / f"{packed}/test.npy"),
            "test_manifest": str(study / f"{packed}/test.csv"),
            "weights": str(study / "results/data/class_weights.json"),
            "groups_csv": str(study / "results/data/groups.csv"),
            "answers_csv": None,
            "metrics_json": str(out / "metrics.json"),
            "predictions_csv": str(out / "predictions.csv"),
            "card": str(out / "model_card.md"),
            "ordered": None,
            "kept_prediction": str(study / KEPT),
        },
    )


def test_it_is_what_the_evaluation_would_predict_by_itself(study, tmp_path):
    done = evaluate_without_tensorflow(study, tmp_path)
    assert done.code == 0, done.output
    taken = json.loads((tmp_path / "metrics.json").read_text())
    shutil.move(study / KEPT, tmp_path / "kept")
    try:
        study.run("evaluate_net")
    finally:
        shutil.move(tmp_path / "kept", study / KEPT)
    made = json.loads(study.read("results/evaluation/net/seed_1/metrics.json"))
    assert taken.pop("milliseconds").keys() == made.pop("milliseconds").keys() == {"1", "32"}
    assert taken == made and taken["images"] == 18
    predictions = study.read("results/evaluation/net/seed_1/predictions.csv")
    assert (tmp_path / "predictions.csv").read_bytes() == predictions


def test_of_another_model_it_is_not_taken(study, tmp_path):
    shutil.copytree(study.folder, tmp_path / "copy")
    copy = Study(tmp_path / "copy", CONFIG)
    with open(copy / "results/models/net/seed_1/model.keras", "ab") as file:
        file.write(b"\0")
    done = evaluate_without_tensorflow(copy, tmp_path)
    assert done.code != 0 and "import of keras halted" in done.output  # it had to predict
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_where_the_session_ends_nothing_is_kept(study, tmp_path, caplog, batches):
    """The 18 test images twice are two batches."""
    networks.set_up(1, "float32", seed=1)
    caplog.set_level("INFO")
    packed, run = study / "results/data/packed/16px", study / "results/models/net/seed_1"
    np.save(tmp_path / "test.npy", np.concatenate([np.load(packed / "test.npy")] * 2))
    reasons = iter([None] * batches + ["the time is up"] * 9)
    session = SimpleNamespace(reason_to_stop=lambda seconds: seconds == 30 and next(reasons))
    prediction.predict_and_keep(
        run / "model.keras",
        study / "results/data/class_weights.json",
        session,
        tmp_path / "test.npy",
        packed / "test.csv",
        tmp_path / "kept",
    )
    assert not (tmp_path / "kept").exists()
    assert caplog.messages == ["the test images are predicted later: the time is up"]


def test_what_is_kept_is_found_for_its_origin_only(tmp_path):
    path, origin = tmp_path / "kept.safetensors", {"model": "a", "test": "b"}
    assert prediction.find(path, origin) is None
    probabilities = np.array([[0.25, 0.75], [1, 0]], np.float32)
    prediction.keep(path, origin, probabilities, {"1": 2.5, "32": 0.125})
    found, milliseconds = prediction.find(path, origin)
    assert np.array_equal(found, probabilities) and milliseconds == {"1": 2.5, "32": 0.125}
    assert prediction.find(path, origin | {"test": "c"}) is None
    whole = path.read_bytes()
    for spoilt in (whole[:-3], whole[:20], b"", whole.replace(b"milliseconds", b"Milliseconds")):
        path.write_bytes(spoilt)
        assert prediction.find(path, origin) is None


def test_changed_test_images_are_another_origin(study, tmp_path):
    model, weights = (
        study / "results/models/net/seed_1/model.keras",
        study / "results/data/class_weights.json",
    )
    packed = study / "results/data/packed/16px"
    origins = [prediction.describe(model, packed / f"{split}.csv", weights) for split in ("test", "train")]
    assert origins[0]["model"] == origins[1]["model"] and origins[0]["test"] != origins[1]["test"]


TRAIN = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import train
from baton import console
from baton.study.session import Session
console.start(sys.argv[2])
train.main(**json.load(sys.stdin), session=Session(runtime=20 / 60, clock=lambda: 0.0) if sys.argv[3:] else Session())
"""


@pytest.mark.parametrize("what", ["no folder for it", "no time for it"])
def test_without_it_training_is_done_all_the_same(study, tmp_path, what):
    packed = study / "results/data/packed/16px"
    names = {
        "model": "model.keras",
        "history": "history.csv",
        "curves": "curves.svg",
        "summary": "training.json",
    }
    kept_as = tmp_path / ("absent/kept" if what == "no folder for it" else "kept")
    done = run_script(
        TRAIN,
        {
            "packed": packed_for_training(study, "16px"),
            "weights": str(study / "results/data/class_weights.json"),
            "outputs": {name: str(tmp_path / file) for name, file in names.items()},
            "state": str(tmp_path / "state"),
            "board": str(tmp_path / "board"),
            "threads": 1,
            "settings": json.loads(study.read("results/models/net/seed_1/training.json"))["settings"],
            "augmentation": json.loads(study.read("results/models/net/seed_1/training.json"))["augmentation"],
            "seed": 1,
            "test": {
                "images": str(packed / "test.npy"),
                "manifest": str(packed / "test.csv"),
                "kept_as": str(kept_as),
            },
        },
        str(tmp_path / "train.log"),
        *(["short"] if what == "no time for it" else []),
    )
    assert done.code == 0, done.output
    assert (tmp_path / "model.keras").exists() and not kept_as.exists()
    reasons = re.findall(r"the test images are predicted later: (.*)", done.output)
    assert len(reasons) == 1
    assert ("o such file" if what == "no folder for it" else "the time is up (the job's runtime)") in reasons[
        0
    ]
