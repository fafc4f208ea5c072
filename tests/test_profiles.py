"""The profiles, in a dry run: what jobs ask for, and how they are grouped. tests/slurm/ submits them for real."""

import json
import re

import pytest
from conftest import REPOSITORY, Study
from test_sweep import read

MODELS = [
    {"name": "small", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2},
    {"name": "large", "kernels": 64, "kernel_size": 3, "dense": 1024, "layers": 2},
]
CONFIG = {"images": {"size": 64}, "training": {"batch_size": 10}, "models": MODELS}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path, CONFIG)


def dry_run(study, profile, *arguments):
    """Return what each job of a dry run asks for, by rule, and all that was printed."""
    outcome = study.run("-n", *arguments, "--workflow-profile", REPOSITORY / f"profiles/{profile}")
    jobs = re.findall(r"rule (\w+):\n(?:.*\n)*?\s+resources: (.*)", outcome.output)
    return {rule: dict(re.findall(r"(\w+)=([^\s,]+)", resources)) for rule, resources in jobs}, outcome.output


@pytest.mark.parametrize("profile", sorted(path.name for path in (REPOSITORY / "profiles").iterdir()))
def test_profile_is_understood(study, profile):
    jobs, _ = dry_run(study, profile)
    assert {"train_small", "train_large", "evaluate_small", "pack_images", "write_report"} <= set(jobs)


def test_training_asks_slurm_for_its_time_and_a_warning(study):
    jobs, output = dry_run(study, "slurm")
    assert jobs["train_large"]["runtime"] == "300"
    assert "slurm_extra=--signal=USR2@120 --open-mode=append" in output


def test_data_stages_are_one_job_and_every_training_one_with_its_evaluation(study):
    _, output = dry_run(study, "slurm")
    groups = [
        re.findall(r"^    rule (\w+):", group, re.MULTILINE) for group in output.split("Group job ")[1:]
    ]
    assert sorted(map(sorted, groups)) == [
        [
            "draw_demo",
            "estimate_ceiling",
            "filter_corrupt",
            "find_copies",
            "inspect_images",
            "measure_agreement",
            "sort_into_classes",
            "split_holdout",
            "weigh_classes",
        ],
        ["evaluate_large", "train_large"],
        ["evaluate_small", "train_small"],
    ]


def test_memory_follows_from_the_size_of_the_model(study):
    jobs, _ = dry_run(study, "slurm")
    # Two convolutions of 64 and 128 kernels, 16 x 16 x 128 values into the dense layer.
    weights = 64 * (3 * 9 + 1) + 128 * (64 * 9 + 1) + 1024 * (16 * 16 * 128 + 1)
    activations = 5 * 64 * 64 * 64 * 64  # of validation: 64 images at a time, and 10 to train on
    assert int(jobs["train_large"]["mem_mb"]) == pytest.approx(
        1500 + (48 * weights + activations) / 1e6, abs=1
    )
    assert 1500 < int(jobs["train_small"]["mem_mb"]) < 1520
    assert jobs["evaluate_large"]["mem_mb"] == jobs["train_large"]["mem_mb"]


@pytest.mark.parametrize(("kills", "times"), [(0, 1), (1, 2), (2, 4), (7, 4)])
def test_more_memory_is_asked_for_after_kills_without_a_warning(study, kills, times):
    before = int(dry_run(study, "slurm")[0]["train_large"]["mem_mb"])
    folder = study / "state/large/seed_1"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps({"unended_sessions": kills}))
    after = dry_run(study, "slurm")[0]
    assert int(after["train_large"]["mem_mb"]) == pytest.approx(times * before, abs=times)
    assert int(after["train_small"]["mem_mb"]) < 1520


@pytest.mark.parametrize(
    ("saved", "attempt", "times"),
    [(None, 1, 1), (None, 2, 2), (None, 6, 4), (0, 6, 1), (1, 6, 2)],
    ids=["first", "never saved", "never saved again", "ends in good order", "killed once"],
)
def test_killed_before_its_first_save_every_attempt_counts(tmp_path, monkeypatch, saved, attempt, times):
    study = read({"data": {"source": "demo", "images": "digits", "annotations": "digits.csv"}})
    run = study.runs[0]
    monkeypatch.chdir(tmp_path)
    once = run.ask_memory(None, attempt=1)
    if saved is not None:
        (tmp_path / "state" / run.folder).mkdir(parents=True)
        (tmp_path / "state" / run.folder / "progress.json").write_text(
            json.dumps({"unended_sessions": saved})
        )
    assert run.ask_memory(None, attempt=attempt) == pytest.approx(times * once, abs=times)


def test_gpus_are_asked_for_by_trainings_alone(study):
    jobs, _ = dry_run(study, "slurm", "--default-resources", "gpu=2", "runtime=300")
    assert {jobs[rule]["gpu"] for rule in ("train_small", "train_large", "evaluate_large")} == {"2"}
    data = (
        "sort_into_classes",
        "split_holdout",
        "inspect_images",
        "find_copies",
        "filter_corrupt",
        "weigh_classes",
        "pack_images",
        "write_report",
    )
    assert {jobs[rule]["gpu"] for rule in data} == {"0"}
    # Or the cluster's own default would count.
    assert [rule for rule in data if "mem_mb" not in jobs[rule]] == []
