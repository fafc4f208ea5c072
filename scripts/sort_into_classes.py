"""Give every image its class, from a CSV of annotations or from the folders it lies in."""

from collections import Counter
from pathlib import Path, PurePosixPath

import pandas as pd

from annotations.answers import choose_rows, combine_answers, read_answers
from annotations.names import RULES, Names
from annotations.tables import read_table
from baton import console
from baton.console import log
from baton.data.images import SUFFIXES, name_files, rank_name, real_files, walk
from baton.data.labels import normalize_label, sort_labels
from baton.data.links import link_images
from baton.data.passed_over import count_passed_over, why_passed_over
from baton.errors import UserError, some
from baton.files import is_own_folder
from baton.formatting import as_number
from baton.manifests import write_manifest

SPLITS = ("train", "validation", "test")


class Counts:
    """What was done to rows, images, answers or files on reading, and how many: to be logged, and told in the report."""

    def __init__(self, title, column):
        self.title, self.column, self.rows = title, column, []

    def add(self, count, unit, what):
        if count:
            self.rows.append((what, unit, int(count)))
            log.info("%s: %d %s: %s", self.title, count, unit, what)

    def to_frame(self):
        return pd.DataFrame(self.rows, columns=[self.column, "unit", "count"])


def find_images(frame, data, names, left_out, notes):
    """Replace what the CSV calls an image by the file's path below data.images; drop or refuse the missing.

    names: the Names of the files there.
    """
    cells = list(frame["image"].unique())
    files, rules = names.find_all(cells)
    found = frame["image"].map(files)
    missing = frame[found.isna()].drop_duplicates("image")
    if len(missing):
        where = [f"{image} (row {row})" for image, row in zip(missing["image"], missing["row"], strict=True)]
        near = names.count_near(list(missing["image"]))
        hint = "".join(
            f" {RULES[rule].capitalize()}, {count} of them would be." for rule, count in near.items()
        )
        if data["missing_images"] == "error":
            raise UserError(
                f"{data['annotations']}: {len(missing)} images are not in {data['images']}: {some(where)}.{hint} "
                "Set data.images to the folder their names are relative to, or data.missing_images to skip."
            )
        left_out.add(len(missing), "images", "not in the folder of images")
        if hint:
            log.warning(
                "%s: of the images that are not in %s, some nearly are.%s",
                data["annotations"],
                data["images"],
                hint,
            )
    if rules:
        near = [cell for cell in files if names.find(cell) is None]
        how = " and ".join(RULES[rule] for rule in rules)
        notes.add(len(near), "images", f"found {how}, such as {files[near[0]]} for {near[0]}")
    frame = frame.assign(image=found)[found.notna()]
    used = set(frame["image"])
    unused = set(names.by_name.values()) - used
    passed_over = count_passed_over(unused)
    for reason, count in passed_over:
        left_out.add(count, "files", reason)
    images = len(unused) - sum(count for _, count in passed_over)
    left_out.add(images, "images", "in the folder, but without an answer that is used")
    if frame.empty:
        raise UserError(f"{data['annotations']}: none of its images is below {data['images']} (data.images).")
    return frame


def choose_classes(frame, classes, left_out):
    """Return image and class: labels kept (a list), merged (new name: old labels) or as they are (None)."""
    if classes is None:
        return frame.rename(columns={"label": "class"})
    labels = set(frame["label"])

    def as_there(label):  # a folder's name stands as it is ("01"), the CSV's labels are normalized
        return str(label) if str(label) in labels else normalize_label(label)

    merged = classes if isinstance(classes, dict) else {as_there(label): [label] for label in classes}
    pairs = [(as_there(old), str(new)) for new, olds in merged.items() for old in olds]
    new_name = dict(pairs)
    if len(new_name) < sum(map(len, merged.values())) or (
        isinstance(classes, list) and len(merged) < len(classes)
    ):
        named = (
            [old for old, _ in pairs] if isinstance(classes, dict) else [as_there(label) for label in classes]
        )
        twice = sorted({label for label in named if named.count(label) > 1})
        raise UserError(
            f"data.classes: {some(twice)} is there twice: to a CSV, 8, 08 and 8.0 are one number. Keep one."
        )
    chosen = frame.assign(**{"class": frame["label"].map(new_name)})
    missing = [name for name in dict.fromkeys(new_name.values()) if not (chosen["class"] == name).any()]
    if missing:
        raise UserError(
            f"data.classes: no image is labelled {some(missing)}. "
            f"Labels there are: {some(sort_labels(frame['label']), 30)}."
        )
    left_out.add(chosen["class"].isna().sum(), "images", "a label that data.classes does not name")
    return chosen[chosen["class"].notna()][["image", "class"]]


def from_annotations(data, left_out, notes):
    """Return image and label of every image that the CSV of annotations answers for."""
    names = Names(name_files(data["images"]))
    columns = list(dict.fromkeys([data["image_column"], data["label_column"], *data["where"]]))
    table = read_table(data["annotations"], columns, names.knows)
    if not names.by_name:
        raise UserError(f"data.images: the folder {data['images']} holds no files.")
    log.info("%s: %d rows", data["annotations"], len(table.rows))
    if table.letters:
        notes.add(
            len(table.letters),
            "rows",
            f"a quotation mark that opens no cell of its own is a letter (first in row {table.letters[0]})",
        )
    if table.row_names:
        notes.add(
            len(table.rows),
            "rows",
            "one cell more than the header: the first is the row's name, as R writes it",
        )
    rows = [cells for _, cells in table.rows]
    frame = pd.DataFrame(rows, index=[row for row, _ in table.rows], columns=columns, dtype=str)
    frame = choose_rows(frame, data, left_out, notes)
    frame = read_answers(frame, data, table.separator, left_out, notes)
    frame = find_images(frame, data, names, left_out, notes)
    if data["where"] and data["combine"]:
        answers = frame["image"].value_counts()
        who = " and ".join(f"{column} is {value}" for column, value in data["where"].items())
        notes.add(
            (answers > 1).sum(), "images", f"more than one answer where {who}: combined by {data['combine']}"
        )
    return combine_answers(frame, data["combine"], left_out)


def from_folders(data, left_out, _notes):
    """Return image and label of every image in SPLIT/CLASS/ (split_folders) or CLASS/ (class_folders), by every name."""
    depth = 2 if data["source"] == "split_folders" else 1
    shape = "train/CLASS/, validation/CLASS/ and test/CLASS/" if depth == 2 else "CLASS/"
    images, others, outside, used_files = [], {}, set(), set()
    for path, real in walk(data["images"]):
        parts = PurePosixPath(path).parts
        if reason := why_passed_over(path):
            others[real] = reason
        elif len(parts) <= depth or (depth == 2 and parts[0] not in SPLITS):
            outside.add(real)
        else:
            images.append((path, parts[depth - 1]))
            used_files.add(real)
    for reason, count in sorted(Counter(others[real] for real in others.keys() - used_files).items()):
        left_out.add(count, "files", reason)
    left_out.add(len(outside - used_files - others.keys()), "files", f"not in a folder {shape}")
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
        and why_passed_over(f"{path.name}/1{SUFFIXES[0]}") is None
        and not is_own_folder(path)
        and not path.name.lower().endswith(SUFFIXES)
        and (depth == 1 or path.parent.name in SPLITS)
    }


def main(data, classes_csv, left_out_csv, notes_csv, folder):
    """Write classes.csv (image, class), left_out.csv (reason, unit, count), notes.csv (note, ...) and the folders of links."""
    left_out, notes = Counts("left out", "reason"), Counts("note", "note")
    read = from_folders if data["source"].endswith("folders") else from_annotations
    frame = choose_classes(read(data, left_out, notes), data["classes"], left_out)
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
    write_manifest(notes.to_frame(), notes_csv)
    link_images(folder, frame["image"], frame["class"], data["images"])


if __name__ == "__main__":
    console.start(snakemake.log[0])
    made = snakemake.output
    main(snakemake.params.data, made.classes, made.left_out, made.notes, made.folder)
