"""split_holdout: exact counts, a draw that follows from seed and names alone, and given splits."""

import csv
import random
from collections import Counter

import pandas as pd
import pytest

import split_holdout
from baton.errors import UserError
from baton.manifests import read_manifest, write_manifest

SIZES = {"1": 7, "2": 12, "10": 30}
HOLDOUT = {"validation": 2, "test": 3, "seed": 1}


def manifest(sizes, prefix="photo"):
    return [
        (f"{prefix} {label}-{number}.jpg", label) for label, size in sizes.items() for number in range(size)
    ]


def split(tmp_path, rows, holdout=HOLDOUT, groups=(), damaged=(), before="images.csv"):
    """Run main() on (image, class[, split]) rows; return {image: row of split.csv}.

    holdout: None where the splits are given; groups: pairs of image and group; damaged: images.
    """

    def write(name, header, rows):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
        return tmp_path / name

    inspected = [(row[0], "", "broken" if row[0] in damaged else "", "") for row in rows]
    split_holdout.main(
        write("classes.csv", ("image", "class", "split")[: len(rows[0])], rows),
        write("inspected.csv", ("image", "sha256", "damage", "warning"), inspected),
        write("groups.csv", ("image", "group"), groups),
        tmp_path / "split.csv",
        holdout or HOLDOUT,
        holdout is None,
        None,
        tmp_path / before,
    )
    with open(tmp_path / "split.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "class", "split", "draw"]
    return {row["image"]: row for row in rows}


def with_place(frame):
    return frame.assign(place=[split_holdout.place_in_draw(image, 1) for image in frame["image"]])


def held_out(placed, label=None):
    return {
        image: row["split"]
        for image, row in placed.items()
        if row["split"] != "train" and label in (None, row["class"])
    }


def test_every_class_gives_exactly_the_asked_numbers(tmp_path):
    placed = split(tmp_path, manifest(SIZES))
    assert Counter((row["class"], row["split"]) for row in placed.values()) == {
        ("1", "validation"): 2,
        ("1", "test"): 3,
        ("1", "train"): 2,
        ("2", "validation"): 2,
        ("2", "test"): 3,
        ("2", "train"): 7,
        ("10", "validation"): 2,
        ("10", "test"): 3,
        ("10", "train"): 25,
    }


def test_every_image_is_in_one_split_and_keeps_its_class(tmp_path):
    rows = manifest(SIZES)
    split(tmp_path, rows)
    with open(tmp_path / "split.csv", encoding="utf-8", newline="") as file:
        assert [(row["image"], row["class"]) for row in csv.DictReader(file)] == rows


def test_draw_numbers_each_class_from_0_and_the_first_are_held_out(tmp_path):
    placed = split(tmp_path, manifest(SIZES)).values()
    for label, size in SIZES.items():
        draw = {int(row["draw"]): row["split"] for row in placed if row["class"] == label}
        assert [draw[place] for place in range(size)] == ["validation"] * 2 + ["test"] * 3 + ["train"] * (
            size - 5
        )


def test_same_seed_same_split_other_seed_other_split(tmp_path):
    rows = manifest(SIZES)
    one, again = split(tmp_path, rows), split(tmp_path, rows)
    other = split(tmp_path, rows, HOLDOUT | {"seed": 2})
    assert one == again
    assert held_out(one) != held_out(other)


def test_order_of_rows_does_not_change_the_draw(tmp_path):
    rows = manifest(SIZES)
    one = split(tmp_path, rows)
    random.Random(0).shuffle(rows)
    assert split(tmp_path, rows) == one


def test_a_further_image_leaves_the_draw_of_other_classes(tmp_path):
    rows = manifest(SIZES)
    one = split(tmp_path, rows)
    more = split(tmp_path, [*rows, ("a new one.jpg", "2")])
    assert {image: row for image, row in one.items() if row["class"] != "2"} == {
        image: row for image, row in more.items() if row["class"] != "2"
    }


def test_a_further_image_leaves_the_order_of_its_own_class(tmp_path):
    def order(placed):
        return sorted(
            (image for image in placed if image.startswith("photo 2-")), key=lambda i: int(placed[i]["draw"])
        )

    rows = manifest(SIZES)
    assert order(split(tmp_path, [*rows, ("a new one.jpg", "2")])) == order(split(tmp_path, rows))


def test_the_draw_is_no_list_of_the_first_names():
    """500 of 1000 drawn: were they the first or last by name, one half would be all or nothing."""
    frame = pd.DataFrame(manifest({"1": 1000, "2": 1000}), columns=["image", "class"])
    drawn = split_holdout.draw_holdout(with_place(frame), validation=250, test=250)
    first_half = drawn["image"].str.extract(r"-(\d+)")[0].astype(int) < 500
    for label in ("1", "2"):
        in_half = (drawn["split"] != "train") & first_half & (drawn["class"] == label)
        assert 200 < in_half.sum() < 300


def test_names_in_other_scripts_are_drawn(tmp_path):
    placed = split(tmp_path, manifest({"низкий": 6, "高": 6}, prefix="фото 写真"))
    assert Counter(row["split"] for row in placed.values()) == {"validation": 4, "test": 6, "train": 2}


def test_a_class_may_leave_one_image_to_train_on_and_no_less(tmp_path):
    placed = split(tmp_path, manifest({"a": 6, "b": 6}))
    assert Counter(row["split"] for row in placed.values())["train"] == 2
    with pytest.raises(UserError, match="class b has 5, of 6 needed"):
        split(tmp_path, manifest({"a": 6, "b": 5}))


def test_all_classes_that_are_too_small_are_named_with_their_counts(tmp_path):
    with pytest.raises(UserError) as error:
        split(tmp_path, manifest({"10": 5, "2": 1, "1": 9, "9": 3}))
    message = str(error.value)
    assert "hold out 2 for validation and 3 for test" in message
    assert "class 2 has 1, class 9 has 3, class 10 has 5, of 6 needed" in message
    assert "class 1 " not in message
    assert "holdout.validation" in message
    assert "holdout.test" in message
    assert "data.classes" in message


GIVEN = [
    ("train/x/1.jpg", "x"),
    ("train/y/1.jpg", "y"),
    ("validation/x/1.jpg", "x"),
    ("validation/y/1.jpg", "y"),
    ("test/x/1.jpg", "x"),
    ("test/y/1.jpg", "y"),
]


def test_given_splits_are_taken_as_they_are(tmp_path, caplog):
    placed = split(tmp_path, GIVEN, holdout=None)
    assert {image: row["split"] for image, row in placed.items()} == {
        image: image.split("/")[0] for image, _ in GIVEN
    }
    assert {row["draw"] for row in placed.values()} == {""}
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("lacking", ["validation", "test"])
def test_a_class_that_misses_from_a_given_split_is_reported(tmp_path, caplog, lacking):
    rows = [row for row in GIVEN if row[0] != f"{lacking}/y/1.jpg"]
    placed = split(tmp_path, rows, holdout=None)
    assert len(placed) == 5
    assert f"no {lacking} images of class y" in [
        r.message for r in caplog.records if r.levelname == "WARNING"
    ]


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_split_without_images_is_refused(tmp_path, lacking):
    rows = [row for row in GIVEN if not row[0].startswith(f"{lacking}/")]
    with pytest.raises(UserError, match=f"there are no {lacking} images of the chosen classes"):
        split(tmp_path, rows, holdout=None)
    assert not (tmp_path / "split.csv").exists()


def test_classes_that_miss_from_training_are_refused(tmp_path):
    rows = [*GIVEN, ("test/10/1.jpg", "10"), ("validation/9/1.jpg", "9")]
    with pytest.raises(UserError, match="no training images of class 10, 9: a model cannot learn"):
        split(tmp_path, rows, holdout=None)


@pytest.mark.parametrize(
    "name",
    [
        "a, b.jpg",
        'a "b".jpg',
        "two\nlines",
        "Icon\r",
        "a\r\nb",
        " a ",
        "NA",
        "",
        "\u2028",
        "1.0",
        "写真",
        "x\udcff.jpg",
    ],
    ids=ascii,
)
def test_a_manifest_gives_every_name_back(tmp_path, name):
    frame = pd.DataFrame({"image": ["first", name, "last"], "class": ["01", "2.0", name]})
    write_manifest(frame, tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv").to_numpy().tolist() == frame.to_numpy().tolist()


class TestGivenSplits:
    def test_validation_is_drawn_from_training_where_none_is_given(self, tmp_path):
        rows = [(f"train/{label}/{number}.jpg", label) for label in "ab" for number in range(6)]
        rows += [(f"test/{label}/{number}.jpg", label) for label in "ab" for number in range(2)]
        placed = split(tmp_path, rows, holdout=None)
        counts = Counter((row["split"], row["class"]) for row in placed.values())
        assert counts == {
            ("train", "a"): 4,
            ("train", "b"): 4,
            ("validation", "a"): 2,
            ("validation", "b"): 2,
            ("test", "a"): 2,
            ("test", "b"): 2,
        }
        assert {
            image: row["draw"] for image, row in placed.items() if row["split"] == "test"
        } == dict.fromkeys((row[0] for row in rows[12:]), "")
        alone = split(
            tmp_path, [row for row in rows if row[0].startswith("train/")] + rows[12:], holdout=None
        )
        assert alone == placed
        # As a holdout without test images would be drawn.
        frame = pd.DataFrame(rows[:12], columns=["image", "class"])
        drawn = split_holdout.draw_holdout(with_place(frame), 2, 0)
        assert dict(zip(drawn["image"], drawn["split"], strict=True)) == {
            row[0]: placed[row[0]]["split"] for row in rows[:12]
        }

    def test_a_column_says_which(self, tmp_path):
        rows = [
            (f"{number}.jpg", "ab"[number % 2], ("train", "validation", "test")[number // 4])
            for number in range(12)
        ]
        placed = split(tmp_path, rows, holdout=None)
        assert {image: row["split"] for image, row in placed.items()} == {row[0]: row[2] for row in rows}


class TestTogether:
    ROWS = [(f"{number:02}.jpg", "ab"[number % 2]) for number in range(40)]
    PAIRS = [(f"{number:02}.jpg", f"{number % 20:02}.jpg") for number in range(40)]  # 0 and 20, 1 and 21, ...

    def test_a_group_is_in_one_split_and_the_counts_are_exact(self, tmp_path):
        placed = split(tmp_path, self.ROWS, {"validation": 4, "test": 6, "seed": 1}, self.PAIRS)
        assert Counter((row["split"], row["class"]) for row in placed.values()) == {
            (name, label): count
            for name, count in (("train", 10), ("validation", 4), ("test", 6))
            for label in "ab"
        }
        assert all(
            placed[f"{number:02}.jpg"]["split"] == placed[f"{number + 20:02}.jpg"]["split"]
            for number in range(20)
        )

    def test_damaged_images_are_not_drawn(self, tmp_path):
        damaged = [f"{number:02}.jpg" for number in range(6)]
        placed = split(tmp_path, self.ROWS, {"validation": 4, "test": 6, "seed": 1}, self.PAIRS, damaged)
        assert {(placed[name]["split"], placed[name]["draw"]) for name in damaged} == {("train", "")}
        good = Counter((row["split"], row["class"]) for image, row in placed.items() if image not in damaged)
        assert {good[name, label] for name, label in good if name == "test"} == {6}

    def before(self, tmp_path, placed, damaged=()):
        path = tmp_path / "earlier/images.csv"
        path.parent.mkdir()
        rows = [
            f"{image},{row['class']},{row['split']},\n"
            for image, row in placed.items()
            if image not in damaged
        ]
        path.write_text("image,class,split,sha256\n" + "".join(rows))
        return path

    def test_a_study_that_was_drawn_without_is_asked_before_it_is_drawn_anew(self, tmp_path):
        holdout = {"validation": 4, "test": 6, "seed": 1}
        plain = split(tmp_path, self.ROWS, holdout)
        before = self.before(tmp_path, plain)
        with pytest.raises(UserError) as refused:
            split(tmp_path, self.ROWS, holdout, self.PAIRS, before=before)
        parted = sum(plain[f"{n:02}.jpg"]["split"] != plain[f"{n + 20:02}.jpg"]["split"] for n in range(20))
        assert str(refused.value).startswith(
            f"{parted} groups of images that are copies of one another are in several splits"
        )
        assert "set holdout.keep_together: none" in str(refused.value)
        # With another seed it would have been drawn anew all the same.
        split(tmp_path, self.ROWS, holdout | {"seed": 2}, self.PAIRS, before=before)

    def test_one_that_was_drawn_with_them_is_not(self, tmp_path):
        holdout = {"validation": 4, "test": 6, "seed": 1}
        placed = split(tmp_path, self.ROWS, holdout, self.PAIRS)
        before = self.before(tmp_path, placed)
        assert split(tmp_path, self.ROWS, holdout, self.PAIRS, before=before) == placed
