"""What each column of a table of annotations is: the image, the annotator, the question, the answer; or what it may be.

Names count where they are plain (`annotator`, `rating`), else what the columns hold: who answered is another one in each answer
for an image, and an answer has few values that come often. What is not sure is left open, with all candidates.
"""

import re
from dataclasses import dataclass, field

import pandas as pd

from annotations.answers import DECIMAL_COMMA, is_no_answer
from annotations.names import Names
from baton.errors import UserError, some
from baton.formatting import as_number

# The noun of a column's name: of user_rating it is rating, of user_id user.
ANNOTATORS = {
    "annotator",
    "rater",
    "user",
    "worker",
    "participant",
    "subject",
    "person",
    "coder",
    "observer",
    "judge",
    "respondent",
    "labeler",
    "labeller",
    "grader",
    "reviewer",
    "expert",
}
QUESTIONS = {"question", "task", "attribute", "dimension", "measure", "variable", "item", "aspect"}
ANSWERS = {"answer", "rating", "label", "class", "score", "response", "choice", "vote", "value"}
NO_NOUNS = {"id", "ids", "name", "no", "nr", "number", "code", "key"}
LOOKED_AT = 500  # names, to find the column of images
MOST_CLASSES = 50
LEAST_ROWS = 3  # of a value, on average: else it is no class
UNIQUE = 0.99  # of the rows, or more: a few answers are there twice in most tables
SEVERAL = 1.5  # values of a column for an image, on average: it may say what was asked


@dataclass
class Columns:
    """The columns of a table. answers, questions: candidates, where that is not sure; else one, or none."""

    image: str
    annotator: str | None = None
    question: str | None = None
    answers: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def noun_of(name: str) -> str:
    """Return what a column's name says that it is: its last word that is no number and not "id" or the like, singular."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    nouns = [word for word in words if word not in NO_NOUNS]
    noun = nouns[-1] if nouns else ""
    return noun if noun in ANSWERS else noun.removesuffix("s")


def rate_image_columns(frame: pd.DataFrame, names: Names) -> dict[str, tuple[bool, int]]:
    """Return of each column whether its cells name files as they stand, and how many files they name, if only nearly."""
    rated = {}
    for column in frame:
        cells = frame[column].str.strip()
        cells = cells[cells != ""].drop_duplicates().head(LOOKED_AT)
        known = [cell for cell in cells if names.knows(cell)]
        exact = sum(names.find(cell) is not None for cell in cells)
        if 2 * len(known) >= len(cells) > 0:
            rated[column] = (2 * exact >= len(cells), len(known))
    return rated


def choose_image_column(rated: dict[str, tuple[bool, int]], table: str, folder: str) -> str | None:
    """Return the column that names the images, None where none does. Raises UserError where several do alike."""
    if not rated:
        return None
    best = max(rated.values())
    alike = [column for column, rate in rated.items() if rate[0] == best[0] and rate[1] > 0.9 * best[1]]
    if len(alike) > 1:
        raise UserError(
            f"{table}: the columns {some(alike)} name images of {folder} alike. Take one of them out of the table, or write "
            "the config by hand: config.yaml is the manual."
        )
    return alike[0]


def clean(frame: pd.DataFrame, image: str, names: Names, no_answer: list[str]) -> pd.DataFrame:
    """Return the table as the study will see it: files for images, nothing for codes of no answer, points in numbers."""
    cleaned = pd.DataFrame({name: frame[name].str.strip() for name in frame})
    cells = cleaned[image].drop_duplicates()
    found, _ = names.find_all(list(cells[cells != ""]))
    cleaned[image] = cleaned[image].map(lambda cell: found.get(cell, cell))
    for name in frame:
        if name != image:
            column = cleaned[name].mask(is_no_answer(cleaned[name], no_answer, None), "")
            commas = column.map(DECIMAL_COMMA.fullmatch).notna()
            if commas.any() and (commas | (column == "") | column.map(as_number).notna()).all():
                column = column.str.replace(",", ".", regex=False)
            cleaned[name] = column
    return cleaned[cleaned[image] != ""]


def find_roles(frame: pd.DataFrame, image: str) -> Columns:
    """Return what the other columns are. frame: see `clean`; image: the column that names the images."""
    columns = Columns(image)
    others = [name for name in frame if name != image and (frame[name] != "").any()]
    is_long = frame[image].duplicated().mean() > 1 - UNIQUE
    if is_long:
        columns.annotator = find_annotator(frame, image, others)
        others = [name for name in others if name != columns.annotator]
        columns.question = find_question(frame, image, columns.annotator, others)
        others = [
            name for name in others if name != columns.question and not is_of(frame, columns.annotator, name)
        ]
    columns.answers = [name for name in others if is_answer(frame[name])]
    if columns.annotator or columns.question:
        # Beside these, a column that is called so is the answer, and the others say more of it, or what was asked.
        named = [name for name in columns.answers if noun_of(name) in ANSWERS]
        columns.answers = named if len(named) == 1 else columns.answers
    if is_long and not columns.question:
        rest = [name for name in others if name not in columns.answers or len(columns.answers) > 1]
        columns.questions = [name for name in rest if may_be_question(frame, image, name)]
    return columns


def find_annotator(frame, image, others):
    """Return the column that says who answered: by its name, else the one that is another one in each answer for an image."""
    named = [name for name in others if noun_of(name) in ANNOTATORS]
    if len(named) > 1:
        named = [name for name in named if is_unique(frame, [image, name])] or named
    if named:
        return named[0]
    apart = [
        name
        for name in others
        if noun_of(name) not in ANSWERS | QUESTIONS and is_unique(frame, [image, name])
    ]
    # Who answered has answered often; what only numbers the rows has not.
    often = [name for name in apart if frame[name].nunique() <= len(frame) / 2]
    return often[0] if len(often) == 1 else None


def find_question(frame, image, annotator, others):
    """Return the column that says what was asked: by its name, else the one that alone tells a person's answers apart."""
    possible = [
        name
        for name in others
        if frame[name].nunique() <= MOST_CLASSES and frame.groupby(name)[image].nunique().max() > 1
    ]
    named = [name for name in possible if noun_of(name) in QUESTIONS]
    if len(named) == 1:
        return named[0]
    who = [image, *([annotator] if annotator else [])]
    if is_unique(frame, who):
        return None
    possible = [name for name in possible if not is_of(frame, annotator, name)]
    telling = [
        name
        for name in possible
        if noun_of(name) not in ANSWERS and frame[name].nunique() > 1 and is_unique(frame, [*who, name])
    ]
    others = [name for name in possible if name not in telling and may_be_question(frame, image, name)]
    others = [name for name in others if noun_of(name) not in ANSWERS]
    return telling[0] if len(telling) == 1 and not others else None


def may_be_question(frame, image, name):
    """Whether an image has rows with several values of a column, as of what was asked."""
    kinds = frame[name].nunique()
    return 2 <= kinds <= MOST_CLASSES and frame.groupby(image)[name].nunique().mean() >= SEVERAL


def is_of(frame, annotator, name):
    """Whether a column says something of the annotators: the same in all answers of one."""
    return annotator is not None and bool((frame.groupby(annotator)[name].nunique() <= 1).all())


def is_unique(frame, columns):
    return frame.duplicated(columns).mean() <= 1 - UNIQUE


def is_answer(column: pd.Series) -> bool:
    """Whether the cells of a column can be classes: a few that come often, or numbers that are such when rounded."""
    cells = column[column != ""]
    kinds = cells.nunique()
    if 2 <= kinds <= MOST_CLASSES and len(cells) >= LEAST_ROWS * kinds:
        return True
    return has_decimals(cells) and 2 <= cells.map(float).round().nunique() <= MOST_CLASSES


def has_decimals(cells: pd.Series) -> bool:
    """Whether all cells that hold something are numbers, some of them no whole ones: means of answers, say."""
    values = cells[cells != ""].drop_duplicates().map(as_number)
    return bool(len(values)) and values.notna().all() and bool((values % 1 != 0).any())


def are_numbers(cells: pd.Series) -> bool:
    """Whether all cells that hold something are numbers."""
    cells = cells[cells != ""]
    return bool(len(cells)) and cells.drop_duplicates().map(as_number).notna().all()
