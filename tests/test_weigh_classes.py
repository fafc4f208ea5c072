"""weigh_classes: weights by hand, and classes in the order of their indices."""

import csv
import json

import pytest

import weigh_classes
from baton.errors import UserError


def weigh(tmp_path, counts, classes=(), grey=None):
    """Run main() on (class, split): count; return class_weights.json."""
    with open(tmp_path / "images.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "class", "split", "sha256"))
        for (label, split), count in counts.items():
            writer.writerows((f"{split}/{label}/{number}.jpg", label, split, "") for number in range(count))
    (tmp_path / "grey.json").write_text(json.dumps(grey or {}))
    weigh_classes.main(
        tmp_path / "images.csv", tmp_path / "grey.json", tmp_path / "weights.json", list(classes)
    )
    return json.loads((tmp_path / "weights.json").read_text(encoding="utf-8"))


def test_ranges_of_grey_images_are_in_it_but_for_those_of_earlier_versions(tmp_path):
    counts = {("a", "train"): 2, ("b", "train"): 2}
    assert "grey" not in weigh(tmp_path, counts)
    assert "grey" not in weigh(tmp_path, counts, grey={"uint16": [0, 65535]})  # the same bytes as ever
    found = weigh(tmp_path, counts, grey={"uint16": [0.0, 65535.0], "float32": [0, 1]})
    assert found["grey"] == {"float32": [0, 1]}


def test_weight_is_n_over_k_times_the_count_in_training(tmp_path):
    counts = {("a", "train"): 10, ("b", "train"): 40, ("c", "train"): 50}
    held_out = {(label, split): 7 for label in "abc" for split in ("validation", "test")}
    made = weigh(tmp_path, counts | held_out)
    assert made["classes"] == ["a", "b", "c"]
    assert made["weights"] == pytest.approx([100 / 30, 100 / 120, 100 / 150])


def test_equal_classes_weigh_1(tmp_path):
    assert weigh(tmp_path, {("a", "train"): 5, ("b", "train"): 5})["weights"] == [1, 1]
    # To the byte: training runs follow from this file.
    text = '{\n  "classes": [\n    "a",\n    "b"\n  ],\n  "weights": [\n    1.0,\n    1.0\n  ]\n}\n'
    assert (tmp_path / "weights.json").read_text() == text


def test_numeric_classes_are_in_the_order_of_numbers(tmp_path):
    made = weigh(tmp_path, {("10", "train"): 1, ("9", "train"): 2, ("1", "train"): 6, ("2", "train"): 3})
    assert made["classes"] == ["1", "2", "9", "10"]
    assert made["weights"] == pytest.approx([12 / 24, 12 / 12, 12 / 8, 12 / 4])


@pytest.mark.parametrize(
    "asked, ordered",
    [
        (["Tomato", "Pepper", "Onion"], ["Tomato", "Pepper", "Onion"]),
        (["Onion", "Tomato", "Pepper"], ["Onion", "Tomato", "Pepper"]),
        ([], ["Onion", "Pepper", "Tomato"]),
    ],
)
def test_classes_are_in_the_order_asked_for(tmp_path, asked, ordered):
    counts = {("Onion", "train"): 1, ("Pepper", "train"): 2, ("Tomato", "train"): 3}
    made = weigh(tmp_path, counts, asked)
    assert made["classes"] == ordered
    assert made["weights"] == pytest.approx([6 / 3 / counts[label, "train"] for label in ordered])


def test_asked_numbers_match_however_they_are_spelt(tmp_path):
    made = weigh(tmp_path, {("3", "train"): 1, ("1", "train"): 1, ("2", "train"): 1}, [3.0, "02", 1])
    assert made["classes"] == ["3", "2", "1"]


def test_names_in_other_scripts_are_written_as_they_are(tmp_path):
    weigh(tmp_path, {("низкий", "train"): 1, ("高い <b>", "train"): 1})
    text = (tmp_path / "weights.json").read_text(encoding="utf-8")
    assert '"низкий"' in text
    assert '"高い <b>"' in text


def test_a_class_may_miss_from_validation(tmp_path):
    made = weigh(tmp_path, {("a", "train"): 1, ("b", "train"): 1, ("a", "validation"): 1, ("b", "test"): 1})
    assert made["classes"] == ["a", "b"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_class_that_training_lacks_is_named(tmp_path, split):
    with pytest.raises(UserError, match=f"{split} holds classes that training does not: c, d"):
        weigh(tmp_path, {("a", "train"): 1, ("b", "train"): 1, ("d", split): 1, ("c", split): 2})


def test_the_weights_are_told(tmp_path, caplog):
    caplog.set_level("INFO", "baton")
    weigh(tmp_path, {("a", "train"): 1, ("b", "train"): 3})
    assert caplog.messages == ["class a: weight 2.0000", "class b: weight 0.6667"]
