"""What a table or a name says of where an image belongs: its split, and the images that it must not be parted from."""

import re

import pandas as pd

from baton.errors import UserError, some
from baton.manifests import SPLITS


def read_splits(frame, data):
    """Return the split of each image, by data.split_column; frame: image, split (as it stands), row.

    Raises UserError, with the row, for a spelling that data.split_names does not have, and for an image in two splits.
    """
    splits = name_splits(frame["split"], data)
    column, table = data["split_column"], data["annotations"]
    if splits.isna().any():
        unknown = frame[splits.isna()].drop_duplicates("split")
        shown = [
            f"{split.strip() or '(empty)'} (row {row})"
            for split, row in zip(unknown["split"], unknown["row"], strict=True)
        ]
        known = "; ".join(f"{split}: {', '.join(map(str, data['split_names'][split]))}" for split in SPLITS)
        raise UserError(
            f"{table}: column {column} (data.split_column) has {some(shown)}, which names no split. Those known are {known}. "
            "Write other spellings into data.split_names, such as split_names: {validation: [validation, val]}; rows of no split "
            "are left out by data.where."
        )
    return one_per_image(frame.assign(split=splits), "split", table, column)


def list_splits(table, data):
    """Return the splits that data.split_column names anywhere, in rows with an answer or without."""
    return set(name_splits(table[data["split_column"]], data).dropna())


def name_splits(cells, data):
    """Return the split that each of a Series of cells names by data.split_names, missing where it names none."""
    split_of = {str(name).casefold(): split for split in SPLITS for name in data["split_names"][split]}
    return cells.str.strip().str.casefold().map(split_of)


def read_groups(frame, data, notes):
    """Return the group of each image that has one, by data.group_column; frame: image, group, row, of all rows of the table.

    One of the codes of data.no_answer is no group, and a cell is enough that names it, in a row with an answer or without.
    """
    groups = frame["group"].str.strip()
    codes = {str(code).casefold() for code in data["no_answer"]}
    coded = groups.str.casefold().isin(codes)
    notes.add(coded.sum(), "rows", f"no group (data.no_answer): {some(sorted(set(groups[coded])))}")
    named = frame.assign(group=groups)[(groups != "") & ~coded]
    return one_per_image(named, "group", data["annotations"], data["group_column"])


def one_per_image(frame, kind, table, column):
    """Return {image: its split or group}. Raises UserError where an image has two."""
    pairs = frame.drop_duplicates(["image", kind])
    several = pairs[pairs["image"].duplicated(keep=False)].sort_values(["image", "row"])
    if len(several):
        image = several["image"].iloc[0]
        of_it = several[several["image"] == image]
        said = [
            f"{value or '(empty)'} in row {row}" for value, row in zip(of_it[kind], of_it["row"], strict=True)
        ]
        raise UserError(
            f"{table}: column {column}: {several['image'].nunique()} images have more than one {kind}, such as {image}: "
            f"{' and '.join(said)}. Give each image one."
        )
    return pairs.set_index("image")[kind]


def find_groups(images, pattern, notes):
    """Return the group of each image by data.group_pattern, empty where it is not found in the name.

    The group is what the first parentheses that match anything do, of a pattern without any what all of it does. images: paths below
    data.images. Raises UserError where the pattern is in no name.
    """
    found = [re.search(pattern, image) for image in images]
    groups = [name_match(match) if match else "" for match in found]
    if not any(groups):
        raise UserError(
            f"data.group_pattern: {pattern} is in none of the images' names, such as {some(images, 3)}. It is searched for in the "
            "path below data.images."
        )
    notes.add(groups.count(""), "images", "data.group_pattern is not in their name: each belongs to no other")
    return pd.Series(groups, index=images)


def name_match(match):
    """Return what a match of data.group_pattern found: its first parentheses that matched anything, else all of it."""
    return next((found for found in match.groups() if found), "") if match.re.groups else match[0]


def refuse_parted_groups(frame):
    """Raise UserError where given splits part a group; frame: image, split, group."""
    grouped = frame[frame["group"] != ""]
    splits = grouped.groupby("group")["split"].unique()
    parted = splits[splits.map(len) > 1]
    if len(parted):
        shown = [
            f"{group} ({' and '.join(sorted(found, key=SPLITS.index))})" for group, found in parted.items()
        ]
        raise UserError(
            f"{len(parted)} groups are in several of the given splits: {some(shown)}. A model is not tested on images that belong "
            "to those it was trained on. Give each group one split, or take out data.group_column or data.group_pattern."
        )
