"""Give every image its class, from a CSV of annotations or from the folders it lies in.

One file, since Snakemake notices an edit to a rule's script, and none to what the script imports.
"""

import csv
import io
import re
import unicodedata
from pathlib import Path, PurePosixPath
from posixpath import normpath

import pandas as pd

from baton import console
from baton.console import log
from baton.data.images import SUFFIXES, name_files, rank_name, real_files, walk
from baton.data.labels import normalize_label, sort_labels
from baton.data.links import link_images
from baton.errors import UserError, some
from baton.formatting import as_number
from baton.manifests import write_manifest

NO_ANSWER = ("", "NA", "N/A", "NaN", "nan")
SPLITS = ("train", "validation", "test")


class LeftOut:
    """What was left out and why: rows of reason, unit (rows, images, answers, files) and count."""

    def __init__(self):
        self.rows = []

    def add(self, count, unit, reason):
        if count:
            self.rows.append((reason, unit, int(count)))
            log.info("left out: %d %s: %s", count, unit, reason)

    def to_frame(self):
        return pd.DataFrame(self.rows, columns=["reason", "unit", "count"])


def read_annotations(path, columns):
    """Read the asked columns of the CSV at `path` as text; the index is the row an editor shows.

    The separator (comma, semicolon, tab) is the one that makes the asked columns appear. Raises
    UserError when the file is no UTF-8 CSV or lacks a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig")
        row = len(re.findall(r"\r\n|\r|\n", before)) + 1
        raise UserError(
            f"{path}, row {row}: not UTF-8 text. Save the file as UTF-8 CSV and run again."
        ) from None
    if not text.strip():
        raise UserError(f"{path} is empty: a header row and one row per answer are needed.")
    header = text.lstrip().splitlines()[0]
    headers = {mark: [name.strip() for name in next(csv.reader([header], delimiter=mark))] for mark in ",;\t"}
    separator = max(
        headers, key=lambda mark: (sum(name in headers[mark] for name in columns), len(headers[mark]))
    )
    missing = [name for name in columns if name not in headers[separator]]
    if missing:
        raise UserError(
            f"{path}: no column {some(missing)}. Its columns are: {some(headers[separator], 20)}. "
            "Set data.image_column, data.label_column and data.where to columns of the CSV."
        )
    twice = [name for name in columns if headers[separator].count(name) > 1]
    if twice:
        raise UserError(f"{path}: more than one column is called {some(twice)}.")
    rows = dict(read_rows(path, text, separator, columns))
    frame = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns, dtype=str)
    if frame.empty:
        raise UserError(f"{path} has a header and no rows.")
    return frame


def read_rows(path, text, separator, columns):
    """Yield the row's number and its cells in `columns`, as text, of each row below the header of a CSV."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    places, first = None, 1
    try:
        for cells in lines:
            row, first = first, lines.line_num + 1  # a quoted cell may hold several lines
            if not any(cell.strip() for cell in cells):
                continue
            if places is None:
                header = [cell.strip() for cell in cells]
                places = [header.index(name) for name in columns]
                continue
            if any(cells[len(header) :]):
                raise UserError(
                    f"{path}: not a well-formed CSV: row {row} has {len(cells)} cells and the header {len(header)}. "
                    "Put quotes around a cell that holds the separator."
                )
            cells += [""] * (len(header) - len(cells))
            yield row, [cells[place] for place in places]
    except csv.Error as error:
        raise UserError(f"{path}: not a well-formed CSV: row {first}: {error}.") from None


def select_answers(frame, data, left_out):
    """Return the rows that `data.where` asks for and that hold an answer: image, label, row."""
    keep = frame
    for column, value in data["where"].items():
        rows = keep[column].map(normalize_label) == normalize_label(value)
        if not rows.any():
            labels = sort_labels(keep[column].map(normalize_label))
            raise UserError(
                f"{data['annotations']}: no row has {value} in column {column} "
                f"(data.where). It has: {some(labels, 20)}."
            )
        keep = keep[rows]
    left_out.add(len(frame) - len(keep), "rows", "not what data.where asks for")
    keep = keep[[data["image_column"], data["label_column"]]].set_axis(["image", "label"], axis=1)
    keep = keep.assign(row=keep.index)
    keep = keep.assign(image=keep["image"].str.strip(), label=keep["label"].map(normalize_label))
    no_image = keep["image"] == ""
    left_out.add(no_image.sum(), "rows", "the image column is empty")
    no_answer = keep["label"].isin(NO_ANSWER) & ~no_image
    left_out.add(no_answer.sum(), "rows", "no answer")
    keep = keep[~no_image & ~no_answer]
    if keep.empty:
        raise UserError(
            f"{data['annotations']}: no answer is left. Check data.label_column ({data['label_column']}) "
            "and data.where."
        )
    return keep


def find_images(frame, data, left_out):
    """Replace what the CSV calls an image by the file's path below data.images; drop or refuse the missing.

    Only files found below the folder can match, so no cell leads out of it. Letters that can be
    written in two ways (é as one sign or as e and an accent) match either way.
    """
    by_name = name_files(data["images"])
    paths = sorted(set(by_name.values()))
    files = {unicodedata.normalize("NFC", path): file for path, file in by_name.items()} | by_name
    if not files:
        raise UserError(f"data.images: the folder {data['images']} holds no files.")
    names = frame["image"].map(lambda cell: normpath(cell.replace("\\", "/")))
    found = names.map(lambda name: files.get(name) or files.get(unicodedata.normalize("NFC", name)))
    missing = frame[found.isna()].drop_duplicates("image")
    if len(missing):
        where = [f"{image} (row {row})" for image, row in zip(missing["image"], missing["row"], strict=True)]
        if data["missing_images"] == "error":
            raise UserError(
                f"{data['annotations']}: {len(missing)} images are not in {data['images']}: {some(where)}. "
                "Set data.images to the folder their names are relative to, or data.missing_images to skip."
            )
        left_out.add(len(missing), "images", "not in the folder of images")
    frame = frame.assign(image=found)[found.notna()]
    used = set(frame["image"])
    unused = sum(path.lower().endswith(SUFFIXES) and path not in used for path in paths)
    left_out.add(unused, "images", "in the folder, but without an answer that is used")
    if frame.empty:
        raise UserError(f"{data['annotations']}: none of its images is below {data['images']} (data.images).")
    return frame


def combine_answers(frame, combine, left_out):
    """Return one row per image: its label, from one answer or combined from several.

    combine: None, "median", "mean" (rounded to a whole number, halves up) or "majority" (ties are
    left out). Raises UserError for several answers with None, and for answers that are no numbers
    with "median" and "mean".
    """
    if combine is None:
        answers = frame.groupby("image").size()
        several = answers[answers > 1]
        if len(several):
            raise UserError(
                f"{len(several)} images have several answers (up to {several.max()}): {some(several.index)}. "
                "Keep the rows of one annotator and one question with data.where, or set data.combine."
            )
        return frame[["image", "label"]]
    if combine == "majority":
        votes = frame.groupby(["image", "label"]).size().rename("votes").reset_index()
        most = votes.groupby("image")["votes"].transform("max")
        winners = votes[votes["votes"] == most]
        tied = winners["image"].duplicated(keep=False)
        left_out.add(winners[tied]["image"].nunique(), "images", "no majority: a tie between answers")
        combined = winners[~tied][["image", "label"]]
        if combined.empty:
            raise UserError("data.combine: majority leaves no image: every one has a tie between answers.")
        frame = frame[frame["image"].isin(combined["image"])]
    else:
        numbers = frame["label"].map(as_number)
        for row, label in frame.loc[numbers.isna(), ["row", "label"]].itertuples(index=False):
            raise UserError(
                f"row {row}: the answer {label} is not a number, which data.combine: {combine} needs."
            )
        values = numbers.groupby(frame["image"]).agg(combine)
        whole = (values + 0.5).floordiv(1).astype(int).astype(str)
        combined = whole.rename_axis("image").rename("label").reset_index()
    left_out.add(len(frame) - len(combined), "answers", f"combined into one per image by {combine}")
    return combined


def choose_classes(frame, classes, left_out):
    """Return image and class: labels kept (a list), merged (new name: old labels) or as they are (None)."""
    if classes is None:
        return frame.rename(columns={"label": "class"})
    labels = set(frame["label"])

    def as_there(label):  # a folder's name stands as it is ("01"), the CSV's labels are normalized
        return str(label) if str(label) in labels else normalize_label(label)

    if isinstance(classes, dict):
        new_name = {as_there(old): str(new) for new, olds in classes.items() for old in olds}
    else:
        new_name = {as_there(label): as_there(label) for label in classes}
    chosen = frame.assign(**{"class": frame["label"].map(new_name)})
    missing = [name for name in dict.fromkeys(new_name.values()) if not (chosen["class"] == name).any()]
    if missing:
        raise UserError(
            f"data.classes: no image is labelled {some(missing)}. "
            f"Labels there are: {some(sort_labels(frame['label']), 30)}."
        )
    left_out.add(chosen["class"].isna().sum(), "images", "a label that data.classes does not name")
    return chosen[chosen["class"].notna()][["image", "class"]]


def from_annotations(data, left_out):
    """Return image and label of every image that the CSV of annotations answers for."""
    columns = dict.fromkeys([data["image_column"], data["label_column"], *data["where"]])
    frame = read_annotations(data["annotations"], list(columns))
    log.info("%s: %d rows", data["annotations"], len(frame))
    frame = select_answers(frame, data, left_out)
    frame = find_images(frame, data, left_out)
    return combine_answers(frame, data["combine"], left_out)


def from_folders(data, left_out):
    """Return image and label of every image in SPLIT/CLASS/ (split_folders) or CLASS/ (class_folders), by every name."""
    depth = 2 if data["source"] == "split_folders" else 1
    shape = "train/CLASS/, validation/CLASS/ and test/CLASS/" if depth == 2 else "CLASS/"
    images, others, outside, used_files = [], set(), set(), set()
    for path, real in walk(data["images"]):
        parts = PurePosixPath(path).parts
        if any(part.startswith(".") for part in parts) or not path.lower().endswith(SUFFIXES):
            others.add(real)
        elif len(parts) <= depth or (depth == 2 and parts[0] not in SPLITS):
            outside.add(real)
        else:
            images.append((path, parts[depth - 1]))
            used_files.add(real)
    left_out.add(len(others - used_files), "files", "hidden, or not named like an image")
    left_out.add(len(outside - used_files - others), "files", f"not in a folder {shape}")
    splits = {path.split("/")[0] for path, _ in images}
    if not images or (depth == 2 and not splits.issuperset(SPLITS)):
        missing = [split for split in SPLITS if split not in splits] if depth == 2 else []
        raise UserError(
            f"data.images: {data['images']} holds no images{' for ' + some(missing) if missing else ''}: "
            f"for source: {data['source']} they lie in {shape}."
        )
    empty = sorted(class_folders(data["images"], depth) - {label for _, label in images})
    if empty and data["classes"] is None:
        raise UserError(
            f"data.images: in {data['images']} there are no images of class {some(empty)}. Put some there, remove "
            "the folder, or name the classes to use in data.classes."
        )
    return pd.DataFrame(images, columns=["image", "label"])


def take_files_once(frame, data, left_out):
    """Return `frame` (image, class) with each real file once, by the best of its names; links may give several.

    A file that is in several classes is in none: no model could be right about it. Raises UserError for one in several
    splits: who made them has to say which.
    """
    root = data["images"]
    frame = frame.assign(file=real_files(root, frame["image"]))
    ranks = [rank_name(root, *names) for names in zip(frame["image"], frame["file"], strict=True)]
    frame = frame.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]
    if data["source"] == "split_folders":
        splits = frame["image"].str.split("/").str[0].groupby(frame["file"]).transform("nunique")
        several = frame[splits > 1].sort_values(["file", "image"])
        if len(several):
            raise UserError(
                f"data.images: {several['file'].nunique()} files are in several splits, through links{such_as(several)}. A model "
                "is not tested on what it was trained on or chosen by: give each image one split."
            )
    classes = frame.groupby("file")["class"].transform("nunique")
    several = frame[classes > 1]
    left_out.add(len(several), "images", f"one file in several classes, through links{such_as(several)}")
    repeated = frame[(classes == 1) & frame["file"].duplicated()]
    left_out.add(
        len(repeated), "images", f"a link to a file that is used under another name{such_as(repeated)}"
    )
    return frame[(classes == 1) & ~frame["file"].duplicated()][["image", "class"]]


def such_as(frame):
    return f": {some(frame['image'], 3)}" if len(frame) else ""


def class_folders(root, depth):
    """Return the names of the class folders: CLASS/ (depth 1) or SPLIT/CLASS/ (depth 2)."""
    return {
        path.name
        for path in Path(root).glob("*" if depth == 1 else "*/*")
        if path.is_dir()
        and not path.name.startswith(".")
        and not path.name.lower().endswith(SUFFIXES)
        and (depth == 1 or path.parent.name in SPLITS)
    }


def main(data, classes_csv, left_out_csv, folder):
    """Write classes.csv (image, class), left_out.csv and the folders of links."""
    left_out = LeftOut()
    read = from_folders if data["source"].endswith("folders") else from_annotations
    frame = choose_classes(read(data, left_out), data["classes"], left_out)
    frame = take_files_once(frame, data, left_out)
    frame = frame.sort_values("image", ignore_index=True)
    counts = frame["class"].value_counts()
    if len(counts) < 2:
        raise UserError(
            f"all {len(frame)} images are of one class, {some(counts.index)}: at least two are needed. "
            "Check data.label_column, data.where and data.classes."
        )
    if data["ordered"] and data["classes"] is None and not all(map(as_number, counts.index)):
        raise UserError(
            "data.ordered: true needs an order, which names that are not numbers do not have: write the classes into "
            f"data.classes, from the low end of the scale to the high one (there are {some(sort_labels(counts.index), 30)})."
        )
    for label in sort_labels(counts.index):
        log.info("class %s: %d images", label, counts[label])
    write_manifest(frame, classes_csv)
    write_manifest(left_out.to_frame(), left_out_csv)
    link_images(folder, frame["image"], frame["class"], data["images"])


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(snakemake.params.data, snakemake.output.classes, snakemake.output.left_out, snakemake.output.folder)
