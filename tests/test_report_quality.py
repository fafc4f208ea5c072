"""The report on how far the data can be trusted: copies, groups and annotators."""

import csv
import json

import numpy as np
import pytest
from report_builder import Made, problems, run, saying

import measure_agreement
from baton.results.metrics import wilson_interval


def make(tmp_path, accuracy=0.8, **changes):
    """A study of two models, 40 test images of two classes, of which each is right about some."""
    labels = [0, 1] * 20
    random = np.random.default_rng(1)
    runs = []
    for name in ("one", "other"):
        right = random.random(40) < accuracy
        answers = [label if good else 1 - label for label, good in zip(labels, right, strict=True)]
        runs.append(run(name, saying(answers, 2)))
    return Made(tmp_path, ["cat", "dog"], labels, runs, train=10, **changes)


COPIES = [
    ("test 0.png", "train cat 1.png", "copy", "0.990"),  # the same class, another split
    ("test 1.png", "test 2.png", "identical", "1.000"),  # another class, the same split
    ("train cat 2.png", "train cat 3.png", "copy", "0.950"),
    ("train cat 4.png", "train cat 5.png", "alike", "0.900"),
]


class TestCopies:
    @pytest.fixture
    def made(self, tmp_path):
        return make(tmp_path, copies=COPIES, drawn=()).write()

    def test_they_are_counted_by_split_and_class(self, made):
        found = made.numbers["data"]["copies"]
        assert (found["pairs"], found["identical"], found["alike"], found["images"]) == (3, 1, 1, 6)
        assert found["test_seen"] == ["test 0.png"] and found["across_splits"] == 1
        assert found["labels_differ"]["pairs"] == 1
        assert found["labels_differ"]["interval"] == pytest.approx(wilson_interval(1, 3))
        assert "Labels differ on 1 of 3 pairs (33 %" in made.text
        assert "1 test image has a copy in training or validation" in made.text

    def test_every_accuracy_stands_without_the_seen_images_too(self, made):
        for one in made.numbers["runs"]:
            without = one["test"]["without_copies"]
            right = round(one["test"]["accuracy"] * 40)
            assert without["images"] == 39
            assert without["accuracy"] in (pytest.approx(right / 39), pytest.approx((right - 1) / 39))
        assert "39 test images without a copy elsewhere." in made.text

    def test_they_are_shown_unless_pictures_are_off(self, tmp_path, made):
        shown = made.html.partition('class="gallery copies"')[2].partition("</details>")[0]
        assert shown.count("<img ") == 6 and "test 1.png" in shown
        # Those in several classes come first.
        assert shown.index("test 1.png") < shown.index("test 0.png") < shown.index("train cat 2.png")
        hidden = make(tmp_path / "b", copies=COPIES, asked={"report": {"images": False}}).write()
        assert "<img " not in hidden.html.partition('class="gallery copies"')[2].partition("</details>")[0]

    def test_without_copies_that_is_said_and_there_is_no_second_accuracy(self, tmp_path):
        made = make(tmp_path).write()
        assert "No two of the 70 images are copies of one another." in made.text
        assert all(one["test"]["without_copies"] is None for one in made.numbers["runs"])


def test_a_copy_by_way_of_another_counts_as_seen(tmp_path):
    copies = [
        ("test 0.png", "test 4.png", "identical", "1.000"),
        ("test 4.png", "train cat 1.png", "copy", "1.000"),
    ]
    made = make(tmp_path, copies=copies, drawn=()).write()
    assert made.numbers["data"]["copies"]["test_seen"] == ["test 0.png", "test 4.png"]


class TestGroups:
    def test_images_and_groups_stand_beside_and_tests_are_about_groups(self, tmp_path):
        groups = {f"test {number}.png": f"test {number // 4 * 4}.png" for number in range(40)}
        made = make(tmp_path, groups=groups.items()).write()
        assert made.numbers["data"]["groups"]["test"] == {"images": 40, "groups": 10, "largest": 4}
        assert "Test accuracy on 40 images in 10 groups:" in made.text
        assert made.numbers["comparison"]["test"] == "sign flips of groups"
        assert made.numbers["comparison"]["image_groups"] == 10
        plain = make(tmp_path / "plain").write()
        for one, other in zip(made.numbers["runs"], plain.numbers["runs"], strict=True):
            assert one["test"]["accuracy"] == other["test"]["accuracy"]
            widths = [test["interval"][1] - test["interval"][0] for test in (one["test"], other["test"])]
            assert widths[0] > widths[1]
        assert "the 40 test images are in 10 groups" in made.text
        assert "images in" not in plain.text.partition("Guessing at random")[0]


def agreement(tmp_path, rows, pseudonyms=False):
    paths = [tmp_path / name for name in ("answers.csv", "agreement.json", "annotators.csv")]
    tmp_path.mkdir(exist_ok=True)
    with open(paths[0], "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "annotator", "answer"), *rows])
    measure_agreement.main(paths[0], *paths, pseudonyms)
    return json.loads(paths[1].read_text())


class TestAnnotators:
    def rows(self):
        random = np.random.default_rng(2)
        truth = random.integers(1, 8, 40)
        rows = [
            (f"{image}.png", who, str(int(np.clip(value + random.integers(-1, 2), 1, 7))))
            for image, value in enumerate(truth)
            for who in ("amy", "bob & co", "<cy>")
        ]
        return rows + [(f"{image}.png", "dot", "4") for image in range(40)]

    def test_agreement_and_those_who_stand_out(self, tmp_path):
        found = agreement(tmp_path / "answers", self.rows())
        made = make(tmp_path, agreement=found).write()
        alpha = found["figures"]["alpha"]["ordinal"]["value"]
        assert f"Krippendorff’s alpha, ordinal (by ranks)</th><td>{alpha:.3f}</td>" in made.html
        assert "1 annotator gives one answer to all images: dot." in made.text
        assert "40 of 40 images have answers of two annotators or more (4 to 4, median 4)." in made.text
        assert "<cy>" not in made.html and "&lt;cy&gt;" in made.html
        assert made.numbers["data"]["agreement"]["annotators"][0]["annotator"] == "<cy>"

    def test_pseudonyms_name_nobody(self, tmp_path):
        made = make(tmp_path, agreement=agreement(tmp_path / "answers", self.rows(), True)).write()
        assert "1 annotator gives one answer to all images: a4." in made.text
        assert "amy" not in made.html and "bob" not in made.html

    def test_one_answer_an_image_says_why_there_is_nothing(self, tmp_path):
        made = make(
            tmp_path, agreement=agreement(tmp_path / "answers", [("a", "x", "1"), ("b", "x", "2")])
        ).write()
        assert "Each image has one answer, so nothing can be said of how far annotators agree" in made.text

    def test_repeats_are_told_apart(self, tmp_path):
        rows = [*self.rows(), ("0.png", "dot", "6"), ("1.png", "dot", "4")]
        made = make(tmp_path, agreement=agreement(tmp_path / "answers", rows)).write()
        assert (
            "2 times an annotator answered an image more than once: 50 % of these pairs of answers are equal"
            in made.text
        )
        assert "they differ by 1.00 on average" in made.text


def ceiling(kind, **found):
    """What ceiling.json says, of a kind."""
    empty = {"kind": kind, "reason": None, "images": 300, "annotators": None, "measures": {}}
    return empty | {"twice": None, "bracket": None} | found


def reached(value, low, high, band=None):
    return {"value": value, "interval": [low, high], "band": band}


CEILING = ceiling(
    "ceiling",
    measures={
        "accuracy": reached(0.9, 0.86, 0.94, [0.78, 0.98]),
        "log_loss": reached(0.4, 0.35, 0.45, [0.3, 0.5]),
    },
    twice=0.94,
)


class TestCeiling:
    def made(self, tmp_path, ceiling, accuracy=0.8, **changes):
        made = make(tmp_path, accuracy, ceiling=ceiling, **changes).write()
        assert problems(made.numbers) == []
        return made

    def test_the_most_accurate_is_placed_between_chance_and_ceiling(self, tmp_path):
        made = self.made(tmp_path, CEILING, accuracy=0.6)
        best = max(one["test"]["accuracy"] for one in made.numbers["runs"])
        assert best == pytest.approx(0.6, abs=0.1)
        said = made.numbers["verdict"]["ceiling"]
        share = (best - 0.5) / (0.9 - 0.5)
        assert f"is right about {best:.2f}; chance is 0.50, the ceiling of these labels about 0.90" in said
        assert "a perfect model would be between 0.78 and 0.98 on 40 test images" in said
        assert f"That is {100 * share:.0f} % of the way from chance to the ceiling" in said
        assert said.endswith("With twice the answers, the ceiling would be about 0.94.")
        assert said in made.text and "cannot be told from a perfect one" not in said
        for one in made.numbers["runs"]:
            way, low, high = one["test"]["way"]["value"], *one["test"]["way"]["interval"]
            assert way == pytest.approx(max(one["test"]["accuracy"] - 0.5, 0) / 0.4) and low <= way < high
            # As far up as the accuracy's interval goes at least, in shares of the way.
            assert high > 0.9 * (one["test"]["interval"][1] - 0.5) / 0.4

    def test_none_is_above_the_ceiling(self, tmp_path):
        made = self.made(tmp_path, CEILING, accuracy=1.0)
        assert [one["test"]["way"]["value"] for one in made.numbers["runs"]] == [1, 1]
        said = made.numbers["verdict"]["ceiling"]
        assert "It cannot be told from a perfect one on so few images. That is 100 % of the way" in said

    def test_below_chance_is_none_of_the_way(self, tmp_path):
        made = self.made(tmp_path, CEILING, accuracy=0.3)
        assert [one["test"]["way"]["value"] for one in made.numbers["runs"]] == [0, 0]
        assert "It has gone none of the way from chance to the ceiling." in made.numbers["verdict"]["ceiling"]

    def test_a_ceiling_that_is_not_above_chance_has_no_way(self, tmp_path):
        low = CEILING | {"measures": {"accuracy": reached(0.55, 0.49, 0.61, [0.4, 0.7])}, "twice": 0.6}
        made = self.made(tmp_path, low)
        assert [one["test"]["way"] for one in made.numbers["runs"]] == [None, None]
        assert "too near to chance for these answers" in made.numbers["verdict"]["ceiling"]

    def test_chance_is_what_a_constant_answer_reaches(self, tmp_path):
        labels = [0] * 30 + [1] * 10
        runs = [run("one", saying([0] * 36 + [1] * 4, 2))]
        made = Made(tmp_path, ["cat", "dog"], labels, runs, train=10, ceiling=CEILING).write()
        assert made.numbers["runs"][0]["test"]["way"]["value"] == pytest.approx(
            (34 / 40 - 0.75) / (0.9 - 0.75)
        )

    def test_a_benchmark_a_bracket_and_nothing_are_called_that(self, tmp_path):
        benchmark = ceiling("benchmark", measures={"accuracy": reached(0.7, 0.64, 0.76)})
        made = self.made(tmp_path / "a", benchmark)
        said = made.numbers["verdict"]["ceiling"]
        assert (
            "the other annotators predict these labels with 0.70 (0.64 to 0.76): a benchmark and no ceiling"
            in said
        )
        assert "of the way" not in said and "perfect model" not in made.text
        assert all(one["test"]["way"] is None for one in made.numbers["runs"])
        made = self.made(tmp_path / "b", ceiling("bracket", bracket=[0.6, 0.85]))
        assert (
            "lies about between 0.60 and 0.85 (leave-one-out to plug-in)"
            in made.numbers["verdict"]["ceiling"]
        )
        made = self.made(tmp_path / "c", ceiling(None, reason="Each image has one answer. <b>"))
        assert made.numbers["verdict"]["ceiling"] == "" and "Each image has one answer. <b>" in made.text

    def test_each_measure_stands_beside_the_best_run(self, tmp_path):
        shares = np.eye(2)[[0, 1] * 20] * 0.8 + 0.1
        made = self.made(tmp_path, CEILING, answered=(shares, None))
        losses = [one["test"]["against_answers"]["log_loss"]["value"] for one in made.numbers["runs"]]
        cells = "</th><td>0.40</td><td>0.35 to 0.45</td><td>0.30 to 0.50</td><td>"
        assert f"log loss against the answers{cells}{min(losses):.2f}</td>" in made.html
        best = max(one["test"]["accuracy"] for one in made.numbers["runs"])
        cells = "</th><td>0.90</td><td>0.86 to 0.94</td><td>0.78 to 0.98</td><td>"
        assert f"accuracy{cells}{best:.2f}</td>" in made.html
        assert "<h3>Against the answers</h3>" in made.html
        assert [float(row["answers_log_loss"]) for row in made.models] == pytest.approx(losses)
        ways = [one["test"]["way"]["value"] for one in made.numbers["runs"]]
        assert [float(row["share_of_way_to_ceiling"]) for row in made.models] == pytest.approx(ways)
        assert (
            "a mixture of quantised normal and other distributions was fitted by maximum likelihood"
            in made.text
        )
