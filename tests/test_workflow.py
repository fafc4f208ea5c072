"""The workflow itself, on images made here: each source, each stage, the models and the report."""

import base64
import json
import random
import re
import resource
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import Outcome, Study, save_image, save_images, take_stock, write_csv
from html_page import Page
from PIL import Image

SCRIPT = "<script>alert(1)</script>"
# Label: its colour, and the images that the careful annotator rated.
RATED = {
    "calm": (
        "red",
        [f"a/photo {number}.jpg" for number in range(1, 11)] + [f"b/photo {n}.jpg" for n in range(1, 9)],
    ),
    "tense": ("green", [f"сад/фото {number}.jpg" for number in range(1, 14)]),
    SCRIPT: ("blue", [f"blue {number}.jpg" for number in range(1, 12)]),
}
DAMAGED = {"a/empty 1.jpg": "calm", "cut.jpg": "calm", "сад/a web page.jpg": "tense"}
UNRATED = ["other 1.jpg", "other 2.jpg", "other 3.jpg"]
UNANSWERED = ["unsure 1.jpg", "unsure 2.jpg"]
# Class: images labelled, damaged, for training, synthetic, for validation, for test.
EXPECTED = {"calm": (20, 2, 12, 3, 3, 3), SCRIPT: (11, 0, 5, 1, 3, 3), "tense": (14, 1, 7, 2, 3, 3)}
RUNS = {"small": ["small/seed_1"], "twin": ["twin/seed_1", "twin/seed_2"]}
TRAINS = ["train_small", "train_twin_seed_1", "train_twin_seed_2"]
ALL_RUNS = [run for runs in RUNS.values() for run in runs]


def draw_photos(folder):
    """Make the folder of images: rated, unrated and damaged ones, and a text file."""
    for colour, images in RATED.values():
        for number, image in enumerate(images):
            save_image(folder / image, colour, number, quality=95)
    for number, image in enumerate(UNRATED + UNANSWERED):
        save_image(folder / image, "red", 100 + number)
    (folder / "a/empty 1.jpg").write_bytes(b"")
    good = (folder / "a/photo 1.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "сад/a web page.jpg").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "notes.txt").write_text("not an image")


def annotate():
    """Return the rows of a long table: two annotators, two questions; only anna's feeling is the label."""
    labels = {image: label for label, (_, images) in RATED.items() for image in images} | DAMAGED
    rows = []
    for number, (image, label) in enumerate(labels.items()):
        rows.append([image, "anna", "feeling", label])
        rows.append([image, "anna", "sharpness", str(number % 5)])
        if number % 2:
            rows.append([image, "bert", "feeling", "calm"])
    rows += [[image, "anna", "feeling", ""] for image in UNANSWERED]
    rows += [[image, "bert", "feeling", "tense"] for image in UNRATED]
    return rows


MODEL = {"name": "tiny", "kernels": 2, "kernel_size": 3, "dense": 8, "layers": 2}
HEADER = ["file", "annotator", "question", "answer"]
CONFIG = {
    "data": {
        "source": "annotations",
        "images": "photos",
        "annotations": "answers.csv",
        "image_column": "file",
        "label_column": "answer",
        "where": {"annotator": "anna", "question": "feeling"},
    },
    "holdout": {"validation": 3, "test": 3},
    "images": {"size": 16, "synthetic_fraction": 0.25},
    "training": {"epochs": 3, "batch_size": 8, "precision": "float32"},
    "models": [
        {"name": "small", "kernels": 2, "kernel_size": 3, "dense": 8, "layers": 2},
        {
            "name": "twin",
            "size": 24,
            "synthetic_fraction": 0,
            "kernels": 3,
            "kernel_size": 3,
            "dense": 4,
            "layers": 1,
            "seeds": [1, 2],
            "l2": 0,
            "epochs": 2,
        },
    ],
}


SMALL_IMAGES, TWIN_IMAGES = "16px_synthetic_0.25", "24px"


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A whole study from annotations, run once; `before` and `after` are the stock of the user's folder."""
    study = Study(tmp_path_factory.mktemp("annotations"), CONFIG)
    draw_photos(study / "photos")
    write_csv(study / "answers.csv", [HEADER, *annotate()])
    study.before = take_stock(study / "photos"), (study / "answers.csv").read_bytes()
    study.outcome = study.run()
    study.after = take_stock(study / "photos"), (study / "answers.csv").read_bytes()
    return study


class TestData:
    """From the CSV to packed arrays."""

    def test_every_rated_image_gets_its_class(self, study):
        expected = {image: label for label, (_, images) in RATED.items() for image in images} | DAMAGED
        rows = study.rows("data/classes.csv")
        assert {row["image"]: row["class"] for row in rows} == expected
        assert [row["image"] for row in rows] == sorted(expected)

    def test_what_is_left_out_is_counted_with_its_reason(self, study):
        rows = study.rows("data/left_out.csv")
        not_asked = sum(row[1:3] != ["anna", "feeling"] for row in annotate())
        assert [(row["count"], row["unit"], row["reason"]) for row in rows] == [
            (str(not_asked), "rows", "not what data.where asks for"),
            ("2", "rows", "no answer"),
            ("1", "files", "not named like an image"),
            ("5", "images", "in the folder, but without an answer that is used"),
        ]
        assert f"left out: {not_asked} rows: not what data.where asks for" in study.outcome.output

    def test_each_class_has_the_promised_images_in_each_split(self, study):
        counts = study.counts()
        for label, (_, _, train, _, validation, test) in EXPECTED.items():
            found = [counts[label, split] for split in ("train", "validation", "test")]
            assert found == [train, validation, test], label
        assert sum(counts.values()) == 42

    def test_no_image_is_in_two_splits(self, study):
        images = [row["image"] for row in study.rows("data/images.csv")]
        assert len(images) == len(set(images)) == 42

    def test_damaged_files_go_to_corrupt_csv_and_nowhere_else(self, study):
        rows = study.rows("data/corrupt.csv")
        assert {row["file"]: row["class"] for row in rows} == DAMAGED
        reasons = {row["file"]: row["reason"] for row in rows}
        assert reasons["a/empty 1.jpg"] == "the file is empty"
        assert reasons["сад/a web page.jpg"] == "not an image in a known format"
        assert not set(DAMAGED) & {row["image"] for row in study.rows("data/images.csv")}

    def test_a_damaged_held_out_image_is_replaced_by_the_next_of_the_draw(self, study):
        drawn = {row["image"]: row for row in study.rows("data/split.csv")}
        used = {row["image"]: row["split"] for row in study.rows("data/images.csv")}
        held_out = [image for image in DAMAGED if drawn[image]["split"] != "train"]
        assert held_out, "the names of the damaged files must be such that one is drawn"
        for label, count in Counter(drawn[image]["class"] for image in held_out).items():
            moved = [
                image
                for image in used
                if drawn[image]["class"] == label and used[image] != drawn[image]["split"]
            ]
            spare = sorted(
                (int(row["draw"]), image)
                for image, row in drawn.items()
                if row["class"] == label and row["split"] == "train" and image not in DAMAGED
            )
            assert sorted(moved) == sorted(image for _, image in spare[:count])

    def test_weights_are_n_over_k_times_the_images_of_the_class(self, study):
        weights = study.json("data/class_weights.json")
        assert weights["classes"] == sorted(EXPECTED)
        assert weights["weights"] == pytest.approx(
            [24 / (3 * EXPECTED[label][2]) for label in sorted(EXPECTED)]
        )

    @pytest.mark.parametrize("images, size, training", [(SMALL_IMAGES, 16, 30), (TWIN_IMAGES, 24, 24)])
    def test_packed_arrays_hold_the_pixels_of_their_manifest(self, study, images, size, training):
        classes = study.json("data/class_weights.json")["classes"]
        for split, count in (("train", training), ("validation", 9), ("test", 9)):
            array = np.load(study / f"results/data/packed/{images}/{split}.npy")
            rows = study.rows(f"data/packed/{images}/{split}.csv")
            assert array.shape == (count, size, size, 3) and array.dtype == np.uint8
            assert [classes[int(row["label"])] for row in rows] == [row["class"] for row in rows]
            for pixels, row in zip(array, rows, strict=True):
                if not row["parent"]:
                    with Image.open(study / "photos" / row["image"]) as image:
                        expected = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
                        assert np.array_equal(pixels, np.asarray(expected)), row["image"]

    def test_models_differ_in_their_synthetic_images_alone(self, study):
        for split in ("train", "validation", "test"):
            small, twin = (
                study.rows(f"data/packed/{images}/{split}.csv") for images in (SMALL_IMAGES, TWIN_IMAGES)
            )
            assert [row for row in small if not row["parent"]] == twin, split

    def test_synthetic_images_name_their_parents_and_are_for_training_only(self, study):
        rows = study.rows(f"data/packed/{SMALL_IMAGES}/train.csv")
        parents = [row["parent"] for row in rows if row["parent"]]
        assert len(parents) == len(set(parents)) == 6
        own = {row["image"]: row["class"] for row in rows if not row["parent"]}
        assert set(parents) <= set(own)
        made = Counter(row["class"] for row in rows if row["parent"])
        assert made == {label: expected[3] for label, expected in EXPECTED.items()}
        assert all(own[row["parent"]] == row["class"] for row in rows if row["parent"])
        for split in ("validation", "test"):
            assert {row["parent"] for row in study.rows(f"data/packed/{SMALL_IMAGES}/{split}.csv")} == {""}
        pixels = dict(
            zip(
                (row["image"] for row in rows),
                np.load(study / f"results/data/packed/{SMALL_IMAGES}/train.npy"),
                strict=True,
            )
        )
        for row in rows:
            if row["parent"]:
                new, old = pixels[row["image"]].astype(int), pixels[row["parent"]].astype(int)
                assert not np.array_equal(new, old)
                assert np.abs(new.mean((0, 1)) - old.mean((0, 1))).max() < 25, "of its parent's colour"

    def test_folders_of_links_hold_exactly_the_images_of_their_class(self, study):
        classes = study.links("results/data/classes")
        expected = {
            str(study / "photos" / row["image"]): row["class"] for row in study.rows("data/classes.csv")
        }
        names = {"calm": "calm", "tense": "tense", "%3Cscript%3Ealert(1)%3C%2Fscript%3E": SCRIPT}
        assert {target: names[link.split("/")[0]] for link, target in classes.items()} == expected
        assert len(classes) == 45, "two images of one name in different folders stay two"

    def test_folders_of_links_hold_exactly_the_images_of_their_split(self, study):
        dataset = study.links("results/data/dataset")
        names = {"calm": "calm", "tense": "tense", "%3Cscript%3Ealert(1)%3C%2Fscript%3E": SCRIPT}
        found = {(target, link.split("/")[0], names[link.split("/")[1]]) for link, target in dataset.items()}
        rows = study.rows("data/images.csv")
        assert found == {(str(study / "photos" / row["image"]), row["split"], row["class"]) for row in rows}
        assert len(dataset) == 42

    def test_the_folders_of_links_hold_nothing_but_links(self, study):
        for folder in ("classes", "dataset"):
            files = [path for path in (study / "results/data" / folder).rglob("*") if not path.is_dir()]
            others = [path.name for path in files if not path.is_symlink()]
            assert others == [".snakemake_timestamp"]
            assert len(files) == len(study.links(f"results/data/{folder}")) + 1

    def test_nothing_of_the_users_is_touched(self, study):
        assert study.before == study.after
        assert len(study.before[0]) == 4 + 45 + 5 + 1  # folders, images, unused images, notes.txt


FRESH = """
import json, sys
import keras, numpy, tensorflow
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

model, test, board = sys.argv[1:]
network = keras.saving.load_model(model)
curves = {}
for split in ("train", "validation"):
    events = EventAccumulator(f"{board}/{split}")
    events.Reload()
    for name in events.Tags()["tensors"]:
        points = [(event.step, float(tensorflow.make_ndarray(event.tensor_proto))) for event in events.Tensors(name)]
        curves[f"{split}/{name}"] = points
print(json.dumps({"predictions": network.predict(numpy.load(test), verbose=0).tolist(), "curves": curves}))
"""


@pytest.fixture(scope="module")
def fresh(study):
    """What a process that knows nothing of Baton reads from a model's file and from its curves' folder."""
    model, test = (
        study / "results/models/small/seed_1/model.keras",
        study / f"results/data/packed/{SMALL_IMAGES}/test.npy",
    )
    command = [sys.executable, "-c", FRESH, model, test, study / "logs/tensorboard/small/seed_1"]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestModels:
    """Training and evaluation."""

    @pytest.mark.parametrize("run", ALL_RUNS)
    def test_history_has_every_epoch_in_order(self, study, run):
        rows = study.rows(f"models/{run}/history.csv")
        epochs = 3 if run.startswith("small") else 2
        assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(epochs)]
        assert list(rows[0]) == ["epoch", "loss", "l2", "accuracy", "val_loss", "val_accuracy"]
        for row in rows:
            assert 0 <= float(row["accuracy"]) <= 1 and 0 <= float(row["val_accuracy"]) <= 1
            assert float(row["loss"]) > 0 and float(row["val_loss"]) > 0
            # 9 validation images: the accuracy is a number of ninths
            assert float(row["val_accuracy"]) * 9 == pytest.approx(
                round(float(row["val_accuracy"]) * 9), abs=1e-4
            )

    def test_a_model_overrides_a_training_key_for_itself_alone(self, study):
        for run in ALL_RUNS:
            summary = study.json(f"models/{run}/training.json")
            own = {key: summary["settings"][key] for key in ("l2", "epochs", "batch_size")}
            penalties = [float(row["l2"]) for row in study.rows(f"models/{run}/history.csv")]
            if run.startswith("twin"):
                assert own == {"l2": 0, "epochs": 2, "batch_size": 8} and penalties == [0.0, 0.0]
            else:
                assert own == {"l2": 0.0001, "epochs": 3, "batch_size": 8} and min(penalties) > 0

    def test_parameters_are_those_of_the_architecture(self, study):
        small = (3 * 9 + 1) * 2 + (2 * 9 + 1) * 4 + (4 * 4 * 4 + 1) * 8 + (8 + 1) * 3
        twin = (3 * 9 + 1) * 3 + (12 * 12 * 3 + 1) * 4 + (4 + 1) * 3
        found = [study.json(f"models/{run}/training.json")["parameters"] for run in ALL_RUNS]
        assert found == [small, twin, twin]

    def test_each_seed_trains_a_model_of_its_own(self, study):
        one, two = (study.rows(f"models/twin/seed_{seed}/history.csv") for seed in (1, 2))
        assert one != two
        assert [study.json(f"models/twin/seed_{seed}/training.json")["seed"] for seed in (1, 2)] == [1, 2]

    def test_the_kept_epoch_is_the_first_of_the_best_validation_accuracy(self, study):
        for run in ALL_RUNS:
            accuracies = [float(row["val_accuracy"]) for row in study.rows(f"models/{run}/history.csv")]
            kept = study.json(f"models/{run}/training.json")["kept"]
            assert kept["epoch"] == accuracies.index(max(accuracies)) + 1
            assert kept["val_accuracy"] == max(accuracies)

    def test_curves_are_an_svg_with_training_red_and_validation_blue(self, study):
        for run in ALL_RUNS:
            svg = (study / f"results/models/{run}/curves.svg").read_text()
            assert svg.lstrip().startswith("<?xml") and "</svg>" in svg
            assert "#d62728" in svg and "#1f77b4" in svg

    @pytest.mark.parametrize("run", ALL_RUNS)
    def test_predictions_have_every_test_image_and_sum_to_one(self, study, run):
        rows = study.rows(f"evaluation/{run}/predictions.csv")
        manifest = study.rows(f"data/packed/{SMALL_IMAGES}/test.csv")
        assert [(row["image"], row["class"]) for row in rows] == [
            (row["image"], row["class"]) for row in manifest
        ]
        classes = study.json("data/class_weights.json")["classes"]
        assert list(rows[0]) == [
            "image",
            "class",
            "predicted",
            *(f"probability {label}" for label in classes),
        ]
        for row in rows:
            probabilities = [float(row[f"probability {label}"]) for label in classes]
            assert sum(probabilities) == pytest.approx(1, abs=1e-5)
            assert row["predicted"] == classes[probabilities.index(max(probabilities))]

    @pytest.mark.parametrize("run", ALL_RUNS)
    def test_metrics_follow_from_the_predictions(self, study, run):
        rows = study.rows(f"evaluation/{run}/predictions.csv")
        metrics = study.json(f"evaluation/{run}/metrics.json")
        classes = study.json("data/class_weights.json")["classes"]
        pairs = Counter((row["class"], row["predicted"]) for row in rows)
        confusion = [[pairs[true, said] for said in classes] for true in classes]
        right = sum(pairs[label, label] for label in classes)
        assert metrics["images"] == 9
        assert metrics["accuracy"] == pytest.approx(right / 9)
        assert metrics["confusion"] == confusion
        entropy = -sum(np.log(float(row[f"probability {row['class']}"])) for row in rows) / 9
        assert metrics["log_loss"] == pytest.approx(entropy, rel=1e-4)
        assert [row["class"] for row in metrics["classes"]] == classes
        for number, row in enumerate(metrics["classes"]):
            hits, said = confusion[number][number], sum(line[number] for line in confusion)
            assert row["images"] == sum(confusion[number]) == 3
            assert row["recall"] == pytest.approx(hits / 3)
            if said:
                assert row["precision"] == pytest.approx(hits / said)
            else:
                assert row["precision"] is None
            assert row["f1"] == pytest.approx(2 * hits / (3 + said))

    def test_the_saved_model_takes_plain_pixels_in_a_fresh_process(self, study, fresh):
        rows = study.rows("evaluation/small/seed_1/predictions.csv")
        expected = [
            [float(value) for key, value in row.items() if key.startswith("probability ")] for row in rows
        ]
        assert np.allclose(fresh["predictions"], expected, rtol=0, atol=1e-6)

    def test_tensorboard_shows_the_curves_of_the_history(self, study, fresh):
        rows = study.rows("models/small/seed_1/history.csv")
        for split, prefix, names in (
            ("train", "", ("loss", "accuracy", "l2")),
            ("validation", "val_", ("loss", "accuracy")),
        ):
            for name in names:
                points = fresh["curves"][f"{split}/{name}"]
                assert [step for step, _ in points] == [1, 2, 3]
                expected = [float(row[prefix + name]) for row in rows]
                assert [value for _, value in points] == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="session")
def page(study):
    return Page((study / "results/report.html").read_text(encoding="utf-8"))


class TestReport:
    def test_counts_of_each_class_at_each_stage(self, page):
        rows = {row["class"]: row for row in page.table("labelled")}
        columns = ("labelled", "damaged", "training", "synthetic", "validation", "test")
        for label, expected in EXPECTED.items():
            assert tuple(int(rows[label][column]) for column in columns) == expected
            assert rows[label]["weight"] == f"{24 / (3 * expected[2]):.3f}"
        assert tuple(int(rows["all"][column]) for column in columns) == (45, 3, 24, 6, 9, 9)

    def test_what_was_left_out_and_what_is_damaged(self, study, page):
        left_out = [(row["count"], row["of"], row["reason"]) for row in page.table("of")]
        expected = [(row["count"], row["unit"], row["reason"]) for row in study.rows("data/left_out.csv")]
        assert left_out == expected
        assert {row["file"]: row["class"] for row in page.table("file")} == DAMAGED

    def test_accuracies_and_settings_of_the_models_in_the_order_of_the_config(self, study, page):
        rows = page.table("test accuracy")
        assert [(row["model"], row["seed"]) for row in rows] == [("small", "1"), ("twin", "1"), ("twin", "2")]
        for row, run in zip(rows, ALL_RUNS, strict=True):
            test, summary = (
                study.json(f"evaluation/{run}/metrics.json"),
                study.json(f"models/{run}/training.json"),
            )
            assert row["test accuracy"] == f"{test['accuracy']:.3f}"
            assert row["validation accuracy"] == f"{summary['kept']['val_accuracy']:.3f}"
        for row, run in zip(page.table("parameters"), ALL_RUNS, strict=True):
            parameters = study.json(f"models/{run}/training.json")["parameters"]
            assert row["parameters"] == f"{parameters:,}".replace(",", "\u202f")
            assert row["epochs"] == ("3" if run.startswith("small") else "2")
        images = [
            (row["training run"], row["images"], row["synthetic"]) for row in page.table("number format")
        ]
        assert images == [
            ("small, seed 1", "16 px", "25 %"),
            ("twin, seed 1", "24 px", "0 %"),
            ("twin, seed 2", "24 px", "0 %"),
        ]
        assert "3 training runs on 24 images and up to 6 synthetic ones of 3 classes" in page.text
        trained = [study.json(f"models/{run}/training.json")["training_images"] for run in ALL_RUNS]
        assert trained == [30, 24, 24]

    def test_confusion_matrices_of_all_runs(self, study, page):
        found = [[row[1:] for row in table[1:]] for table in page.tables if table[0][0].startswith("true")]
        expected = [study.json(f"evaluation/{run}/metrics.json")["confusion"] for run in ALL_RUNS]
        assert [[[int(cell) for cell in row] for row in matrix] for matrix in found] == expected

    def test_it_says_what_was_asked(self, page):
        assert (
            "Labels are the column “answer” of answers.csv, where annotator is anna and question is feeling"
            in page.text
        )

    def test_a_class_named_like_a_script_stays_text(self, page):
        assert [tag for tag, _ in page.elements].count("script") == 1, "the template's own, which sorts"
        assert SCRIPT in page.text
        assert SCRIPT in [row["class"] for row in page.table("labelled")]

    def test_it_is_self_contained(self, study, page):
        assert not re.search(r"https?://", (study / "results/report.html").read_text(encoding="utf-8"))
        assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
        for tag, attributes in page.elements:
            for key in ("src", "href", "srcset", "data", "poster"):
                assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)

    def test_the_curves_in_it_are_those_of_the_models_and_have_a_text_for_the_blind(self, study, page):
        images = [
            attributes for tag, attributes in page.elements if tag == "img" and "over" in attributes["alt"]
        ]
        found = [base64.b64decode(image["src"].partition("base64,")[2]) for image in images]
        assert found == [study.read(f"results/models/{run}/curves.svg") for run in ALL_RUNS]
        assert all("accuracy" in image["alt"] for image in images)


class TestRunning:
    """What a second run, a dry run and a rule's name do, on the finished study."""

    def test_a_second_run_has_nothing_to_do(self, study):
        before = take_stock(study / "results")
        assert "Nothing to be done" in study.run().output
        assert take_stock(study / "results") == before

    def test_more_time_or_other_cores_retrain_nothing(self, study):
        more = ["--set-resources", "train_small:runtime=10", "train_twin_seed_1:mem_mb=4000"]
        assert "Nothing to be done" in study.run("--dry-run", *more, cores=1).output

    def test_rules_can_be_asked_for_by_name(self, study):
        rules = study.run("--list-target-rules").output
        for name in ("all", "train", "evaluate", "report", "train_small", "train_twin", "train_twin_seed_2"):
            assert re.search(rf"^{name}\b", rules, re.MULTILINE), name

    @pytest.mark.parametrize(
        "target, trains, evaluates",
        [
            ("train_small", ["train_small"], []),
            ("train_twin", ["train_twin_seed_1", "train_twin_seed_2"], []),
            ("train_twin_seed_2", ["train_twin_seed_2"], []),
            ("train", TRAINS, []),
            ("evaluate_twin", ["train_twin_seed_1", "train_twin_seed_2"], ["twin_seed_1", "twin_seed_2"]),
        ],
    )
    def test_a_rule_by_name_needs_its_trainings_and_no_others(self, study, target, trains, evaluates):
        jobs = study.run("--dry-run", "--forceall", target).jobs()
        jobs.pop(target, None) if target not in trains else None
        found = [rule for rule in jobs if rule.startswith("train")]
        assert sorted(found) == trains
        assert sorted(rule for rule in jobs if rule.startswith("evaluate")) == [
            f"evaluate_{run}" for run in evaluates
        ]
        assert jobs["pack_images"] == (2 if target == "train" else 1), "one for each kind of images"
        assert "write_report" not in jobs

    @pytest.mark.parametrize(
        "change, rules",
        [
            (
                {"training": CONFIG["training"] | {"l2": 0.01}},
                ["train_small", "evaluate_small"],
            ),  # twin has its own
            ({"training": CONFIG["training"] | {"epochs": 9}}, ["train_small", "evaluate_small"]),
            (
                {"images": CONFIG["images"] | {"size": 20}},
                ["pack_images", "train_small", "evaluate_small"],
            ),  # twin has its own
            (
                {"images": CONFIG["images"] | {"synthetic_fraction": 0.5}},
                ["pack_images", "train_small", "evaluate_small"],
            ),
            ({"models": [CONFIG["models"][1]]}, []),
            ({"models": CONFIG["models"][::-1]}, []),
            (
                {"models": [CONFIG["models"][0] | {"seeds": [1, 2]}]},
                ["train_small_seed_2", "evaluate_small_seed_2"],
            ),
            ({"session_minutes": 7}, None),
            ({key: dict(reversed(CONFIG[key].items())) for key in ("data", "holdout", "training")}, None),
            ({"models": [dict(reversed(model.items())) for model in CONFIG["models"]]}, None),
        ],
        ids=[
            "l2",
            "epochs",
            "size",
            "synthetic images",
            "a model less",
            "models in another order",
            "a seed more",
            "a longer session",
            "keys in another order",
            "keys of models in another order",
        ],
    )
    def test_a_change_makes_anew_what_depends_on_it_and_nothing_else(self, study, change, rules):
        study.configure(CONFIG | change)
        try:
            jobs = study.run("--dry-run").jobs()
        finally:
            study.configure(CONFIG)
        expected = [] if rules is None else sorted([*rules, "write_report", "all"])
        assert sorted(jobs) == expected

    def test_a_dry_run_is_light_and_tells_its_reasons(self, study, tmp_path):
        user = {"images": str(study / "photos"), "annotations": str(study / "answers.csv")}
        fresh = Study(tmp_path, CONFIG | {"data": CONFIG["data"] | user})
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = fresh.command("--dry-run", python=["-X", "importtime"])
        done = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, check=True)
        outcome = Outcome(done.returncode, done.stdout + done.stderr)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert seconds < 6, "of processor time"
        imported = set(re.findall(r"^import time:.*\| +(\S+)$", outcome.output, re.MULTILINE))
        assert "snakemake.workflow" in imported
        # pandas comes with the Slurm executor, which Snakemake loads at every start.
        assert not imported & {"tensorflow", "keras", "sklearn", "matplotlib", "safetensors"}
        assert re.search(r"reason: Missing output files: .*results/data/classes.csv", outcome.output)
        assert outcome.jobs() == {
            "all": 1,
            "sort_into_classes": 1,
            "inspect_images": 1,
            "measure_agreement": 1,
            "estimate_ceiling": 1,
            "find_copies": 1,
            "split_holdout": 1,
            "filter_corrupt": 1,
            "weigh_classes": 1,
            "pack_images": 2,
            "train_small": 1,
            "train_twin_seed_1": 1,
            "train_twin_seed_2": 1,
            "evaluate_small": 1,
            "evaluate_twin_seed_1": 1,
            "evaluate_twin_seed_2": 1,
            "write_report": 1,
        }
        assert not (fresh / "results").exists()


@pytest.fixture(scope="module")
def other(study, tmp_path_factory):
    """The study again in another folder: its CSV shuffled, with other separators and line ends."""
    config = CONFIG | {"data": CONFIG["data"] | {"images": str(study / "photos")}}
    other = Study(tmp_path_factory.mktemp("shuffled"), config)
    rows = annotate()
    random.Random(3).shuffle(rows)
    write_csv(other / "answers.csv", [HEADER, *rows], ";", "\r\n", "utf-8-sig")
    other.run("split_holdout")
    return other


class TestDraw:
    """The same seed gives the same split, wherever and in whatever order."""

    def test_shuffled_annotations_give_the_same_bytes(self, study, other):
        for name in ("classes.csv", "left_out.csv", "split.csv"):
            assert other.read(f"results/data/{name}") == study.read(f"results/data/{name}"), name

    def test_another_seed_draws_anew_without_sorting_anew(self, study, other):
        other.configure(other.config | {"holdout": CONFIG["holdout"] | {"seed": 2}})
        assert other.run("split_holdout").jobs() == {"split_holdout": 1}
        one, two = study.rows("data/split.csv"), other.rows("data/split.csv")
        assert [row["image"] for row in one] == [row["image"] for row in two]
        assert Counter((row["class"], row["split"]) for row in one) == Counter(
            (row["class"], row["split"]) for row in two
        )
        assert [row["split"] for row in one] != [row["split"] for row in two]


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory):
    """Three folders of classes that are numbers, with what does not belong there."""
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "images": {"size": 16},
        "models": [MODEL],
    }
    study = Study(
        tmp_path_factory.mktemp("class_folders"), config | {"holdout": {"validation": 2, "test": 3}}
    )
    photos = study / "photos"
    save_images(photos / "1", "red", 8)
    save_images(photos / "2", "green", 9)
    save_images(photos / "10", "blue", 6)
    for number in range(7, 13):
        save_image(photos / "10" / "more" / f"{number}.png", "blue", number)
    save_image(photos / "stray.png", "red")
    save_image(photos / "1" / ".hidden.png", "red")
    (photos / "2" / "Thumbs.db").write_bytes(b"no image")
    before = take_stock(photos)
    outcome = study.run("pack")
    return SimpleNamespace(study=study, outcome=outcome, before=before, after=take_stock(photos))


class TestClassFolders:
    def test_counts_of_each_class_in_each_split(self, class_folders):
        expected = {
            (label, split): count
            for label in ("1", "2", "10")
            for split, count in (("validation", 2), ("test", 3))
        }
        assert class_folders.study.counts() == expected | {
            ("1", "train"): 3,
            ("2", "train"): 4,
            ("10", "train"): 7,
        }
        shapes = [
            np.load(class_folders.study / f"results/data/packed/16px/{split}.npy").shape
            for split in ("train", "validation", "test")
        ]
        assert shapes == [(14, 16, 16, 3), (6, 16, 16, 3), (9, 16, 16, 3)]

    def test_classes_that_are_numbers_are_in_the_order_of_numbers(self, class_folders):
        weights = class_folders.study.json("data/class_weights.json")
        assert weights["classes"] == ["1", "2", "10"]
        assert weights["weights"] == pytest.approx([14 / (3 * 3), 14 / (3 * 4), 14 / (3 * 7)])

    def test_what_does_not_belong_there_is_counted(self, class_folders):
        assert [(row["count"], row["reason"]) for row in class_folders.study.rows("data/left_out.csv")] == [
            ("1", "hidden, or in a hidden folder"),
            ("1", "thumbnails of Windows (Thumbs.db)"),
            ("1", "not in a folder CLASS/"),
        ]

    def test_links_lead_to_every_image_once(self, class_folders):
        rows = class_folders.study.rows("data/images.csv")
        targets = sorted(class_folders.study.links("results/data/dataset").values())
        assert targets == sorted(str(class_folders.study / "photos" / row["image"]) for row in rows)
        assert len(set(targets)) == 29

    def test_nothing_of_the_users_is_touched(self, class_folders):
        assert class_folders.before == class_folders.after

    def test_an_image_added_later_is_noticed(self, class_folders):
        assert "Nothing to be done" in class_folders.study.run("--dry-run", "pack").output
        save_image(class_folders.study / "photos/2/new.png", "green", 99)
        assert class_folders.study.run("--dry-run", "pack").jobs()["sort_into_classes"] == 1


@pytest.fixture(scope="module")
def split_folders(tmp_path_factory):
    """Given splits of three classes, of which two are asked for; one of these has no test images."""
    config = {
        "data": {"source": "split_folders", "images": "photos", "classes": ["pear", "apple"]},
        "images": {"size": 16},
        "models": [MODEL],
    }
    study = Study(tmp_path_factory.mktemp("split_folders"), config)
    photos = study / "photos"
    numbers = {"train": (6, 5, 4), "validation": (2, 3, 1), "test": (4, 0, 2)}
    for split, counts in numbers.items():
        for label, colour, count in zip(
            ("apple", "pear", "fig"), ("red", "green", "blue"), counts, strict=True
        ):
            save_images(photos / split / label, colour, count)
    (photos / "test/apple/4.png").write_bytes(b"")
    save_images(photos / "trash/apple", "red", 2)
    before = take_stock(photos)
    outcome = study.run("pack")
    return SimpleNamespace(study=study, outcome=outcome, before=before, after=take_stock(photos))


class TestSplitFolders:
    def test_the_given_splits_are_taken_as_they_are(self, split_folders):
        assert split_folders.study.counts() == {
            ("apple", "train"): 6,
            ("pear", "train"): 5,
            ("apple", "validation"): 2,
            ("pear", "validation"): 3,
            ("apple", "test"): 3,
        }
        for row in split_folders.study.rows("data/images.csv"):
            assert row["image"].split("/")[:2] == [row["split"], row["class"]]

    def test_a_damaged_test_image_is_set_aside_and_not_replaced(self, split_folders):
        rows = split_folders.study.rows("data/corrupt.csv")
        assert [(row["file"], row["class"], row["split"]) for row in rows] == [
            ("test/apple/4.png", "apple", "test")
        ]

    def test_classes_are_in_the_order_that_was_asked(self, split_folders):
        weights = split_folders.study.json("data/class_weights.json")
        assert weights["classes"] == ["pear", "apple"]
        assert weights["weights"] == pytest.approx([11 / (2 * 5), 11 / (2 * 6)])

    def test_a_class_that_misses_from_a_split_is_reported(self, split_folders):
        assert "no test images of class pear" in split_folders.outcome.output
        assert "no test images of class pear" in split_folders.study.log("split_holdout")

    def test_what_was_not_asked_for_is_counted(self, split_folders):
        assert [(row["count"], row["reason"]) for row in split_folders.study.rows("data/left_out.csv")] == [
            ("2", "not in a folder train/CLASS/, validation/CLASS/ and test/CLASS/"),
            ("7", "a label that data.classes does not name"),
        ]

    def test_nothing_of_the_users_is_touched(self, split_folders):
        assert split_folders.before == split_folders.after


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo with one tiny model and one epoch."""
    config = {"training": {"epochs": 1, "precision": "float32"}, "models": [MODEL]}
    study = Study(tmp_path_factory.mktemp("demo"), config)
    study.outcome = study.run()
    return study


class TestDemo:
    def test_it_draws_every_digit_from_1_to_9_and_five_damaged_files(self, demo):
        files = {path.name for path in (demo / "results/demo/images").iterdir()} - {".snakemake_timestamp"}
        assert len(files) == 1619 + 5
        corrupt = demo.rows("data/corrupt.csv")
        assert len(corrupt) == 5 and {row["file"] for row in corrupt} <= files
        assert len({row["reason"] for row in corrupt}) >= 3

    def test_three_annotators_answer_two_questions(self, demo):
        rows = demo.rows("demo/annotations.csv")
        assert len({row["annotator"] for row in rows}) == 3
        assert len({row["question"] for row in rows}) == 2

    def test_the_careful_annotators_answers_are_the_classes(self, demo):
        rows = demo.rows("demo/annotations.csv")
        asked = {
            r["image"]: r["answer"] for r in rows if (r["annotator"], r["question"]) == ("careful", "digit")
        }
        assert {row["image"]: row["class"] for row in demo.rows("data/classes.csv")} == asked
        counts = Counter(asked.values())
        assert sorted(counts) == list("123456789")
        assert max(counts.values()) > 1.5 * min(counts.values()), "unbalanced, like the study's"
        assert sum(counts.values()) < 1619, "some images are unrated"

    def test_25_images_a_class_are_held_out_for_validation_and_for_test(self, demo):
        labelled = Counter(row["class"] for row in demo.rows("data/classes.csv"))
        damaged = Counter(row["class"] for row in demo.rows("data/corrupt.csv"))
        counts = demo.counts()
        for label in "123456789":
            found = [counts[label, split] for split in ("validation", "test", "train")]
            assert found == [25, 25, labelled[label] - damaged[label] - 50]

    def test_the_model_is_tested_on_all_225_images(self, demo):
        metrics = demo.json("evaluation/tiny/seed_1/metrics.json")
        rows = demo.rows("evaluation/tiny/seed_1/predictions.csv")
        assert metrics["images"] == len(rows) == 225
        assert metrics["accuracy"] == pytest.approx(
            sum(row["class"] == row["predicted"] for row in rows) / 225
        )

    def test_the_report_says_that_it_is_the_demo(self, demo):
        page = Page((demo / "results/report.html").read_text(encoding="utf-8"))
        assert "handwritten digits that stand in for photographs" in page.text
        accuracy = demo.json("evaluation/tiny/seed_1/metrics.json")["accuracy"]
        assert [row["test accuracy"] for row in page.table("test accuracy")] == [f"{accuracy:.3f}"]
        assert [row["test"] for row in page.table("labelled")] == ["25"] * 9 + ["225"]

    def test_a_second_run_has_nothing_to_do(self, demo):
        assert "Nothing to be done" in demo.run().output
