"""Manifests: the small CSV files that the rules pass on, the same bytes from the same input."""

import csv
from contextlib import contextmanager
from typing import Any

import pandas as pd
from pandas.api.types import union_categoricals

SPLITS = ("train", "validation", "test")
CHUNK = 10_000  # rows that are held as text at a time
FORMAT: dict[str, Any] = {
    "lineterminator": "\n",
    "dtype": str,
    "keep_default_na": False,
    "encoding": "utf-8",
    "encoding_errors": "surrogateescape",
}


def read_manifest(path, columns=None, rows=None):
    """Return the manifest at `path` as a DataFrame of strings; an empty cell is the empty string.

    columns, rows: only these columns, only so many rows.
    """
    return pd.read_csv(path, usecols=columns, nrows=rows, **FORMAT)


def read_categories(path, columns):
    """Return these columns of the manifest as a DataFrame of categories (strings), which take a byte or two a row."""
    with pd.read_csv(path, usecols=columns, chunksize=CHUNK, **FORMAT) as chunks:
        parts = [chunk.astype("category") for chunk in chunks]
    return pd.DataFrame({name: union_categoricals([part[name] for part in parts]) for name in columns})


def write_manifest(frame, path):
    """Write a DataFrame to `path`; file names that are not UTF-8 survive the way there and back."""
    frame.to_csv(
        path, index=False, chunksize=CHUNK, lineterminator="\n", encoding="utf-8", errors="surrogateescape"
    )


def stream_manifest(path, split=None):
    """Yield the rows of the manifest at `path`, or those of a split, one at a time, as dictionaries of strings."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)  # DictReader takes three times as long
        columns = next(rows, [])
        place = columns.index("split") if split else 0
        for cells in rows:
            if split is None or cells[place] == split:
                yield dict(zip(columns, cells, strict=True))


@contextmanager
def open_manifest(path, columns):
    """Open a manifest for writing; yield what writes a row of it, for one that is not to be held in memory."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerow
