"""Tables of annotations: quotes, separators, line ends, first lines that are not plain; what two writers write is read."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.tables import read_table
from baton.errors import UserError

COLUMNS = ["image", "label"]


def read(tmp_path, text, is_image=None, columns=COLUMNS):
    path = tmp_path / "answers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(str(path), columns, is_image)


def cells(table):
    return [tuple(cells) for _, cells in table.rows]


def refusal(tmp_path, text, **how):
    with pytest.raises(UserError) as error:
        read(tmp_path, text, **how)
    return str(error.value)


ROWS = [(f"{number:02}.png", "cat" if number % 2 else "dog") for number in range(24)]


def with_comments(comments, separator="\t", order=("image", "label", "comment")):
    """Return a table of ROWS with comments, by row; the others say fine."""
    lines = [separator.join(order)]
    for number, (image, label) in enumerate(ROWS):
        row = {"image": image, "label": label, "comment": comments.get(number, "fine")}
        lines.append(separator.join(row[name] for name in order))
    return "\n".join([*lines, ""])


class TestMarks:
    @pytest.mark.parametrize("separator", ["\t", ",", ";"])
    @pytest.mark.parametrize(
        "order", [("image", "label", "comment"), ("comment", "image", "label"), ("image", "comment", "label")]
    )
    @pytest.mark.parametrize(
        "comments, letters",
        [
            ({3: '"nice one', 10: 'really nice"'}, [5]),
            ({3: '"nice one', 4: 'really nice"'}, [5]),
            ({3: '"nice', 10: '"nicer'}, [5, 12]),
            ({0: '"nice'}, [2]),
            ({23: '"nice'}, [25]),
            ({3: '"nice" one', 10: '5" by 7"', 12: 'a "good" one'}, [5]),
            ({3: '"'}, [5]),
        ],
    )
    def test_lone_ones_are_letters_and_no_row_is_lost(self, tmp_path, separator, order, comments, letters):
        table = read(tmp_path, with_comments(comments, separator, order))
        assert cells(table) == ROWS
        assert [row for row, _ in table.rows] == list(range(2, 26))
        assert table.letters == letters

    def test_names_without_ending_are_known_by_the_folder(self, tmp_path):
        text = with_comments({3: '"nice one', 10: 'really nice"'}).replace(".png", "")
        known = {image.removesuffix(".png") for image, _ in ROWS}
        table = read(tmp_path, text, known.__contains__)
        assert cells(table) == [(image.removesuffix(".png"), label) for image, label in ROWS]

    def test_in_a_label_they_are_letters_of_it(self, tmp_path):
        table = read(tmp_path, 'image,label\na.png,"cat\nb.png,dog\n')
        assert cells(table) == [("a.png", '"cat'), ("b.png", "dog")] and table.letters == [2]

    def test_a_cell_of_several_lines_is_one(self, tmp_path):
        text = 'image,comment,label\na.png,"good,\nnearly\n\nperfect",cat\nb.png,"two ""fine"" ones",dog\n'
        table = read(tmp_path, text)
        assert cells(table) == [("a.png", "cat"), ("b.png", "dog")]
        assert [row for row, _ in table.rows] == [2, 6] and table.letters == []

    def test_a_cell_that_swallows_one_row_and_something_else_is_refused_by_its_row(self, tmp_path):
        said = refusal(
            tmp_path, with_comments({3: '"nice one', 10: 'really nice"'}).replace("07.png\tcat\tfine", "--")
        )
        assert (
            "answers.csv, row 5: a quotation mark opens a cell that ends in row 12, and row 6 looks like"
            in said
        )

    def test_a_cell_with_the_separator_but_no_marks_is_refused_by_its_row(self, tmp_path):
        said = refusal(tmp_path, 'image,label,comment\na.png,cat,fine\nb.png,dog,"so, so" it seems, to me\n')
        assert "answers.csv: not a well-formed CSV: row 3 has 5 cells and the header 3" in said


class TestFirstLines:
    PLAIN = "image,label\na.png,cat\nb.png,dog\n"
    EXPECTED = [("a.png", "cat"), ("b.png", "dog")]

    @pytest.mark.parametrize(
        "text",
        [
            "sep=;\n" + PLAIN.replace(",", ";"),
            '"sep=,"\r\n' + PLAIN.replace("\n", "\r\n"),
            "SEP=|\n" + PLAIN.replace(",", "|"),
            "\ufeff\ufeff" + PLAIN,
            "\n\n" + PLAIN,
            'image,"What is\nit?",label\na.png,x,cat\nb.png,y,dog\n',
            '"image","label"\n"1","a.png","cat"\n"2","b.png","dog"\n',
            '"","image","label"\n"1","a.png","cat"\n"2","b.png","dog"\n',
            "image,label\na.png,cat,\nb.png,dog,\n",
            "image;label;size\na.png;cat;4,5\nb.png;dog;5,5\n",
            "image ,  label\na.png,  cat\nb.png, dog\n",
        ],
    )
    def test_are_read(self, tmp_path, text):
        table = read(tmp_path, text)
        assert [(image.strip(), label.strip()) for image, label in cells(table)] == self.EXPECTED
        assert table.row_names == text.startswith('"image"')

    def test_a_column_name_of_two_lines_can_be_asked_for(self, tmp_path):
        table = read(tmp_path, 'image,"What is\n  it?"\na.png,cat\n', columns=["image", "What is it?"])
        assert cells(table) == [("a.png", "cat")]

    def test_names_of_rows_that_are_not_each_rows_own_are_none(self, tmp_path):
        assert "3 cells and the header 2" in refusal(tmp_path, "image,label\na.png,cat,x\na.png,dog,x\n")

    def test_a_comment_without_a_name_is_no_name_of_a_row_but_refused(self, tmp_path):
        said = refusal(tmp_path, "image,label\n6.png,2,ok\n7.png,3,blurred\n")
        assert "row 2 has 3 cells and the header 2" in said

    @pytest.mark.parametrize(
        "content, kind",
        [
            (PLAIN.encode("utf-16"), "UTF-16"),
            (PLAIN.encode("utf-16-le"), "UTF-16"),
            (PLAIN.encode("utf-16-be"), "UTF-16"),
            (b"PK\x03\x04" + bytes(50), ".xlsx"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), ".xls"),
            (b"\x1f\x8b\x08" + bytes(50), ".gz"),
        ],
    )
    def test_what_is_no_text_table_is_named_with_what_to_do(self, tmp_path, content, kind):
        said = refusal(tmp_path, content)
        assert kind in said and "CSV" in said and "UTF-8" in said


# What is odd in tables: separators, marks, line ends, white space, letters beyond ASCII.
TEXT = st.text(st.sampled_from(",;\t\"'\n\r ab1.é—日\u2028\x0b"), max_size=8)
ENDING = st.sampled_from([".png", ".JPG", "", " 2.png"])


@st.composite
def tables(draw):
    """A table as rows of dictionaries, its columns in any order, and how it is written."""
    columns = draw(st.permutations(COLUMNS + draw(st.sampled_from([[], ["comment"], ["comment", "x"]]))))
    rows = [
        {name: draw(TEXT) for name in columns} | {"image": f"{draw(TEXT)}{number}{draw(ENDING)}"}
        for number in range(draw(st.integers(1, 6)))
    ]
    how = draw(st.sampled_from(["csv", "csv with line feeds", "pandas", "pandas with an index"]))
    return columns, rows, draw(st.sampled_from(",;\t")), how, draw(st.booleans())


def write(columns, rows, separator, how):
    if how.startswith("pandas"):
        return pd.DataFrame(rows, columns=columns).to_csv(sep=separator, index="index" in how)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n" if "feeds" in how else "\r\n")
    writer.writerows([columns, *([row[name] for name in columns] for row in rows)])
    return text.getvalue()


def check_table(folder, table):
    columns, rows, separator, how, mark = table
    text = write(columns, rows, separator, how)
    assert cells(read(folder, ("\ufeff" if mark else "") + text)) == [
        (row["image"].lstrip(" "), row["label"].lstrip(" ")) for row in rows
    ] or [(image.strip(), label.strip()) for image, label in cells(read(folder, text))] == [
        (row["image"].strip(), row["label"].strip()) for row in rows
    ]


@settings(max_examples=500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(tables())
def test_what_csv_and_pandas_write_is_read(tmp_path_factory, table):
    check_table(tmp_path_factory.getbasetemp(), table)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_what_csv_and_pandas_write_is_read_ten_thousand_times(tmp_path_factory, table):
    check_table(tmp_path_factory.getbasetemp(), table)
