"""Using a trained model: predicting a folder, and exports that other programs run. One tiny model, trained once."""

import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from conftest import COLOURS, PATIENCE, Study, save_image, save_images, take_stock
from snakemake.utils import validate

from baton.errors import ConfigError, UserError
from baton.study.study import make_study

IMAGES = 300  # more than are decoded at once, 256
SIZE = 20  # neither the default nor what the images have
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 3, "test": 5},
    "images": {"size": SIZE},
    # All that is random in training, none of which may be left in an export.
    "augmentation": {
        "flip": "horizontal_and_vertical",
        "rotation": 0.2,
        "zoom": 0.2,
        "brightness": 0.1,
        "contrast": 0.2,
    },
    "training": {"epochs": 3, "batch_size": 4, "precision": "float32", "initializer": "he_normal"},
    "models": [
        {"name": "tiny", "kernels": 4, "kernel_size": 3, "dense": 8, "layers": 2},
        {"name": "other", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1},
    ],
}
UNREADABLE = {
    "deep/empty.png": "the file is empty",
    "deep/page.jpg": "not an image in a known format",
    "folder.png": "a folder, not a file",
}
IGNORED = [
    "notes.txt",
    "deep/.keep",
    "deep/table.csv",
    "photo.jpg.bak",
    "._1.png",
    ".ipynb_checkpoints/1.png",
]
IGNORED += ["@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "x.cr2"]
# Runs a SavedModel and a TFLite file as another program would, and names the operations in them.
RUN = """
import json, sys
import numpy as np
import tensorflow as tf
folder, images, answers = sys.argv[1:]
images = np.load(images).astype(np.float32)
found, operations = {}, {}
loaded = tf.saved_model.load(f"{folder}/saved_model")
found["saved_model"] = loaded.serve(images).numpy()
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
saved = SavedModel.FromString(open(f"{folder}/saved_model/saved_model.pb", "rb").read())
graphs = [graph.graph_def for graph in saved.meta_graphs]
nodes = [node.op for graph in graphs for node in graph.node]
nodes += [node.op for graph in graphs for function in graph.library.function for node in function.node_def]
operations["saved_model"] = sorted(set(nodes))
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(f"{folder}/model.tflite")
(given,), (told,) = interpreter.get_input_details(), interpreter.get_output_details()
operations["model.tflite"] = sorted({row["op_name"] for row in interpreter._get_ops_details()})
rows = []
interpreter.allocate_tensors()
for image in images:  # one by one, as on a telephone
    interpreter.set_tensor(given["index"], image[None])
    interpreter.invoke()
    rows.append(interpreter.get_tensor(told["index"])[0].copy())
found["model.tflite"] = np.stack(rows)
np.savez(answers, **found)
print(json.dumps(operations))
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A study in which `tiny` is trained and tested; `other` is not."""
    study = Study(tmp_path_factory.mktemp("use"), CONFIG)
    for colour in COLOURS:
        save_images(study / "photos" / colour, colour, 20)
    study.run("evaluate_tiny")
    study.before = take_stock(study / "results")
    return study


@pytest.fixture(scope="session")
def predicted(trained):
    """What `predict` says of a folder of 300 images, some unreadable ones and other files."""
    folder = trained / "new images"
    for number in range(IMAGES):
        colour = list(COLOURS)[number % 3]
        save_image(folder / f"deep/{number % 4}/фото {number}.png", colour, 1000 + number)
    (folder / "deep/empty.png").write_bytes(b"")
    (folder / "deep/page.jpg").write_text("<!DOCTYPE html>")
    (folder / "folder.png").mkdir()
    for name in IGNORED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0")
    # The test images again: they come after more than are decoded at once, with unreadable ones between.
    for row in trained.rows(f"data/packed/{SIZE}px/test.csv"):
        target = folder / "tested" / f"{row['image']}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained / "photos" / row["image"], target)
    before = take_stock(folder)
    trained.prediction = trained.run("predict", "--config", "model=tiny", "images=new images")
    assert take_stock(folder) == before  # nothing of the user's is touched
    (table,) = (trained / "results/predictions/tiny").iterdir()
    assert re.fullmatch(r"new images_[0-9a-f]{8}\.csv", table.name)
    return trained.rows(f"predictions/tiny/{table.name}")


class TestPredict:
    def test_it_predicts_and_does_nothing_else(self, trained, predicted):
        assert trained.prediction.jobs() == {"predict": 1}

    def test_the_numbers_of_test_images_are_those_of_the_evaluation(self, trained, predicted):
        found = {row["file"]: row for row in predicted}
        expected = trained.rows("evaluation/tiny/seed_1/predictions.csv")
        assert len(expected) == 15
        for row in expected:
            other = found[f"tested/{row['image']}.PNG"]
            assert other["class"] == row["predicted"]
            for colour in COLOURS:
                column = f"probability {colour}"
                assert float(other[column]) == pytest.approx(float(row[column]), abs=1e-6)

    def test_every_image_is_there_once_and_in_order(self, predicted):
        files = [row["file"] for row in predicted]
        assert files == sorted(files)
        new = {f"deep/{number % 4}/фото {number}.png" for number in range(IMAGES)}
        tested = {file for file in files if file.startswith("tested/")}
        assert len(files) == len(set(files)) == IMAGES + 15 + len(UNREADABLE)
        assert set(files) == new | tested | set(UNREADABLE)

    def test_the_class_is_the_most_probable_and_probabilities_sum_to_one(self, predicted):
        for row in predicted:
            if row["file"] not in UNREADABLE:
                shares = {colour: float(row[f"probability {colour}"]) for colour in COLOURS}
                assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
                assert row["class"] == max(shares, key=shares.get) and row["reason"] == ""

    def test_unreadable_ones_have_a_reason_and_no_numbers(self, predicted):
        rows = {row["file"]: row for row in predicted if row["reason"]}
        assert {file: row["reason"] for file, row in rows.items()} == UNREADABLE
        for row in rows.values():
            assert [value for key, value in row.items() if key not in ("file", "reason")] == [""] * 4

    def test_what_is_passed_over_is_counted_and_named(self, trained, predicted):
        for count, reason in (
            (3, "hidden, or in a hidden folder"),
            (3, "not named like an image"),
            (1, "raw files of cameras: convert them to JPEG or TIFF"),
            (1, "thumbnails of a NAS (@eaDir)"),
        ):
            assert f"left out: {count} files: {reason}\n" in trained.prediction.output

    def test_it_says_how_many_are_unreadable(self, trained, predicted):
        said = f"{len(predicted)} images, {len(UNREADABLE)} of them unreadable: results/predictions/tiny/"
        assert said in trained.prediction.output

    def test_nothing_is_trained_anew_and_the_size_of_the_images_is_kept(self, trained, predicted):
        after = take_stock(trained / "results")
        # The folder itself has a new entry.
        assert {name: after[name] for name in trained.before if name != "."} == {
            name: stock for name, stock in trained.before.items() if name != "."
        }
        assert "train_tiny" not in trained.run("--dry-run", "evaluate_tiny").jobs()
        packed = np.load(trained / f"results/data/packed/{SIZE}px/test.npy", mmap_mode="r")
        assert packed.shape == (15, SIZE, SIZE, 3)

    def test_a_model_that_is_not_trained_would_be_and_the_trained_one_is_not_looked_at(
        self, trained, predicted
    ):
        jobs = trained.run("--dry-run", "predict", "--config", "model=other", "images=new images").jobs()
        assert jobs == {"predict": 1, "train_other": 1}


class TestRefusals:
    """One sentence each, and nothing is written."""

    def refuse(self, study, sentence, **given):
        """Have predict.main refuse what the rule would hand it."""
        import predict  # here: it imports TensorFlow

        before = take_stock(study / "results")
        model = str(study / "results/models/tiny/seed_1/model.keras")
        rest = {"threads": 1, "settings": {}, "augmentation": {}, "megapixels": 250}
        with contextlib.chdir(study.folder), pytest.raises(UserError) as refusal:
            predict.main(**{"model": model, "name": "tiny", **rest, **given})
        assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
        assert take_stock(study / "results") == before

    def test_an_unknown_model(self, trained):
        given = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
        with contextlib.chdir(trained.folder), pytest.raises(ConfigError) as refusal:
            make_study(given | {"model": "tinny"}, validate)
        assert str(refusal.value) == "--config model=tinny: there is no such model. There are: tiny, other."

    def test_a_folder_that_is_not_there(self, trained):
        self.refuse(trained, "images=nowhere: there is no such folder.", images="nowhere")

    def test_a_folder_without_images(self, trained):
        (trained / "bare/deep").mkdir(parents=True)
        (trained / "bare/deep/notes.txt").write_text("no image")
        self.refuse(trained, "images=bare: the folder holds no file named like an image", images="bare")

    def test_a_folder_for_something_else(self, trained):
        outcome = trained.try_run("--dry-run", "train_tiny", "--config", "images=elsewhere")
        assert outcome.code != 0 and "Traceback" not in outcome.output
        said = "--config images=elsewhere: only `snakemake predict` and `snakemake new_study` take that."
        assert said in outcome.output and "'data={images: elsewhere}'" in outcome.output

    def test_no_folder_said(self, trained):
        sentence = "name the model and the folder: snakemake predict --config model=NAME images=FOLDER"
        self.refuse(trained, sentence, images=None)

    def test_nothing_said_as_a_user_sees_it(self, trained):
        before = take_stock(trained / "results")
        outcome = trained.try_run("predict")
        assert outcome.code == 1
        sentence = "name the model and the folder: snakemake predict --config model=NAME images=FOLDER"
        assert f"predict: error: {sentence}\n" in outcome.output
        assert "Traceback" not in outcome.output and "bug in Baton" not in outcome.output
        assert take_stock(trained / "results") == before


@pytest.fixture(scope="session")
def exported(trained):
    """The folder of exports, what each answers in a fresh process, and the operations in each."""
    outcome = trained.run("export_tiny")
    assert outcome.jobs() == {"export_tiny": 1}
    folder = trained / "results/exports/tiny/seed_1"
    images = trained / f"results/data/packed/{SIZE}px/test.npy"
    answers = trained / "answers.npz"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), str(images), str(answers)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    operations = json.loads(done.stdout.splitlines()[-1])
    found = dict(np.load(answers))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: np.load(images).astype(np.float32)}
    found["model.onnx"] = session.run(None, given)[0]
    graph = onnx.load(folder / "model.onnx").graph
    operations["model.onnx"] = sorted({node.op_type for node in graph.node})
    return folder, found, operations


FORMATS = ["saved_model", "model.onnx", "model.tflite"]


class TestExport:
    def test_all_formats_are_there_and_nothing_else(self, exported):
        names = [path.name for path in exported[0].iterdir() if path.name != ".snakemake_timestamp"]
        assert sorted(names) == sorted(FORMATS)

    @pytest.mark.parametrize("name", FORMATS)
    def test_an_export_answers_as_the_model_does(self, trained, exported, name):
        with open(trained / "results/evaluation/tiny/seed_1/predictions.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        classes = trained.json("data/class_weights.json")["classes"]
        expected = np.array([[float(row[f"probability {label}"]) for label in classes] for row in rows])
        assert len(np.unique(expected.round(3), axis=0)) > 3  # it does look at the images
        found = exported[1][name]
        assert found.dtype == np.float32 and found.shape == (15, 3)
        assert np.abs(found - expected).max() <= 1e-4
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()

    @pytest.mark.parametrize("name", FORMATS)
    def test_an_export_holds_nothing_random(self, exported, name):
        operations = exported[2][name]
        assert [word for word in operations if "conv" in word.lower()]  # these are the network's
        random = ("random", "stateless", "bernoulli", "multinomial", "dropout", "rng")
        assert [word for word in operations if any(part in word.lower() for part in random)] == []

    def test_they_are_checked_on_the_test_images(self, trained, exported):
        said = trained.log("export/tiny/seed_1")
        assert "checked on noise" not in said
        assert len(re.findall(r"probabilities differ by \S+ at most on 15 images", said)) == len(FORMATS)

    def test_each_names_the_classes_in_the_order_of_its_answers(self, trained, exported):
        classes = trained.json("data/class_weights.json")["classes"]
        folder = exported[0]
        properties = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
        assert json.loads(properties["classes"]) == classes and properties["name"] == "tiny"
        assert properties["input"] == f"RGB, {SIZE} x {SIZE}, 0 to 255, float32"
        kept = json.loads((folder / "saved_model/assets.extra/baton.json").read_text(encoding="utf-8"))
        assert kept["classes"] == classes
        with zipfile.ZipFile(folder / "model.tflite") as archive:
            assert archive.read("labels.txt").decode().splitlines() == classes
            assert json.loads(archive.read("baton.json")) == kept

    def test_exports_are_made_once(self, trained, exported):
        assert trained.run("--dry-run", "export_tiny").jobs() == {}


class TestFailing:
    """One format that cannot be had loses no other, and leaves no half of itself."""

    IMAGES = np.zeros((2, 4, 4, 3), np.float32)
    EXPECTED = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)

    class Network:
        """Writes a file, or half of it."""

        def export(self, path, format, verbose):  # noqa: A002 (as Keras calls it)
            Path(path).write_text(format)
            if format == "breaks":
                raise RuntimeError("no conversion of this layer")

    def formats(self, export):
        right, wrong = (lambda path, images: self.EXPECTED), (lambda path, images: self.EXPECTED[::-1])
        named = {
            "good": ("good", (), right),
            "broken": ("breaks", (), right),
            "wrong": ("wrong", (), wrong),
            "lacking": ("lacking", ("no_such_package",), right),
        }
        return {
            name: export.Format(*values, label=lambda path, facts: None) for name, values in named.items()
        }

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("broken", "RuntimeError: no conversion of this layer"),
            ("wrong", "its probabilities differ from the model's by 2.5e-01"),
            ("lacking", "it needs no_such_package: pip install --requirement export.lock"),
        ],
    )
    def test_what_is_wrong_is_told_and_removed(self, tmp_path, monkeypatch, name, reason):
        import export

        monkeypatch.setattr(export, "FORMATS", self.formats(export))
        with pytest.raises(UserError, match=reason):
            export.export(self.Network(), name, tmp_path, self.IMAGES, self.EXPECTED, {})
        assert list(tmp_path.iterdir()) == []

    def test_the_others_are_made(self, trained, tmp_path, monkeypatch, caplog):
        import export

        formats = self.formats(export)
        monkeypatch.setattr(export, "FORMATS", formats)
        monkeypatch.setattr(export.networks, "for_prediction", lambda network: self.Network())
        monkeypatch.setattr(export.networks, "predict", lambda network, images: self.EXPECTED)
        given = yaml.safe_load((trained / "config.yaml").read_text(encoding="utf-8"))
        with contextlib.chdir(trained.folder):
            run = make_study(given, validate).runs[0]
        model = trained / run.files.model
        with caplog.at_level("INFO"):
            export.main(str(model), "none.npy", tmp_path / "all", 1, run.settings, run.augmentation)
        assert [path.name for path in (tmp_path / "all").iterdir()] == ["good"]
        assert "without broken, wrong, lacking; to export again, delete " in caplog.text
        del formats["good"]
        with pytest.raises(UserError, match="no format could be exported"):
            export.main(str(model), "none.npy", tmp_path / "none", 1, run.settings, run.augmentation)
