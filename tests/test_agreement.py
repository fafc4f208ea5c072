"""measure_agreement: published tables, other ways to compute the same, and what is said of each annotator."""

import csv
import json
import time
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import measure_agreement
from agreement.annotators import compare_annotators, measure_repeats
from agreement.reliability import measure

# Krippendorff (2011), four observers, twelve units; a dot where nothing was observed.
OBSERVED = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
# Shrout and Fleiss (1979), table 2: six targets, four judges.
JUDGED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def figures(cells):
    """Of (image, answer) pairs with numbers for answers."""
    values, category = np.unique([answer for _, answer in cells], return_inverse=True)
    image = np.unique([image for image, _ in cells], return_inverse=True)[1]
    return measure(image, category, values.astype(float), len(values))


def observed():
    return [
        (unit, int(answer)) for row in OBSERVED for unit, answer in enumerate(row.split()) if answer != "."
    ]


class TestPublished:
    def test_krippendorff(self):
        found = figures(observed())
        assert {level: round(one["value"], 3) for level, one in found["alpha"].items()} == {
            "nominal": 0.743,
            "ordinal": 0.815,
            "interval": 0.849,
        }

    def test_gwet(self):
        assert figures(observed())["gwet_ac1"]["value"] == pytest.approx(0.77544, abs=5e-6)

    def test_shrout_and_fleiss(self):
        found = figures([(row, answer) for row, answers in enumerate(JUDGED) for answer in answers])
        assert (
            round(found["icc_single"]["value"], 4) == 0.1657
            and round(found["icc_mean"]["value"], 4) == 0.4428
        )


def alpha_by_pairs(cells, distance):
    """Alpha from every pair of answers, as its definition has it, one by one."""
    units = {}
    for unit, answer in cells:
        units.setdefault(unit, []).append(answer)
    units = [answers for answers in units.values() if len(answers) > 1]
    pooled = [answer for answers in units for answer in answers]
    seen = sum(
        sum(distance(one, other) for one, other in permutations(answers, 2)) / (len(answers) - 1)
        for answers in units
    ) / len(pooled)
    chance = sum(distance(one, other) for one, other in permutations(pooled, 2)) / (
        len(pooled) * (len(pooled) - 1)
    )
    return 1 - seen / chance


def test_alpha_is_that_of_all_pairs_with_unequal_numbers_of_answers():
    random = np.random.default_rng(1)
    cells = [
        (unit, int(answer)) for unit in range(30) for answer in random.integers(1, 6, random.integers(1, 7))
    ]
    found = figures(cells)["alpha"]
    assert found["nominal"]["value"] == pytest.approx(alpha_by_pairs(cells, lambda a, b: a != b))
    assert found["interval"]["value"] == pytest.approx(alpha_by_pairs(cells, lambda a, b: (a - b) ** 2))


def test_the_intervals_cover():
    """Of 60 studies of 60 images, drawn from one population whose alpha is known from a large draw."""
    random = np.random.default_rng(2)

    def draw(images):
        truth = random.normal(size=images)
        answers = np.rint(truth[:, None] + random.normal(size=(images, 4))).astype(int).clip(-3, 3) + 3
        return np.repeat(np.arange(images), 4), answers.ravel()

    values = np.arange(7.0)
    image, category = draw(200_000)
    truth = measure(image, category, values, 7)
    covered = {"alpha": 0, "icc": 0}
    for _ in range(60):
        image, category = draw(60)
        found = measure(image, category, values, 7)
        for name, one, true in (
            ("alpha", found["alpha"]["interval"], truth["alpha"]["interval"]),
            ("icc", found["icc_single"], truth["icc_single"]),
        ):
            low, high = one["interval"]
            covered[name] += low <= true["value"] <= high
    assert all(52 <= count <= 60 for count in covered.values()), covered


def test_a_million_images_with_five_answers_each_in_time():
    random = np.random.default_rng(3)
    answers = (
        np.rint(random.normal(4, 1, 1_000_000)[:, None] + random.normal(0, 1.3, (1_000_000, 5))).clip(1, 7)
        - 1
    )
    begun = time.process_time()
    measure(np.repeat(np.arange(1_000_000), 5), answers.ravel().astype(int), np.arange(1.0, 8), 7)
    assert time.process_time() - begun < 20  # 5 on a quiet machine


# Annotators


def answers(rows):
    frame = pd.DataFrame(rows, columns=["image", "annotator", "answer"])
    return frame.assign(value=frame["answer"].astype(float))


def simulate(biases, images=60):
    """Answers of as many annotators to all images; the last answers at random."""
    random = np.random.default_rng(4)
    truth = random.normal(5, 1.5, images)
    rows = []
    for number, bias in enumerate(biases):
        given = truth + bias + random.normal(0, 0.7, images)
        if number == len(biases) - 1:
            given = random.permutation(given)
        rows += [(f"{image:03}", f"w{number}", f"{answer:.0f}") for image, answer in enumerate(given)]
    return answers(rows)


class TestAnnotators:
    def test_bias_spread_and_agreement_of_each_by_hand(self):
        frame = simulate([0, 0, 1.5, 0, 0])
        rows = compare_annotators(frame, True).set_index("annotator")
        table = frame.pivot(index="image", columns="annotator", values="value")
        for name in table:
            theirs = table.drop(columns=name).mean(axis=1)
            assert rows.loc[name, "bias"] == pytest.approx((table[name] - theirs).mean())
            assert rows.loc[name, "agreement"] == pytest.approx(
                stats.spearmanr(table[name], theirs).statistic
            )
            assert rows.loc[name, "spread"] == pytest.approx(table[name].std())
        assert rows["odd"].to_dict() == dict.fromkeys(["w0", "w1", "w2", "w3"], "") | {
            "w4": "agrees with the others less than half as well as the median annotator"
        }

    def test_constant_and_reversed_ones_are_named(self):
        frame = simulate([0, 0, 0, 0, 0])
        frame.loc[frame["annotator"] == "w4", ["answer", "value"]] = ["7", 7.0]
        reverse = frame["annotator"] == "w0"
        frame.loc[reverse, "value"] = 10 - frame.loc[reverse, "value"]
        odd = compare_annotators(frame, True).set_index("annotator")["odd"]
        assert odd["w4"] == "gives one answer to all images"
        assert odd["w0"] == "answers the other way round than the others"
        assert (odd[["w1", "w2", "w3"]] == "").all()

    def test_few_answers_are_not_judged(self):
        frame = simulate([0, 0, 0, 0, 0])
        few = frame[(frame["annotator"] != "w4") | (frame["image"] < "009")]
        assert (compare_annotators(few, True)["odd"] == "").all()

    def test_of_names_agreement_is_the_share_of_the_others_who_say_the_same(self):
        rows = [
            ("a", "x", "cat"),
            ("a", "y", "cat"),
            ("a", "z", "dog"),
            ("b", "x", "cat"),
            ("b", "y", "dog"),
            ("c", "x", "dog"),
        ]
        frame = pd.DataFrame(rows, columns=["image", "annotator", "answer"]).assign(value=np.nan)
        found = compare_annotators(frame, False).set_index("annotator")
        assert found["agreement"].to_dict() == {"x": pytest.approx(0.25), "y": pytest.approx(0.25), "z": 0}
        assert found["shared"].to_dict() == {"x": 2, "y": 2, "z": 1}


class TestRepeats:
    ROWS = [
        ("a", "x", "1"),
        ("a", "x", "3"),
        ("a", "x", "3"),
        ("b", "x", "2"),
        ("b", "y", "2"),
        ("b", "y", "2"),
        ("c", "", "1"),
        ("c", "", "1"),
    ]

    def test_they_are_counted_by_pairs(self):
        found = measure_repeats(answers(self.ROWS), True)
        pairs = list(combinations([1, 3, 3], 2)) + [(2, 2)]
        assert (found["images"], found["pairs"]) == (2, 4)
        assert found["equal"] == pytest.approx(np.mean([one == other for one, other in pairs]))
        assert found["mean_absolute_difference"] == pytest.approx(
            np.mean([abs(one - other) for one, other in pairs])
        )

    def test_nobody_repeats_and_who_is_not_known_is_another_each_time(self):
        assert (
            measure_repeats(answers([row for row in self.ROWS if row[1] != "x" and row[1] != "y"]), True)
            is None
        )

    def test_an_annotator_does_not_agree_with_himself(self, tmp_path):
        """Three equal answers of one annotator, and one of another: a pair, and it is not an equal one."""
        found = Measured(
            tmp_path,
            [
                ("a", "x", "1"),
                ("a", "x", "1"),
                ("a", "x", "1"),
                ("a", "y", "2"),
                ("b", "x", "1"),
                ("b", "y", "1"),
            ],
        )
        assert found.json["figures"]["equal_pairs"]["value"] == 0.5
        assert found.json["repeats"]["equal"] == 1
        assert found.json["per_image"] == {"min": 2, "median": 2, "max": 2}


class Measured:
    """What main() makes of (image, annotator, answer) rows."""

    def __init__(self, tmp_path, rows, pseudonyms=False):
        made = [tmp_path / name for name in ("answers.csv", "agreement.json", "annotators.csv")]
        with open(made[0], "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "annotator", "answer"), *rows])
        measure_agreement.main(made[0], *made, pseudonyms)
        self.json = json.loads(made[1].read_text())
        with open(made[2], encoding="utf-8", newline="") as file:
            self.people = list(csv.DictReader(file))


def test_a_continuous_scale_has_the_interval_level_alone_and_takes_no_time():
    random = np.random.default_rng(6)
    truth = random.normal(size=400)
    cells = [(image, float(truth[image] + random.normal())) for image in range(400) for _ in range(2)]
    begun = time.process_time()
    found = figures(cells)
    assert time.process_time() - begun < 5
    assert found["alpha"]["nominal"] is None and found["equal_pairs"] is None
    assert found["alpha"]["interval"]["value"] == pytest.approx(
        alpha_by_pairs(cells, lambda a, b: (a - b) ** 2)
    )
    table = np.array([answer for _, answer in cells]).reshape(400, 2)
    among, within = 2 * table.mean(axis=1).var(ddof=1), table.var(axis=1, ddof=1).mean()
    assert found["icc_single"]["value"] == pytest.approx((among - within) / (among + within))


class TestMain:
    def test_one_answer_an_image_says_why_there_is_nothing(self, tmp_path):
        found = Measured(tmp_path, [("a", "x", "1"), ("b", "y", "2")])
        assert found.json["reason"].startswith("Each image has one answer")
        assert found.json["figures"] is None and found.people == []

    def test_folders_have_no_answers(self, tmp_path):
        assert "names of folders" in Measured(tmp_path, []).json["reason"]

    def test_one_annotator_who_answers_twice_is_repeatability_alone(self, tmp_path):
        found = Measured(tmp_path, [("a", "x", "1"), ("a", "x", "2"), ("b", "x", "2")])
        assert found.json["figures"] is None and found.json["repeats"]["pairs"] == 1
        assert found.json["several"] == 0
        assert found.json["reason"].startswith("Each image has the answers of one annotator alone")

    def test_unknown_annotators_agree_and_have_no_table(self, tmp_path):
        found = Measured(tmp_path, [("a", "", "1"), ("a", "", "1"), ("b", "", "2"), ("b", "", "3")])
        assert found.json["figures"]["equal_pairs"]["value"] == 0.5 and found.json["annotators"] == []

    def test_pseudonyms_hide_the_names(self, tmp_path):
        rows = [(image, who, "1") for image in "ab" for who in ("zoe", "amy")] + [("c", "zoe", "2")]
        found = Measured(tmp_path, rows, pseudonyms=True)
        assert [row["annotator"] for row in found.json["annotators"]] == ["a1", "a2"]
        assert [(row["annotator"], row["pseudonym"]) for row in found.people] == [
            ("amy", "a1"),
            ("zoe", "a2"),
        ]

    def test_names_have_nominal_alpha_alone(self, tmp_path):
        rows = [
            ("a", "x", "cat"),
            ("a", "y", "cat"),
            ("b", "x", "dog"),
            ("b", "y", "cat"),
            ("c", "x", "dog"),
            ("c", "y", "dog"),
        ]
        found = Measured(tmp_path, rows)
        figures = found.json["figures"]
        assert (
            figures["alpha"]["ordinal"] is None
            and figures["alpha"]["interval"] is None
            and figures["icc_mean"] is None
        )
        expected = alpha_by_pairs([(image, answer) for image, _, answer in rows], lambda a, b: a != b)
        assert found.json["figures"]["alpha"]["nominal"]["value"] == pytest.approx(expected)
