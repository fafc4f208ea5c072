"""Models that learn the answers to an image, and every model held against them."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from conftest import Study, run_script, save_image, write_csv
from scipy import stats

import count_answers
from baton.data.answers import read_shares
from baton.results.answers import against_answers
from baton.study.identity import fingerprint, identify


class TestAgainstAnswers:
    CLASSES = ["1", "2", "4"]

    def made(self, images=60, seed=1):
        random = np.random.default_rng(seed)
        shares = random.multinomial(5, [0.2, 0.5, 0.3], images) / 5
        probabilities = random.dirichlet([1, 1, 1], images)
        labels = shares.argmax(axis=1)
        return shares, shares @ [1, 2, 4], labels, probabilities

    def test_each_figure_is_that_of_a_library(self):
        shares, means, labels, probabilities = self.made()
        found = against_answers(shares, means, labels, probabilities, self.CLASSES, True)
        # Each image once for each class, weighted by the share of its answers.
        loss = sklearn.metrics.log_loss(
            np.tile([0, 1, 2], 60), probabilities.repeat(3, axis=0), sample_weight=shares.ravel()
        )
        assert found["log_loss"]["value"] == pytest.approx(loss)
        moved = [
            stats.wasserstein_distance([0, 1, 2], [0, 1, 2], share, said)
            for share, said in zip(shares, probabilities, strict=True)
        ]
        assert found["earth_movers_distance"]["value"] == pytest.approx(np.mean(moved))
        rho = stats.spearmanr(probabilities @ [1, 2, 4], means).statistic
        assert found["spearman_of_mean"]["value"] == pytest.approx(rho)
        assert found["images"] == 60
        for name in ("log_loss", "earth_movers_distance", "spearman_of_mean"):
            low, high = found[name]["interval"]
            assert low < found[name]["value"] < high

    def test_classes_are_moved_in_the_order_of_their_scale(self):
        shares, probabilities = np.array([[1.0, 0, 0]] * 4), np.array([[0.0, 1, 0]] * 4)
        labels = np.zeros(4, int)
        apart = against_answers(shares, None, labels, probabilities, ["1", "9", "5"], True)
        assert apart["earth_movers_distance"]["value"] == 2  # 1 and 9 have 5 between them
        assert apart["spearman_of_mean"] is None

    def test_classes_from_the_high_end_down_are_in_the_direction_of_the_answers(self):
        shares, means, labels, probabilities = self.made()
        up = against_answers(shares, means, labels, probabilities, ["low", "middle", "high"], True)
        down = against_answers(
            shares[:, ::-1], means, 2 - labels, probabilities[:, ::-1], ["high", "middle", "low"], True
        )
        assert down["spearman_of_mean"] == up["spearman_of_mean"]
        assert down["earth_movers_distance"]["value"] == pytest.approx(up["earth_movers_distance"]["value"])

    def test_what_is_none(self):
        shares, means, labels, probabilities = self.made()
        names = against_answers(shares, means, labels, probabilities, ["a", "b", "c"], False)
        assert names["earth_movers_distance"] is names["spearman_of_mean"] is None
        diverged = probabilities.copy()
        diverged[:10] = np.nan
        found = against_answers(shares, means, labels, diverged, self.CLASSES, True)
        rest = against_answers(shares[10:], means[10:], labels[10:], probabilities[10:], self.CLASSES, True)
        assert found == rest and found["images"] == 50
        nothing = against_answers(shares, means, labels, np.full((60, 3), np.nan), self.CLASSES, True)
        assert nothing == {
            "images": 0,
            "log_loss": None,
            "earth_movers_distance": None,
            "spearman_of_mean": None,
        }


ANSWERS = [
    ("a.png", "", "1", "low"),
    ("a.png", "", "2", "low"),
    ("a.png", "", "9", "high"),
    ("b.png", "", "5", ""),  # of no class
    ("b.png", "", "5", ""),
    ("c.png", "", "8", "high"),
    ("d.png", "", "1", "low"),  # of no image in use
    ("e.png", "", "9", "high"),
]
IMAGES = [("a.png", "train"), ("b.png", "train"), ("c.png", "validation"), ("e.png", "test")]


class TestCounts:
    @pytest.fixture
    def counted(self, tmp_path):
        write_csv(tmp_path / "answers.csv", [("image", "annotator", "answer", "class"), *ANSWERS])
        write_csv(tmp_path / "images.csv", [("image", "split"), *IMAGES])
        (tmp_path / "weights.json").write_text(json.dumps({"classes": ["low", "high"]}))
        paths = [tmp_path / name for name in ("answers.csv", "images.csv", "weights.json")]
        count_answers.main(*paths, tmp_path / "learned.csv", tmp_path / "tested.csv")
        return tmp_path

    def test_they_are_counted_by_class_apart_for_learning_and_test(self, counted):
        with open(counted / "learned.csv", newline="") as file:
            assert list(csv.reader(file)) == [
                ["image", "mean", "answers low", "answers high"],
                ["a.png", "4", "2", "1"],
                ["b.png", "5", "0", "0"],
                ["c.png", "8", "0", "1"],
            ]
        assert (counted / "tested.csv").read_text().splitlines()[1:] == ["e.png,9,0,1"]

    def test_synthetic_images_have_their_parents_and_one_between_the_classes_its_label(self, counted):
        packed = pd.DataFrame(
            [("c.png", "1", ""), ("synthetic 1", "0", "a.png"), ("b.png", "0", "")],
            columns=["image", "label", "parent"],
        )
        shares, means = read_shares(counted / "learned.csv", packed, 2)
        assert shares == pytest.approx(np.array([[0, 1], [2 / 3, 1 / 3], [1, 0]]))
        assert means.tolist() == [8, 4, 5]


def test_a_run_that_learns_labels_is_what_it_was():
    settings = {"size": 16, "synthetic_fraction": 0, "name": "net", "epochs": 1, "precision": "auto"}
    before = fingerprint(identify(settings, {}, 1))
    assert fingerprint(identify(settings | {"targets": "label"}, {}, 1)) == before
    assert fingerprint(identify(settings | {"targets": "answers"}, {}, 1)) != before


NET = {"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
CONFIG = {
    "data": {
        "source": "annotations",
        "images": "photos",
        "annotations": "answers.csv",
        "annotator_column": "who",
        "combine": "median",
        "classes": {"low": {"to": 3}, "high": {"from": 3}},
    },
    "holdout": {"validation": 6, "test": 6},
    "images": {"size": 16, "synthetic_fraction": 0.5},
    "training": {"epochs": 2, "batch_size": 8, "precision": "float32"},
    "models": [{"name": "labels", **NET}, {"name": "people", **NET, "targets": "answers"}],
}


def write_answers(study, changed=None):
    """Write three answers to each of 40 images, low ones to red; changed: {image: its answers}."""
    rows = []
    for number in range(40):
        image = f"{number}.png"
        given = (1, 2, 3 + number % 3) if number % 2 else (5, 4, 3 - number % 3)
        rows += [
            (image, who, str(answer))
            for who, answer in zip("pqr", (changed or {}).get(image, given), strict=True)
        ]
    write_csv(study / "answers.csv", [("image", "who", "label"), *rows])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("answers"), CONFIG)
    for number in range(40):
        save_image(study / f"photos/{number}.png", "red" if number % 2 else "blue", number)
    write_answers(study)
    study.run()
    return study


PREDICT = """
import json, sys
import keras, numpy
model, images = json.load(sys.stdin)
print(json.dumps(keras.models.load_model(model).predict(numpy.load(images).astype("float32"), verbose=0).tolist()))
"""


class TestStudy:
    def test_its_loss_is_against_the_shares(self, study):
        """The validation loss of the kept epoch, from the model's own predictions."""
        done = run_script(
            PREDICT,
            [
                str(study / "results/models/people/seed_1/model.keras"),
                str(study / "results/data/packed/16px_synthetic_0.5/validation.npy"),
            ],
        )
        probabilities = np.array(json.loads(done.output.splitlines()[-1]))
        order = [row["image"] for row in study.rows("data/packed/16px_synthetic_0.5/validation.csv")]
        counts = {row["image"]: row for row in study.rows("data/answers_learned.csv")}
        shares = np.array(
            [[int(counts[image][f"answers {label}"]) / 3 for label in ("low", "high")] for image in order]
        )
        loss = -(shares * np.log(probabilities)).sum(axis=1).mean()
        summary = study.json("models/people/seed_1/training.json")
        assert summary["kept"]["val_loss"] == pytest.approx(loss, rel=1e-4)
        assert summary["settings"]["targets"] == "answers"
        assert "targets" not in study.json("models/labels/seed_1/training.json")["settings"]

    def test_every_model_is_held_against_the_answers_in_the_report(self, study):
        report = study.json("report.json")
        for run in report["runs"]:
            shares = []
            tested = {row["image"]: row for row in study.rows("data/answers_tested.csv")}
            predictions = study.rows(f"evaluation/{run['model']}/seed_1/predictions.csv")
            for row in predictions:
                counts = [int(tested[row["image"]][f"answers {label}"]) for label in ("low", "high")]
                said = [float(row[f"probability {label}"]) for label in ("low", "high")]
                shares.append(-(np.array(counts) / 3 * np.log(said)).sum())
            assert run["test"]["against_answers"]["log_loss"]["value"] == pytest.approx(
                np.mean(shares), rel=1e-5
            )
        assert report["data"]["ceiling"]["kind"] == "ceiling"
        assert {"log_loss", "earth_movers_distance", "spearman_of_mean"} <= set(
            report["data"]["ceiling"]["measures"]
        )
        page = study.read("results/report.html").decode()
        assert "<h3>Against the answers</h3>" in page and '<td class="text">answers</td>' in page
        assert "in some models against the label" in page

    def test_other_answers_of_training_images_are_another_training_run(self, study):
        placed = {row["image"]: row["split"] for row in study.rows("data/images.csv")}
        trained = next(
            image
            for image, split in placed.items()
            if split == "train" and image in ("1.png", "3.png", "7.png", "13.png")
        )
        tested = next(image for image, split in placed.items() if split == "test")
        before = {
            name: study.read(f"results/models/{name}/seed_1/history.csv") for name in ("labels", "people")
        }

        def jobs(changed):
            write_answers(study, changed)
            study.run("train")
            found = {name: study.log(f"train/{name}/seed_1") for name in before}
            return {name: "epoch 2 of 2" in text for name, text in found.items()}

        # The medians stay; so do the labels.
        same = (5, 4, 4) if int(tested.split(".")[0]) % 2 == 0 else (1, 2, 2)
        assert jobs({tested: same}) == {"labels": False, "people": False}
        assert jobs({trained: (1, 1, 1)}) == {"labels": False, "people": True}
        assert study.read("results/models/labels/seed_1/history.csv") == before["labels"]
        assert study.read("results/models/people/seed_1/history.csv") != before["people"]
        # And back: the finished model is restored.
        assert jobs({}) == {"labels": False, "people": False}
        assert study.read("results/models/people/seed_1/history.csv") == before["people"]


@pytest.mark.parametrize(
    "data",
    [{"combine": None}, {"where": {"who": "p"}, "combine": "median"}],
    ids=["one answer", "one annotator"],
)
def test_answers_of_several_are_needed(tmp_path, data):
    study = Study(tmp_path, CONFIG | {"data": CONFIG["data"] | data})
    save_image(study / "photos/0.png", "red")
    write_csv(study / "answers.csv", [("image", "who", "label"), ("0.png", "p", "1")])
    outcome = study.try_run("--dry-run")
    assert outcome.code != 0
    assert "training.targets: people is to learn the answers of several people" in outcome.output
    assert "Set data.combine, or targets: label" in outcome.output
