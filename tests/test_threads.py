"""With how many threads a model trains: by what a step costs, or as it was begun."""

import json

import pytest
import yaml
from conftest import REPOSITORY

from baton.study.identity import identify
from baton.study.runs import Run

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


def leave_progress(here, run, **changes):
    identity = identify(
        run.settings, run.augmentation, 1, threads=2, precision="mixed_bfloat16", data="abc", devices=1
    )
    path = here / run.files.progress
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"epoch": 3, "identity": identity | changes}))


def test_what_is_begun_keeps_its_own(here):
    leave_progress(here, run_of("model_3"))
    assert run_of("model_3").threads == 2
    leave_progress(here, run_of("model_3"), threads=8)
    assert run_of("model_3").threads == 8
    assert run_of("model_3").threads_of(4) == 4


@pytest.mark.parametrize("content", ["{", '{"identity": null}', '{"identity": {"threads": 2}}'])
def test_another_training_runs_are_not_taken(here, content):
    leave_progress(here, run_of("model_3"), l2=0.5)
    assert run_of("model_3").threads == 1
    (here / run_of("model_3").files.progress).write_text(content)
    assert run_of("model_3").threads == 1


def test_on_fewer_cores_it_has_as_many_as_there_are():
    assert [run_of("model_1").threads_of(cores) for cores in (None, 1, 2, 16)] == [None, 1, 2, 2]
