"""With how many threads a model trains: by what a step costs, or as it was begun."""

import json

import pytest
import yaml
from conftest import REPOSITORY, Study, save_images

from baton.study.identity import fingerprint, identify
from baton.study.runs import WEIGHTS, Run

CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
MODELS = {model["name"]: model for model in CONFIG["models"]}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(name, size=32, **settings):
    settings = CONFIG["training"] | MODELS[name] | {"size": size, "synthetic_fraction": 0} | settings
    settings.pop("seeds", None)
    return Run(name, name, 1, settings, CONFIG["augmentation"])


@pytest.mark.parametrize(
    ("size", "expected"),
    [(32, [2, 2, 1, 1, 2, 1]), (96, [2] * 6), (150, [2] * 6)],
    ids=lambda value: str(value),
)
def test_small_steps_take_one(size, expected):
    assert [run_of(name, size).threads for name in MODELS] == expected


def test_a_larger_batch_makes_a_larger_step():
    # 11.9 million multiplications an image: 0.38e9 with 32 images, 1.5e9 with 128.
    assert [run_of("model_3", batch_size=size).threads for size in (32, 128)] == [1, 2]


def leave_state(here, run, threads, data="abc", **changes):
    """Leave what a session of training leaves, as far as it is looked at: progress.json, and that there is a state."""
    identity = identify(
        run.settings, run.augmentation, 1, threads=threads, precision="mixed_bfloat16", data=data, devices=1
    )
    identity |= changes
    state = here / run.files.state / fingerprint(identity)
    state.mkdir(parents=True, exist_ok=True)
    (state / "state.safetensors").touch()
    (here / run.files.progress).write_text(json.dumps({"epoch": 3, "identity": identity}))


def pack(here, run):
    """Leave what the digest of a run's data is of, and return it."""
    paths = [here / run.packed.manifest("train"), here / run.packed.manifest("validation"), here / WEIGHTS]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("label\n0\n")
    return run.digest(WEIGHTS)


def test_what_is_begun_keeps_its_own(here):
    leave_state(here, run_of("model_3"), 2)
    assert run_of("model_3").threads == 2
    assert run_of("model_3", precision="float32").threads == 1, "another training run"
    assert run_of("model_3", l2=0.5).threads == 1


def test_and_as_many_as_a_call_gave_it(here):
    leave_state(here, run_of("model_3"), 8)
    assert run_of("model_3").threads == 8
    assert run_of("model_3").threads_of(4) == 4


def test_one_call_on_fewer_cores_leaves_what_was_begun_before_it_as_it_was(here):
    leave_state(here, run_of("model_1"), 2)
    leave_state(here, run_of("model_1"), 1)
    assert run_of("model_1").threads == 2


def test_what_other_settings_trained_in_between_changes_nothing(here):
    leave_state(here, run_of("model_3"), 2)
    leave_state(here, run_of("model_3", l2=0.5), 1)
    assert run_of("model_3").threads == 2


@pytest.mark.parametrize("content", ["{", '{"identity": null}', '{"identity": {"threads": 1}}', None])
def test_nor_does_the_loss_of_what_is_for_people(here, content):
    run = run_of("model_3")
    leave_state(here, run, 2, data=pack(here, run))
    if content is None:
        (here / run.files.progress).unlink()
    else:
        (here / run.files.progress).write_text(content)
    assert run_of("model_3").threads == 2


@pytest.mark.parametrize("content", [None, "{", '{"identity": null}', '{"identity": {"threads": 2}}'])
def test_another_training_runs_are_not_taken(here, content):
    leave_state(here, run_of("model_3", l2=0.5), 2)
    if content is not None:
        (here / run_of("model_3").files.progress).write_text(content)
    assert run_of("model_3").threads == 1


def test_data_that_are_changed_and_changed_back_find_it_again(here):
    run = run_of("model_3")
    leave_state(here, run, 2)
    pack(here, run)  # other data, of which nothing is trained
    assert run_of("model_3").threads == 2
    assert list(run_of("model_3").find_states()) == [], "but nothing of what is packed is trained"


@pytest.mark.parametrize("identity", [{"threads": [2]}, {"devices": {}}, [1], "x"])
def test_an_odd_progress_is_no_harm(here, identity):
    leave_state(here, run_of("model_1"), 1)
    (here / run_of("model_1").files.progress).write_text(json.dumps({"identity": identity}))
    assert run_of("model_1").threads == 2


def test_on_fewer_cores_it_has_as_many_as_there_are():
    assert [run_of("model_1").threads_of(cores) for cores in (None, 1, 2, 16)] == [None, 1, 2, 2]


def test_the_status_is_that_of_the_threads_that_this_call_gives(tmp_path):
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 1, "test": 1},
        "images": {"size": 8},
        "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
    }
    study = Study(tmp_path / "study", config)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 4)
    two = ("--set-threads", "train_net=2")
    study.run("train", "--config", "training={epochs: 1}")
    study.run("train", *two, "--config", "training={epochs: 2}")
    later = ("--config", "training={epochs: 4}")
    assert "\nnet: 1 of 4 epochs\n" in study.run("status", *later).output
    assert "\nnet: 2 of 4 epochs\n" in study.run("status", *two, *later).output
