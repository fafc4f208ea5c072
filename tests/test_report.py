"""The report on studies made by hand: what it says, for people and for programs, and what it must not do.

Nothing here trains but TestWorkflow: the answers of the models are made up, and what evaluate.measure makes
of them, with made-up training runs, is written where the report looks for it.
"""

import csv
import io
import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from conftest import REPOSITORY, Study, save_images
from html_page import Page
from PIL import Image
from report_builder import (
    DEFAULTS,
    GOOD,
    HOSTILE,
    LABELS,
    SCHEMA,
    VEGETABLES,
    WORSE,
    Made,
    answers,
    embedded,
    files_below,
    make_rich,
    name_everything,
    problems,
    run,
    saying,
    strict_json,
)

import write_report
from baton.errors import UserError
from baton.training import prediction


@pytest.fixture(scope="session")
def rich(tmp_path_factory):
    return make_rich(tmp_path_factory.mktemp("rich")).write()


@pytest.fixture(scope="session")
def equal(tmp_path_factory):
    """Two models of which one is right on 3 images that the other is wrong on, and the other on 1; 100 images."""
    first, second = answers(LABELS, 4, wrong=[10, 20]), answers(LABELS, 4, wrong=[10, 30, 40, 50])
    runs = [run("one", first), run("two", second)]
    return Made(tmp_path_factory.mktemp("equal"), VEGETABLES, LABELS, runs).write()


@pytest.fixture(scope="session")
def different(tmp_path_factory):
    runs = [run("worse", WORSE), run("good", GOOD), run("bad", answers(LABELS, 4, wrong=range(1, 80)))]
    return Made(tmp_path_factory.mktemp("different"), VEGETABLES, LABELS, runs).write()


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """Two models, each with two seeds."""
    wrong = {"one": ([0, 1], [0, 1, 2, 3]), "two": ([0, 1, 5, 6, 7], [4, 5, 6, 7, 8, 9])}
    runs = [
        run(f"{model}_seed_{seed}", answers(LABELS, 4, images), model, seed)
        for model, both in wrong.items()
        for seed, images in zip((1, 2), both, strict=True)
    ]
    return Made(tmp_path_factory.mktemp("seeds"), VEGETABLES, LABELS, runs).write()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    return name_everything(tmp_path_factory.mktemp("hostile"), HOSTILE)


# --- The tests


class TestSchema:
    """report.json and rules/schemas/report.schema.json."""

    def objects(self, schema):
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for inner in schema.values():
                yield from self.objects(inner)
        elif isinstance(schema, list):
            for inner in schema:
                yield from self.objects(inner)

    def test_the_schema_is_one_and_describes_every_key(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        for schema in self.objects(SCHEMA):
            for name, inner in schema.get("properties", {}).items():
                assert inner.get("description"), (name, inner)

    def test_every_shape_that_is_fixed_is_closed(self):
        for schema in self.objects(SCHEMA):
            if "properties" in schema:
                assert schema["additionalProperties"] is False
                assert sorted(schema["required"]) == sorted(schema["properties"])

    @pytest.mark.parametrize("name", ["rich", "equal", "different", "hostile"])
    def test_reports_are_of_the_schema(self, name, request):
        assert problems(request.getfixturevalue(name).numbers) == []

    def test_the_schema_finds_what_is_wrong(self, equal):
        wrong = json.loads(json.dumps(equal.numbers))
        wrong["runs"][0]["test"]["accuracy"] = 1.5
        assert len(problems(wrong)) == 1
        wrong = json.loads(json.dumps(equal.numbers))
        wrong["comparison"]["pairs"][0]["extra"] = 1
        del wrong["data"]["sums"]["test"]
        assert len(problems(wrong)) == 2


class TestTables:
    """models.csv and pairs.csv say what report.json says."""

    @pytest.mark.parametrize("name", ["rich", "equal", "different"])
    def test_models_csv(self, name, request):
        made = request.getfixturevalue(name)
        done = [one for one in made.numbers["runs"] if one["status"] == "done"]
        assert [row["name"] for row in made.models] == [one["name"] for one in done]
        for row, one in zip(made.models, done, strict=True):
            training, test, ordered = one["training"], one["test"], one["test"]["ordered"]
            expected = {
                "model": one["model"],
                "seed": one["seed"],
                "size": 16,
                "synthetic_fraction": training["settings"]["synthetic_fraction"],
                "kernels": 8,
                "kernel_size": 3,
                "layers": 2,
                "dense": 16,
                "parameters": training["parameters"],
                "model_bytes": test["model_bytes"],
                "epochs": training["epochs"],
                "kept_epoch": training["kept"]["epoch"],
                "validation_accuracy": training["kept"]["val_accuracy"],
                "test_images": test["images"],
                "accuracy": test["accuracy"],
                "accuracy_low": test["interval"][0],
                "accuracy_high": test["interval"][1],
                "balanced_accuracy": test["balanced_accuracy"],
                "macro_f1": test["macro_f1"],
                "log_loss": test["log_loss"],
                "top_2_accuracy": test["top_2_accuracy"],
                "expected_calibration_error": test["calibration"]["expected_calibration_error"],
                "verdict": test["answers"]["verdict"],
                "mean_absolute_error": ordered and ordered["mean_absolute_error"]["value"],
                "within_one": ordered and ordered["within_one"]["value"],
                "quadratic_kappa": ordered and ordered["quadratic_kappa"]["value"],
                "spearman": ordered and ordered["spearman"]["value"],
                "training_seconds": training["seconds"],
                "sessions": len(training["sessions"]),
                "milliseconds_batch_1": test["milliseconds"]["1"],
                "milliseconds_batch_32": test["milliseconds"]["32"],
            }
            for key, value in expected.items():
                assert row[key] == ("" if value is None else str(value)), (one["name"], key)

    @pytest.mark.parametrize("name", ["rich", "equal", "different"])
    def test_pairs_csv(self, name, request):
        made = request.getfixturevalue(name)
        expected = [
            {
                "first": pair["models"][0],
                "second": pair["models"][1],
                **{
                    key: "" if pair[key] is None else str(pair[key])
                    for key in ("difference", "standard_error", "p", "p_holm", "different")
                },
            }
            for pair in made.numbers["comparison"]["pairs"]
        ]
        assert made.pairs == expected
        assert len(expected) == {"rich": 10, "equal": 1, "different": 3}[name]


class TestFindings:
    """What the first lines say."""

    def test_equal_models_have_no_winner_and_it_says_how_many_images_could(self, equal):
        assert equal.numbers["comparison"]["best"] is None
        assert "No winner: 100 images cannot separate these models." in equal.text
        # d = 0.04, e = 0.02: (1.95996 * 0.2 + 0.84162 * sqrt(0.0396))^2 / 0.0004 = 782.5
        assert equal.numbers["comparison"]["no_winner"]["images_needed"] == 783
        assert "about 780 test images would show it (power 0.8)" in equal.text
        assert "is the best" not in equal.text
        assert [row["group"] for row in equal.page.table("test accuracy")] == ["A", "A"]

    def test_models_that_are_right_equally_often(self, tmp_path):
        runs = [run("one", answers(LABELS, 4, wrong=[1, 2])), run("two", answers(LABELS, 4, wrong=[3, 4]))]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        assert "No winner: 100 images cannot separate these models." in made.text
        assert "are right equally often on these images, which therefore favour neither" in made.text

    def test_a_best_one_is_named_where_there_is_one(self, different):
        assert different.numbers["comparison"]["best"] == "good"
        assert "good is the best model: it is better than every other one" in different.text
        assert "among 100 images" in different.text
        assert "No winner" not in different.text
        groups = {row["model"]: row["group"] for row in different.page.table("test accuracy")}
        assert groups["good"] not in (groups["worse"], groups["bad"])

    def test_no_winner_where_the_second_differs_and_the_third_does_not(self, tmp_path):
        # The second is wrong where the top is and on 8 images more (p = 2 / 256); the third is wrong on one image
        # more than the second, but elsewhere than the top (19 to 10: p = 0.136).
        rows = {"top": range(10), "second": range(18), "third": range(20, 39)}
        runs = [run(name, answers(LABELS, 4, wrong)) for name, wrong in rows.items()]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        pairs = {tuple(pair["models"]): pair["different"] for pair in made.numbers["comparison"]["pairs"]}
        assert made.numbers["comparison"]["best"] is None
        assert pairs["top", "second"] and not pairs["top", "third"]
        assert made.numbers["comparison"]["no_winner"]["models"] == ["top", "third"]

    def test_the_best_two_of_three_cannot_be_separated(self, tmp_path):
        close = answers(LABELS, 4, wrong=[*range(0, 100, 20), 3])
        runs = [run("worse", WORSE), run("good", GOOD), run("close", close)]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        assert "No winner: 100 images cannot separate the best of these models." in made.text
        groups = {row["model"]: row["group"] for row in made.page.table("test accuracy")}
        assert groups["good"] == groups["close"] != groups["worse"]

    def test_constant_and_guessing_are_different_findings(self, tmp_path):
        coin = saying(np.tile(np.arange(4), 25), 4)  # every class 6 or 7 times a class
        runs = [run("stuck", saying([2] * 100, 4)), run("coin", coin), run("good", GOOD)]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        stuck, coin, good = (one["test"] for one in made.numbers["runs"])
        assert stuck["accuracy"] == 0.25 == stuck["guessing"]["blind"]
        assert [one["answers"]["verdict"] for one in (stuck, coin, good)] == [
            "constant",
            "not distinguishable from guessing",
            "above chance",
        ]
        assert (
            "stuck always predicts one class: Potato for 100 % of the images "
            "(entropy of its predictions 0.00 bits; of the test split 2.00)" in made.text
        )
        assert (
            "coin cannot be distinguished from guessing: its predictions, shuffled among the images,"
            in made.text
        )
        assert "That does not show that it has learned nothing." in made.text
        assert "stuck cannot be" not in made.text and "coin gives one" not in made.text
        assert not re.search("good (gives one|cannot be|diverged|is worse|has learned|may have)", made.text)

    def test_answers_that_depend_on_the_class_are_no_guessing(self, tmp_path):
        # Right as often as by guessing, and never the class after the true one.
        said = np.where(np.arange(100) % 4, (np.array(LABELS) + 2) % 4, LABELS)
        made = Made(tmp_path, VEGETABLES, LABELS, [run("odd", saying(said, 4))]).write()
        assert made.numbers["runs"][0]["test"]["accuracy"] == 0.25
        assert "odd has learned something: its predictions depend on the true class (p = 0.0001)" in made.text
        assert "(0.250 against 0.250), 100 images do not show (p = 1.0000)" in made.text
        assert made.models[0]["verdict"] == "depends on the class"

    def test_answers_blind_to_the_picture_are_not_above_chance(self, tmp_path):
        labels = [0] * 90 + [1] * 10
        said = [0] * 84 + [1] * 6 + [0] * 9 + [1]
        made = Made(tmp_path, ["rare", "often"][::-1], labels, [run("blind", saying(said, 2))]).write()
        assert made.numbers["runs"][0]["test"]["accuracy"] == 0.85
        assert "blind cannot be distinguished from guessing" in made.text
        assert "would be right for 0.844 of them on average, and are right for 0.850" in made.text

    def test_a_model_worse_than_guessing(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("mixed", answers(LABELS, 4, range(100)))]).write()
        assert "mixed is worse than guessing (0.000; its predictions shuffled would be" in made.text
        assert "check for swapped labels" in made.text

    def test_chance_and_majority_stand_beside_the_accuracies(self, tmp_path):
        labels = [0] * 60 + [1] * 20 + [2] * 10 + [3] * 10
        runs = [run("one", answers(labels, 4, [1])), run("two", answers(labels, 4, range(9)))]
        made = Made(tmp_path, VEGETABLES, labels, runs).write()
        assert "Test accuracy on 100 images: 0.910 to 0.990." in made.text
        assert "Guessing at random gives 0.250" in made.text
        assert "always predicting the most frequent class of the test split 0.600" in made.text

    def test_the_training_time_is_in_hours_minutes_and_seconds(self, tmp_path):
        seconds = {"a": 42.4, "b": 185, "c": 3599.6, "d": 7805}
        runs = [run(name, GOOD, seconds=value) for name, value in seconds.items()]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        found = [row["training time"] for row in made.page.table("training time")]
        assert found == ["42 s", "3 min 05 s", "60 min", "2 h 10 min"]

    def test_the_size_on_disk_has_a_unit(self, tmp_path):
        runs = [run("small", GOOD, parameters=12_487), run("large", WORSE, parameters=12_487_000)]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        assert [row["size on disk"] for row in made.page.table("size on disk")] == ["49.9 kB", "49.9 MB"]

    def test_one_model_only(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("only", GOOD)]).write()
        assert problems(made.numbers) == []
        assert "1 training run on 160 images of 4 classes. Test accuracy on 100 images: 0.950." in made.text
        assert "No winner" not in made.text and "is the best" not in made.text
        assert not made.page.has_table("corrected p")
        assert made.pairs == [] and len(made.models) == 1


class TestClasses:
    """Scales, confusion, and a class that is missing."""

    def test_classes_that_are_numbers_are_ordered_as_numbers(self, tmp_path):
        classes, labels = ["10", "2", "1"], [0] * 10 + [1] * 10 + [2] * 10
        said = [0] * 9 + [2] + [1] * 8 + [2] * 2 + [2] * 7 + [1] * 3
        made = Made(tmp_path, classes, labels, [run("one", saying(said, 3))]).write()
        assert made.page.confusions() == [
            [
                ["true \\ predicted", "1", "2", "10"],
                ["1", "7", "3", "0"],
                ["2", "2", "8", "0"],
                ["10", "1", "0", "9"],
            ]
        ]
        row = made.page.table("mean absolute error")[0]
        assert row["mean absolute error"].startswith("0.467")  # (9 + 2 * 1 + 3 * 1) / 30
        assert row["at most one place off"].startswith("0.967")  # 29 / 30
        assert "Errors are in the scale’s units" in made.text
        assert problems(made.numbers) == []

    def test_classes_the_config_calls_ordered_keep_its_order(self, tmp_path):
        classes, labels = ["low", "middle", "high"], [0] * 10 + [1] * 10 + [2] * 10
        said = [0] * 9 + [2] + [1] * 10 + [2] * 10
        runs = [run("one", saying(said, 3))]
        made = Made(tmp_path, classes, labels, runs, ordered=True).write()
        assert made.page.confusions()[0][0] == ["true \\ predicted", "low", "middle", "high"]
        assert made.page.table("mean absolute error")[0]["mean absolute error"].startswith("0.067")
        assert "Errors are in steps" in made.text

    def test_other_classes_have_no_scale(self, equal):
        assert not equal.page.has_table("mean absolute error")
        assert "kappa" not in equal.text
        assert all(one["test"]["ordered"] is None for one in equal.numbers["runs"])

    def test_numbers_the_config_calls_unordered_have_no_scale(self, tmp_path):
        labels = [0, 0, 1, 1]
        made = Made(tmp_path, ["1", "2"], labels, [run("one", answers(labels, 2))], ordered=False).write()
        assert not made.page.has_table("mean absolute error")

    def test_the_pairs_most_confused(self, different):
        first = next(one for one in different.numbers["runs"] if one["name"] == "worse")
        confusion = np.array(first["test"]["confusion"])
        assert different.page.confusions()[0] == [
            ["true \\ predicted", *VEGETABLES],
            *[[label, *map(str, row)] for label, row in zip(VEGETABLES, confusion, strict=True)],
        ]
        top = different.numbers["confused"]["worse"][0]
        off = confusion - np.diag(np.diag(confusion))
        assert top["count"] == off.max()
        assert (
            f"Most often confused: {top['true']} predicted as {top['predicted']} ({top['count']}, "
            in different.text
        )

    def test_a_class_that_misses_from_test(self, tmp_path):
        labels = [0] * 10 + [1] * 10 + [3] * 10
        made = Made(tmp_path, VEGETABLES, labels, [run("one", answers(labels, 4, [0]))]).write()
        assert problems(made.numbers) == []
        assert "Class Potato has no test images." in made.text
        rows = {row["class"]: row for row in made.page.table("precision")}
        assert rows["Potato"] == {
            "class": "Potato",
            "images": "0",
            "precision": "–",
            "recall": "–",
            "F1": "–",
        }
        assert rows["Tomato"]["recall"] == "1.000"
        assert made.page.confusions()[0][3] == ["Potato", "0", "0", "0", "0"]


class TestSeeds:
    """Several seeds a model."""

    def test_the_spread_between_them(self, seeds):
        rows = {row["model"]: row for row in seeds.page.table("standard deviation")}
        # Of 0.98 and 0.96: 0.02 / sqrt(2) = 0.01414.
        expected = {"seeds": "2", "mean accuracy": "0.970", "standard deviation": "0.014"}
        assert rows["one"] == {"model": "one", **expected, "lowest": "0.960", "highest": "0.980"}
        assert rows["two"]["mean accuracy"] == "0.945" and rows["two"]["standard deviation"] == "0.007"

    def test_pairs_tell_each_seed(self, seeds):
        row = seeds.page.table("corrected p")[0]
        assert (row["first"], row["second"]) == ("one", "two")
        # Seed 1: two is wrong on 5, 6, 7 alone. Seed 2: one on 0 to 3, two on 4 to 9.
        assert (row["only the first right"], row["only the second right"]) == ("3, 6", "0, 4")
        assert row["difference"] == "0.025"
        found = seeds.numbers["comparison"]["pairs"][0]["seeds"]
        assert [(one["seed"], one["b"], one["c"]) for one in found] == [(1, 3, 0), (2, 6, 4)]

    def test_the_tables_tell_the_seeds_apart(self, seeds):
        rows = seeds.page.table("test accuracy")
        assert [(row["model"], row["seed"]) for row in rows] == [
            ("one", "1"),
            ("one", "2"),
            ("two", "1"),
            ("two", "2"),
        ]
        assert problems(seeds.numbers) == []

    def test_one_seed_has_no_spread(self, equal):
        assert not equal.page.has_table("standard deviation")
        assert "seed" not in equal.page.tables[1][0]


class TestUnhappy:
    """Models that failed, and runs that are not there."""

    def test_a_diverged_model_is_called_that_and_has_no_numbers(self, tmp_path):
        nothing = np.full((100, 4), np.nan)
        runs = [run("broken", nothing, loss=np.nan, val_accuracy=np.nan), run("good", GOOD)]
        asked = {"data": {"no_answer": []}}  # whose words are shown with the config
        made = Made(tmp_path, VEGETABLES, LABELS, runs, asked=asked).write()
        assert problems(made.numbers) == []
        assert "broken diverged: its probabilities are not numbers" in made.text
        row = made.page.table("test accuracy")[0]
        assert (row["test accuracy"], row["log loss"], row["calibration error"]) == ("0.000", "–", "–")
        assert row["validation accuracy"] == "–"
        assert made.models[0]["verdict"] == "no answers" and made.models[0]["validation_accuracy"] == ""
        words = " ".join([made.text, *made.page.attributes("img", "alt")])
        assert not re.search(r"\b(nan|inf|None)\b", words, re.IGNORECASE)
        for row in made.models:
            assert not {"nan", "inf", "None"} & set(row.values())

    def test_where_training_diverged_the_kept_epoch_is_named(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("one", GOOD), run("other", GOOD[:, ::-1])])
        for name, changes in (("one", {"diverged": {"epoch": 5, "step": 3}}), ("other", {"kept": math.nan})):
            path = made / f"results/models/{name}/seed_1/training.json"
            training = json.loads(path.read_text())
            if "kept" in changes:
                training["kept"]["val_loss"] = math.nan
            else:
                training |= changes
            path.write_text(json.dumps(training))
        made.write()
        assert problems(made.numbers) == []
        assert (
            "one diverged in epoch 5 (step 3): its weights were no numbers any more, and its training ended. Epoch 4, before "
            "that, is kept and tested." in made.text
        )
        assert (
            "other kept epoch 4, whose loss is not a number, as an earlier version of Baton did" in made.text
        )
        assert "one kept" not in made.text and "other diverged" not in made.text

    def test_some_images_without_an_answer_count_as_wrong(self, tmp_path):
        some = GOOD.copy()
        some[1:4] = np.nan
        made = Made(tmp_path, VEGETABLES, LABELS, [run("some", some), run("good", GOOD)]).write()
        assert problems(made.numbers) == []
        assert made.numbers["runs"][0]["test"]["correct"] == 92
        assert "some diverged" not in made.text

    def test_an_unfinished_run_is_listed_with_its_epochs(self, rich):
        assert (
            "late is not finished: 3 of 9 epochs are trained. It is in none of the figures below."
            in rich.text
        )
        assert rich.numbers["runs"][-1] == {
            "name": "late",
            "model": "late",
            "seed": 1,
            "status": "unfinished",
            "progress": {"epoch": 3, "epochs": 9},
            "reason": None,
        }
        assert "late" not in [row["model"] for row in rich.page.table("test accuracy")]
        assert "late" not in [row["name"] for row in rich.models]

    def test_a_run_that_never_began_and_one_whose_progress_cannot_be_read(self, tmp_path):
        runs = [run("good", GOOD), run("never", None, epochs=7), run("odd", None, epochs=5)]
        made = Made(tmp_path, VEGETABLES, LABELS, runs)
        (tmp_path / "state/odd/seed_1").mkdir(parents=True)
        (tmp_path / "state/odd/seed_1/progress.json").write_text("{")
        made.write()
        assert problems(made.numbers) == []
        assert "never is not finished: 0 of 7 epochs are trained" in made.text
        assert "odd is not finished: 0 of 5 epochs are trained" in made.text

    def test_no_run_is_finished(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("never", None, epochs=7)]).write()
        assert problems(made.numbers) == []
        assert "No training run is finished yet." in made.text
        assert made.models == made.pairs == []
        targets = made.page.attributes("a", "href")
        assert {target[1:] for target in targets} <= set(made.page.attributes("h2", "id"))


class TestOtherStudies:
    """What is there of other images, classes or settings is no result of the study as it is asked for."""

    def made(self, tmp_path):
        runs = [run("good", GOOD), run("old", WORSE)]
        return Made(tmp_path, VEGETABLES, LABELS, runs)

    def unfinished(self, made):
        """Return why runs are not in the report, by name; they are in none of its figures."""
        made.write()
        rows = [one for one in made.numbers["runs"] if one["status"] == "unfinished"]
        assert not problems(made.numbers)
        for one in rows:
            assert (
                f"{one['name']} is not finished: {one['reason']}. It is in none of the figures" in made.text
            )
            assert one["name"] not in [row["name"] for row in made.models]
            assert not any(one["name"] in pair["models"] for pair in made.numbers["comparison"]["pairs"])
        return {one["name"]: one["reason"] for one in rows}

    def change(self, made, path, **changes):
        values = json.loads((made / path).read_text())
        for keys, value in changes.items():
            *way, last = keys.split("__")
            inner = values
            for key in way:
                inner = inner[key]
            inner[last] = value
        (made / path).write_text(json.dumps(values))

    def test_of_this_study_all_are_done(self, tmp_path):
        assert self.unfinished(self.made(tmp_path)) == {}

    def test_the_whole_report_is_refused_where_one_is_not_finished(self, tmp_path):
        made = self.made(tmp_path).write(whole=True)
        assert [one["status"] for one in made.numbers["runs"]] == ["done", "done"]
        self.change(made, "results/evaluation/old/seed_1/metrics.json", training__kept=1)
        with pytest.raises(
            UserError, match="old: the model was trained since it was tested. `snakemake evaluate"
        ):
            made.write(whole=True)

    @pytest.mark.parametrize(
        "setting, value, said",
        [("l2", 0.5, "l2 was 0.5 and is 0.0001"), ("size", 32, "size was 32 and is 16")],
    )
    def test_other_settings(self, tmp_path, setting, value, said):
        made = self.made(tmp_path)
        changes = {f"identity__{setting}": value, f"settings__{setting}": value}
        self.change(made, "results/models/old/seed_1/training.json", **changes)
        assert self.unfinished(made) == {"old": f"the existing model is another one: {said}"}

    def test_other_training_images(self, tmp_path):
        made = self.made(tmp_path)
        path = "results/models/old/seed_1/training.json"
        data = json.loads((made / path).read_text())["identity"]["data"]
        self.change(made, path, identity__data="of another holdout")
        (reason,) = self.unfinished(made).values()
        assert reason.endswith(f"data was of another holdout and is {data}")

    @pytest.mark.parametrize("rows", [slice(0, 90), slice(None, None, -1)])
    def test_other_test_images(self, tmp_path, rows):
        # Fewer, or in another order: another holdout, seed or folder of images.
        made = self.made(tmp_path)
        path = made / "results/evaluation/old/seed_1/predictions.csv"
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *lines[rows]]) + "\n")
        assert self.unfinished(made) == {"old": "its test images are not those of the study now"}

    def test_images_of_the_same_names_in_other_classes(self, tmp_path):
        made = self.made(tmp_path)
        path = made / "results/evaluation/old/seed_1/predictions.csv"
        content = path.read_text()
        found = re.search(r"test 3\.png,(\w+),", content)[1]
        path.write_text(content.replace(f"test 3.png,{found},", f"test 3.png,{VEGETABLES[found == 'Bean']},"))
        assert self.unfinished(made) == {"old": "its test images are not those of the study now"}

    def test_other_classes(self, tmp_path):
        made = self.made(tmp_path)
        path = made / "results/evaluation/old/seed_1/predictions.csv"
        path.write_text(path.read_text().replace("probability Bean", "probability Pea"))
        assert self.unfinished(made) == {"old": "its classes are not those of the study now"}

    def test_a_model_that_was_trained_since(self, tmp_path):
        made = self.made(tmp_path)
        self.change(made, "results/evaluation/old/seed_1/metrics.json", training__kept=1)
        assert self.unfinished(made) == {"old": "the model was trained since it was tested"}

    def test_fewer_epochs_than_are_asked_for(self, tmp_path):
        made = self.made(tmp_path)
        for path, key in (("models", "training.json"), ("evaluation", "metrics.json")):
            name = "epochs" if path == "models" else "training__epochs"
            self.change(made, f"results/{path}/old/seed_1/{key}", **{name: 3})
        self.change(made, "results/models/old/seed_1/training.json", settings__epochs=3)
        assert self.unfinished(made) == {"old": "the existing model was trained for 3 epochs of 4"}

    def test_one_that_was_stopped_early_has_all_its_epochs(self, tmp_path, monkeypatch):
        monkeypatch.setitem(DEFAULTS["training"], "patience", 2)
        made = self.made(tmp_path)
        for epochs, kept, expected in ((3, 1, {}), (3, 2, {"old": "trained for 3 epochs of 4"})):
            self.change(made, "results/models/old/seed_1/training.json", epochs=epochs, kept__epoch=kept)
            changes = {"training__epochs": epochs, "training__kept": kept}
            self.change(made, "results/evaluation/old/seed_1/metrics.json", **changes)
            found = self.unfinished(made)
            assert set(found) == set(expected)
            assert all(said in found[name] for name, said in expected.items())

    def test_an_earlier_versions_figures(self, tmp_path):
        made = self.made(tmp_path)
        path = made / "results/evaluation/old/seed_1/metrics.json"
        values = json.loads(path.read_text())
        del values["guessing"]
        path.write_text(json.dumps(values))
        assert self.unfinished(made) == {"old": "it was tested by an earlier version of Baton"}

    def test_an_earlier_versions_model_is_known_by_its_settings(self, tmp_path):
        made = self.made(tmp_path)
        path = made / "results/models/old/seed_1/training.json"
        values = json.loads(path.read_text())
        del values["identity"]
        path.write_text(json.dumps(values))
        self.change(made, "results/evaluation/old/seed_1/metrics.json", training__identity=None)
        assert self.unfinished(made) == {}
        self.change(made, "results/models/old/seed_1/training.json", settings__dropout=0)
        assert self.unfinished(made) == {"old": "the existing model is another one: dropout was 0 and is 0.5"}


class TestHostile:
    """Text of the user stays text."""

    def test_hostile_names_change_nothing_of_the_page_but_its_text(self, hostile, tmp_path):
        plain = name_everything(tmp_path, ["aa", "bb", "cc", "dd", "ee", "ff"])
        assert hostile.page.structure() == plain.page.structure()
        assert hostile.page.scripts == plain.page.scripts and len(plain.page.scripts) == 1

    def test_there_is_no_script_but_the_pages_own_and_no_handler(self, hostile):
        script = (REPOSITORY / "scripts/report/sort.js").read_text(encoding="utf-8")
        assert [text.strip() for text in hostile.page.scripts] == [script.strip()]
        for tag, attributes in hostile.page.elements:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert tag not in ("iframe", "object", "embed", "base", "link", "form", "svg", "math")

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_are_shown(self, hostile, name):
        classes = [row["class"] for row in hostile.page.table("labelled")]
        damaged = [(row["file"], row["class"], row["reason"]) for row in hostile.page.table("file")]
        assert name in classes
        assert (f"{name} damaged.jpg", name, f"broken: {name}") in damaged
        assert f"because of {name}" in [row["reason"] for row in hostile.page.table("of")]
        assert name in hostile.page.confusions()[0][0]
        assert f"{name} is {name}" in hostile.text  # where
        if name in HOSTILE[:4]:  # of these, images are taken for the next class
            assert f"Test image {name} 0.jpg" in hostile.page.attributes("img", "alt")
            assert f"{name} 0.jpg" in hostile.text

    def test_columns_and_files_of_the_config_are_shown(self, hostile):
        assert f"Labels are the column “{HOSTILE[1]}” of {HOSTILE[0]}" in hostile.text
        assert f"always predicts one class: {HOSTILE[0]} for 100 % of the images" in hostile.text

    def test_figures_show_names_as_they_are_and_hold_no_script(self, hostile):
        for path in sorted((hostile / "results/report").rglob("*.svg")):
            tree = ElementTree.parse(path)
            tags = {element.tag.rpartition("}")[2] for element in tree.iter()}
            assert not {"script", "foreignObject", "a"} & tags
            for element in tree.iter():
                for name, value in element.attrib.items():
                    assert not name.startswith("on")
                    if name.endswith("href"):
                        assert value.startswith(("#", "data:image/png"))
        # Formulas would be set as such: the dollar signs would go.
        assert "<!-- $x^2$ $ -->" in (hostile / "results/report/confusion/one.svg").read_text(
            encoding="utf-8"
        )

    def test_json_holds_names_as_they_are(self, hostile):
        assert [row["class"] for row in hostile.numbers["data"]["classes"]] == HOSTILE

    def test_a_file_name_that_is_not_utf_8(self, tmp_path):
        files = [f"caf\udce9 {number}.jpg" for number in range(100)]
        corrupt = [("caf\udce9.jpg", "Bean", "train", "the file is empty")]
        made = Made(tmp_path, VEGETABLES, LABELS, [run("one", GOOD)], files=files, corrupt=corrupt).write()
        assert "caf? 0.jpg" in made.text and made.page.table("reason")[0]["file"] == "caf?.jpg"
        assert made.numbers["data"]["corrupt"][0]["file"] == "caf?.jpg"


class TestPage:
    """The page as a file: alone, small, the same again."""

    @pytest.mark.parametrize("name", ["rich", "hostile"])
    def test_it_asks_for_nothing_from_anywhere(self, name, request):
        page = request.getfixturevalue(name).page
        for tag, attributes in page.elements:
            for key, value in attributes.items():
                if key in ("src", "href", "srcset", "data", "poster", "action", "xlink:href", "background"):
                    assert value.startswith(("#", "data:image/")), (tag, key, value)
        style = re.search(r"<style>(.*?)</style>", request.getfixturevalue(name).html, re.DOTALL)[1]
        assert not re.search(r"url\(|@import|//", style)
        assert not re.search(r"https?:|//|fetch|XMLHttpRequest|import", page.scripts[0])

    def test_links_within_it_lead_somewhere_and_ids_are_unique(self, rich):
        ids = [attributes["id"] for _, attributes in rich.page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert {target[1:] for target in rich.page.attributes("a", "href")} <= set(ids)

    def test_six_models_with_images_of_150_pixels_are_under_5_mb(self, tmp_path):
        labels = np.repeat(np.arange(9), 20)
        runs = [
            run(
                f"model_{number}", answers(labels, 9, range(number, 180, 9)), epochs=50, parameters=10**number
            )
            for number in range(1, 7)
        ]
        classes = [f"class {number}" for number in range(9)]
        made = Made(tmp_path, classes, labels, runs, size=150, curves=True).write()
        assert len(made.html.encode()) < 5_000_000
        # Noise is the worst that a JPEG can be asked for; twelve pictures a model.
        assert len(embedded(made.page, "jpeg")) == 6 * 12
        assert len(embedded(made.page, "svg+xml")) == 6 + 3

    def test_the_pictures_are_thumbnails_of_the_mistakes(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("good", GOOD)], size=150)
        made.pixels[:] = np.arange(100)[:, None, None, None] * 2  # each image a grey of its own
        np.save(tmp_path / "results/data/packed/test.npy", made.pixels)
        made.write()
        pictures = [np.asarray(Image.open(io.BytesIO(content))) for content in embedded(made.page, "jpeg")]
        assert [picture.shape for picture in pictures] == [(96, 96, 3)] * 5
        # Of equal confidence, in the order of the images: 0, 20, 40, 60, 80.
        greys = [round(float(picture.mean())) for picture in pictures]
        assert greys == pytest.approx([0, 40, 80, 120, 160], abs=2)
        expected = [f"Test image test {number}.png" for number in range(0, 100, 20)]
        assert [alt for alt in made.page.attributes("img", "alt") if alt.startswith("Test image")] == expected

    def test_without_pictures_no_picture_is_copied_nor_even_read(self, tmp_path):
        made = Made(tmp_path, VEGETABLES, LABELS, [run("good", GOOD)], asked={"report": {"images": False}})
        (tmp_path / "results/data/packed/test.npy").unlink()
        made.write()
        assert embedded(made.page, "jpeg") == []
        assert len(made.page.attributes("img", "src")) == len(embedded(made.page, "svg+xml")) == 4
        for number in range(0, 100, 20):
            assert f"test {number}.png" in made.text
        assert files_below(tmp_path / "results/report") == {
            "accuracy.png",
            "accuracy.svg",
            "accuracy_parameters.png",
            "accuracy_parameters.svg",
            "confusion/good.png",
            "confusion/good.svg",
            "models.csv",
            "pairs.csv",
            "reliability.png",
            "reliability.svg",
            "table.md",
            "table.tex",
        }

    def test_the_folder_never_holds_pictures_of_test_images(self, rich):
        figures = {"accuracy", "accuracy_parameters", "reliability"} | {
            f"confusion/{row['name']}" for row in rich.models
        }
        expected = {f"{name}.{kind}" for name in figures for kind in ("svg", "png")}
        assert files_below(rich / "results/report") == expected | {
            "models.csv",
            "pairs.csv",
            "table.md",
            "table.tex",
        }

    def test_a_second_run_gives_the_same_bytes(self, rich, tmp_path):
        again = make_rich(tmp_path / rich.folder.name).write()  # whose name is in the title
        found = {}
        for made in (rich, again):
            paths = [path for path in (made / "results").rglob("*") if path.is_file()]
            found[made] = {path.relative_to(made.folder).as_posix(): path.read_bytes() for path in paths}
        assert set(found[rich]) == set(found[again])
        kinds = {Path(name).suffix for name in found[rich] if name.startswith("results/report")}
        assert kinds == {".html", ".json", ".csv", ".svg", ".png", ".md", ".tex"}
        assert [name for name in found[rich] if found[rich][name] != found[again][name]] == []

    def test_nothing_but_the_report_is_left_behind(self, rich):
        names = {path.name for path in (rich / "results").iterdir()}
        assert names == {"data", "models", "evaluation", "report", "report.html", "report.json"}

    def test_figures_in_it_are_those_of_the_folders_and_have_a_text_for_the_blind(self, rich):
        done = [one for one in rich.numbers["runs"] if one["status"] == "done"]
        curves = [f"results/models/{one['model']}/seed_{one['seed']}/curves.svg" for one in done]
        figures = ("accuracy", "accuracy_parameters", "reliability")
        paths = [*(f"results/report/{name}.svg" for name in figures), *curves]
        assert embedded(rich.page, "svg+xml") == [(rich / path).read_bytes() for path in paths]
        assert all(len(alt) > 10 for alt in rich.page.attributes("img", "alt"))
        assert len(rich.page.attributes("img", "alt")) == len(rich.page.attributes("img", "src"))

    def test_it_says_how_it_came_about(self, rich):
        assert "python 3.11.9, tensorflow 2.20.0, keras 3.11.0" in rich.text
        assert "combine: median" in rich.text  # the config as run
        row = rich.page.table("reason for its end")[0]
        assert row["started (UTC)"].startswith("2026-01-02") and row["reason for its end"] == "all done"

    def test_the_commit_is_that_of_the_workflow_with_a_plus_where_it_was_changed(self, tmp_path):
        def git(*command):
            who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            done = subprocess.run(
                ["git", "-C", tmp_path, *who, *command], check=True, capture_output=True, text=True
            )
            return done.stdout.strip()

        assert write_report.git_commit(tmp_path) is None
        git("init", "--quiet")
        (tmp_path / "file").write_text("1")
        git("add", "file")
        git("commit", "--quiet", "--message", "first")
        assert write_report.git_commit(tmp_path) == git("rev-parse", "HEAD")
        (tmp_path / "file").write_text("2")
        assert write_report.git_commit(tmp_path) == git("rev-parse", "HEAD") + "+"


class TestTiming:
    """ms an image, on a clock that goes on by what a prediction is said to take."""

    def time(self, monkeypatch, seconds):
        """Return what time_prediction says, and the sizes of the batches; seconds: of the predictions, in turn."""
        clock, taken, sizes = [0.0], iter(seconds), []

        def predict(batch):
            sizes.append(len(batch))
            clock[0] += next(taken)

        monkeypatch.setattr(prediction.time, "perf_counter", lambda: clock[0])
        network = type("Network", (), {"predict_on_batch": staticmethod(predict)})
        return prediction.time_prediction(network, np.zeros((3, 4, 4, 3), np.uint8)), sizes

    def test_the_median_without_the_first_which_compiles(self, monkeypatch):
        single = [0.9, *[0.002] * 9, *[0.004] * 10, 0.5]  # median of 20: between 0.004 and 0.004
        many = [0.9, *[0.064] * 20]
        found, sizes = self.time(monkeypatch, single + many)
        assert found == {"1": pytest.approx(4.0), "32": pytest.approx(2.0)}
        assert sizes == [1] * 21 + [32] * 21

    def test_of_slow_ones_fewer_are_measured(self, monkeypatch):
        found, sizes = self.time(monkeypatch, [4.0, 1.5, 0.7, 11.0, 6.4])
        assert found == {"1": pytest.approx(1100.0), "32": pytest.approx(200.0)}
        assert sizes == [1, 1, 1, 32, 32]


TINY = {"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}


@pytest.fixture(scope="class")
def workflow(tmp_path_factory):
    """Two tiny models, of which one is trained, and what report_now made of it; then the rest."""
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 2, "test": 3},
        "images": {"size": 16},
        "training": {"epochs": 2, "batch_size": 8, "precision": "float32"},
        "models": [{"name": "first", **TINY}, {"name": "second", **TINY, "epochs": 3}],
    }
    study = Study(tmp_path_factory.mktemp("workflow"), config)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 9)
    study.run("evaluate_first")
    study.now = study.run("report_now")
    names = ("report_now.html", "report_now.json", "report_now/models.csv")
    study.kept = {name: study.read(f"results/{name}").decode() for name in names}
    study.run()
    return study


class TestWorkflow:
    """report_now, and Snakemake's own report."""

    def test_report_now_trains_nothing(self, workflow):
        assert workflow.now.jobs() == {"report_now": 1}

    def test_report_now_tells_the_finished_and_lists_the_other(self, workflow):
        text = Page(workflow.kept["report_now.html"]).text
        numbers = strict_json(workflow.kept["report_now.json"])
        assert problems(numbers) == []
        assert "second is not finished: 0 of 3 epochs are trained" in text
        assert [one["status"] for one in numbers["runs"]] == ["done", "unfinished"]
        assert [
            row["name"] for row in csv.DictReader(io.StringIO(workflow.kept["report_now/models.csv"]))
        ] == ["first"]

    def test_report_now_does_not_stand_for_the_report(self, workflow):
        assert workflow.run("--dry-run").jobs() == {}
        assert problems(workflow.json("report.json")) == []
        assert [one["status"] for one in workflow.json("report.json")["runs"]] == ["done", "done"]

    def test_snakemakes_own_report_holds_captions_and_categories(self, workflow, tmp_path):
        target = tmp_path / "report.zip"
        workflow.run("--report", target)
        with zipfile.ZipFile(target) as archive:
            texts = {
                Path(name).name: archive.read(name).decode("utf-8", "replace")
                for name in archive.namelist()
                if name.endswith((".html", ".js"))
            }
            files = [archive.read(name) for name in archive.namelist()]
        everything = "\n".join(texts.values())
        for category in ("Models", "Curves", "Confusion"):
            assert f'"{category}"' in everything
        for path in sorted((REPOSITORY / "rules/report").glob("*.rst")):
            words = re.split(r"[^\w ]", path.read_text(encoding="utf-8").replace("\n", " "))
            longest = max(words, key=len).strip()
            assert longest in everything.replace("\\n", " ").replace("\n", " "), path.name
        for figure in (
            "accuracy",
            "accuracy_parameters",
            "reliability",
            "confusion/first",
            "confusion/second",
        ):
            assert workflow.read(f"results/report/{figure}.svg") in files, figure
        assert workflow.read("results/report/models.csv") in files

    def test_snakemakes_own_report_as_one_page(self, workflow, tmp_path):
        target = tmp_path / "report.html"
        workflow.run("--report", target)
        text = target.read_text(encoding="utf-8")
        assert '"Confusion"' in text and "shaded by the share of the row" in text
        shutil.rmtree(tmp_path)
