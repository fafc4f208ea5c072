"""filter_corrupt: damaged images set aside, the promised number kept held out, copies warned of."""

import csv
import hashlib
import io
import json
import os

import pytest
from PIL import Image

import filter_corrupt
import inspect_images
from baton.errors import UserError

HOLDOUT = {"validation": 1, "test": 1, "seed": 1}
DRAWN = ["validation", "test", "train", "train", "train", "train"]


def picture(number, file_format="PNG"):
    """An 8 x 8 picture that no other number gives."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 99)).save(buffer, file_format)
    return buffer.getvalue()


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Filtered:
    """What main() makes of (image, class, split, draw) rows; contents: bytes of those that are no pictures."""

    def __init__(
        self, tmp_path, rows, contents=None, holdout=HOLDOUT, warned=None, megapixels=250, copies=()
    ):
        contents = contents or {}
        root, out = tmp_path / "images", tmp_path / "out"
        root.mkdir(parents=True)
        for number, (image, *_) in enumerate(rows):
            path = root / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.get(image, picture(number)))
        out.mkdir(exist_ok=True)
        with open(tmp_path / "split.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "class", "split", "draw"), *rows])
        made = [tmp_path / name for name in ("inspected.csv", "thumbnails.npy", "colours.npy", "grey.json")]
        inspect_images.main(tmp_path / "split.csv", *made, root, 2, megapixels)
        with open(tmp_path / "copies.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "twin", "kind"), *copies])
        filter_corrupt.main(
            tmp_path / "split.csv",
            made[0],
            made[3],
            tmp_path / "copies.csv",
            *(out / name for name in ("images.csv", "corrupt.csv", "look_at.csv", "dataset")),
            root,
            holdout or HOLDOUT,
            warned,
        )
        self.images, self.corrupt = read_rows(out / "images.csv"), read_rows(out / "corrupt.csv")
        self.look_at = {row["file"]: row["reason"] for row in read_rows(out / "look_at.csv")}
        self.grey = json.loads(made[3].read_text())
        self.splits = {row["image"]: row["split"] for row in self.images}
        self.links = {
            link.relative_to(out / "dataset").as_posix(): os.path.relpath(os.path.realpath(link), root)
            for link in (out / "dataset").glob("*/*/*")
        }


PLURAL = {"split": "splits", "class": "classes"}


def drawn(label, splits=DRAWN):
    return [(f"{label}{place}.jpg", label, split, place) for place, split in enumerate(splits)]


def test_good_images_stay_where_they_were_drawn(tmp_path):
    rows = drawn("a") + drawn("b")
    made = Filtered(tmp_path, rows)
    assert [(row["image"], row["class"], row["split"]) for row in made.images] == [row[:3] for row in rows]
    assert made.corrupt == []


def jpeg(number, spoil=lambda content: content):
    buffer = io.BytesIO()
    Image.linear_gradient("L").rotate(30 * number).convert("RGB").save(buffer, "JPEG")
    return spoil(buffer.getvalue())


def with_junk(content):
    """A JPEG with bytes between two markers, which its decoder warns of and skips."""
    return content[:20] + bytes(9) + content[20:]  # after the first segment, JFIF's


class TestWarnings:
    ROWS = drawn("a") + drawn("b")

    def contents(self, warned):
        """Contents of all twelve images as JPEGs, of which the last ones of each class have a warning."""
        names = [row[0] for row in self.ROWS]
        return {
            name: jpeg(n, with_junk if n % 6 >= 6 - warned else lambda c: c) for n, name in enumerate(names)
        }

    def test_a_few_are_left_out_as_damaged_with_the_decoders_words(self, tmp_path):
        made = Filtered(tmp_path, self.ROWS, self.contents(1))
        assert [row["file"] for row in made.corrupt] == ["a5.jpg", "b5.jpg"]
        assert made.corrupt[0]["reason"].startswith(
            "the decoder warns: Corrupt JPEG data: 9 extraneous bytes"
        )

    def test_where_many_have_one_the_user_is_asked(self, tmp_path):
        with pytest.raises(UserError) as refusal:
            Filtered(tmp_path, self.ROWS, self.contents(2))
        said = str(refusal.value)
        assert said.startswith(
            "4 of 12 JPEGs are read with a warning of the decoder, such as a4.jpg: Corrupt JPEG"
        )
        assert "set images.warned: keep" in said and "images.warned: leave_out" in said

    def test_keep_keeps_them_and_leave_out_leaves_them_out(self, tmp_path):
        kept = Filtered(tmp_path / "1", self.ROWS, self.contents(2), warned="keep")
        assert kept.corrupt == [] and len(kept.images) == 12
        left = Filtered(tmp_path / "2", self.ROWS, self.contents(2), warned="leave_out")
        assert [row["file"] for row in left.corrupt] == ["a4.jpg", "a5.jpg", "b4.jpg", "b5.jpg"]

    def test_a_broken_scan_is_damage_whatever_is_said_of_warnings(self, tmp_path):
        contents = {"a5.jpg": jpeg(1, lambda content: content[:-400] + b"\xff\xd9")}
        made = Filtered(tmp_path, self.ROWS, contents, warned="keep")
        assert [(row["file"], row["reason"][:19]) for row in made.corrupt] == [
            ("a5.jpg", "the scan is broken:")
        ]


def test_an_image_of_too_many_pixels_is_damaged_and_the_limit_a_key(tmp_path):
    wide = io.BytesIO()
    Image.linear_gradient("L").resize((1200, 1000)).save(wide, "PNG")
    for megapixels, reasons in ((1.1, ["1,200 x 1,000 pixels: more than images.megapixels, 1.1"]), (1.2, [])):
        made = Filtered(
            tmp_path / str(megapixels),
            drawn("a") + drawn("b"),
            {"a5.jpg": wide.getvalue()},
            megapixels=megapixels,
        )
        assert [row["reason"] for row in made.corrupt] == reasons


def test_digests_are_those_of_the_files(tmp_path):
    made = Filtered(tmp_path, drawn("a") + drawn("b"))
    assert [row["sha256"] for row in made.images] == [
        hashlib.sha256(picture(n)).hexdigest() for n in range(12)
    ]


def test_links_lie_in_split_and_class(tmp_path):
    made = Filtered(tmp_path, drawn("a", DRAWN[:3]) + drawn("b", DRAWN[:3]), {})
    assert made.links == {
        "validation/a/a0.jpg": "a0.jpg",
        "test/a/a1.jpg": "a1.jpg",
        "train/a/a2.jpg": "a2.jpg",
        "validation/b/b0.jpg": "b0.jpg",
        "test/b/b1.jpg": "b1.jpg",
        "train/b/b2.jpg": "b2.jpg",
    }


@pytest.mark.parametrize(
    "damaged, validation, test, train",
    [
        ([0], "2", "1", "345"),
        ([1], "0", "2", "345"),
        ([0, 1], "2", "3", "45"),
        ([0, 2], "3", "1", "45"),
        ([1, 2, 3], "0", "4", "5"),
        ([3, 5], "0", "1", "24"),
        ([0, 1, 3], "2", "4", "5"),
    ],
)
def test_a_damaged_held_out_image_is_replaced_by_the_next_of_the_draw(
    tmp_path, damaged, validation, test, train
):
    rows = (drawn("a") + drawn("b"))[::-1]
    made = Filtered(tmp_path, rows, {f"a{place}.jpg": b"" for place in damaged})
    places = {"validation": validation, "test": test, "train": train}
    expected = {f"a{place}.jpg": split for split in places for place in places[split]}
    assert {image: split for image, split in made.splits.items() if image[0] == "a"} == expected
    assert {image: split for image, split in made.splits.items() if image[0] == "b"} == {
        image: split for image, _, split, _ in drawn("b")
    }
    assert len(made.images) == len({row["image"] for row in made.images}) == 12 - len(damaged)


def test_places_in_the_draw_count_as_numbers(tmp_path):
    splits = ["validation", "test"] + ["train"] * 10
    damaged = {f"a{place}.jpg": b"" for place in (0, 2, 3, 4, 5, 6, 7, 8)}
    made = Filtered(tmp_path, drawn("a", splits) + drawn("b"), damaged)
    assert made.splits["a9.jpg"] == "validation"
    assert made.splits["a10.jpg"] == made.splits["a11.jpg"] == "train"


def test_a_damaged_file_is_in_corrupt_csv_and_nowhere_else(tmp_path, caplog):
    caplog.set_level("INFO", "baton")
    contents = {"a0.jpg": b"", "b4.jpg": b"<html>404</html>", "b1.jpg": picture(7, "JPEG")[:-2] + bytes(1000)}
    made = Filtered(tmp_path, drawn("a") + drawn("b"), contents)
    assert made.corrupt == [
        {"file": "a0.jpg", "class": "a", "split": "validation", "reason": "the file is empty"},
        {"file": "b1.jpg", "class": "b", "split": "test", "reason": "the end of the JPEG file is missing"},
        {"file": "b4.jpg", "class": "b", "split": "train", "reason": "not an image in a known format"},
    ]
    assert not set(contents) & ({row["image"] for row in made.images} | set(made.links.values()))
    assert "damaged: b4.jpg: not an image in a known format" in caplog.messages
    assert "3 of 12 images are damaged" in caplog.messages


def test_names_with_spaces_and_other_scripts_are_kept(tmp_path):
    rows = [(f"мои фото/写真 {image}", *rest) for image, *rest in drawn("a") + drawn("b")]
    made = Filtered(tmp_path, rows, {"мои фото/写真 a0.jpg": b""})
    assert made.corrupt[0]["file"] == "мои фото/写真 a0.jpg"
    assert made.splits["мои фото/写真 a2.jpg"] == "validation"
    assert made.links["validation/a/写真 a2.jpg"] == "мои фото/写真 a2.jpg"


def test_given_splits_are_not_filled_up(tmp_path):
    rows = [
        (f"{split}/{label}/{n}.jpg", label, split, "")
        for split in ("train", "validation", "test")
        for label in "ab"
        for n in range(2)
    ]
    made = Filtered(tmp_path, rows, {"validation/a/0.jpg": b"", "test/b/1.jpg": b""}, holdout=None)
    assert made.splits == {
        image: split for image, _, split, _ in rows if image not in ("validation/a/0.jpg", "test/b/1.jpg")
    }


def refusal(tmp_path, rows, contents, holdout=HOLDOUT):
    with pytest.raises(UserError) as error:
        Filtered(tmp_path, rows, contents, holdout)
    assert list((tmp_path / "out").iterdir()) == []  # of the filter
    return str(error.value)


def test_every_class_that_damage_makes_too_small_is_named(tmp_path):
    rows = drawn("10", DRAWN[:3]) + drawn("2", DRAWN[:3]) + drawn("1")
    message = refusal(tmp_path, rows, {"100.jpg": b"", "20.jpg": b"", "21.jpg": b"", "10.jpg": b""})
    assert "class 2 has 0 for train, of 1 needed (2 damaged)" in message
    assert "class 2 has 0 for test, of 1 needed (2 damaged)" in message
    assert "class 10 has 0 for train, of 1 needed (1 damaged)" in message
    assert message.index("class 2 ") < message.index("class 10 ")
    assert "class 1 " not in message
    assert "holdout.validation" in message
    assert "data.classes" in message


def test_a_class_that_is_all_damaged_is_named(tmp_path):
    message = refusal(tmp_path, drawn("a") + drawn("b"), {f"a{place}.jpg": b"" for place in range(6)})
    assert "class a has 0 for train, of 1 needed (6 damaged)" in message
    assert "class b " not in message


def test_a_given_class_without_a_readable_training_image_is_named(tmp_path):
    rows = [
        (f"{split}/{label}.jpg", label, split, "")
        for split in ("train", "validation", "test")
        for label in "ab"
    ]
    message = refusal(tmp_path, rows, {"train/b.jpg": b""}, holdout=None)
    assert "class b has 0 for train, of 1 needed (1 damaged)" in message


@pytest.mark.parametrize(
    "pair, warned",
    [
        (("a0.jpg", "a3.jpg"), ["split"]),
        (("a3.jpg", "b3.jpg"), ["class"]),
        (("a0.jpg", "b1.jpg"), ["split", "class"]),
        (("a3.jpg", "a4.jpg"), []),
    ],
)
def test_copies_across_splits_and_classes_are_warned_of(tmp_path, caplog, pair, warned):
    Filtered(tmp_path, drawn("a") + drawn("b"), copies=[(*pair, "copy"), ("a4.jpg", "b4.jpg", "alike")])
    warnings = [message for message in caplog.messages if " of copies " in message]
    assert [f"1 pair of copies is in different {PLURAL[kind]}" for kind in warned] == [
        message.split(":")[0] for message in warnings
    ]
    named = {message.strip() for message in caplog.messages if message.startswith("  ")}
    assert named == ({" and ".join(pair)} if warned else set())


def test_damaged_copies_are_not_warned_of(tmp_path, caplog):
    Filtered(tmp_path, drawn("a") + drawn("b"), {"a0.jpg": b""}, copies=[("a0.jpg", "b3.jpg", "copy")])
    assert not [message for message in caplog.messages if "copies" in message]
