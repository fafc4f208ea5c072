"""A finished model survives, byte for byte, all that makes Snakemake run its rule again; and what does retrain says so."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import COLOURS, REPOSITORY, Study, copy_study, save_image, save_images, take_stock

from baton.study import finished
from baton.study.finished import FILES, RECORD
from baton.study.identity import digest_data, fingerprint, identify
from baton.study.runs import Run
from baton.study.status import how_far
from baton.training.state import save_state

RUN = "results/models/net/seed_1"
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 3, "test": 3},
    "images": {"size": 16},
    "training": {"epochs": 3, "batch_size": 4, "precision": "float32", "initializer": "he_normal"},
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
}
TAKEN = "trained already: the finished model is restored from"


def clone(folder):
    """Return the Snakefile of a copy of this repository, whose files are new by their times."""
    for name in ("Snakefile", "config.yaml"):
        folder.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, folder / name)
    for name in ("rules", "scripts", "examples", "profiles", "envs"):
        shutil.copytree(REPOSITORY / name, folder / name, copy_function=shutil.copyfile)
    return folder / "Snakefile"


def contents(study):
    """Return the bytes of each of a training run's outputs."""
    return {name: study.read(f"{RUN}/{file}") for name, file in FILES.items()}


def with_training(**settings):
    return CONFIG | {"training": CONFIG["training"] | settings}


# --- The places, without training


def leave(folder, epochs=4, kept=4, patience=None, identity=None, **facts):
    """Write what a finished training run leaves in `folder`; return its identity."""
    folder.mkdir(parents=True, exist_ok=True)
    finished.clear(folder)
    for name, file in FILES.items():
        (folder / file).write_text(f"{name} of {epochs} epochs")
    settings = {"patience": patience, "l2": 0.1, "epochs": epochs, "precision": "auto", "name": "net"}
    summary = {"settings": settings, "epochs": epochs, "kept": {"epoch": kept}, "seed": 1, **facts}
    if identity:
        summary["identity"] = identity
    (folder / FILES["summary"]).write_text(json.dumps(summary))
    return identity


IDENTITY = {"l2": 0.1, "seed": 1, "precision": "float32", "threads": 2, "devices": 1, "data": "abc"}


def record(identity=IDENTITY, epochs=4, stopped_early=False):
    return {"identity": identity, "study": None, "epochs": epochs, "stopped_early": stopped_early}


def settings(epochs=4, precision="auto"):
    return {"epochs": epochs, "precision": precision}


@pytest.fixture
def folder(tmp_path):
    leave(tmp_path / "net/seed_1")
    finished.keep(tmp_path / "net/seed_1", record())
    return tmp_path / "net/seed_1"


class TestPlaces:
    def test_what_is_kept_is_found_and_given_back(self, folder):
        before = {name: (folder / file).read_bytes() for name, file in FILES.items()}
        for file in FILES.values():
            (folder / file).unlink()
        place = finished.find(folder, IDENTITY, settings())
        finished.give_back(place, folder)
        assert {name: (folder / file).read_bytes() for name, file in FILES.items()} == before
        assert os.path.samefile(folder / "model.keras", place / "model.keras")  # it takes no room

    @pytest.mark.parametrize("name", ["aside_0", "000000"])
    def test_what_is_not_whole_hides_nothing(self, folder, name):
        (kept,) = finished.records(folder)
        aside = folder / "finished" / name
        shutil.copytree(kept[0], aside)
        if name == "000000":
            (aside / "model.keras").unlink()
        assert [place for place, _ in finished.records(folder)] == [kept[0]]

    def test_without_hard_links_there_are_copies(self, tmp_path, monkeypatch):
        def refuse(*_paths):
            raise PermissionError("no hard links here")

        monkeypatch.setattr(os, "link", refuse)
        leave(tmp_path)
        finished.keep(tmp_path, record())
        (tmp_path / "model.keras").write_text("another")
        finished.give_back(finished.find(tmp_path, IDENTITY, settings()), tmp_path)
        assert (tmp_path / "model.keras").read_text() == "model of 4 epochs"

    @pytest.mark.parametrize(
        "changed, precision, is_found",
        [
            ({}, "auto", True),
            ({"threads": 1, "devices": 2}, "auto", True),
            ({"precision": "mixed_bfloat16"}, "auto", True),  # another processor would choose this
            ({"precision": "mixed_bfloat16"}, "mixed_bfloat16", False),  # asked for by name
            ({"l2": 0.2}, "auto", False),
            ({"data": "abd"}, "auto", False),
            ({"seed": 2}, "auto", False),
            ({"dropout": 0}, "auto", False),
        ],
    )
    def test_what_the_machine_decides_may_differ_and_nothing_else(self, folder, changed, precision, is_found):
        found = finished.find(folder, IDENTITY | changed, settings(precision=precision))
        assert (found is not None) == is_found

    def test_what_fits_best_is_taken(self, folder):
        for precision in ("mixed_bfloat16", "mixed_float16"):
            finished.keep(folder, record(IDENTITY | {"precision": precision}))
        for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
            wanted = IDENTITY | {"precision": precision}
            place = finished.find(folder, wanted, settings())
            assert json.loads((place / RECORD).read_text())["identity"] == wanted

    @pytest.mark.parametrize(
        "epochs, stopped_early, asked, is_found",
        [
            (4, False, 4, True),
            (4, False, 5, False),
            (4, False, 3, False),
            (4, True, 4, True),
            (4, True, 50, True),  # patience was over
            (4, True, 3, False),
        ],
    )
    def test_the_epochs_are_those_asked_for(self, tmp_path, epochs, stopped_early, asked, is_found):
        leave(tmp_path)
        finished.keep(tmp_path, record(epochs=epochs, stopped_early=stopped_early))
        assert (finished.find(tmp_path, IDENTITY, settings(asked)) is not None) == is_found

    def test_more_epochs_leave_the_fewer_where_they_are(self, folder):
        leave(folder, epochs=6)
        finished.keep(folder, record(epochs=6))
        for epochs in (4, 6):
            place = finished.find(folder, IDENTITY, settings(epochs))
            assert f'"epochs": {epochs}' in (place / "training.json").read_text()

    def test_half_of_one_is_none(self, folder):
        (place,) = (folder / "finished").iterdir()
        place.rename(place.with_name(f"aside_{place.name}"))  # killed before the last step
        assert finished.find(folder, IDENTITY, settings()) is None
        finished.keep(folder, record())
        assert finished.find(folder, IDENTITY, settings()) is not None

    def test_the_model_to_use_is_the_one_that_is_there_else_the_last_that_was_kept(self, folder):
        assert finished.model_of(folder) == str(folder)
        leave(folder, epochs=6)
        finished.keep(folder, record(epochs=6))
        os.utime(folder / "model.keras", (2e9, 2e9))
        (folder / "model.keras").unlink()
        assert finished.model_of(folder).endswith("_6")
        shutil.rmtree(folder / "finished")
        assert finished.model_of(folder) is None

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
    def test_a_damaged_record_is_passed_over(self, folder, content):
        (place,) = (folder / "finished").iterdir()
        (place / RECORD).write_text(content)
        assert finished.find(folder, IDENTITY, settings()) is None


class TestEarlierVersions:
    """Outputs that nobody kept, as a version before left them."""

    def packed(self, tmp_path):
        for name in ("train.csv", "validation.csv", "weights.json"):
            (tmp_path / name).write_text('{"classes": ["red", "green"]}' if "json" in name else f"the {name}")
            os.utime(tmp_path / name, (1000, 1000))
        return str(tmp_path), str(tmp_path / "weights.json")

    OLD = {"augmentation": {"flip": "horizontal", "contrast": 0.2}, "precision": "float32", "threads": 2}

    def adopt(self, tmp_path, **facts):
        folder = tmp_path / "net/seed_1"
        leave(folder, **({"devices": 1} | self.OLD | facts))
        finished.keep_what_is_there(folder, *self.packed(tmp_path))
        return [record for _, record in finished.records(folder)]

    def test_they_are_kept_under_the_identity_that_they_tell_of(self, tmp_path):
        augmentation = {"flip": "horizontal", "contrast": 0}
        (found,) = self.adopt(tmp_path, augmentation=augmentation)
        data = digest_data(*(tmp_path / name for name in ("train.csv", "validation.csv", "weights.json")))
        expected = {
            "l2": 0.1,
            "patience": None,
            "seed": 1,
            "precision": "float32",
            "threads": 2,
            "devices": 1,
        }
        expected |= {"augmentation.flip": "horizontal", "augmentation.contrast": 0, "data": data}
        assert found["identity"] == expected
        assert (found["epochs"], found["stopped_early"]) == (4, False)
        assert found["classes"] == ["red", "green"]

    def test_another_training_of_as_many_epochs_is_kept_beside_it(self, tmp_path):
        assert len(self.adopt(tmp_path)) == 1
        assert len(self.adopt(tmp_path)) == 1  # it is kept already
        kept = self.adopt(tmp_path, threads=1)
        assert sorted(record["identity"]["threads"] for record in kept) == [1, 2]

    def test_the_classes_are_those_of_that_time(self, tmp_path):
        # Written down as long as the data are those of the training run; later the config may say another order.
        self.adopt(tmp_path)
        folder = tmp_path / "net/seed_1"
        (tmp_path / "weights.json").write_text('{"classes": ["green", "red"]}')
        settings = {"patience": None, "l2": 0.1, "epochs": 4, "precision": "auto", "name": "net"}
        assert finished.read_training(folder, settings, self.OLD["augmentation"]) == (["red", "green"], [])
        other = self.OLD["augmentation"] | {"flip": None}
        classes, changes = finished.read_training(folder, settings | {"l2": 0}, other)
        assert changes == ["l2 was 0.1 and is 0", "augmentation.flip was horizontal and is None"]
        shutil.rmtree(folder / "finished")
        assert finished.read_training(folder, settings, self.OLD["augmentation"])[0] is None

    @pytest.mark.parametrize("content", ["null", "[]", "{}", '{"identity": {"a": 1}}', "{"])
    def test_outputs_that_say_nothing_of_themselves_are_let_be(self, tmp_path, content):
        folder = tmp_path / "net/seed_1"
        leave(folder)
        (folder / "training.json").write_text(content)
        finished.keep_what_is_there(folder, *self.packed(tmp_path))
        assert list(finished.records(folder)) == []

    def test_a_folder_that_cannot_be_written_stops_nothing(self, tmp_path, monkeypatch):
        def refuse(*_arguments, **_options):
            raise PermissionError("read-only")

        folder = tmp_path / "net/seed_1"
        leave(folder, devices=1, **self.OLD)
        arguments = self.packed(tmp_path)
        monkeypatch.setattr(Path, "mkdir", refuse)
        finished.keep_what_is_there(folder, *arguments)

    def test_a_damaged_model_does_not_take_the_place_of_the_one_that_is_kept(self, tmp_path):
        self.adopt(tmp_path)
        folder = tmp_path / "net/seed_1"
        content = (folder / "training.json").read_bytes()
        (folder / "model.keras").unlink()
        (folder / "model.keras").write_text("cut")  # a copy of the study, and then a full disk
        assert (folder / "training.json").read_bytes() == content
        finished.keep_what_is_there(folder, *self.packed(tmp_path))
        ((place, _),) = finished.records(folder)
        assert (place / "model.keras").read_text() == "model of 4 epochs"

    def test_contrast_that_only_rose_is_none_of_today(self, tmp_path):
        (found,) = self.adopt(tmp_path)
        now = {"l2": 0.1, "patience": None, "epochs": 4, "precision": "auto"}
        identity = found["identity"] | identify(now, self.OLD["augmentation"], 1)
        assert finished.find(tmp_path / "net/seed_1", identity, now) is None

    def test_a_second_call_keeps_nothing_more(self, tmp_path):
        self.adopt(tmp_path)
        before = take_stock(tmp_path / "net")
        finished.keep_what_is_there(tmp_path / "net/seed_1", *self.packed(tmp_path))
        assert take_stock(tmp_path / "net") == before

    def test_what_was_stopped_early_is_told_as_that(self, tmp_path):
        (found,) = self.adopt(tmp_path, epochs=7, kept=4, patience=3)
        assert found["stopped_early"]
        (found,) = self.adopt(tmp_path / "other", epochs=7, kept=5, patience=3)
        assert not found["stopped_early"]

    def test_where_the_data_were_made_anew_since_nobody_knows_what_it_was_trained_on(self, tmp_path):
        packed, weights = self.packed(tmp_path)
        folder = tmp_path / "net/seed_1"
        leave(folder, devices=1, **self.OLD)
        os.utime(folder / "model.keras", (500, 500))
        finished.keep_what_is_there(folder, packed, weights)
        assert list(finished.records(folder)) == []
        (tmp_path / "train.csv").unlink()
        os.utime(folder / "model.keras")
        finished.keep_what_is_there(folder, packed, weights)
        assert list(finished.records(folder)) == []


class TestHowFar:
    """What status and the plan say: by the identity that training run goes by."""

    STUDY = {"data": {"images": "photos"}, "holdout": {"seed": 1}}

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        packed = tmp_path / "results/data/packed/8px"
        packed.mkdir(parents=True)
        for path in (
            packed / "train.csv",
            packed / "validation.csv",
            tmp_path / "results/data/class_weights.json",
        ):
            path.write_text(path.name)
        settings = {"epochs": 9, "precision": "auto", "l2": 0.1, "name": "net", "patience": None}
        settings |= {
            "size": 8,
            "synthetic_fraction": 0,
            "kernels": 2,
            "kernel_size": 3,
            "layers": 1,
            "dense": 4,
            "batch_size": 8,
        }
        return Run("net", "net", 1, settings, {"flip": None})

    def write(self, run, epoch, best_epoch=1, study=None, **identity):
        """Leave the state and the progress.json that a training run does; return its identity."""
        packed = "results/data/packed/8px"
        data = digest_data(
            f"{packed}/train.csv", f"{packed}/validation.csv", "results/data/class_weights.json"
        )
        found = identify(
            run.settings, {"flip": None}, 1, precision="float32", threads=2, devices=1, data=data
        )
        found |= identity
        folder = Path(f"state/{run.folder}", fingerprint(found))
        folder.mkdir(parents=True, exist_ok=True)
        save_state(folder, {}, {"epoch": epoch, "best_epoch": best_epoch})
        progress = {"epoch": epoch, "identity": found, "study": study or self.STUDY}
        (folder.parent / "progress.json").write_text(json.dumps(progress))
        return found

    def ask(self, run, study=None, threads=None):
        at = how_far(run, study or self.STUDY, threads)
        return at.epoch, at.done, at.changes

    def test_a_training_that_goes_on(self, run):
        assert self.ask(run) == (0, False, [])
        self.write(run, 4)
        assert self.ask(run) == (4, False, [])
        assert self.ask(run, threads=2) == (4, False, [])
        self.write(run, 9)
        assert self.ask(run) == (9, True, [])

    def test_a_state_of_one_device_is_found_after_a_session_on_two(self, run):
        self.write(run, 4)
        two = self.write(run, 0, devices=2)
        shutil.rmtree(f"state/{run.folder}/{fingerprint(two)}")
        assert self.ask(run) == (4, False, [])

    def test_a_state_that_a_gpu_began_is_found_and_of_two_the_processors(self, run):
        self.write(run, 4, device="a GPU")
        assert self.ask(run) == (4, False, [])
        self.write(run, 6)
        assert self.ask(run) == (6, False, []), "without a GPU it is resumed"

    def test_begun_is_more_than_nothing(self, run):
        assert not how_far(run, self.STUDY).begun
        self.write(run, 0)
        assert how_far(run, self.STUDY).begun
        self.write(run, 0, l2=0.3)
        assert how_far(run, self.STUDY).begun  # its own state is there as well
        shutil.rmtree("state")
        self.write(run, 4, l2=0.3)
        assert not how_far(run, self.STUDY).begun

    def test_what_another_training_did_last_hides_no_state(self, run):
        self.write(run, 6)
        self.write(run, 3, l2=0.5)
        assert self.ask(run) == (6, False, [])

    def test_a_state_of_another_precision_is_that_of_auto_and_of_no_other(self, run):
        self.write(run, 6, precision="mixed_bfloat16")
        assert self.ask(run) == (6, False, [])
        run.settings["precision"] = "float32"
        assert self.ask(run) == (0, False, ["precision was mixed_bfloat16 and is float32"])

    def test_the_state_before_counts_where_the_newest_is_damaged(self, run):
        for epoch in (4, 5):
            self.write(run, epoch)
        (newest,) = Path("state").rglob("state.safetensors")
        newest.write_bytes(b"\xff" * 40)
        assert self.ask(run) == (4, False, [])

    def test_fewer_epochs_than_are_trained_are_not_done(self, run):
        self.write(run, 12)
        assert self.ask(run) == (12, False, [])

    def test_one_that_was_stopped_early_is_done_with_more_epochs_too(self, run):
        run.settings["patience"] = 3
        self.write(run, 5, best_epoch=2)
        assert self.ask(run) == (5, True, [])
        self.write(run, 5, best_epoch=3)
        assert self.ask(run) == (5, False, [])

    def test_other_settings_are_named(self, run):
        self.write(run, 9, l2=0.3)
        assert self.ask(run) == (0, False, ["l2 was 0.3 and is 0.1"])
        shutil.rmtree("state")
        self.write(run, 9, data="abc")
        assert self.ask(run)[1] is False and self.ask(run)[2][0].startswith("data was abc and is ")

    def test_other_threads_where_they_are_known(self, run):
        self.write(run, 4)
        assert self.ask(run, threads=1) == (0, False, ["threads was 2 and is 1"])

    def test_settings_of_the_data_that_are_not_packed_yet(self, run):
        self.write(run, 9)
        other = {"data": {"images": "photos"}, "holdout": {"seed": 2}}
        assert self.ask(run, other) == (0, False, ["holdout.seed was 1 and is 2"])
        for same in ({"images": "./photos"}, {"images": os.path.abspath("photos"), "ordered": True}):
            assert self.ask(run, {"data": same, "holdout": {"seed": 1}}) == (9, True, [])

    def test_a_finished_model_without_a_state_is_done(self, run):
        identity = self.write(run, 9)
        shutil.rmtree("state")
        folder = f"results/models/{run.folder}"
        os.makedirs(folder)
        for file in FILES.values():
            open(f"{folder}/{file}", "w").close()
        finished.keep(folder, record(identity, epochs=9) | {"study": self.STUDY})
        assert self.ask(run) == (9, True, [])
        assert self.ask(run, threads=1) == (9, True, [])  # finished is finished
        run.settings["l2"] = 0.2
        assert self.ask(run) == (0, False, ["l2 was 0.1 and is 0.2"])


# --- The whole workflow


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A study whose images are packed, of which each test here gets a copy."""
    study = Study(tmp_path_factory.mktemp("packed"), CONFIG)
    for colour in list(COLOURS)[:2]:
        save_images(study / "photos" / colour, colour, 12)
    study.run("pack")
    return study


@pytest.fixture(scope="module")
def story(packed, tmp_path_factory):
    """A study that is finished, and what came of it in each of these events, one after the other."""
    study = copy_study(packed, tmp_path_factory.mktemp("finished"), CONFIG)
    study.run("evaluate_net")
    events, before = {}, contents(study)

    def note(name, outcome):
        log = study / "logs/train/net/seed_1.log"
        events[name] = SimpleNamespace(
            outcome=outcome, same=contents(study) == before, log=log.read_text() if log.exists() else ""
        )

    shutil.rmtree(study / "state")  # as README allows, when a study is over
    snakefile = clone(tmp_path_factory.mktemp("clone") / "baton")
    snakemake = ("--snakefile", snakefile)
    save_image(study / "new/1.png", "red", 100)
    note("predict", study.run("predict", *snakemake, "--config", "model=net", "images=new"))
    note("export", study.run("export_net", "--dry-run", *snakemake))
    note("clone", study.run("train_net", *snakemake))
    os.utime(study / "photos/red/3.png")
    note("touched", study.run("train_net"))
    study.configure(with_training(precision="auto"))
    note("auto", study.run("train_net", cores=1))
    study.configure(with_training(epochs=2))
    stock = take_stock(study / RUN)
    note("fewer", study.try_run("train_net"))
    events["fewer"].untouched = take_stock(study / RUN) == stock
    study.configure(with_training(l2=0.5))
    note("other", study.run("predict", "--config", "model=net", "images=new"))
    events["status"] = study.run("status")
    study.configure(CONFIG)
    note("back", study.run("train_net"))
    assert "finished" in os.listdir(study / RUN)
    shutil.rmtree(study / ".snakemake")
    os.utime(study / "photos/green/3.png")
    note("lost", study.run("train_net"))
    # What a version before this one leaves.
    shutil.rmtree(study / RUN / "finished")
    summary = study.json("models/net/seed_1/training.json")
    for key in ("identity", "study", "classes"):
        del summary[key]
    (study / RUN / "training.json").write_text(json.dumps(summary))
    old = contents(study)
    shutil.rmtree(study / "state", ignore_errors=True)
    events["upgrade"] = study.run("train_net", "--snakefile", clone(tmp_path_factory.mktemp("new") / "baton"))
    events["upgraded"] = contents(study) == old
    before = old
    shutil.rmtree(study / "results/data")
    note("data", study.run("train_net"))
    return SimpleNamespace(study=study, events=events)


class TestStory:
    def test_predict_and_export_take_the_model_that_is_there(self, story):
        for name in ("predict", "export"):
            event = story.events[name]
            assert event.same
            assert set(event.outcome.jobs()) == {name if name == "predict" else "export_net"}

    @pytest.mark.parametrize("name", ["clone", "touched", "lost", "data", "auto", "back"])
    def test_what_runs_the_rule_again_gives_the_model_back(self, story, name):
        event = story.events[name]
        assert event.same
        if name in ("lost", "data"):  # with its records Snakemake has lost what it compares
            return
        assert "train_net" in event.outcome.jobs()
        assert TAKEN in event.log and "epoch 1 of" not in event.log

    def test_fewer_epochs_train_anew_only_where_no_state_says_they_cannot(self, story):
        event = story.events["fewer"]
        assert event.outcome.code == 0  # the state was deleted: two epochs are two epochs
        assert "epoch 2 of" in event.log and "epoch 3 of" not in event.log

    def test_a_model_of_other_settings_is_used_and_that_is_said(self, story):
        event = story.events["other"]
        assert "l2 was 0.0001 and is 0.5" in event.outcome.output
        assert "It is used as it is." in event.outcome.output
        assert set(event.outcome.jobs()) == {"predict"}

    def test_status_does_not_take_it_for_done(self, story):
        output = story.events["status"].output
        assert "net: trains from the start: l2 was 0.0001 and is 0.5" in output
        assert "1 of 1 training runs are not done" in output

    def test_an_upgrade_keeps_what_the_version_before_left(self, story):
        assert story.events["upgraded"]
        assert "train_net" in story.events["upgrade"].jobs()
        assert TAKEN in story.study.log("train/net/seed_1")


def test_fewer_epochs_than_are_trained_are_refused_and_nothing_is_lost(packed, tmp_path):
    study = copy_study(packed, tmp_path, CONFIG)
    study.run("train_net")
    before = take_stock(study / "results/models")
    study.configure(with_training(epochs=2))
    outcome = study.try_run("train_net")
    assert outcome.code == 1
    assert "net is trained for 3 epochs and the config asks for 2" in outcome.output
    assert "Traceback" not in outcome.output
    assert take_stock(study / "results/models") == before
    study.configure(with_training(epochs=4))
    study.run("train_net")
    study.configure(CONFIG)  # three were finished once: they are there
    study.run("train_net")
    assert {path: entry[1] for path, entry in take_stock(study / RUN).items() if "finished" not in path} == {
        path.removeprefix("net/seed_1/").removeprefix("net/seed_1"): entry[1]
        for path, entry in before.items()
        if path.startswith("net/seed_1/") and "finished" not in path
    } | {".": None}


def test_two_folders_have_two_tables_and_a_diverged_model_has_none(packed, tmp_path):
    study = copy_study(packed, tmp_path, with_training(epochs=1, learning_rate=1e30))
    study.run("train_net")
    save_image(study / "a/new/1.png", "red", 100)
    outcome = study.try_run("predict", "--config", "model=net", "images=a/new")
    assert outcome.code == 1
    assert "net diverged in training" in outcome.output and "Nothing was written" in outcome.output
    assert not list((study / "results/predictions/net").iterdir())
    study.configure(CONFIG)
    study.run("train_net")
    save_image(study / "b/new/2.png", "red", 100)
    for folder in ("a/new", "b/new"):
        study.run("predict", "--config", "model=net", f"images={folder}")
    tables = sorted((study / "results/predictions/net").iterdir())
    assert [table.name[:4] for table in tables] == ["new_", "new_"]
    assert sorted(table.read_text().splitlines()[1].split(",")[0] for table in tables) == ["1.png", "2.png"]
