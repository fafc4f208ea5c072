"""The best that any model could reach: how labels come from answers, what a perfect model does, and what is told instead."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from rater_worlds import World, score_perfect

import estimate_ceiling
from annotations.classes import Classes, label_images
from ceiling.estimation import estimate
from ceiling.instead import bracket, leave_one_out, predict_by_others
from ceiling.labelling import Labelling
from ceiling.mixture import estimate_shifts, list_shapes
from ceiling.oracle import Oracle, Pool, Scale, draw_answers
from ceiling.table import Table, list_few

SEVEN = [str(number) for number in range(1, 8)]
MERGED = {"low": ["1", "2", "3"], "middle": ["4"], "high": ["5", "6", "7"]}
RANGES = {"low": {"to": 3}, "middle": {"from": 3, "to": 5}, "high": {"from": 5}}
PARTS = {"low": ["1", "2"], "high": ["6", "7"]}  # 3 to 5 are of no class


class Nothing:
    def add(self, *_):
        pass


def labelling(combine, classes, answers=SEVEN):
    names = list(classes) if classes else answers
    return Labelling(combine, Classes(classes, answers), names, answers, np.array(answers, float)), names


class TestLabelling:
    @pytest.mark.parametrize(
        "classes", [None, MERGED, RANGES, PARTS], ids=["all", "merged", "ranges", "parts"]
    )
    @pytest.mark.parametrize("combine", ["median", "mean", "majority", "majority_of_labels"])
    def test_it_is_what_the_study_does(self, combine, classes):
        random = np.random.default_rng(1)
        counts = random.multinomial(random.integers(1, 8, 3000), random.dirichlet(np.ones(7) / 2, 3000))
        rows = [
            (f"{image}", answer, str(image))
            for image, row in enumerate(counts)
            for answer, count in zip(SEVEN, row, strict=True)
            for _ in range(count)
        ]
        frame = pd.DataFrame(rows, columns=["image", "label", "row"])
        found = label_images(frame, combine, classes, Nothing()).set_index("image")["class"]
        label, names = labelling(combine, classes)
        names = [*names, None]
        assert [names[index] for index in label.label(counts)] == [
            found.get(str(image)) for image in range(3000)
        ]


class TestOracle:
    """Two shapes, one always "1" and one "1" or "7" alike, one answer an image, half of the images of each."""

    def oracle(self, test):
        shapes = np.array([[[1.0, 0, 0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0, 0, 0.5]]])
        label, _ = labelling("median", {"one": ["1"], "seven": ["7"]})
        pool = Pool(draw_answers(shapes, np.ones((4, 1), int), np.random.default_rng(1)), label, 2)
        return Oracle(pool, np.array([0.5, 0.5]), np.array(test))

    def test_a_balanced_split_is_not_the_population(self):
        # Of the images 3 in 4 are "1", of which 1 in 3 is of the second shape; every "7" is of it. Of the images of the second
        # shape in the split 1/3 are "1" and 1 "7": "7" is said there, and is right for 40 and for two thirds of the other 40.
        oracle = self.oracle([40, 40])
        assert oracle.accuracy() == pytest.approx((40 + 40 * 2 / 3) / 80, abs=0.02)
        scores = oracle.score(3000, np.random.default_rng(2))["accuracy"]["mode"]
        assert scores.mean() == pytest.approx(oracle.accuracy(), abs=0.01)
        spread = np.sqrt(40 * (2 / 3) * (1 / 3)) / 80  # of the 40 "1"
        assert scores.std() == pytest.approx(spread, rel=0.1)

    def test_a_split_of_the_population_is(self):
        # Here "1" and "7" are as frequent among images of the second shape: three in four are right.
        assert self.oracle([60, 20]).accuracy() == pytest.approx(0.75, abs=0.02)

    def test_a_class_that_no_answers_give_is_not_tested(self):
        assert self.oracle([40, 0]).accuracy() == 1


def three_classes(counts):
    """The class of the median of answers from 1 to 7, halves up: low, middle, high."""
    labels = []
    for row in counts:
        median = np.floor(np.median(np.repeat(np.arange(1, 8), row)) + 0.5)
        labels.append(0 if median <= 3 else 1 if median == 4 else 2)
    return np.array(labels)


class TestEstimate:
    @pytest.mark.parametrize("kind", ["humps", "careless", "biased"])
    def test_it_is_near_what_a_perfect_model_does(self, kind):
        world = World(kind, 7, 900, seed=3)
        counts = world.answer(world.numbers(2, 6))
        label, _ = labelling("median", MERGED)
        found = estimate(
            counts, np.arange(1.0, 8), label, np.full(3, 40), Scale(np.arange(3), np.arange(3.0))
        )
        truth = score_perfect(world, 2, 6, three_classes, [40] * 3, rounds=200)
        assert found["accuracy"]["value"] == pytest.approx(truth["accuracy"].mean(), abs=0.05)
        low, high = found["accuracy"]["band"]
        assert ((truth["accuracy"] >= low) & (truth["accuracy"] <= high)).mean() > 0.85
        assert low < found["accuracy"]["interval"][0] < found["accuracy"]["value"]
        assert found["accuracy"]["value"] < found["accuracy"]["interval"][1] < high
        assert found["twice"] > found["accuracy"]["value"] + 0.02
        # What is naive is far off: how often the median of an image's own answers gives its label is always.
        for name, reach in REACHES.items():
            assert found[name]["value"] == pytest.approx(truth[name].mean(), abs=0.06 * reach(3))

    def test_a_slip_of_the_pen_changes_little(self):
        rows = rate(300, "pqr")
        frames = [
            pd.DataFrame(some, columns=["image", "annotator", "answer"])
            for some in (rows, [*rows[:-1], ("299", "r", "55")])
        ]
        found = []
        for frame in frames:
            table = Table(frame, {"classes": None}, True)
            label = Labelling(
                "median", Classes(None, table.categories), list("12345"), table.categories, table.values
            )
            found.append(
                estimate(table.count(frame), table.order, label, np.full(5, 10))["accuracy"]["value"]
            )
        assert found[1] == pytest.approx(found[0], abs=0.03)

    def test_raters_who_nearly_always_agree_leave_room_for_a_perfect_model(self):
        random = np.random.default_rng(1)
        shapes = np.full((300, 5), 0.0125)
        shapes[np.arange(300), random.integers(0, 5, 300)] = 0.95
        label, _ = labelling("median", None, SEVEN[:5])
        found = estimate(random.multinomial(3, shapes)[:, None], np.arange(1.0, 6), label, np.full(5, 10))[
            "accuracy"
        ]
        assert found["value"] > 0.96 and found["interval"][1] == found["band"][1] == 1  # the truth is 0.99

    def test_what_the_answers_leave_open_is_in_the_interval(self):
        # Of three answers to yes or no, many mixtures say the same: half of .25 and half of .75, or all between.
        random = np.random.default_rng(2)
        yes = np.where(random.random(400) < 0.5, 0.25, 0.75)
        counts = random.multinomial(3, np.stack([1 - yes, yes], axis=1))[:, None]
        label, _ = labelling("majority", None, ["0", "1"])
        found = estimate(counts, np.array([0.0, 1]), label, np.full(2, 20))["accuracy"]
        truth = 0.75**3 + 3 * 0.75**2 * 0.25
        low, high = found["interval"]
        assert high - low > 0.15 and low < truth < high + 0.02

    def test_the_same_answers_give_the_same_numbers(self):
        world = World("humps", 7, 200, seed=1)
        counts = world.answer(world.numbers(2, 4))
        label, _ = labelling("median", MERGED)
        first, second = (estimate(counts, np.arange(1.0, 8), label, np.full(3, 20)) for _ in range(2))
        assert first == second

    def test_biases_of_a_few_annotators_are_no_chance(self):
        world = World("biased", 7, 900, seed=5)
        counts = world.answer(np.full(900, 3))
        found = estimate_shifts(counts, np.arange(7.0))
        assert found == pytest.approx([-1.2, 0, 1.2], abs=0.25)
        label, _ = labelling("median", MERGED)
        told, untold = (
            estimate(one, np.arange(1.0, 8), label, np.full(3, 40))["accuracy"]["value"]
            for one in (counts, counts.sum(axis=1, keepdims=True))
        )
        assert told > untold + 0.05


REACHES = {
    "accuracy": lambda classes: 1,
    "mean_absolute_error": lambda classes: classes - 1,
    "quadratic_kappa": lambda classes: 1,
    "spearman": lambda classes: 1,
    "log_loss": np.log,
    "earth_movers_distance": lambda classes: classes - 1,
    "spearman_of_mean": lambda classes: 1,
}


def nine_classes(counts):
    """The most frequent of answers from 1 to 9, none where several are."""
    most = counts.max(axis=1, keepdims=True)
    return np.where((counts == most).sum(axis=1) == 1, counts.argmax(axis=1), -1)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["humps", "careless", "biased"])
@pytest.mark.parametrize("test", [(3, 40), (9, 50), (3, 500)], ids="{0[0]} x {0[1]}".format)
def test_errors_and_bands_over_many_studies(kind, test):
    """Each estimated anew: the median of 2 to 6 answers into three classes; of nine, the majority, ties left out."""
    classes, images = test
    nine = classes == 9
    categories, studied = (9, 4000) if nine else (7, 900 if images == 40 else 5000)
    label, _ = labelling("majority", None, [*SEVEN, "8", "9"]) if nine else labelling("median", MERGED)
    scale = Scale(np.arange(classes), np.arange(classes, dtype=float))
    # Many more images than in a study, so that it is of the raters and not of these images.
    truth = score_perfect(
        World(kind, categories, 3000, 0),
        2,
        6,
        nine_classes if nine else three_classes,
        [images] * classes,
        rounds=600,
    )
    errors, covered = {name: [] for name in REACHES}, []
    for seed in range(1, 37 if images == 40 else 13):
        world = World(kind, categories, studied, seed)
        counts = world.answer(world.numbers(2, 6))
        found = estimate(counts, np.arange(1.0, categories + 1), label, np.full(classes, images), scale)
        low, high = found["accuracy"]["band"]
        covered.append(((truth["accuracy"] >= low) & (truth["accuracy"] <= high)).mean())
        for name, reach in REACHES.items():
            errors[name].append((found[name]["value"] - np.nanmean(truth[name])) / reach(classes))
    means = {name: round(float(np.mean(values)), 4) for name, values in errors.items()}
    ends = {name: round(float(np.quantile(np.abs(values), 0.95)), 4) for name, values in errors.items()}
    print(
        kind,
        test,
        "mean errors",
        means,
        "95 % of errors within",
        ends,
        "covered",
        round(float(np.mean(covered)), 4),
    )
    assert max(abs(mean) for mean in means.values()) <= 0.02
    assert max(ends.values()) <= 0.05
    assert np.mean(covered) >= 0.93


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["humps", "careless"])
def test_what_second_answers_to_200_images_give(kind):
    """As the message to a study with one answer per image says: the ceiling to about 0.06 either way."""
    label, _ = labelling("median", MERGED)
    world = World(kind, 7, 2000, seed=7)
    counts = world.answer(np.where(np.arange(2000) < 200, 2, 1))
    found = estimate(counts, np.arange(1.0, 8), label, np.full(3, 50), Scale(np.arange(3), np.arange(3.0)))
    low, high = found["accuracy"]["interval"]
    print(kind, f"{found['accuracy']['value']:.3f}, {low:.3f} to {high:.3f}")
    assert 0.045 < (high - low) / 2 < 0.075
    assert "about 0.06 either way" in estimate_ceiling.NOTHING["one"]


RATINGS = REPOSITORY.parent / "shared/data/ratings/annotations.csv"


@pytest.mark.soak
@pytest.mark.skipif(not RATINGS.exists(), reason="the ratings of photographs are not on this machine")
@pytest.mark.parametrize("answers", [3, 5, 9])
def test_the_ratings_from_a_few_answers_as_from_all(answers):
    """What all answers to an image say, about 190, is taken for its distribution: 0.01 to 0.02 too good."""
    frame = pd.read_csv(RATINGS, dtype=str)
    frame = frame[frame["question"] == "beauty"]
    label, _ = labelling("median", RANGES | {"middle": {"from": 3, "to": 5}})

    def count(frame):
        return (
            pd.crosstab(frame["image"], frame["answer"])
            .reindex(columns=SEVEN, fill_value=0)
            .to_numpy()[:, None]
        )

    whole = count(frame)
    shapes = whole[:, 0] / whole[:, 0].sum(axis=1, keepdims=True)
    pool = Pool(
        draw_answers(shapes[None], np.full((len(shapes), 1), answers), np.random.default_rng(1)), label, 3
    )
    truth = Oracle(pool, np.full(len(shapes), 1 / len(shapes)), np.full(3, 25)).accuracy()
    found = []
    for seed in range(6):
        some = frame.sample(frac=1, random_state=seed).groupby("image").head(answers)
        found.append(estimate(count(some), np.arange(1.0, 8), label, np.full(3, 25))["accuracy"]["value"])
    print(
        f"{answers} answers: {np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f}); from all {truth:.3f}"
    )
    assert np.mean(found) == pytest.approx(truth, abs=0.05)


class TestInstead:
    def test_the_bracket_holds_the_truth(self):
        # Four names; an image has one that 46 % give, or is anybody's guess.
        random = np.random.default_rng(1)
        shapes = np.full((2000, 4), 0.25)
        shapes[:1400] = 0.18
        shapes[np.arange(1400), random.integers(0, 4, 1400)] = 0.46
        names = ["cat", "dog", "fox", "owl"]
        label = Labelling("majority", Classes(None, names), names, names)
        counts = random.multinomial(3, shapes)
        low, high = bracket(counts, label, [50] * 4)
        labels = np.stack([label.label(random.multinomial(3, shapes)) for _ in range(400)], axis=1)
        right = [(labels[:, :] == one).sum(axis=1) for one in range(4)]
        truth = np.max(right, axis=0).sum() / (labels >= 0).sum()
        assert low < truth - 0.02 < truth + 0.02 < high

    def test_leaving_one_out_by_hand(self):
        # a a b: "a" from a b (both, half right), twice; "b" from a a is not found. b b: found both times.
        counts = np.array([[2, 1], [0, 2]])
        # Answers a: 2, b: 3; in a split of as many of each, b votes count 2/3 of a votes: "a" from a b is right.
        found = leave_one_out(counts, np.array([0, 1]), [10, 10])
        assert found == pytest.approx((1 + 2 / 3) / 2)

    def test_others_who_agree_but_for_the_scale_predict_perfectly(self):
        labels = np.repeat([0, 1, 2], 30)
        others = labels * 0.2 + 4.1
        found = predict_by_others(labels, others, [10, 10, 10], Scale(np.arange(3), np.array([1.0, 5, 9])))
        assert found["accuracy"] == {"value": 1, "interval": [1, 1]}
        assert found["mean_absolute_error"]["value"] == 0 and found["quadratic_kappa"]["value"] == 1

    def test_others_who_answer_at_random_predict_by_chance(self):
        random = np.random.default_rng(1)
        labels = random.integers(0, 3, 3000)
        found = predict_by_others(
            labels, random.random(3000), [40, 40, 40], Scale(np.arange(3), np.arange(3.0))
        )
        assert found["accuracy"]["value"] == pytest.approx(1 / 3, abs=0.02)
        assert found["spearman"]["value"] == pytest.approx(0, abs=0.03)
        votes = random.integers(0, 3, (3000, 3))
        assert predict_by_others(labels, votes, [40, 40, 40], None)["accuracy"]["value"] == pytest.approx(
            1 / 3, abs=0.02
        )


class TestTable:
    DATA = {"classes": None}

    def frame(self, *rows):
        return pd.DataFrame(rows, columns=["image", "annotator", "answer"])

    def test_numbers_are_in_order_and_counted_by_image_and_annotator(self):
        frame = self.frame(("x", "p", "10"), ("x", "q", "9"), ("y", "q", "9"), ("y", "q", "9"))
        table = Table(frame, self.DATA, True)
        assert table.categories == ["9", "10"] and table.order.tolist() == [9, 10]
        assert table.count(frame).tolist() == [[[1, 1]], [[2, 0]]]
        assert table.count(frame, ["p", "q"]).tolist() == [[[0, 1], [1, 0]], [[0, 0], [2, 0]]]

    def test_names_are_in_the_order_of_the_classes(self):
        frame = self.frame(("x", "", "good"), ("x", "", "bad"), ("y", "", "fair"))
        asked = {"classes": {"poor": ["bad"], "rich": ["fair", "good"]}}
        table = Table(frame, asked, True)
        assert table.categories == ["bad", "fair", "good"] and table.values is None
        assert table.place(frame).tolist() == [2, 0, 1]
        assert Table(frame, {"classes": ["bad", "good"]}, True).order is None  # where is "fair"?
        assert Table(frame, asked, False).order is None

    def test_a_continuous_scale_is_binned(self):
        values = np.random.default_rng(1).uniform(0, 50, 500).round(3)
        frame = self.frame(*((str(row), "", f"{value}") for row, value in enumerate(values)))
        table = Table(frame, self.DATA, True)
        assert len(table.categories) == 101
        assert table.place(frame) == pytest.approx(values, abs=0.26)

    def test_who_is_told_apart(self):
        few = [(f"{image}", who, "1") for image in range(30) for who in "pq"]
        assert list_few(self.frame(*few)) == ["p", "q"]
        assert list_few(self.frame(*few, ("0", "r", "1"))) is None  # one answer is too few to know a bias by
        assert list_few(self.frame(*few, ("0", "", "1"))) is None
        many = [(f"{image}", f"{who}", "1") for image in range(30) for who in range(13)]
        assert list_few(self.frame(*many)) is None


class Found:
    """What main() makes of rows of (image, annotator, answer), each of whose images is of the class of its last answer."""

    def __init__(self, folder, rows, ordered=None, classes=None, asked=None, in_groups=False, **data):
        paths = [
            folder / name
            for name in (
                "answers.csv",
                "classes.csv",
                "images.csv",
                "class_weights.json",
                "groups.csv",
                "ceiling.json",
            )
        ]
        data = {"combine": "median", "classes": asked, "where": {}, "annotator_column": None} | data
        chosen = Classes(data["classes"], [row[2] for row in rows])
        of = dict(
            zip(
                [row[2] for row in rows],
                chosen.of(pd.Series([row[2] for row in rows], dtype=object)),
                strict=True,
            )
        )
        labels = {image: of[answer] for image, _, answer in rows if isinstance(of[answer], str)}
        names = classes or sorted(set(labels.values()))
        self._write(
            paths[0],
            ["image", "annotator", "answer", "class"],
            [(*row, of[row[2]] if isinstance(of[row[2]], str) else "") for row in rows],
        )
        self._write(paths[1], ["image", "class"], labels.items())
        placed = [(name, split) for split in ("train", "test") for name in names for _ in range(10)]
        self._write(
            paths[2], ["image", "class", "split"], [(f"{row}", *one) for row, one in enumerate(placed)]
        )
        paths[3].write_text(json.dumps({"classes": names}))
        groups = [(f"{row}", f"{row // 5}") for row in range(len(placed))] if in_groups else []
        self._write(paths[4], ["image", "group"], groups)
        estimate_ceiling.main(*paths, data, ordered)
        self.json = json.loads(paths[5].read_text())

    def _write(self, path, header, rows):
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


def rate(images, annotators, seed=1, names=None):
    """Rows of answers from 1 to 5, or of names, that follow the image and chance."""
    random = np.random.default_rng(seed)
    truth = random.integers(1, 6, images)
    rows = []
    for image, value in enumerate(truth):
        for who in annotators:
            answer = int(np.clip(value + random.integers(-1, 2), 1, 5))
            rows.append((f"{image}", who, names[answer - 1] if names else str(answer)))
    return rows


class TestMain:
    def test_numbers_have_a_ceiling(self, tmp_path, caplog):
        caplog.set_level("INFO")
        found = Found(tmp_path, rate(100, [f"p{number}" for number in range(20)][:3])).json
        assert found["kind"] == "ceiling" and found["annotators"] == 3 and found["images"] == 100
        assert set(found["measures"]) == set(REACHES)
        accuracy = found["measures"]["accuracy"]
        assert 0.4 < accuracy["value"] < 0.95
        low, high = accuracy["band"]
        said = f"about {accuracy['value']:.2f}; on so few test images a perfect model is between {low:.2f} and {high:.2f}"
        assert f"the best accuracy that any model could reach: {said}" in caplog.text

    def test_test_images_in_groups_have_a_wider_band_about_the_same_value(self, tmp_path):
        (tmp_path / "b").mkdir()
        rows = rate(100, "pqr")
        plain, grouped = (
            Found(folder, rows, in_groups=groups).json["measures"]["accuracy"]
            for folder, groups in ((tmp_path, False), (tmp_path / "b", True))
        )
        assert grouped["value"] == pytest.approx(plain["value"], abs=0.03)
        assert np.ptp(grouped["band"]) > 1.1 * np.ptp(plain["band"])

    def test_answers_without_a_name_are_anybodys(self, tmp_path):
        rows = [(image, "", answer) for image, _, answer in rate(60, "pqr")]
        assert Found(tmp_path, rows).json["annotators"] is None

    def test_ordered_names_have_one_too_and_others_a_bracket(self, tmp_path):
        names = ["awful", "bad", "fair", "good", "great"]
        rows = rate(80, "pqr", names=names)
        found = Found(tmp_path, rows, combine="majority", classes=names, asked=names, ordered=True).json
        assert found["kind"] == "ceiling"
        (tmp_path / "b").mkdir()
        found = Found(tmp_path / "b", rows, combine="majority").json
        assert found["kind"] == "bracket" and found["measures"] == {} and found["twice"] is None
        low, high = found["bracket"]
        assert 0.2 < low < high <= 1

    def test_a_named_annotator_has_a_benchmark(self, tmp_path):
        rows = rate(100, "pqrs")
        found = Found(tmp_path, rows, where={"who": "s"}, annotator_column="who", combine=None).json
        assert found["kind"] == "benchmark" and found["images"] == 100 and found["twice"] is None
        assert found["measures"]["accuracy"]["band"] is None
        # By the mean of three others, who are each one off at most.
        assert 0.45 < found["measures"]["accuracy"]["value"] < 0.95
        assert set(found["measures"]) == {"accuracy", "mean_absolute_error", "quadratic_kappa", "spearman"}

    @pytest.mark.parametrize(
        ("rows", "data", "reason"),
        [
            (rate(50, "p"), {}, "Each image has one answer. How much of it is chance cannot be told"),
            (rate(50, "p") + [("1", "q", "2")], {}, "Fewer than 20 images have two answers or more"),
            (
                rate(50, "p"),
                {"where": {"who": "p"}, "annotator_column": "who"},
                "nobody else gave answers to as many as 20 of these images",
            ),
        ],
        ids=["one", "few", "alone"],
    )
    def test_why_there_is_none(self, tmp_path, rows, data, reason):
        found = Found(tmp_path, rows, **data).json
        assert found["kind"] is None and reason in found["reason"]
        assert found["measures"] == {}

    def test_others_whose_answers_are_of_no_class_are_nobody(self, tmp_path):
        rows = [(str(image), "me", "cat" if image % 2 else "dog") for image in range(40)]
        rows = [(str(image), who, "fox") for image in range(40) for who in "pq"] + rows
        data = {"where": {"who": "me"}, "annotator_column": "who", "combine": None}
        assert (
            "nobody else gave answers"
            in Found(tmp_path, rows, classes=["cat", "dog"], asked=["cat", "dog"], **data).json["reason"]
        )

    def test_answers_twice_of_one_annotator_are_no_panel(self, tmp_path):
        found = Found(tmp_path, rate(50, ["p", "p"])).json
        assert found["kind"] is None and "a model may learn the person" in found["reason"]

    def test_an_answer_without_a_place_leaves_the_order_of_the_others(self, tmp_path):
        rows = rate(80, "pqr", names=["bad", "poor", "ok", "good", "dunno"])
        classes = {"low": ["bad", "poor"], "high": ["ok", "good"]}
        found = Found(
            tmp_path, rows, combine="majority", classes=["low", "high"], ordered=True, asked=classes
        ).json
        assert found["kind"] == "ceiling"

    def test_folders_have_none(self, tmp_path):
        found = estimate_ceiling.find_ceiling(
            pd.DataFrame(columns=["image", "annotator", "answer", "class"]), None, [], np.array([]), None, {}
        )
        assert re.match("The labels are the names of folders", found["reason"])


def test_shapes_are_distributions():
    for values in (np.arange(1.0, 8), np.arange(101.0), np.array([1.0, 2, 5, 9])):
        shapes = list_shapes(values)
        assert shapes.shape[1] == len(values) and (shapes >= 0).all()
        assert shapes.sum(axis=1) == pytest.approx(1)
