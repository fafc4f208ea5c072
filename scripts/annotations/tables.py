"""Reading a table of annotations: its encoding and separator, which marks are quotes, where each row begins and ends.

The rules of RFC 4180, and what real tables do against them: a mark is a quote only if it opens a cell and its partner
closes that cell; a cell spans lines only if these are no rows of their own. Other marks are letters.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from baton.data.images import SUFFIXES
from baton.errors import UserError, some

MARK = '"'
SEPARATORS = ",;\t"
# What the first bytes of a file say that is no text table, and what to do with it.
NO_TABLES = {
    b"PK\x03\x04": "a workbook or a ZIP archive (.xlsx, .ods)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls)",
    b"\x1f\x8b": "compressed (.gz)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
}
MOST_LINES = 10_000  # that one cell may span


@dataclass
class Table:
    """The asked columns of a table: the number of the line at which each row begins, from 1, with its cells in them."""

    rows: list[tuple[int, list[str]]]
    separator: str
    letters: list[int]  # rows with a mark that could be a quote and is a letter
    row_names: bool  # whether there is an unnamed first column, which was left out


def read_table(path: str, columns: list[str], is_image: Callable[[str], bool] | None = None) -> Table:
    """Read the table at `path`, which must have these columns, the first of them with the images' names.

    is_image: whether a cell names an image of the study; without it, whether it ends like one. Raises UserError, with
    the row, where the file is no text table, lacks a column, or can be read in two ways.
    """
    headers = _read_headers(path)
    reader, header, after = max(
        headers.values(), key=lambda found: (sum(name in found[1] for name in columns), len(found[1]))
    )
    missing = [name for name in columns if name not in header]
    if missing:
        raise UserError(
            f"{path}: no column {some(missing)}. Its columns are: {some(header, 20)}. "
            "Set data.image_column, data.label_column and data.where to columns of the CSV."
        )
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise UserError(f"{path}: more than one column is called {some(twice)}.")
    width, image = len(header), header.index(columns[0])

    def read_rows():
        return reader.read_rows(after, width, image, is_image or ends_like_an_image)

    row_names = are_row_names(read_rows(), width, image, is_image or ends_like_an_image)
    places, most = [header.index(name) + row_names for name in columns], width + row_names
    rows = []
    for row, cells in read_rows():
        if any(cells[most:]):
            raise UserError(
                f"{path}: not a well-formed CSV: row {row} has {len(cells)} cells and the header {width}. "
                "Put quotes around a cell that holds the separator."
            )
        cells += [""] * (most - len(cells))
        rows.append((row, [cells[place] for place in places]))
    if not rows:
        raise UserError(f"{path} has a header and no rows.")
    return Table(rows, reader.separator, sorted(reader.letters), row_names)


def list_headers(path: str) -> list[list[str]]:
    """Return the columns' names under each separator that the table at `path` may have, the most columns first."""
    headers = [header for _, header, _ in _read_headers(path).values()]
    return sorted(headers, key=len, reverse=True)


def _read_headers(path):
    """Return {separator: what reads the table by it, its columns, the line after its header, from 0}."""
    text = read_text(path)
    lines, ends = split_lines(text)
    start, separator = 0, None
    if match := re.fullmatch(r'"?sep=(.)"?', lines[0], re.IGNORECASE):  # Excel's own
        start, separator = 1, match[1]
    while start < len(lines) and not lines[start].strip():
        start += 1
    if start == len(lines):
        raise UserError(f"{path} is empty: a header row and one row per answer are needed.")
    headers = {}
    for mark in [separator] if separator else SEPARATORS:
        reader = _Reader(path, lines, ends, mark)
        cells, after = reader.read_header(start)
        headers[mark] = reader, [" ".join(cell.split()) for cell in cells], after
    return headers


def read_text(path: str) -> str:
    """Return the text of the file at `path`. Raises UserError where it is not UTF-8."""
    with open(path, "rb") as file:
        content = file.read()
    save = "Save it as CSV, UTF-8 encoded (in a spreadsheet: Save as, CSV UTF-8), and run again."
    for start, kind in NO_TABLES.items():
        if content.startswith(start):
            raise UserError(f"{path} is {kind}, not a CSV. {save}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[:400].count(0) > len(content[:400]) // 4:
        raise UserError(f"{path} is UTF-16 text, not UTF-8. {save}")
    try:
        return content.decode("utf-8").lstrip("\ufeff")  # some programs write the byte-order mark twice
    except UnicodeDecodeError as error:
        row = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        raise UserError(
            f"{path}, row {row}: not UTF-8 text. Save the file as UTF-8 CSV and run again."
        ) from None


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """Return the lines of a text and their ends: line feeds, each perhaps after a carriage return.

    A lone carriage return ends a line only where there is no line feed at all: elsewhere it is part of a cell.
    """
    if "\n" not in text:
        lines = text.split("\r")
        return lines, ["\r"] * len(lines)
    lines = text.split("\n")
    ends = ["\r\n" if line.endswith("\r") else "\n" for line in lines]
    return [line.removesuffix("\r") for line in lines], ends


def ends_like_an_image(name: str) -> bool:
    """Whether a name has the ending of an image, and something before it."""
    name = name.strip().lower()
    return name.endswith(SUFFIXES) and not name.startswith(".")


def are_row_names(
    rows: Iterable[tuple[int, list[str]]], width: int, image: int, is_image: Callable[[str], bool]
) -> bool:
    """Whether each row has one cell more than the header, and the first ones name the rows, as R writes them.

    So it is only if an image's name follows from it: else it is a cell too many at the end of each row.
    """
    names, last = [], False
    for _, cells in rows:
        if (
            len(cells) != width + 1
            or is_image(cells[image].strip())
            or not is_image(cells[image + 1].strip())
        ):
            return False
        names.append(cells[0])
        last = last or bool(cells[-1].strip())  # else it is a separator too many at the end of each row
    return last and len(set(names)) == len(names)


class _Reader:
    """Reads the rows of the lines of a table with one separator."""

    def __init__(self, path, lines, ends, separator):
        self.path, self.lines, self.ends, self.separator = path, lines, ends, separator
        self.blanks = " " if separator == "\t" else " \t"
        self.letters: set[int] = set()

    def read_header(self, place):
        """Return the names in the header, which begins at line `place`, and the line after it."""
        return self._read_row(place, self._closes_somewhere)

    def read_rows(self, place, width, image, is_image):
        """Yield (line, cells) of each row; lines count from 1. width: of the header; image: place of the images' names."""

        def spans(opening, end):
            return self._is_one_cell(opening, end, width, image, is_image)

        while place < len(self.lines):
            cells, after = self._read_row(place, spans)
            if any(cell.strip() for cell in cells):
                yield place + 1, cells
            place = after

    def _read_row(self, first, spans):
        """Return the cells of the row that begins at line `first`, and the line after it.

        spans(first, last): whether a cell may open in the first of these lines and end in the last; None: in none.
        """
        if MARK not in self.lines[first]:  # nearly all
            return [cell.lstrip(" ") for cell in self.lines[first].split(self.separator)], first + 1
        cells, line, text, position = [], first, self.lines[first], 0
        while True:
            start = position
            while start < len(text) and text[start] in self.blanks:
                start += 1
            quoted = None
            if text.startswith(MARK, start):
                quoted = self._read_quoted(line, text, start, spans)
                if quoted is None and spans:
                    self.letters.add(first + 1)
            if quoted:
                cell, line, text, position = quoted
            else:
                end = text.find(self.separator, position)
                end = len(text) if end < 0 else end
                cell, position = text[position:end].lstrip(" "), end
            cells.append(cell)
            if position >= len(text):
                return cells, line + 1
            position += 1  # after the separator
            if position == len(text):
                cells.append("")
                return cells, line + 1

    def _read_quoted(self, line, text, start, spans):
        """Return (cell, line, text of that line, position after it) of what a mark at `start` opens, None for a letter."""
        first, parts, position = line, [], start + 1
        while True:
            end = text.find(MARK, position)
            if end < 0:  # not in this line
                if spans is None or line + 1 >= len(self.lines) or line - first >= MOST_LINES:
                    return None
                parts.append(text[position:] + self.ends[line])
                line += 1
                text, position = self.lines[line], 0
            elif text.startswith(MARK, end + 1):  # two marks are one, within a cell
                parts.append(text[position : end + 1])
                position = end + 2
            else:
                parts.append(text[position:end])
                after = end + 1
                while after < len(text) and text[after] in self.blanks:
                    after += 1
                if after < len(text) and not text.startswith(self.separator, after):
                    return None
                if line > first and not spans(first, line):
                    return None
                return "".join(parts), line, text, after

    def _closes_somewhere(self, first, last):
        return True

    def _is_one_cell(self, first, last, width, image, is_image):
        """Whether the lines first to last, of which a cell spans at least two, are one row and not rows of their own.

        Raises UserError where some are rows, by the images that they name, and others are not.
        """
        alone = [self._read_row_alone(line) for line in range(first, last + 1)]
        own = [
            len(cells) in (width, width + 1)
            and any(is_image(cell.strip()) for cell in cells[image : image + 1 + len(cells) - width])
            for cells in alone
        ]
        # The line in which the cell ends goes on as the row does, and may look like one.
        between = [number for number in range(1, len(own) - 1) if own[number]]
        if not between and not (own[0] and own[-1]):
            return True
        if all(is_own or not any(cells) for is_own, cells in zip(own, alone, strict=True)):
            return False
        row = first + 1 + (between or [len(own) - 1])[0]
        raise UserError(
            f"{self.path}, row {first + 1}: a quotation mark opens a cell that ends in row {last + 1}, and row {row} looks like "
            "a row of its own. Write the mark twice within quotes if it is part of the text, or take it out."
        )

    def _read_row_alone(self, line):
        """Return the cells of a line as if there were no other."""
        return self._read_row(line, None)[0]
