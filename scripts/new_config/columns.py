"""What each column of a table of annotations is: the image, the annotator, the question, the answer; or what it may be.

Names count where they are plain (`annotator`, `rating`), else what the columns hold: who answered is different in each
answer for one image, and an answer has few values that come often. Where that is not enough, all candidates are returned.
"""

import re
from dataclasses import dataclass, field

import pandas as pd

from annotations.names import Names
from baton.errors import UserError, some
from baton.formatting import as_number

ANNOTATOR = re.compile(
    r"annotator|rater|user|worker|participant|subject|person|coder|observer|judge|respondent", re.I
)
QUESTION = re.compile(r"question|task|attribute|dimension|measure|variable|item", re.I)
ANSWER = re.compile(r"answer|rating|label|class|score|response|choice|vote|value", re.I)
LOOKED_AT = 500  # names, to find the column of images
MOST_CLASSES = 50
LEAST_ROWS = 3  # of a value, on average: else it is no class
UNIQUE = 0.99  # of the rows, or more: a few answers are there twice in most tables


@dataclass
class Columns:
    """The columns of a table. candidates: for the answer, one where it is known; None where there is no such column."""

    image: str
    annotator: str | None = None
    question: str | None = None
    candidates: list[str] = field(default_factory=list)


def find_image_column(frame: pd.DataFrame, names: Names, table: str, folder: str) -> str:
    """Return the column whose cells name files of the folder. Raises UserError where none does, or several do alike."""
    shares = {}
    for column in frame:
        cells = frame[column].str.strip()
        cells = cells[cells != ""].drop_duplicates().head(LOOKED_AT)
        shares[column] = sum(map(names.knows, cells)) / max(len(cells), 1)
    best = max(shares.values())
    found = [column for column, share in shares.items() if share == best]
    if best < 0.5:
        nearest = found[0]
        raise UserError(
            f"{table}: no column names the images in {folder}. The nearest is {nearest}, of whose first cells "
            f"({some(frame[nearest].drop_duplicates(), 3)}) {best:.0%} are files there; files there are "
            f"{some(sorted(set(names.by_name.values())), 3)}. Give the folder that the names are relative to: images=FOLDER."
        )
    if len(found) > 1:
        raise UserError(
            f"{table}: the columns {some(found)} name images of {folder} alike. Take one of them out of the table, or write "
            "the config by hand: config.yaml is the manual."
        )
    return found[0]


def find_roles(frame: pd.DataFrame, image: str) -> Columns:
    """Return what the other columns are. frame: the whole table, as text; image: the column that names the images."""
    columns = Columns(image)
    others = [name for name in frame if name != image and frame[name].nunique() > 0]
    if frame[image].duplicated().mean() > 1 - UNIQUE:
        columns.annotator = find_annotator(frame, image, others)
        others = [name for name in others if name != columns.annotator]
        columns.question = find_question(frame, image, columns.annotator, others)
        others = [name for name in others if name != columns.question]
    columns.candidates = find_answers(frame, others)
    return columns


def find_annotator(frame, image, others):
    """Return the column that says who answered: by its name, else the one that is another one in each answer for an image."""
    if named := [name for name in others if ANNOTATOR.search(name)]:
        return named[0]
    apart = [
        name
        for name in others
        if not ANSWER.search(name) and not QUESTION.search(name) and is_unique(frame, [image, name])
    ]
    # Who answered has answered often; what only numbers the rows has not.
    often = [name for name in apart if frame[name].nunique() <= len(frame) / 2]
    return often[0] if len(often) == 1 else None


def find_question(frame, image, annotator, others):
    """Return the column that says what was asked: by its name, else the one that tells a person's answers apart."""
    if named := [name for name in others if QUESTION.search(name)]:
        return named[0]
    who = [image, *([annotator] if annotator else [])]
    if is_unique(frame, who):
        return None
    telling = [
        name
        for name in others
        if not ANSWER.search(name)
        and 2 <= frame[name].nunique() <= MOST_CLASSES
        and is_unique(frame, [*who, name])
    ]
    return telling[0] if len(telling) == 1 else None


def find_answers(frame, others):
    """Return the columns that may be the answer: one whose name says so, else all that could be classes."""
    possible = [name for name in others if is_answer(frame[name])]
    named = [name for name in possible if ANSWER.search(name)]
    return named if len(named) == 1 else possible or others


def is_unique(frame, columns):
    return frame.duplicated(columns).mean() <= 1 - UNIQUE


def is_answer(column: pd.Series) -> bool:
    """Whether the cells of a column can be classes: a few that come often, or numbers that are such when rounded."""
    cells = column[column.str.strip() != ""]
    kinds = cells.nunique()
    if 2 <= kinds <= MOST_CLASSES and len(cells) >= LEAST_ROWS * kinds:
        return True
    return has_decimals(cells) and 2 <= cells.map(float).round().nunique() <= MOST_CLASSES


def has_decimals(cells: pd.Series) -> bool:
    """Whether all cells are numbers, some of them no whole ones: means of answers, say."""
    values = cells.drop_duplicates().map(as_number)
    return bool(len(values)) and values.notna().all() and bool((values % 1 != 0).any())


def are_numbers(cells: pd.Series) -> bool:
    """Whether all cells that hold something are numbers."""
    cells = cells[cells.str.strip() != ""]
    return bool(len(cells)) and cells.drop_duplicates().map(as_number).notna().all()
