"""sort_into_classes: what is read from a CSV or from folders, what is left out, and what is refused."""

import csv
import random
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import sort_into_classes
from annotations.classes import label_images
from baton.data.labels import normalize_label, sort_labels
from baton.data.links import folder_name, link_images
from baton.errors import UserError


def touch(folder, *names):
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def annotations(tmp_path, text, files, **changes):
    """Write a CSV and its images; return the `data` section of the config."""
    images = tmp_path / "images"
    images.mkdir(exist_ok=True)
    touch(images, *files)
    path = tmp_path / "answers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {
        "source": "annotations",
        "images": str(images),
        "annotations": str(path),
        "image_column": "image",
        "label_column": "label",
        "annotator_column": None,
        "split_column": None,
        "split_names": {"train": ["train"], "validation": ["validation"], "test": ["test"]},
        "group_column": None,
        "group_pattern": None,
        "where": {},
        "combine": None,
        "no_answer": ["NA", "N/A", "NaN", "None", "null", "#N/A", "-", "?"],
        "classes": None,
        "ordered": None,
        "missing_images": "error",
    } | changes


def folders(tmp_path, source, *files, classes=None, group_pattern=None):
    touch(tmp_path / "images", *files)
    data = {"source": source, "images": str(tmp_path / "images"), "classes": classes, "ordered": None}
    return data | {"split_column": None, "group_pattern": group_pattern}


def read_rows(path):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.reader(file))


class Sorted:
    """What main() made of `data`."""

    def __init__(self, data, tmp_path, before=None):
        self.folder = tmp_path / "out" / "classes"
        self.folder.parent.mkdir(exist_ok=True)
        self.csv, left_out = tmp_path / "out" / "classes.csv", tmp_path / "out" / "left_out.csv"
        notes = tmp_path / "out" / "notes.csv"
        answers = tmp_path / "out" / "answers.csv"
        sort_into_classes.main(
            data, self.csv, left_out, notes, answers, self.folder, before or tmp_path / "split.csv"
        )
        header, *rows = read_rows(self.csv)
        assert header[:2] == ["image", "class"]
        self.classes = dict(row[:2] for row in rows)
        self.more = {
            name: {row[0]: row[place] for row in rows} for place, name in enumerate(header) if place > 1
        }
        header, *self.answers = read_rows(answers)
        assert header == ["image", "annotator", "answer", "class"]
        assert len(self.classes) == len(rows)
        header, *rows = read_rows(left_out)
        assert header == ["reason", "unit", "count"]
        self.left_out = {reason: (int(count), unit) for reason, unit, count in rows}
        header, *rows = read_rows(notes)
        assert header == ["note", "unit", "count"]
        self.notes = {note: (int(count), unit) for note, unit, count in rows}

    def targets(self):
        """The files behind the links, by class folder."""
        return {
            folder.name: sorted(link.read_bytes().decode() for link in folder.iterdir())
            for folder in self.folder.iterdir()
        }


def refusal(data, tmp_path):
    with pytest.raises(UserError) as error:
        Sorted(data, tmp_path)
    return str(error.value)


# Reading the CSV


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no BOM", "BOM"])
@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"], ids=["CR", "LF", "CRLF"])
def test_csv_of_any_spelling_gives_the_same_classes(tmp_path, mark, separator, end):
    rows = [
        ["image", "rated by", "label"],
        ["a b.jpg", "me", "1"],
        ["фото 2.jpg", "", "2"],
        ["写真.png", "me", "10"],
    ]
    text = mark + end.join(separator.join(row) for row in rows) + end
    made = Sorted(annotations(tmp_path, text, ["a b.jpg", "фото 2.jpg", "写真.png"]), tmp_path)
    assert made.classes == {"a b.jpg": "1", "фото 2.jpg": "2", "写真.png": "10"}
    assert made.targets() == {"1": ["a b.jpg"], "2": ["фото 2.jpg"], "10": ["写真.png"]}


def test_csv_without_a_last_line_end_loses_no_row(tmp_path):
    made = Sorted(annotations(tmp_path, "image,label\na.jpg,1\nb.jpg,2", ["a.jpg", "b.jpg"]), tmp_path)
    assert made.classes == {"a.jpg": "1", "b.jpg": "2"}


@pytest.mark.parametrize("in_csv, on_disk", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_match_however_they_are_written_and_the_disk_name_is_kept(tmp_path, in_csv, on_disk):
    name = "Ünïcödé.jpg"
    text = f"image,label\n{unicodedata.normalize(in_csv, name)},1\nb.jpg,2\n"
    file = unicodedata.normalize(on_disk, name)
    made = Sorted(annotations(tmp_path, text, [file, "b.jpg"]), tmp_path)
    assert made.classes == {file: "1", "b.jpg": "2"}
    assert made.targets() == {"1": [file], "2": ["b.jpg"]}


def test_two_files_that_differ_only_in_how_an_accent_is_written_stay_two(tmp_path):
    one, other = unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")
    made = Sorted(annotations(tmp_path, f"image,label\n{one},1\n{other},2\n", [one, other]), tmp_path)
    assert made.classes == {one: "1", other: "2"}


def test_quoted_cells_keep_separators_quotes_and_line_ends(tmp_path):
    text = 'image,label\n"a, b ""c"".jpg","low, very"\n"two\nlines.jpg", "high"\n'
    made = Sorted(annotations(tmp_path, text, ['a, b "c".jpg', "two\nlines.jpg"]), tmp_path)
    assert made.classes == {'a, b "c".jpg': "low, very", "two\nlines.jpg": "high"}


def test_long_table_keeps_the_rows_of_one_annotator_and_question(tmp_path):
    text = "image,annotator,question,label\n" + "".join(
        f"{image},{who},{what},{label}\n"
        for image, who, what, label in [
            ("a.jpg", "a001", "beauty", 1),
            ("a.jpg", "a001", "age", 8),
            ("a.jpg", "a002", "beauty", 9),
            ("b.jpg", "a001", "beauty", 2),
            ("c.jpg", "a002", "beauty", 3),
        ]
    )
    where = {"annotator": "a001", "question": "beauty"}
    made = Sorted(annotations(tmp_path, text, ["a.jpg", "b.jpg", "c.jpg"], where=where), tmp_path)
    assert made.classes == {"a.jpg": "1", "b.jpg": "2"}
    assert made.left_out == {
        "not what data.where asks for": (3, "rows"),
        "in the folder, but without an answer that is used": (1, "images"),
    }


def test_where_compares_numbers_as_numbers(tmp_path):
    text = "image,round,label\na.jpg,1.0,5\nb.jpg,01,6\nc.jpg,2,7\n"
    made = Sorted(annotations(tmp_path, text, ["a.jpg", "b.jpg", "c.jpg"], where={"round": 1}), tmp_path)
    assert made.classes == {"a.jpg": "5", "b.jpg": "6"}


@pytest.mark.parametrize("column, expected", [("beauty", ["1", "2"]), ("age group", ["old", "new"])])
def test_wide_table_takes_the_named_column(tmp_path, column, expected):
    text = "file;beauty;age group\na.jpg;1;old\nb.jpg;2;new\n"
    data = annotations(tmp_path, text, ["a.jpg", "b.jpg"], image_column="file", label_column=column)
    assert list(Sorted(data, tmp_path).classes.values()) == expected


def test_a_column_called_row_is_one_like_others(tmp_path):
    text = "image,row\na.jpg,front\nb.jpg,back\n"
    data = annotations(tmp_path, text, ["a.jpg", "b.jpg"], label_column="row")
    assert Sorted(data, tmp_path).classes == {"a.jpg": "front", "b.jpg": "back"}


@pytest.mark.parametrize("combine", [None, "median", "mean", "majority"])
def test_order_of_rows_changes_no_byte(tmp_path, combine):
    files = [f"{folder}/{number}.jpg" for folder in "ab" for number in range(9)]
    answers = [0] if combine is None else [0, 0, 1]
    rows = [
        f"{file},{len(file) * ord(file[0]) * n % 4 + answer}"
        for n, file in enumerate(files)
        for answer in answers
    ]
    made = []
    for seed in (0, 1):
        random.Random(seed).shuffle(rows)
        data = annotations(tmp_path, "\n".join(["image,label", *rows, "gone.jpg,1"]), files, combine=combine)
        data["missing_images"] = "skip"
        result = Sorted(data, tmp_path)
        assert len(result.classes) == 18
        made.append((result.csv.read_bytes(), result.csv.with_name("left_out.csv").read_bytes()))
    assert made[0] == made[1]


# Labels


@pytest.mark.parametrize(
    "value, label",
    [
        ("3.0", "3"),
        ("3", "3"),
        (3, "3"),
        (3.0, "3"),
        ("03", "3"),
        (" 3 ", "3"),
        ("-2.0", "-2"),
        ("2.50", "2.5"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("Pepper ", "Pepper"),
        ("v1.0", "v1.0"),
        ("1_2", "1_2"),
        ("2024_01", "2024_01"),
        ("12345678901234567", "12345678901234567"),
    ],
)
def test_normalize_label(value, label):
    assert normalize_label(value) == label


@pytest.mark.parametrize(
    "labels, ordered",
    [
        (["10", "9", "2", "1", "2"], ["1", "2", "9", "10"]),
        (["0", "-1", "2.5", "10", "2"], ["-1", "0", "2", "2.5", "10"]),
        (["10", "9", "low"], ["10", "9", "low"]),
        (["Tomato", "Pepper"], ["Pepper", "Tomato"]),
    ],
)
def test_sort_labels(labels, ordered):
    assert sort_labels(labels) == ordered


def test_numbers_are_one_class_however_they_are_spelt(tmp_path):
    files = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    made = Sorted(
        annotations(tmp_path, "image,label\na.jpg,3\nb.jpg,3.0\nc.jpg,03\nd.jpg,4\n", files), tmp_path
    )
    assert made.classes == {"a.jpg": "3", "b.jpg": "3", "c.jpg": "3", "d.jpg": "4"}


def test_log_lists_numeric_classes_as_numbers(tmp_path, caplog):
    caplog.set_level("INFO", "baton")
    files = [f"{number}.jpg" for number in range(1, 11)]
    text = "image,label\n" + "".join(f"{number}.jpg,{number}\n" for number in range(1, 11))
    Sorted(annotations(tmp_path, text, files), tmp_path)
    listed = [message for message in caplog.messages if message.startswith("class ")]
    assert listed == [f"class {number}: 1 images" for number in range(1, 11)]
    assert f"{tmp_path}/answers.csv: 10 rows" in caplog.messages


# Several answers to an image


def combined(combine, answers):
    frame = pd.DataFrame(answers, columns=["image", "label"])
    left_out = sort_into_classes.Counts("left out", "reason")
    result = label_images(frame.assign(row=range(2, len(frame) + 2)), combine, None, left_out)
    return dict(zip(result["image"], result["class"], strict=True)), left_out.rows


@pytest.mark.parametrize(
    "combine, answers, label",
    [
        ("median", "1 2 9", "2"),
        ("median", "1 2", "2"),  # 1.5
        ("median", "2 3", "3"),  # 2.5
        ("median", "10 9 2", "9"),
        ("median", "-1 -2", "-1"),  # -1.5
        ("mean", "1 1 2", "1"),  # 1.33
        ("mean", "1 2 2", "2"),  # 1.67
        ("mean", "2 3", "3"),  # 2.5
        ("mean", "3 4", "4"),  # 3.5
        ("mean", "1.25 1.75", "2"),  # 1.5
        ("majority", "1 2 2", "2"),
        ("majority", "10 10 9 9 9", "9"),
        ("majority", "7", "7"),
    ],
)
def test_combine(combine, answers, label):
    assert combined(combine, [("a.jpg", answer) for answer in answers.split()])[0] == {"a.jpg": label}


def test_majority_leaves_out_an_image_with_a_tie():
    answers = [("tied", "1"), ("tied", "2"), ("clear", "1"), ("clear", "1"), ("clear", "3")]
    labels, left_out = combined("majority", answers)
    assert labels == {"clear": "1"}
    assert ("no majority: a tie between answers", "images", 1) in left_out


def test_answers_of_tied_images_are_not_counted_as_combined():
    answers = [("tied", "1"), ("tied", "2"), ("clear", "1"), ("clear", "1"), ("clear", "3")]
    _, left_out = combined("majority", answers)
    assert ("combined into one per image by majority", "answers", 2) in left_out


@pytest.mark.parametrize("combine", ["median", "mean"])
def test_combining_says_how_many_answers_became_one(combine):
    _, left_out = combined(combine, [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1")])
    assert left_out == [(f"combined into one per image by {combine}", "answers", 2)]


def test_several_answers_are_refused_with_their_number(tmp_path):
    text = "image,label\na.jpg,1\na.jpg,2\na.jpg,3\nb.jpg,1\nb.jpg,1\nc.jpg,2\n"
    message = refusal(annotations(tmp_path, text, ["a.jpg", "b.jpg", "c.jpg"]), tmp_path)
    assert "2 images have several answers (up to 3): a.jpg, b.jpg" in message
    assert "data.where" in message
    assert "data.combine" in message


@pytest.mark.parametrize("combine", ["median", "mean"])
def test_combining_numbers_refuses_text_by_its_row(tmp_path, combine):
    data = annotations(tmp_path, "image,label\na.jpg,1\nb.jpg,good\n", ["a.jpg", "b.jpg"], combine=combine)
    message = refusal(data, tmp_path)
    assert "row 3: the answer good is not a number" in message
    assert f"data.combine: {combine}" in message


def test_nothing_but_ties_is_refused_as_that(tmp_path):
    text = "image,label\na.jpg,1\na.jpg,2\nb.jpg,1\nb.jpg,2\n"
    data = annotations(tmp_path, text, ["a.jpg", "b.jpg"], combine="majority")
    message = refusal(data, tmp_path)
    assert "data.combine" in message or "majority" in message


# Classes

FIVE = "image,label\na.jpg,1\nb.jpg,2\nc.jpg,3\nd.jpg,4\ne.jpg,4\n"
FIVE_FILES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]


@pytest.mark.parametrize(
    "classes, expected, left_out",
    [
        (None, "1 2 3 4 4", {}),
        ([4, "1.0"], "1 - - 4 4", {"a label that data.classes does not name": (2, "images")}),
        ({"low": [1, 2], "high": [3, 4.0]}, "low low high high high", {}),
        (
            {"low": ["1"], "top": [4]},
            "low - - top top",
            {"a label that data.classes does not name": (2, "images")},
        ),
        ({"1": [4], "4": [1]}, "4 - - 1 1", {"a label that data.classes does not name": (2, "images")}),
    ],
)
def test_classes_are_all_kept_or_merged(tmp_path, classes, expected, left_out):
    made = Sorted(annotations(tmp_path, FIVE, FIVE_FILES, classes=classes), tmp_path)
    pairs = zip(FIVE_FILES, expected.split(), strict=True)
    assert made.classes == {image: label for image, label in pairs if label != "-"}
    assert made.left_out == left_out


@pytest.mark.parametrize("classes", [[1, 7, 4], {"low": [1], "7": [7, 8]}])
def test_a_class_that_no_image_has_is_refused_with_the_labels_there_are(tmp_path, classes):
    message = refusal(annotations(tmp_path, FIVE, FIVE_FILES, classes=classes), tmp_path)
    assert "data.classes: no image is labelled 7." in message
    assert "Labels there are: 1, 2, 3, 4." in message


def test_one_class_alone_is_refused(tmp_path):
    message = refusal(annotations(tmp_path, "image,label\na.jpg,x\nb.jpg,x\n", ["a.jpg", "b.jpg"]), tmp_path)
    assert "all 2 images are of one class, x: at least two are needed" in message
    assert "data.label_column" in message


# Labels as folder names

HOSTILE = {
    "upwards": "../../x",
    "absolute": "/etc",
    "slash": "a/b",
    "backslash": "a\\b",
    "markup": "<script>alert(1)</script>",
    "dot": ".",
    "two dots": "..",
    "hidden": ".git",
    "long": "x" * 1000,
    "long in another script": "感" * 200,
    "line end": "two\nlines",
    "percent": "a%2Fb",
}


@pytest.mark.parametrize("label", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_label_is_a_class_and_stays_in_the_folder(tmp_path, label):
    data = annotations(tmp_path, f'image,label\na.jpg,"{label}"\nb.jpg,fine\n', ["a.jpg", "b.jpg"])
    before = set(tmp_path.rglob("*"))
    made = Sorted(data, tmp_path)
    assert made.classes == {"a.jpg": label, "b.jpg": "fine"}
    assert sorted(made.targets().values()) == [["a.jpg"], ["b.jpg"]]
    outside = {path for path in tmp_path.rglob("*") if made.folder not in (path, *path.parents)}
    assert outside - before == {
        made.folder.parent,
        made.csv,
        made.csv.with_name("left_out.csv"),
        made.csv.with_name("notes.csv"),
        made.csv.with_name("answers.csv"),
    }


@pytest.mark.parametrize(
    "label", ["", *HOSTILE.values(), " ", "a.", "CON:", "\x00", 'a"b*c?'], ids=lambda label: ascii(label)[:30]
)
def test_folder_name_is_one_harmless_name(label):
    name = folder_name(label)
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|\x00\n')
    assert name == name.strip(". ")
    assert len(name.encode()) <= 255


def test_labels_never_share_a_folder():
    labels = [*HOSTILE.values(), "a/b", "a%2Fb", "a%252Fb", "x" * 999, "x" * 1000 + "y", "%2E"]
    assert len({folder_name(label) for label in labels}) == len(set(labels))


def test_an_empty_label_is_no_answer(tmp_path):
    text = "image,label\na.jpg,1\nb.jpg,\nc.jpg,2\nd.jpg, NA\n,3\n"
    made = Sorted(annotations(tmp_path, text, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]), tmp_path)
    assert made.classes == {"a.jpg": "1", "c.jpg": "2"}
    assert made.left_out == {
        "no answer": (1, "rows"),
        "no answer: NA": (1, "rows"),
        "the image column is empty": (1, "rows"),
        "in the folder, but without an answer that is used": (2, "images"),
    }


# Images


def test_two_images_of_one_name_stay_two(tmp_path):
    text = "image,label\nx/a.jpg,1\ny/a.jpg,1\nx/b.jpg,2\ny/B.jpg,2\nz/a.jpg,2\n"
    data = annotations(tmp_path, text, ["x/a.jpg", "y/a.jpg", "x/b.jpg", "y/B.jpg", "z/a.jpg"])
    made = Sorted(data, tmp_path)
    assert made.classes == {"x/a.jpg": "1", "y/a.jpg": "1", "x/b.jpg": "2", "y/B.jpg": "2", "z/a.jpg": "2"}
    assert made.targets() == {"1": ["x/a.jpg", "y/a.jpg"], "2": ["x/b.jpg", "y/B.jpg", "z/a.jpg"]}
    names = [link.name.casefold() for link in (made.folder / "2").iterdir()]
    assert len(set(names)) == 3


def link(tmp_path, images, labels):
    link_images(tmp_path / "links", lambda: zip(images, labels, strict=True), tmp_path, labels)


def test_two_images_of_one_very_long_name_stay_two(tmp_path):
    images = [f"{folder}/{'n' * 250}.jpg" for folder in "xy"]
    touch(tmp_path, *images)
    link(tmp_path, images, ["1", "1"])
    assert sorted(link.read_text() for link in (tmp_path / "links" / "1").iterdir()) == images


def test_links_of_a_run_before_are_gone(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    link(tmp_path, ["a.jpg", "b.jpg"], ["1", "2"])
    link(tmp_path, ["a.jpg"], ["3"])
    assert [path.relative_to(tmp_path / "links").as_posix() for path in (tmp_path / "links").rglob("*")] == [
        "3",
        "3/a.jpg",
    ]
    assert (tmp_path / "b.jpg").read_text() == "b.jpg"


@pytest.mark.parametrize("cell", ["./sub/a.jpg", "sub//a.jpg", "sub\\a.jpg", "sub/../sub/a.jpg"])
def test_a_path_may_be_spelt_in_several_ways(tmp_path, cell):
    made = Sorted(
        annotations(tmp_path, f"image,label\n{cell},1\nb.jpg,2\n", ["sub/a.jpg", "b.jpg"]), tmp_path
    )
    assert made.classes == {"sub/a.jpg": "1", "b.jpg": "2"}


@pytest.mark.parametrize(
    "cell", ["../x.jpg", "/etc/passwd", "sub/../../x.jpg", "..\\x.jpg", "../images/a.jpg"]
)
@pytest.mark.parametrize("missing", ["error", "skip"])
def test_a_cell_does_not_lead_out_of_the_folder(tmp_path, cell, missing):
    text = f"image,label\na.jpg,1\nb.jpg,2\n{cell},2\n"
    data = annotations(tmp_path, text, ["a.jpg", "b.jpg", "sub/c.txt"], missing_images=missing)
    touch(tmp_path, "x.jpg")
    if missing == "error":
        assert f"{tmp_path}/images: {cell} (row 4)." in refusal(data, tmp_path)
    else:
        made = Sorted(data, tmp_path)
        assert made.classes == {"a.jpg": "1", "b.jpg": "2"}
        assert made.left_out == {
            "not in the folder of images": (1, "images"),
            "not named like an image": (1, "files"),
        }


def test_missing_images_are_named_with_their_rows(tmp_path):
    text = "image,label\n" + "".join(f"{n}.jpg,{n % 2}\n" for n in range(9))
    message = refusal(annotations(tmp_path, text, ["0.jpg", "1.jpg"]), tmp_path)
    assert message.startswith(f"{tmp_path}/answers.csv: 7 images are not")
    assert f"{tmp_path}/images: 2.jpg (row 4), 3.jpg (row 5), 4.jpg (row 6)" in message
    assert "6.jpg (row 8) and 2 more" in message
    assert "data.missing_images" in message


def test_the_row_is_the_one_that_an_editor_shows(tmp_path):
    text = "image,label\na.jpg,1\n\n\nb.jpg,2\ngone.jpg,2\n"
    assert "gone.jpg (row 6)" in refusal(annotations(tmp_path, text, ["a.jpg", "b.jpg"]), tmp_path)


def test_missing_images_are_skipped_and_counted_once_each(tmp_path):
    text = "image,label\na.jpg,1\nb.jpg,2\ngone.jpg,1\ngone.jpg,2\ngone too.jpg,3\n"
    made = Sorted(annotations(tmp_path, text, ["a.jpg", "b.jpg"], missing_images="skip"), tmp_path)
    assert made.classes == {"a.jpg": "1", "b.jpg": "2"}
    assert made.left_out == {"not in the folder of images": (2, "images")}


def test_all_that_is_left_out_is_counted(tmp_path):
    rows = ["a.jpg,me,1", "a.jpg,me,2", "a.jpg,me,2", "b.jpg,me,3", "c.jpg,me,9", "gone.jpg,me,1"]
    rows += ["d.jpg,me,", "a.jpg,you,9", "b.jpg,you,9", ",me,4"]
    data = annotations(
        tmp_path,
        "image,who,label\n" + "\n".join(rows),
        ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "never named.PNG", "notes.txt"],
        where={"who": "me"},
        combine="median",
        classes=[2, 3],
        missing_images="skip",
    )
    made = Sorted(data, tmp_path)
    assert made.classes == {"a.jpg": "2", "b.jpg": "3"}
    assert made.left_out == {
        "not what data.where asks for": (2, "rows"),
        "the image column is empty": (1, "rows"),
        "no answer": (1, "rows"),
        "not in the folder of images": (1, "images"),
        "not named like an image": (1, "files"),
        "in the folder, but without an answer that is used": (2, "images"),
        "combined into one per image by median": (2, "answers"),
        "a label that data.classes does not name": (1, "images"),
    }


# Mistakes in the CSV


@pytest.mark.parametrize(
    "text, files, changes, words",
    [
        (b"", [], {}, ["answers.csv is empty"]),
        (b"\n \n", [], {}, ["answers.csv is empty"]),
        (b"image,label\n", [], {}, ["answers.csv has a header and no rows"]),
        (
            b"file;score\na.jpg;1\n",
            [],
            {},
            ["answers.csv: no column image, label", "Its columns are: file, score"],
        ),
        (b"image,label\na.jpg,1\n", [], {"where": {"who": "x"}}, ["no column who", "data.where"]),
        (b"image,label\na.jpg,1\n\xe9.jpg,2\n", [], {}, ["answers.csv, row 3: not UTF-8"]),
        (b"image,label\ra.jpg,1\r\xe9.jpg,2\r", [], {}, ["answers.csv, row 3: not UTF-8"]),
        (
            "image,label\na.jpg,1\n".encode("utf-16"),
            [],
            {},
            ["answers.csv is UTF-16 text, not UTF-8", "UTF-8 encoded"],
        ),
        (
            b'image,label\n"a.jpg,1\nb.jpg,2\n',
            ["a.jpg", "b.jpg"],
            {},
            ["answers.csv: 1 images are not in", ': "a.jpg (row 2).'],
        ),
        (b"image,label\na.jpg,1\na,b.jpg,2\n", [], {}, ["answers.csv: not a well-formed CSV", " 3"]),
        (
            b"image,label\na.jpg,1,2\nb.jpg,2\n",
            ["a.jpg", "b.jpg"],
            {},
            ["answers.csv: not a well-formed CSV"],
        ),
        (
            b"image,label,label\na.jpg,1,2\nb.jpg,2,1\n",
            ["a.jpg", "b.jpg"],
            {},
            ["more than one column is called label"],
        ),
        (
            b"image,label\na.jpg,\nb.jpg,NA\n",
            ["a.jpg"],
            {},
            ["answers.csv: no answer is left", "data.label_column"],
        ),
        (
            b"image,label,who\na.jpg,1,10\nb.jpg,2,9\n",
            ["a.jpg"],
            {"where": {"who": "x"}},
            ["no row has x in column who (data.where). It has: 9, 10."],
        ),
        (b"image,label\na.jpg,1\nb.jpg,2\n", [], {}, ["data.images: the folder", "holds no files"]),
        (
            b"image,label\na.jpg,1\nb.jpg,2\n",
            ["c.jpg"],
            {"missing_images": "skip"},
            ["answers.csv: none of its images", "data.images"],
        ),
    ],
    ids=lambda value: ascii(value)[:60] if isinstance(value, bytes) else "",
)
def test_a_mistake_is_told_in_words(tmp_path, text, files, changes, words):
    message = refusal(annotations(tmp_path, text, files, **changes), tmp_path)
    for word in words:
        assert word in message


def test_a_refusal_writes_nothing(tmp_path):
    refusal(annotations(tmp_path, "image,label\na.jpg,1\nb.jpg,1\n", ["a.jpg", "b.jpg"]), tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


# Folders


def test_class_folders_give_their_names(tmp_path):
    files = ["Pepper/1.jpg", "Pepper/deep/2.JPEG", "Tomato red/1.png", "лук/1.webp"]
    others = ["Pepper/.DS_Store", "Pepper/notes.txt", ".cache/Pepper/1.jpg", "loose.jpg"]
    made = Sorted(folders(tmp_path, "class_folders", *files, *others), tmp_path)
    assert made.classes == dict(zip(files, ["Pepper", "Pepper", "Tomato red", "лук"], strict=True))
    assert made.left_out == {
        "hidden, or in a hidden folder": (2, "files"),
        "not named like an image": (1, "files"),
        "not in a folder CLASS/": (1, "files"),
    }


def test_split_folders_give_the_class_below_the_split(tmp_path):
    files = [f"{split}/{label}/1.jpg" for split in ("train", "validation", "test") for label in ("1", "2")]
    made = Sorted(folders(tmp_path, "split_folders", *files, "extra/1/1.jpg", "train/1.jpg"), tmp_path)
    assert made.classes == {file: file.split("/")[1] for file in files}
    assert made.left_out == {"not in a folder train/CLASS/, validation/CLASS/ and test/CLASS/": (2, "files")}
    assert made.targets()["2"] == ["test/2/1.jpg", "train/2/1.jpg", "validation/2/1.jpg"]


@pytest.mark.parametrize("classes", [["01", "02"], {"first": ["01"], "second": ["02"]}])
def test_folders_named_by_padded_numbers_can_be_chosen(tmp_path, classes):
    data = folders(tmp_path, "class_folders", "01/a.jpg", "02/a.jpg", "03/a.jpg", classes=classes)
    assert list(Sorted(data, tmp_path).classes) == ["01/a.jpg", "02/a.jpg"]


def test_a_file_name_that_is_not_utf8_survives(tmp_path):
    name = b"1/\xff\xe9.jpg".decode("utf-8", "surrogateescape")
    made = Sorted(folders(tmp_path, "class_folders", name, "2/b.jpg"), tmp_path)
    assert made.classes == {name: "1", "2/b.jpg": "2"}
    assert b"1/\xff\xe9.jpg,1\n" in made.csv.read_bytes()


def test_a_folder_without_images_is_refused(tmp_path):
    message = refusal(folders(tmp_path, "class_folders", "Pepper/notes.txt"), tmp_path)
    assert f"data.images: {tmp_path}/images holds no images" in message
    assert "they lie in CLASS/" in message


def test_a_split_without_images_is_named(tmp_path):
    message = refusal(
        folders(tmp_path, "split_folders", "train/1/a.jpg", "validation/1/a.jpg", "tests/1/a.jpg"), tmp_path
    )
    assert "holds no images for test:" in message


def test_a_folder_that_is_not_there_is_named(tmp_path):
    data = {"source": "class_folders", "images": str(tmp_path / "gone"), "classes": None}
    assert f"cannot read the folder {tmp_path}/gone: No such file or directory" in refusal(data, tmp_path)


@pytest.mark.parametrize(
    "source, files, empty",
    [
        ("class_folders", ["a/1.jpg", "b/1.jpg", "c/notes.txt", "c.jpg/x.txt", ".hidden/x.txt"], "c"),
        (
            "split_folders",
            ["train/a/1.jpg", "validation/a/1.jpg", "test/a/1.jpg", "test/c/x.txt", "more/d/x"],
            "c",
        ),
    ],
)
def test_a_class_folder_without_images_is_refused(tmp_path, source, files, empty):
    message = refusal(folders(tmp_path, source, *files), tmp_path)
    assert f"there are no images of class {empty}. Put some there" in message


class TestOrdered:
    """`ordered: true` needs an order."""

    def data(self, tmp_path, labels, **changes):
        rows = "".join(f"{number}.jpg,{label}\n" for number, label in enumerate(labels))
        files = [f"{number}.jpg" for number in range(len(labels))]
        return annotations(tmp_path, "image,label\n" + rows, files, ordered=True, **changes)

    def test_names_have_none_but_the_alphabets_which_is_refused(self, tmp_path):
        message = refusal(self.data(tmp_path, ["high", "low", "medium"]), tmp_path)
        assert "data.ordered: true needs an order" in message
        assert "data.classes, from the low end of the scale to the high one" in message
        assert "high, low, medium" in message

    @pytest.mark.parametrize("labels", [["1", "5", "9"], ["-1", "0.5", "2"]])
    def test_numbers_have_one(self, tmp_path, labels):
        assert len(read_rows(Sorted(self.data(tmp_path, labels), tmp_path).csv)) == 4

    @pytest.mark.parametrize("classes", [["low", "high"], {"bad": ["low"], "good": ["high", "medium"]}])
    def test_and_so_has_the_config(self, tmp_path, classes):
        Sorted(self.data(tmp_path, ["high", "low", "medium"], classes=classes), tmp_path)


def test_classes_that_some_disks_take_for_one_have_folders_of_their_own(tmp_path):
    labels = ["Cat", "cat", "CAT", "dog", "Stra\u00dfe", "strasse", "e\u0301", "\u00e9"]
    images = [f"{number}.jpg" for number in range(len(labels))]
    touch(tmp_path, *images)
    link(tmp_path, images, labels)
    folders = [path.name for path in (tmp_path / "links").iterdir()]
    assert "dog" in folders and len(folders) == len(labels)
    seen = {unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold()) for name in folders}
    assert len(seen) == len(labels)
    found = {link.read_text() for link in (tmp_path / "links").glob("*/*")}
    assert found == set(images)


# One real file is one image


def test_a_file_with_two_names_in_a_class_is_one_image(tmp_path):
    data = folders(tmp_path, "class_folders", "a/1.jpg", "a/2.jpg", "b/3.jpg")
    images = tmp_path / "images"
    (images / "a/0.jpg").symlink_to("1.jpg")
    (images / "a/deeper").symlink_to("../a")  # back up: not followed
    made = Sorted(data, tmp_path)
    assert made.classes == {"a/1.jpg": "a", "a/2.jpg": "a", "b/3.jpg": "b"}
    assert list(made.left_out.items()) == [
        ("a link to a file that is used under another name: a/0.jpg", (1, "images"))
    ]


def test_a_file_in_two_classes_is_in_none(tmp_path):
    data = folders(tmp_path, "class_folders", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg")
    (tmp_path / "images/b/other.jpg").symlink_to("../a/1.jpg")
    made = Sorted(data, tmp_path)
    assert made.classes == {"a/2.jpg": "a", "b/3.jpg": "b", "b/4.jpg": "b"}
    assert made.left_out == {
        "one file in several classes, through links: a/1.jpg, b/other.jpg": (2, "images")
    }


def test_a_pool_that_classes_link_to_is_no_class_where_the_config_names_the_classes(tmp_path):
    data = folders(tmp_path, "class_folders", "pool/1.jpg", "pool/2.jpg", classes=["a", "b"])
    for name, target in (("a/x.jpg", "1.jpg"), ("b/x.jpg", "2.jpg")):
        path = tmp_path / "images" / name
        path.parent.mkdir()
        path.symlink_to(f"../pool/{target}")
    assert Sorted(data, tmp_path).classes == {"a/x.jpg": "a", "b/x.jpg": "b"}


def test_a_split_that_is_a_link_to_another_is_refused(tmp_path):
    data = folders(tmp_path, "split_folders", *(f"{s}/{c}/{s}.jpg" for s in ("train", "test") for c in "ab"))
    (tmp_path / "images/validation").symlink_to("test")
    said = refusal(data, tmp_path)
    assert "2 files are in several splits, through links: test/a/test.jpg, validation/a/test.jpg" in said


def test_folders_of_images_may_be_linked_to_from_where_they_have_a_class(tmp_path):
    files = [f"pool/{kind}/{n}.jpg" for kind in ("cats", "dogs", "more") for n in range(2)]
    data = folders(tmp_path, "split_folders", *files, "train/cat/own.jpg", "validation/dog/own.jpg")
    links = {"train/dog": "../pool/dogs", "validation/cat": "../pool/cats", "test": "validation_of_others"}
    (tmp_path / "images/validation_of_others").mkdir()
    touch(tmp_path / "images/validation_of_others", "cat/3.jpg", "dog/4.jpg")
    for link, target in links.items():
        (tmp_path / "images" / link).symlink_to(target)
    (tmp_path / "images/train/cat/deeper").symlink_to("../../pool/more")
    made = Sorted(data, tmp_path)
    assert made.classes == {
        "test/cat/3.jpg": "cat",
        "test/dog/4.jpg": "dog",
        "train/cat/deeper/0.jpg": "cat",
        "train/cat/deeper/1.jpg": "cat",
        "train/cat/own.jpg": "cat",
        "train/dog/0.jpg": "dog",
        "train/dog/1.jpg": "dog",
        "validation/cat/0.jpg": "cat",
        "validation/cat/1.jpg": "cat",
        "validation/dog/own.jpg": "dog",
    }
    assert made.left_out == {}


def test_the_csv_may_call_an_image_by_any_of_its_folders_names(tmp_path):
    data = annotations(tmp_path, "image,label\nlink/1.jpg,a\nreal/2.jpg,b\n", ["real/1.jpg", "real/2.jpg"])
    (tmp_path / "images/link").symlink_to("real")
    assert Sorted(data, tmp_path).classes == {"real/1.jpg": "a", "real/2.jpg": "b"}


@pytest.mark.parametrize(
    "cell", ["../images/real/1.jpg", "../outside/1.jpg", "{}/images/real/1.jpg", "real\0/1.jpg"]
)
def test_a_cell_does_not_lead_out_of_the_folder_and_back(tmp_path, cell):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/1.jpg").touch()
    data = annotations(
        tmp_path, f"image,label\n{cell.format(tmp_path)},a\nreal/1.jpg,b\n", ["real/1.jpg", "real/2.jpg"]
    )
    assert "1 images are not in" in refusal(data, tmp_path)


# What is read otherwise than it stands


def rated(tmp_path, *labels, **changes):
    """Return what is made of images 0.jpg, 1.jpg, ... with these labels; of a tuple, several answers."""
    rows = [
        f"{number}.jpg;{answer}"
        for number, answers in enumerate(labels)
        for answer in (answers if isinstance(answers, tuple) else (answers,))
    ]
    files = [f"{number}.jpg" for number in range(len(labels))]
    return Sorted(annotations(tmp_path, "\n".join(["image;label", *rows, ""]), files, **changes), tmp_path)


class TestNoAnswer:
    def test_the_usual_codes_are_none_in_any_case_and_counted_by_spelling(self, tmp_path):
        codes = ["NA", "n/a", "None", "NULL", "null", "#N/A", "-", "?", "nan", ""]
        made = rated(tmp_path, "cat", "dog", *codes)
        assert made.classes == {"0.jpg": "cat", "1.jpg": "dog"}
        assert made.left_out == {
            "no answer": (1, "rows"),
            **{f"no answer: {code}": (1, "rows") for code in codes if code},
            "in the folder, but without an answer that is used": (10, "images"),
        }

    def test_codes_of_the_users_own_are_left_out_before_answers_are_combined(self, tmp_path):
        made = rated(tmp_path, ("9", "9", "-1"), ("2", "99.0", "2"), combine="mean", no_answer=["-1", 99])
        assert made.classes == {"0.jpg": "9", "1.jpg": "2"}
        assert made.left_out["no answer: -1"] == made.left_out["no answer: 99.0"] == (1, "rows")

    def test_a_list_replaces_the_usual_ones(self, tmp_path):
        assert rated(tmp_path, "NA", "dog", no_answer=[]).classes == {"0.jpg": "NA", "1.jpg": "dog"}

    @pytest.mark.parametrize("classes", [["NA", "EU"], {"Africa": ["NA"], "Europe": ["EU"]}])
    def test_a_label_that_classes_names_is_one(self, tmp_path, classes):
        made = rated(tmp_path, "NA", "EU", "AS", "na", classes=classes)
        assert list(made.classes.values()) == [["NA", "EU"], ["Africa", "Europe"]][isinstance(classes, dict)]
        assert made.left_out["no answer: na"] == (1, "rows")

    def test_names_of_folders_are_no_codes(self, tmp_path):
        data = folders(tmp_path, "class_folders", "NA/1.jpg", "None/1.jpg", "-/1.jpg")
        assert sorted(Sorted(data, tmp_path).classes.values()) == ["-", "NA", "None"]

    def test_a_number_far_off_the_others_is_pointed_out(self, tmp_path):
        made = rated(tmp_path, *"123456789", "99", "99")
        assert made.notes == {
            "far off the others, which are from 1 to 9: 99. Where that stands for no answer, name it in data.no_answer": (
                2,
                "answers",
            )
        }

    @pytest.mark.parametrize("labels", ["1 2 3 7", "0 1 2 3 7", "cat dog 99", "10 20 30 50", "1 3 99"])
    def test_and_one_that_is_not_is_not(self, tmp_path, labels):
        assert not any("far off" in note for note in rated(tmp_path, *labels.split()).notes)

    @pytest.mark.parametrize(
        "labels, far",
        [("1 2 3 4 -9", "-9"), ("1 2 3 4 98 99", "98, 99"), ("1 2 3 1e6", "1000000"), ("0 1 0 1 -9", "-9")],
    )
    def test_on_either_side(self, tmp_path, labels, far):
        (note,) = rated(tmp_path, *labels.split()).notes
        assert f": {far}. Where" in note


class TestNotes:
    def test_numbers_in_two_spellings(self, tmp_path):
        made = rated(tmp_path, "3", "3.0", "03", "4", "4")
        assert made.notes == {"read as 3: 03, 3.0": (2, "answers")}

    def test_accents_in_two_encodings(self, tmp_path):
        one, other = unicodedata.normalize("NFC", "gai café"), unicodedata.normalize("NFD", "gai café")
        made = rated(tmp_path, one, other, "triste")
        assert made.classes == {"0.jpg": one, "1.jpg": one, "2.jpg": "triste"}
        assert made.notes == {f"read as {one}: accents in another encoding": (1, "answers")}

    def test_capitals_are_pointed_out_and_make_classes_of_their_own(self, tmp_path):
        made = rated(tmp_path, "cat", "Cat", "dog")
        assert list(made.classes.values()) == ["cat", "Cat", "dog"]
        assert made.notes == {"labels that differ in capitals alone stay apart: Cat, cat": (2, "answers")}

    def test_decimal_commas(self, tmp_path):
        made = rated(tmp_path, ("4,5", "5,5"), ("1", "2,25"), combine="median")
        assert made.classes == {"0.jpg": "5", "1.jpg": "2"}
        assert made.notes == {"a comma is read as a decimal point: 4,5": (3, "answers")}

    @pytest.mark.parametrize("labels", [("4,5", "high"), ("4,5", "4.5"), ("1,2,3", "4,5")])
    def test_what_may_be_no_decimal_comma_is_a_label_and_that_is_said(self, tmp_path, labels):
        made = rated(tmp_path, *labels)
        assert list(made.classes.values()) == [*labels]
        assert made.notes == {
            "a comma is no decimal point, since not all are such numbers: 4,5": (1, "answers")
        }

    def test_nothing_is_noted_of_a_plain_table(self, tmp_path):
        assert rated(tmp_path, "1", "2", " 3", "4.5").notes == {}

    def test_one_annotator_who_answered_twice(self, tmp_path):
        text = "image,who,label\n0.jpg,a,1\n0.jpg,a,3\n1.jpg,a,4\n1.jpg,b,9\n"
        how = {"where": {"who": "a"}, "combine": "mean"}
        made = Sorted(annotations(tmp_path, text, ["0.jpg", "1.jpg"], **how), tmp_path)
        assert made.classes == {"0.jpg": "2", "1.jpg": "4"}
        assert made.notes == {"more than one answer where who is a: combined by mean": (1, "images")}

    def test_marks_that_are_letters(self, tmp_path):
        rows = [f"{number}.jpg\tcat\t{'fine' if number - 2 else chr(34) + 'nice'}" for number in range(6)]
        text = "\n".join(["image\tlabel\tcomment", *rows, "6.jpg\tdog\tfine"])
        made = Sorted(annotations(tmp_path, text, [f"{number}.jpg" for number in range(7)]), tmp_path)
        assert len(made.classes) == 7
        assert made.notes == {
            "a quotation mark that opens no cell of its own is a letter (first in row 4)": (1, "rows")
        }

    def test_names_without_their_ending(self, tmp_path):
        text = "image,label\n" + "".join(f"photo {n},{n % 2}\n" for n in range(6))
        made = Sorted(annotations(tmp_path, text, [f"photo {n}.jpg" for n in range(6)]), tmp_path)
        assert made.classes == {f"photo {n}.jpg": str(n % 2) for n in range(6)}
        assert made.notes == {"found without the ending, such as photo 0.jpg for photo 0": (6, "images")}

    def test_a_refusal_says_which_rule_would_find_how_many(self, tmp_path):
        text = "image,label\n" + "".join(f"photo {n},{n % 2}\n" for n in range(6))
        message = refusal(annotations(tmp_path, text, [f"photo {n}.jpg" for n in range(4)]), tmp_path)
        assert "6 images are not in" in message and "Without the ending, 4 of them would be." in message


class TestWhere:
    TEXT = "image,who,label\n" + "".join(
        f"{n}.jpg,{who},{label}\n" for n in range(4) for who, label in (("010", n % 2), ("10", 7), ("8", 8))
    )
    FILES = tuple(f"{n}.jpg" for n in range(4))

    def test_a_name_with_zeros_in_front_is_not_the_number(self, tmp_path):
        made = Sorted(annotations(tmp_path, self.TEXT, self.FILES, where={"who": "010"}), tmp_path)
        assert list(made.classes.values()) == ["0", "1", "0", "1"]
        assert made.notes == {"10 in column who is not the 010 of data.where": (4, "rows")}

    def test_a_spelling_with_zeros_takes_no_other_spelling_away(self, tmp_path):
        text = "image,q,label\n" + "".join(
            f"{n}.jpg,{q},{n % 2}\n" for n, q in enumerate(["01", "1", "1.0", "01"])
        )
        made = Sorted(annotations(tmp_path, text, [f"{n}.jpg" for n in range(4)], where={"q": 1}), tmp_path)
        assert made.classes == {"1.jpg": "1", "2.jpg": "0"}
        assert made.notes == {
            "01 in column q is not the 1 of data.where": (2, "rows"),
            "1.0 in column q is read as the 1 of data.where": (1, "rows"),
        }

    def test_numbers_in_other_spellings_are_and_that_is_said(self, tmp_path):
        text = "image,round,label\na.jpg,1.0,5\nb.jpg,1,6\nc.jpg,2,7\n"
        made = Sorted(annotations(tmp_path, text, ["a.jpg", "b.jpg", "c.jpg"], where={"round": 1}), tmp_path)
        assert made.classes == {"a.jpg": "5", "b.jpg": "6"}
        assert made.notes == {"1.0 in column round is read as the 1 of data.where": (1, "rows")}


def test_answers_too_large_to_be_combined_are_refused_and_large_ones_right(tmp_path):
    assert rated(tmp_path, "1e20", "3", combine="median").classes["0.jpg"] == str(10**20)
    with pytest.raises(UserError, match=r"the answers for 0\.jpg are too large"):
        rated(tmp_path, ("1e308", "1e308"), "3", combine="mean")


@pytest.mark.parametrize("classes", [[8, "08"], {"a": ["8"], "b": ["08", "9"]}, ["8.0", 8]])
def test_one_number_in_two_classes_is_refused_however_it_is_spelled(tmp_path, classes):
    with pytest.raises(UserError, match="data.classes: 8 is there twice"):
        rated(tmp_path, "8", "9", classes=classes)


class TestPassedOver:
    def test_what_lies_in_folders_is_named_as_what_it_is(self, tmp_path):
        others = {
            "cat/.DS_Store": "hidden, or in a hidden folder",
            "cat/.ipynb_checkpoints/1-checkpoint.jpg": "hidden, or in a hidden folder",
            "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg": "thumbnails of a NAS (@eaDir)",
            "@eaDir/1.jpg": "thumbnails of a NAS (@eaDir)",
            "cat/Thumbs.db": "thumbnails of Windows (Thumbs.db)",
            "cat/1.CR2": "raw files of cameras: convert them to JPEG or TIFF",
            "dog/2.mp4": "videos: extract frames",
            "dog/more.zip": "archives: unpack them",
            "dog/notes.txt": "not named like an image",
        }
        data = folders(tmp_path, "class_folders", "cat/1.jpg", "dog/1.jpg", *others)
        made = Sorted(data, tmp_path)
        assert made.classes == {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}
        counts = Counter(others.values())
        assert made.left_out == {reason: (count, "files") for reason, count in counts.items()}

    def test_beside_annotations_too(self, tmp_path):
        text = "image,label\n1.jpg,a\n2.jpg,b\n"
        made = Sorted(
            annotations(tmp_path, text, ["1.jpg", "2.jpg", "3.jpg", "x.nef", ".hidden.jpg"]), tmp_path
        )
        assert made.left_out == {
            "hidden, or in a hidden folder": (1, "files"),
            "raw files of cameras: convert them to JPEG or TIFF": (1, "files"),
            "in the folder, but without an answer that is used": (1, "images"),
        }

    def test_the_studys_own_folders_hold_no_images(self, tmp_path, monkeypatch):
        for name in (
            "cat/1.jpg",
            "dog/1.jpg",
            "results/data/classes/cat/1.jpg",
            "logs/x/1.jpg",
            "state/a/1.jpg",
        ):
            touch(tmp_path, name)
        monkeypatch.chdir(tmp_path)
        data = folders(tmp_path, "class_folders", classes=["cat", "dog"]) | {"images": "."}
        assert Sorted(data, tmp_path).classes == {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}


# Ranges, wide tables, splits and groups


RANGES = {"negative": {"to": 3}, "neutral": {"from": 3, "to": 5}, "positive": {"from": 5}}


def answered(tmp_path, answers, **changes):
    """A study of images a.jpg, b.jpg, ... with these answers each."""
    files = [f"{letter}.jpg" for letter in "abcdefgh"[: len(answers)]]
    rows = [
        f"{file},{answer}\n" for file, given in zip(files, answers, strict=True) for answer in given.split()
    ]
    return annotations(tmp_path, "image,label\n" + "".join(rows), files, **changes)


class TestRanges:
    def test_a_mean_is_cut_before_it_is_rounded(self, tmp_path):
        data = answered(tmp_path, ["2.999", "3", "4.999", "5", "7.5", "-1"], classes=RANGES)
        assert list(Sorted(data, tmp_path).classes.values()) == (
            ["negative", "neutral", "neutral", "positive", "positive", "negative"]
        )

    @pytest.mark.parametrize(
        "combine, expected",
        [("mean", ["negative", "neutral", "positive"]), ("median", ["negative", "neutral", "neutral"])],
    )
    def test_several_answers_are_combined_without_rounding(self, tmp_path, combine, expected):
        # Means 2.67, 4.33, 5; medians 2.5, 4.5, 4: each would be another class rounded.
        answers = (
            ["2 2 3 3.68", "4 4.5 4.49", "3 4 8"]
            if combine == "mean"
            else ["2 2.5 3.51", "3.9 4.5 4.6", "3 4 8"]
        )
        data = answered(tmp_path, [*answers, "1", "9"], classes=RANGES, combine=combine)
        assert list(Sorted(data, tmp_path).classes.values())[:3] == expected

    def test_a_mean_that_floats_make_a_little_less_is_what_it_is(self, tmp_path):
        # 0.1 and 0.2 make 0.30000000000000004, and three of 2.3 and so on 2.9999999999999996.
        data = answered(tmp_path, ["2.3 3.0 3.7", "1", "9"], classes=RANGES, combine="mean")
        assert Sorted(data, tmp_path).classes["a.jpg"] == "neutral"

    def test_the_highest_class_includes_its_end_and_gaps_are_left_out(self, tmp_path):
        classes = {"low": {"from": 1, "to": 2}, "high": {"from": 4, "to": 5}}
        made = Sorted(answered(tmp_path, ["1", "2", "3", "4", "5", "5.01"], classes=classes), tmp_path)
        assert made.classes == {"a.jpg": "low", "d.jpg": "high", "e.jpg": "high"}
        assert made.left_out["in no range of data.classes"] == (3, "images")

    def test_majority_is_one_of_classes(self, tmp_path):
        data = answered(tmp_path, ["1 2 9", "1 9", "9 8 1", "1"], classes=RANGES, combine="majority")
        data["classes"] = {"low": {"to": 5}, "high": {"from": 5}}
        made = Sorted(data, tmp_path)
        assert made.classes == {"a.jpg": "low", "c.jpg": "high", "d.jpg": "low"}
        assert made.left_out["no majority: a tie between classes"] == (1, "images")

    def test_a_word_is_refused_by_its_row_and_an_empty_range_by_its_name(self, tmp_path):
        assert (
            refusal(answered(tmp_path, ["1", "good"], classes=RANGES), tmp_path)
            == "row 3: the answer good is not a number, which a range of data.classes needs."
        )
        said = refusal(answered(tmp_path, ["1", "9"], classes=RANGES), tmp_path)
        assert "no image is in the range of neutral" in said

    def test_folders_that_are_numbers_are_cut_too(self, tmp_path):
        data = folders(tmp_path, "class_folders", "1/a.jpg", "4/b.jpg", "9/c.jpg", classes=RANGES)
        assert Sorted(data, tmp_path).classes == {
            "1/a.jpg": "negative",
            "4/b.jpg": "neutral",
            "9/c.jpg": "positive",
        }


class TestMajorityOfClasses:
    CLASSES = {"low": ["1", "2"], "high": ["4", "5"]}
    # By labels: 4 wins, 1 and 4 tie, 3 wins. By classes: low, low, and 3, which is of no class.
    ANSWERS = ["1 2 1 2 4 4 4", "1 2 1 4 4", "3 3 3 1 2", "5", "4 5 1", "1"]

    def test_votes_are_merged_first(self, tmp_path):
        made = Sorted(answered(tmp_path, self.ANSWERS, classes=self.CLASSES, combine="majority"), tmp_path)
        assert made.classes == {
            "a.jpg": "low",
            "b.jpg": "low",
            "d.jpg": "high",
            "e.jpg": "high",
            "f.jpg": "low",
        }

    def test_the_majority_of_labels_is_as_it_was(self, tmp_path):
        data = answered(tmp_path, self.ANSWERS, classes=self.CLASSES, combine="majority_of_labels")
        made = Sorted(data, tmp_path)
        assert made.classes == {"a.jpg": "high", "d.jpg": "high", "f.jpg": "low"}
        assert made.left_out["no majority: a tie between answers"] == (2, "images")

    def before(self, tmp_path, labels):
        path = tmp_path / "data/split.csv"
        path.parent.mkdir()
        rows = [f"{image},{label},train,0\n" for image, label in labels.items()]
        path.write_text("image,class,split,draw\n" + "".join(rows))
        return path

    def test_a_study_that_was_labelled_by_labels_is_asked_before_anything_changes(self, tmp_path):
        data = answered(tmp_path, self.ANSWERS, classes=self.CLASSES, combine="majority")
        earlier = Sorted(data | {"combine": "majority_of_labels"}, tmp_path).classes
        before = self.before(tmp_path, earlier)
        with pytest.raises(UserError) as refused:
            Sorted(data, tmp_path, before)
        assert "For 3 images of this study" in str(refused.value)
        assert "set data.combine: majority_of_labels" in str(refused.value)
        assert f"delete {before.parent}" in str(refused.value)
        assert Sorted(data | {"combine": "majority_of_labels"}, tmp_path, before).classes == earlier

    def test_one_that_was_labelled_by_classes_or_had_other_images_is_not(self, tmp_path):
        data = answered(tmp_path, self.ANSWERS, classes=self.CLASSES, combine="majority")
        now = Sorted(data, tmp_path).classes
        before = self.before(tmp_path, now)
        assert Sorted(data, tmp_path, before).classes == now
        before.write_text("image,class,split,draw\nother.jpg,low,train,0\n")
        assert Sorted(data, tmp_path, before).classes == now


class TestWide:
    TEXT = "image,rater_1,rater_2,rater_3,age\na.jpg,1,2,2,30\nb.jpg,5,,5,31\nc.jpg,NA,4,1,32\n"
    FILES = ("a.jpg", "b.jpg", "c.jpg")

    @pytest.mark.parametrize("columns", [["rater_1", "rater_2", "rater_3"], "rater_*"])
    def test_each_column_is_an_annotator(self, tmp_path, columns):
        data = annotations(tmp_path, self.TEXT, self.FILES, label_column=columns, combine="median")
        made = Sorted(data, tmp_path)
        assert made.classes == {"a.jpg": "2", "b.jpg": "5", "c.jpg": "3"}
        assert made.left_out["no answer"] == (1, "answers") and made.left_out["no answer: NA"] == (
            1,
            "answers",
        )
        assert made.answers == [
            ["a.jpg", "rater_1", "1", "1"],
            ["a.jpg", "rater_2", "2", "2"],
            ["a.jpg", "rater_3", "2", "2"],
            ["b.jpg", "rater_1", "5", "5"],
            ["b.jpg", "rater_3", "5", "5"],
            ["c.jpg", "rater_2", "4", "4"],
            ["c.jpg", "rater_3", "1", "1"],
        ]
        if columns == "rater_*":
            assert made.notes["rater_* is read as a column for each annotator"] == (3, "columns")

    def test_a_column_of_that_very_name_comes_before_the_pattern(self, tmp_path):
        text = "image,r*,r1\na.jpg,1,8\nb.jpg,2,9\n"
        made = Sorted(annotations(tmp_path, text, self.FILES[:2], label_column="r*"), tmp_path)
        assert made.classes == {"a.jpg": "1", "b.jpg": "2"}

    def test_a_pattern_of_no_column_and_several_answers_without_a_way_to_combine_are_refused(self, tmp_path):
        data = annotations(tmp_path, self.TEXT, self.FILES, label_column="judge_*")
        assert (
            "no column is called like judge_* (data.label_column). Its columns are: image, rater_1"
            in refusal(data, tmp_path)
        )
        data = annotations(tmp_path, self.TEXT, self.FILES, label_column="rater_*")
        assert "3 images have several answers" in refusal(data, tmp_path)

    def test_who_answered_is_kept_and_the_others_answers_to_the_question_too(self, tmp_path):
        text = "image,who,question,label\n" + "".join(
            f"{image},{who},{question},{label}\n"
            for image, who, question, label in [
                ("a.jpg", "x", "q", 1),
                ("a.jpg", "y", "q", 2),
                ("a.jpg", "y", "other", 7),
                ("b.jpg", "x", "q", 3),
                ("b.jpg", "z", "q", 1),
                ("c.jpg", "z", "q", 1),
            ]
        )
        where = {"who": "x", "question": "q"}
        data = annotations(tmp_path, text, self.FILES, where=where, annotator_column="who")
        made = Sorted(data, tmp_path)
        assert made.classes == {"a.jpg": "1", "b.jpg": "3"}
        assert made.answers == [
            ["a.jpg", "x", "1", "1"],
            ["a.jpg", "y", "2", "2"],
            ["b.jpg", "x", "3", "3"],
            ["b.jpg", "z", "1", "1"],
            ["c.jpg", "z", "1", "1"],  # which has no label
        ]
        assert made.left_out["not what data.where asks for"] == (4, "rows")
        # An image that only the others answered for may be missing.
        data = annotations(
            tmp_path, text + "gone.jpg,y,q,1\n", self.FILES, where=where, annotator_column="who"
        )
        assert Sorted(data, tmp_path).classes == made.classes


class TestSplitsAndGroups:
    TEXT = "image,label,part,patient\n" + "".join(
        f"{letter}.jpg,{label},{part},{patient}\n"
        for letter, label, part, patient in zip(
            "abcdef",
            "121212",
            ["Train", "train", " VAL ", "val", "test", "test"],
            ["p1", "p2", "p3", "p4", "", ""],
            strict=True,
        )
    )
    FILES = tuple(f"{letter}.jpg" for letter in "abcdef")
    NAMES = {"train": ["train"], "validation": ["validation", "val"], "test": ["test"]}

    def test_a_column_says_the_split(self, tmp_path):
        data = annotations(tmp_path, self.TEXT, self.FILES, split_column="part", split_names=self.NAMES)
        made = Sorted(data, tmp_path)
        assert list(made.more["split"].values()) == [
            "train",
            "train",
            "validation",
            "validation",
            "test",
            "test",
        ]

    def test_another_spelling_is_refused_with_its_row_and_the_key(self, tmp_path):
        data = annotations(tmp_path, self.TEXT, self.FILES, split_column="part")
        said = refusal(data, tmp_path)
        assert "column part (data.split_column) has VAL (row 4), val (row 5), which names no split" in said
        assert "data.split_names" in said

    def test_two_splits_of_one_image_are_refused(self, tmp_path):
        text = self.TEXT + "a.jpg,1,test,p1\n"
        data = annotations(
            tmp_path, text, self.FILES, split_column="part", split_names=self.NAMES, combine="majority"
        )
        assert (
            "1 images have more than one split, such as a.jpg: train in row 2 and test in row 8"
            in refusal(data, tmp_path)
        )

    def test_groups_of_a_column_and_of_a_pattern(self, tmp_path):
        made = Sorted(annotations(tmp_path, self.TEXT, self.FILES, group_column="patient"), tmp_path)
        assert list(made.more["group"].values()) == ["p1", "p2", "p3", "p4", "", ""]
        data = folders(
            tmp_path / "x",
            "class_folders",
            "1/p7_l.jpg",
            "1/p7_r.jpg",
            "2/p8_l.jpg",
            "2/odd.jpg",
            group_pattern="(p[0-9]+)_",
        )
        made = Sorted(data, tmp_path / "x")
        assert made.more["group"] == {
            "1/p7_l.jpg": "p7",
            "1/p7_r.jpg": "p7",
            "2/odd.jpg": "",
            "2/p8_l.jpg": "p8",
        }
        assert made.notes["data.group_pattern is not in their name: each belongs to no other"] == (
            1,
            "images",
        )

    def test_of_several_parentheses_those_count_that_match(self, tmp_path):
        pattern = "^(p[0-9]+)_|^(q[0-9]+)_"
        text = "image,label\np1_a.jpg,1\np1_b.jpg,2\nq1_a.jpg,1\nq1_b.jpg,2\n"
        files = ["p1_a.jpg", "p1_b.jpg", "q1_a.jpg", "q1_b.jpg"]
        made = Sorted(annotations(tmp_path, text, files, group_pattern=pattern), tmp_path)
        assert list(made.more["group"].values()) == ["p1", "p1", "q1", "q1"]

    def test_a_group_may_stand_in_a_row_without_an_answer_and_a_code_is_none(self, tmp_path):
        text = "image,label,patient\na.jpg,1,\na.jpg,NA,p1\nb.jpg,2,p1\nc.jpg,1,NA\nd.jpg,2,NA\n"
        made = Sorted(annotations(tmp_path, text, self.FILES[:4], group_column="patient"), tmp_path)
        assert list(made.more["group"].values()) == ["p1", "p1", "", ""]
        assert made.notes["no group (data.no_answer): NA"] == (2, "rows")

    def test_validation_that_is_given_without_an_answer_is_not_drawn_silently(self, tmp_path):
        text = self.TEXT.replace("c.jpg,1", "c.jpg,NA").replace("d.jpg,2", "d.jpg,")
        data = annotations(tmp_path, text, self.FILES, split_column="part", split_names=self.NAMES)
        assert "column part gives images to validation, and none of them has an answer" in refusal(
            data, tmp_path
        )
        files = ["train/1/a.jpg", "train/2/b.jpg", "validation/3/c.jpg", "test/1/d.jpg", "test/2/e.jpg"]
        data = folders(tmp_path / "x", "split_folders", *files, classes=["1", "2"])
        assert "none of the images in validation/ is of these classes" in refusal(data, tmp_path / "x")

    def test_a_pattern_that_is_in_no_name_is_refused(self, tmp_path):
        data = folders(tmp_path, "class_folders", "1/a.jpg", "2/b.jpg", group_pattern="patient")
        assert "patient is in none of the images' names, such as 1/a.jpg, 2/b.jpg" in refusal(data, tmp_path)

    def test_given_splits_do_not_part_a_group(self, tmp_path):
        files = [
            "train/1/p1_a.jpg",
            "test/1/p1_b.jpg",
            "train/2/p2.jpg",
            "test/2/p3.jpg",
            "validation/1/p4.jpg",
        ]
        data = folders(tmp_path, "split_folders", *files, group_pattern="p[0-9]")
        assert "1 groups are in several of the given splits: p1 (train and test)" in refusal(data, tmp_path)

    def test_without_them_there_is_no_such_column(self, tmp_path):
        assert Sorted(annotations(tmp_path, self.TEXT, self.FILES), tmp_path).more == {}
