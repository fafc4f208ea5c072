"""draw_demo: scikit-learn's digits as images, three annotators' answers, and five damaged files."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import draw_demo

SCANS, DIGITS = load_digits(return_X_y=True)
DAMAGED = {
    "empty.jpg": 3,
    "cut in half.jpg": 4,
    "last bytes missing.jpg": 5,
    "a web page.jpg": 6,
    "no header.jpg": 7,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    draw_demo.main(folder / "images", folder / "annotations.csv")
    return folder


@pytest.fixture(scope="module")
def answers(demo):
    with open(demo / "annotations.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def true_digit(image):
    scan = re.fullmatch(r"scan (\d{4})\.jpg", image)
    return int(DIGITS[int(scan[1])]) if scan else DAMAGED[image]


def digits_by(answers, annotator):
    return [
        (true_digit(row["image"]), int(row["answer"]))
        for row in answers
        if row["annotator"] == annotator and row["question"] == "digit"
    ]


def test_there_are_1619_digits_and_5_damaged_files(demo):
    names = {path.name for path in (demo / "images").iterdir()}
    assert names == {f"scan {n:04}.jpg" for n, digit in enumerate(DIGITS) if digit} | set(DAMAGED)
    assert len(names) == 1619 + 5


def test_exactly_the_damaged_files_cannot_be_decoded(demo):
    def decodes(path):
        content = path.read_bytes()
        if not content.endswith(b"\xff\xd9"):
            return False
        try:
            with Image.open(path) as image:
                image.load()
        except OSError:
            return False
        return image.size == (32, 32)

    assert {path.name for path in (demo / "images").iterdir() if not decodes(path)} == set(DAMAGED)


@pytest.mark.parametrize("number", [1, 500, 1796])
def test_an_image_is_its_scan_dark_on_white(demo, number):
    with Image.open(demo / "images" / f"scan {number:04}.jpg") as image:
        grey = np.asarray(image.convert("L"), float).reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(grey.ravel(), SCANS[number])[0, 1] < -0.95


def test_the_careful_annotator_is_always_right(answers):
    given = digits_by(answers, "careful")
    assert given == [(true, true) for true, _ in given]


@pytest.mark.parametrize("annotator, rate", [("hasty", 0.2), ("guessing", 0.6)])
def test_the_others_err_at_their_rates(answers, annotator, rate):
    given = digits_by(answers, annotator)
    wrong = [answer for true, answer in given if answer != true]
    # 4 standard deviations of a share of so many answers
    assert len(wrong) / len(given) == pytest.approx(rate, abs=4 * (rate * (1 - rate) / len(given)) ** 0.5)
    assert set(wrong) == set(range(1, 10))


def test_counts_are_unbalanced_and_some_images_unrated(answers):
    share = {1: 0.42, 2: 0.5, 3: 0.65, 4: 0.85, 5: 1.0, 6: 0.85, 7: 0.65, 8: 0.5, 9: 0.42}
    careful = Counter(true for true, _ in digits_by(answers, "careful"))
    there = Counter(DIGITS.tolist()) + Counter(DAMAGED.values())
    for digit, expected in share.items():
        # 4 standard deviations of a share of some 180 images
        spread = 4 * (expected * (1 - expected) / there[digit]) ** 0.5
        assert careful[digit] / there[digit] == pytest.approx(expected, abs=spread)


def test_every_rating_answers_both_questions_once(answers):
    keys = Counter((row["image"], row["annotator"], row["question"]) for row in answers)
    assert set(keys.values()) == {1}
    digit = {key[:2] for key in keys if key[2] == "digit"}
    assert digit == {key[:2] for key in keys if key[2] == "legibility"}
    assert {int(row["answer"]) for row in answers if row["question"] == "legibility"} == {1, 2, 3, 4, 5}


def test_damaged_files_are_rated_by_all(answers):
    rated = Counter(row["image"] for row in answers if row["question"] == "digit")
    assert [rated[name] for name in DAMAGED] == [3] * 5
