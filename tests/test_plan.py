"""The plan: its arithmetic, and what it predicts for a study before and after it is run."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Call, Study, save_images

import plan
import try_model
from baton.errors import UserError
from baton.formatting import duration, file_size
from baton.study import cost, status
from baton.study.identity import fingerprint
from baton.study.runs import Run
from baton.training.state import save_state
from planning import describe, schedule

SETTINGS = {
    "name": "net",
    "kernels": 2,
    "size": 16,
    "kernel_size": 3,
    "dense": 4,
    "layers": 2,
    "synthetic_fraction": 0,
    "epochs": 40,
    "batch_size": 8,
    "learning_rate": 0.001,
    "l2": 0.0001,
    "dropout": 0.5,
    "initializer": "he_normal",
    "stddev": 0.1,
    "class_weights": "none",
    "monitor": "val_accuracy",
    "patience": None,
    "precision": "float32",
}
AUGMENTATION = {"flip": None, "rotation": 0, "zoom": 0, "brightness": 0, "contrast": 0}
RUN = Run("net", "net", 1, SETTINGS, AUGMENTATION)
DATA = {"data": {"images": "photos"}, "holdout": {"seed": 1}}
VALUES = {
    "start": 5.0,
    "step": 0.5,
    "validation_batch": 0.25,
    "epoch": 1.0,
    "save": 2.0,
    "finish": 3.0,
    "evaluate": 10.0,
    "predict": 0.01,
    "memory_bytes": 1e9,
    "state_bytes": 4e8,
    "model_bytes": 1e8,
    "parameters": 25_000_000,
    "source": "measured",
    "formats": None,
}
IMAGES = {"train": 100, "validation": 65, "test": 50}


def run_of(name="net", **settings):
    return Run(name, name, 1, SETTINGS | {"name": name} | settings, AUGMENTATION)


def given_to(runs, **changes):
    """Return what Snakemake gives the runs; changes: of a run, by its name."""
    return {run.name: {"threads": 2, "mem_mb": 1500, "gpu": 0} | changes.get(run.name, {}) for run in runs}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leave_progress(folder, best_epoch=1, device="the processor", **changes):
    """Leave the state and the progress.json of a training run of RUN in `folder`."""
    aside = ("name", "epochs", "precision", "synthetic_fraction")
    identity = {key: value for key, value in SETTINGS.items() if key not in aside}
    identity |= {f"augmentation.{key}": value for key, value in AUGMENTATION.items()}
    identity |= {"seed": 1, "threads": 2, "precision": "float32", "data": "abc", "devices": 1}
    identity |= {"device": device} if device == "a GPU" else {}
    progress = {"epoch": 10, "epochs": 40, "complete": False, "machine": plan.platform.node()}
    progress |= {"epoch_seconds": 7.0, "identity": identity} | changes
    state = folder / "state/net/seed_1" / fingerprint(identity)
    state.mkdir(parents=True, exist_ok=True)
    save_state(state, {}, {"epoch": progress["epoch"], "best_epoch": best_epoch, "device": device})
    (folder / "state/net/seed_1/progress.json").write_text(json.dumps(progress))


def test_training_is_its_epochs_and_what_comes_before_and_after(here):
    row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
    # 13 steps of 8 images and 2 batches of validation, and 1 % for saving
    assert row["epoch_seconds"] == pytest.approx(1.01 * (13 * 0.5 + 2 * 0.25 + 1))
    assert row["training_seconds"] == pytest.approx(5 + 40 * row["epoch_seconds"] + 2 * 2 + 3)
    assert row["evaluation_seconds"] == pytest.approx(10 + 0.5)
    assert (row["epochs_left"], row["source"]) == (40, "measured")
    # 125 images with the synthetic ones
    row = plan.plan_run(run_of(synthetic_fraction=0.25), VALUES, IMAGES, DATA, 2)
    assert row["epoch_seconds"] == pytest.approx(1.01 * (16 * 0.5 + 2 * 0.25 + 1))


def test_what_is_trained_is_not_planned_again(here):
    leave_progress(here)
    row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
    assert (row["epochs_left"], row["epoch_seconds"], row["source"]) == (30, 7, "last session")
    leave_progress(here, complete=True, epoch=40)
    row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
    assert (row["epochs_left"], row["training_seconds"], row["evaluation_seconds"]) == (0, 0, 0)


def test_the_speed_of_what_was_trained_in_between_is_not_taken(here):
    leave_progress(here)
    progress = here / "state/net/seed_1/progress.json"
    (own,) = (path.name for path in progress.parent.iterdir() if path.is_dir())
    for state, source in ((own, "last session"), ("another", "measured")):
        progress.write_text(json.dumps(json.loads(progress.read_text()) | {"state": state}))
        row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
        assert (row["epochs_left"], row["source"]) == (30, source)


@pytest.mark.parametrize(("usable", "left"), [([], 40), (["GPU-1"], 30)])
def test_what_a_gpu_began_counts_where_there_is_one(here, monkeypatch, usable, left):
    leave_progress(here, device="a GPU")
    monkeypatch.setattr(status, "usable_gpus", lambda: usable)
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == left
    (line, *_) = status.describe_progress(
        SimpleNamespace(runs=[RUN], data=DATA, images_seen=None, config={}), {"net": 2}
    )
    said = "net: 10 of 40 epochs" + (
        "" if usable else ", on a GPU (none can be used here: without one it trains from the start)"
    )
    assert line == said


def test_finished_training_goes_on_where_more_epochs_are_asked_for(here):
    leave_progress(here, complete=True, epoch=25, epochs=25)
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 15


def test_early_stopped_training_has_nothing_left(here, monkeypatch):
    monkeypatch.setitem(SETTINGS, "patience", 5)
    leave_progress(here, complete=True, epoch=12, best_epoch=7)
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 0
    leave_progress(here, epoch=12, best_epoch=8)
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 28


@pytest.mark.parametrize(
    "changes",
    [{"machine": "another"}, {"epoch": 2, "epoch_seconds": 7.0}, {"epoch_seconds": None}],
    ids=["another machine", "too short to tell", "nothing measured"],
)
def test_session_that_tells_no_speed_still_tells_how_far_it_is(here, changes):
    leave_progress(here, **changes)
    row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
    assert row["epochs_left"] == 40 - changes.get("epoch", 10)
    assert row["source"] == "measured"


def test_session_on_other_data_counts_for_nothing(here):
    leave_progress(here, study={"data": {"images": "photos"}, "holdout": {"seed": 2}})
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 40
    leave_progress(here, study=DATA)
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 30


@pytest.mark.parametrize("change", [{"l2": 0.5}, {"batch_size": 4}])
def test_session_of_other_settings_counts_for_nothing(here, change):
    leave_progress(here)
    assert plan.plan_run(run_of(**change), VALUES, IMAGES, DATA, 2)["epochs_left"] == 40


def test_damaged_progress_leaves_what_the_state_says_and_a_damaged_state_nothing(here):
    leave_progress(here)
    (here / "state/net/seed_1/progress.json").write_text("{")
    row = plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)
    assert row["epochs_left"] == 40  # the data are not packed: only progress.json tells of which they were
    leave_progress(here)
    for state in here.glob("state/net/seed_1/*/*.safetensors"):
        state.write_bytes(state.read_bytes()[:20])
    assert plan.plan_run(RUN, VALUES, IMAGES, DATA, 2)["epochs_left"] == 40


def step_of(settings):
    """Return the multiplications of a step and the parameters of a network, added up by hand for two layers of 16 px."""
    first, second, dense = 2 * 3 * 9, 4 * 2 * 9, settings["dense"]
    multiplications = 16 * 16 * first + 8 * 8 * second + 4 * 4 * 4 * dense + dense * 3
    parameters = first + 2 + second + 4 + (64 + 1) * dense + (dense + 1) * 3
    return 8 * multiplications, parameters


def test_of_many_models_some_are_tried_and_the_others_lie_between(here, monkeypatch):
    tried = []

    def measure(arguments):
        settings = arguments["settings"]
        tried.append(settings["dense"])
        # What takes time in proportion to the multiplications lies on a line in logarithms.
        return VALUES | {"step": step_of(settings)[0] / 1e9}

    monkeypatch.setattr(plan, "measure", measure)
    runs = [run_of(f"net_{dense}", dense=dense) for dense in range(10, 1010, 10)]
    found = plan.measure_all(runs, {"classes": 3}, given_to(runs))
    assert len(tried) == plan.MOST_TRIALS
    assert {10, 1000} <= set(tried)
    for run, values in zip(runs, found, strict=True):
        multiplications, parameters = step_of(run.settings)
        assert values["step"] == pytest.approx(multiplications / 1e9)
        was_tried = run.settings["dense"] in tried
        assert values["source"] == ("measured" if was_tried else "interpolated")
        if not was_tried:
            assert (values["parameters"], values["state_bytes"]) == (parameters, 16 * parameters)


@pytest.mark.parametrize(
    ("seconds", "faster"),
    [
        ({"float32": 0.92, "mixed_bfloat16": 1.0}, None),
        ({"float32": 0.5, "mixed_bfloat16": 1.0}, ("float32", 2.0)),
        ({"float32": 1.5, "mixed_bfloat16": 1.0}, None),
        ({}, None),
    ],
)
def test_a_faster_number_format_is_found_from_a_tenth_on(here, seconds, faster):
    values = VALUES | {"formats": {"in_force": "mixed_bfloat16", "seconds": seconds}}
    found = plan.plan_run(RUN, values, IMAGES, DATA, 2)["faster"]
    assert (found and (found["precision"], found["times"])) == faster


def test_the_line_to_write_is_the_trainings_where_all_are_faster_and_the_models_where_some_are():
    def row(name, times, source="measured"):
        faster = times and {"precision": "float32", "in_force": "mixed_bfloat16", "times": times}
        return {"name": name, "faster": faster, "source": source}

    both = [row("a", 1.2), row("b", 1.6), row("c", None, "interpolated")]
    (sentence,) = describe.advise_formats(both)
    assert "a, b, whose steps are 1.20 to 1.60 times as fast in float32 as in mixed_bfloat16" in sentence
    assert "write `precision: float32` under training;" in sentence
    (sentence,) = describe.advise_formats([row("a", 1.2), row("b", None)])
    assert "write `precision: float32` under the entry of each of these models;" in sentence
    assert describe.advise_formats([row("a", None)]) == []


def test_formats_are_measured_in_turns_and_the_typical_step_counts(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(try_model.time, "monotonic", lambda: clock.now)
    order = []

    class Training:
        """Four batches an epoch; each epoch has its own seconds per step, the first those of compiling."""

        settings = {"batch_size": 8}

        def __init__(self, name, steps):
            self.name, self.steps, self.epochs = name, steps, 0
            self.train, self.trainer = SimpleNamespace(batches=self.batches), self

        def batches(self, _size):
            order.append(self.name)
            self.epochs += 1
            return [()] * 4

        def train_step(self):
            clock.now += 60 if self.epochs == 1 else self.steps[self.epochs % len(self.steps)]
            return False  # it diverges, and is timed all the same

    one = Training("float32", [0.02, 0.02, 0.02, 0.09])  # a hiccup
    found = try_model.compare_formats({"float32": one, "mixed_bfloat16": Training("mixed_bfloat16", [0.01])})
    assert found == {"float32": pytest.approx(0.02), "mixed_bfloat16": pytest.approx(0.01)}
    assert order[::2] == ["float32"] * one.epochs and order[1::2] == ["mixed_bfloat16"] * one.epochs
    assert one.epochs > 4


def test_models_that_cost_the_same_share_a_trial(here, monkeypatch):
    tried = []
    monkeypatch.setattr(plan, "measure", lambda arguments: tried.append(arguments) or VALUES)
    runs = [run_of("a"), run_of("b", learning_rate=0.1), run_of("c", l2=0.5), run_of("d", l2=0)]
    plan.measure_all(runs, {"classes": 3}, given_to(runs))
    assert len(tried) == 2


def test_what_is_given_other_threads_or_gpus_has_a_trial_of_its_own(here, monkeypatch):
    tried = []
    monkeypatch.setattr(plan, "measure", lambda arguments: tried.append(arguments) or VALUES)
    runs = [run_of(name) for name in "abcd"]
    given = given_to(runs, b={"threads": 8}, c={"gpu": 2})
    plan.measure_all(runs, {"classes": 3}, given)
    assert [(trial["threads"], trial["gpus"]) for trial in tried] == [(2, 0), (8, 0), (2, 2)]


@pytest.mark.parametrize(
    ("given", "mem_mb", "gpu", "hours"),
    [
        ({"threads": 1}, None, None, 20),  # in the order of the config it would be 30
        ({"threads": 2}, None, None, 40),
        ({"threads": 1, "mem_mb": 10**9}, 10**9, None, 40),  # as --set-resources and --resources have it
        ({"threads": 1, "gpu": 1}, None, 1, 40),
        ({"threads": 1, "gpu": 1}, None, 2, 20),
    ],
)
def test_the_longest_start_first_on_what_snakemake_gives_them(here, monkeypatch, given, mem_mb, gpu, hours):
    hour = 3600 / 1.01  # and what saving takes
    no_more = dict.fromkeys(("start", "save", "finish", "evaluate", "predict", "validation_batch"), 0)
    monkeypatch.setattr(plan, "measure", lambda arguments: VALUES | no_more | {"step": 0, "epoch": hour})
    rows = [f"{number}.png,a,{split}" for number, split in enumerate(("train", "validation", "test"))]
    (here / "split.csv").write_text("\n".join(["image,class,split", *rows, ""]))
    (here / "results").mkdir()
    runs = [
        run_of(name, kernels=32, size=96, epochs=epochs)
        for name, epochs in {"a": 10, "b": 10, "c": 20}.items()
    ]
    limits = {"mem_mb": mem_mb, "gpu": gpu}
    plan.main("split.csv", runs, DATA, None, 2, limits, given_to(runs, **dict.fromkeys("abc", given)))
    found = json.loads((here / "results/plan.json").read_text())
    assert found["wall_seconds"] == pytest.approx(3600 * hours)
    assert [row["threads"] for row in found["runs"]] == [given["threads"]] * 3


def test_what_was_measured_serves_all_that_costs_the_same(here, monkeypatch):
    tried = []

    def run(command, **how):
        tried.append(json.loads(how["input"])["settings"]["dense"])
        command[-1].write_text(json.dumps({"step": len(tried)}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(plan.subprocess, "run", run)
    fixed = {"augmentation": AUGMENTATION, "classes": 3, "threads": 2, "gpus": 0}
    changes = [{}, {"epochs": 80, "learning_rate": 0.1}, {"dense": 8}, {"dense": 8, "l2": 0.5}]
    steps = [plan.measure({"settings": SETTINGS | change, **fixed})["step"] for change in changes]
    assert tried == [4, 8]
    assert steps == [1, 1, 2, 2]


def a_plan(**changes):
    rows = [
        {"name": name, "memory_bytes": size, "shortest_seconds": 30}
        for name, size in zip("abc", (2e9, 3e9, 1e9), strict=True)
    ]
    disk = {"packed": 1e9, "states": 2e9, "models": 1e9, "free": 5e9, "there": 0}
    plan = {"runs": rows, "disk": disk, "at_a_time": 2, "session_minutes": 300, "packing_memory_bytes": 4e9}
    return plan | changes


@pytest.mark.parametrize(
    ("cores", "memory", "expected"),
    [
        (1, 16, (60, 1)),
        (8, 16, (10, 6)),  # all at once
        (8, 8, (20, 4)),
        (2, 16, (30, 2)),
        (8, 2, (60, 1)),
        (8, 1, (60, 1)),  # more than there is: alone
    ],
)
def test_as_many_run_at_a_time_as_cores_and_memory_are_enough_for(cores, memory, expected):
    assert schedule.simulate([(10, 2, 1, 0)] * 6, cores, memory) == expected


def test_threads_are_counted_and_more_than_there_are_cores_get_all():
    # Two of one thread beside each other, then each of two threads alone.
    assert schedule.simulate([(10, 1, 1, 0), (10, 1, 1, 0), (10, 1, 2, 0), (10, 1, 8, 0)], 2, 16) == (30, 2)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([1, 1, 1, 1], (20, 2)),
        ([2, 1, 1, 1], (30, 2)),  # alone, two together, one
        ([4, 1, 1, 0], (20, 2)),  # more than there are gets both; beside it runs the last, which needs none
    ],
)
def test_gpus_are_counted_and_more_than_there_are_gets_all(asked, expected):
    assert schedule.simulate([(10, 1, 1, gpus) for gpus in asked], 8, 16, gpus=2) == expected


def test_bytes_that_do_not_add_up_exactly_leave_none_waiting():
    jobs = [(1, 0.1, 1, 0), (1, 0.2, 1, 0), (1, 0.3, 1, 0), (1, 5, 1, 0)]
    assert schedule.simulate(jobs, 8, 0.6 + 1e-17)[0] == 2


def test_a_large_one_waits_for_room_and_small_ones_go_before_it():
    # 6 and 3 of 8 do not fit together; 3, 3 and 2 do.
    assert schedule.simulate([(10, 3, 1, 0), (10, 6, 1, 0), (10, 3, 1, 0), (4, 2, 1, 0)], 8, 8) == (20, 3)


def test_warns_of_memory_disk_and_sessions_only_where_they_are_too_small():
    assert describe.warn_of(a_plan(), memory=5e9) == []
    (memory,) = describe.warn_of(a_plan(packing_memory_bytes=0), memory=2.9e9)
    assert memory.startswith(
        "b: training takes up to 3 GB of memory, and this machine has 2.9 GB for it. It runs alone"
    )
    (packing,) = describe.warn_of(a_plan(packing_memory_bytes=5.1e9), memory=5e9)
    assert packing.startswith("packing the images takes up to 5.1 GB of memory, and this machine has 5 GB")
    (disk,) = describe.warn_of(a_plan(disk=a_plan()["disk"] | {"free": 3e9}), memory=5e9)
    assert disk.startswith("the disk is too small")
    # What lies there already needs no room.
    assert describe.warn_of(a_plan(disk=a_plan()["disk"] | {"free": 3e9, "there": 1e9}), memory=5e9) == []
    (session,) = describe.warn_of(a_plan(session_minutes=0.4), memory=5e9)
    assert session == "session_minutes: 0.4 minutes are too short for one step and its saves of a, b, c."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.123, "0.12 s"),
        (4.56, "4.6 s"),
        (59.6, "60 s"),
        (125, "2 min 05 s"),
        (599, "9 min 59 s"),
        (600, "10 min"),
        (3000, "50 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (300, "300 bytes"),
        (999.6e6, "1 GB"),
        (999_700, "1 MB"),
        (512_000, "512 kB"),
        (58_540_000, "58.5 MB"),
        (1_365e6, "1.36 GB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count, said):
    assert file_size(count) == said


def test_model_that_cannot_be_tried_out_is_named(here):
    arguments = {"settings": SETTINGS | {"initializer": "unknown"}, "augmentation": AUGMENTATION}
    with pytest.raises(UserError, match="net cannot be tried out on this machine: KeyError"):
        plan.measure(arguments | {"classes": 3, "threads": 2, "gpus": 0})
    assert list((here / "state").iterdir()) == []


def test_without_a_training_run_there_is_nothing_to_plan(here):
    with pytest.raises(UserError, match="no rule for any training run"):
        plan.main("split.csv", [], DATA, None, 2, {"mem_mb": None, "gpu": None}, {})


@pytest.mark.parametrize(
    ("targets", "gpus"),
    [("answers", 0), ("label", 2)],  # that a cluster will give it, and not the plan
)
def test_what_learns_answers_or_will_have_more_gpus_is_tried_out_too(here, targets, gpus):
    arguments = {"settings": SETTINGS | {"targets": targets}, "augmentation": AUGMENTATION, "classes": 3}
    found = plan.measure(arguments | {"threads": 1, "gpus": gpus})
    assert found["parameters"] == cost.measure(SETTINGS, 3).weights and 0 < found["step"] < 1


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A study planned, trained, and planned again: the study, the three outcomes and the two plans."""
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 4, "test": 4},
        "images": {"size": 16, "synthetic_fraction": 0.5},
        "training": {"epochs": 30, "batch_size": 8},
        "models": [{"name": "net", "kernels": 8, "kernel_size": 3, "dense": 32, "layers": 2}],
    }
    study = Study(tmp_path_factory.mktemp("study"), config)
    save_images(study / "photos/red", "red", 24)
    save_images(study / "photos/green", "green", 16)
    first = study.run("plan")
    kept = {path.name: path.stat().st_mtime_ns for path in (study / "benchmarks/plan").iterdir()}
    before = study.json("plan.json")
    with Call(study, "train", cores=2) as call:  # from its own start: its time is compared
        training = call.end()
    assert training.code == 0, training.output
    again = study.run("plan")
    assert kept == {path.name: path.stat().st_mtime_ns for path in (study / "benchmarks/plan").iterdir()}
    return study, first, training, again, before, study.json("plan.json")


def test_plan_counts_what_the_study_will_have(planned):
    study, first, training, _, plan_before, _ = planned
    assert first.jobs() == {
        "sort_into_classes": 1,
        "inspect_images": 1,
        "find_copies": 1,
        "split_holdout": 1,
        "plan": 1,
    }
    assert plan_before["images"] == {"train": 24, "validation": 8, "test": 8, "synthetic": 12}
    assert len(np.load(study / "results/data/packed/16px_synthetic_0.5/train.npy")) == 36
    (row,) = plan_before["runs"]
    summary = study.json("models/net/seed_1/training.json")
    assert row["parameters"] == summary["parameters"] == cost.measure(summary["settings"], 2).weights
    assert row["model_bytes"] == (study / "results/models/net/seed_1/model.keras").stat().st_size
    assert (
        "24 images and up to 12 synthetic ones for training, 8 for validation, 8 for test; 2 classes; 16 px"
        in first.output
    )
    assert f"{row['parameters']:,}" in first.output
    assert plan_before["warnings"] == []
    (kept,) = (study / "benchmarks/plan").glob("*.json")
    assert 0 < json.loads(kept.read_text())["predict"] < 0.1  # seconds per image


def test_plan_is_near_what_then_happens(planned):
    """Within a factor of three, on a machine that may be busy; `make bench` measures it where it is not."""
    study, _, _, _, plan_before, _ = planned
    header, values = (study / "benchmarks/train/net/seed_1.tsv").read_text().splitlines()
    took = dict(zip(header.split("\t"), values.split("\t"), strict=True))
    (row,) = plan_before["runs"]
    assert 1 / 3 < row["training_seconds"] / float(took["s"]) < 3
    assert 1 / 2 < row["memory_bytes"] / 1e6 / float(took["max_rss"]) < 2
    states = sum(path.stat().st_size for path in (study / "state").rglob("*.safetensors"))
    assert 0.9 < 2 * row["state_bytes"] / states < 1.1  # the newest and the one before


def asked_memory(study, rule):
    said = study.run("-nF", "train", "plan").output
    return int(re.search(rf"rule {rule}:(?:.*\n)*?\s+resources: .*?mem_mb=(\d+)", said)[1])


def test_a_cluster_is_asked_for_more_memory_than_that(planned):
    study, *_, plan_before, _ = planned
    assert (
        asked_memory(study, "train_net") > plan_before["runs"][0]["memory_bytes"] / 1e6 + 300
    )  # two Snakemakes


def test_the_plan_asks_for_two_number_formats_beside_each_other(planned):
    study = planned[0]
    assert asked_memory(study, "plan") == pytest.approx(2 * asked_memory(study, "train_net"), abs=1)


def test_what_will_not_fit_is_said(planned):
    study, *_ = planned
    said = study.run("plan", "--config", "session_minutes=0.001").output
    assert "WARNING: session_minutes: 0.001 minutes are too short for one step and its saves of net." in said


def test_plan_of_a_finished_study_has_nothing_left(planned):
    study, _, _, again, plan_before, plan_after = planned
    assert (plan_after["training_seconds"], plan_after["sessions"]) == (0, 0)
    assert plan_after["at_a_time"] == 0 and "at a time" not in again.output
    assert plan_after["runs"][0]["epochs_left"] == 0
    assert again.jobs() == {"plan": 1}
    made = [*(study / "state").rglob("*.safetensors"), *(study / "results/data/packed").rglob("*.npy")]
    made.append(study / "results/models/net/seed_1/model.keras")
    assert plan_after["disk"]["there"] == sum(path.stat().st_size for path in made)
    assert plan_before["disk"]["there"] == 0


def test_plan_leaves_no_trace_in_the_states(planned):
    study = planned[0]
    assert [path.name for path in (study / "state").iterdir()] == ["net"]


def test_plan_counts_what_the_call_gives_a_model(planned):
    study = planned[0]
    assert study.json("plan.json")["runs"][0]["threads"] == 1
    said = study.run("plan", "--set-threads", "train_net=2").output
    assert "Models: 1; training runs: 1, 2 threads each" in said
    assert study.json("plan.json")["runs"][0]["threads"] == 2


@pytest.mark.parametrize(
    "option",
    ["--set-resources=train_net:mem_mb=2*input.size_mb+100", "--default-resources=disk_mb=2*input.size_mb"],
)
def test_plan_takes_what_training_takes_for_its_resources(planned, option):
    study = planned[0]
    study.run("-n", "train", option)
    assert study.run("plan", option).jobs() == {"plan": 1}
