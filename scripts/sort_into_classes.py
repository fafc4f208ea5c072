"""Give every image its class, from a CSV of annotations or from the folders it lies in."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from annotations.answers import choose_rows, find_label_columns, read_answers
from annotations.belonging import find_groups, list_splits, read_groups, read_splits, refuse_parted_groups
from annotations.classes import Classes, choose_classes, label_images
from annotations.folders import read_folders
from annotations.names import RULES, Names
from annotations.tables import list_headers, read_table
from baton import console
from baton.console import log
from baton.data.images import name_files, rank_name, real_files
from baton.data.labels import sort_labels
from baton.data.links import find_repeated, link_images
from baton.data.passed_over import count_passed_over
from baton.errors import UserError, some
from baton.formatting import as_number
from baton.manifests import read_manifest, write_manifest
from baton.study.labels import are_splits_given, list_ranges


class Counts:
    """What was done to rows, images, answers or files on reading, and how many: told in the report, and, with a title, logged."""

    def __init__(self, title, column):
        self.title, self.column, self.rows = title, column, []

    def add(self, count, unit, what):
        if count:
            self.rows.append((what, unit, int(count)))
            if self.title:
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


class Read(NamedTuple):
    """What there is of labels, before files that links name twice are taken once.

    frame: image and class, and split and group where the data say so; answers: image, annotator, label and class of every
    answer to the question that is asked, of all annotators and images; alternative: image and class of each image as they would be if the
    majority was one of labels, where that is another.
    """

    frame: pd.DataFrame
    answers: pd.DataFrame
    alternative: pd.DataFrame | None = None


def from_annotations(data, left_out, notes):
    """Return, as a Read, what the CSV of annotations says."""
    names = Names(name_files(data["images"]))
    labels = find_label_columns(list_headers(data["annotations"]), data, notes)
    said = [data[key] for key in ("annotator_column", "split_column", "group_column") if data[key]]
    columns = list(dict.fromkeys([data["image_column"], *labels, *data["where"], *said]))
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
    whole = pd.DataFrame(rows, index=[row for row, _ in table.rows], columns=columns, dtype=str)

    def read(data, left_out, notes):
        frame = choose_rows(whole, data, left_out, notes)
        frame = read_answers(frame, data, labels, table.separator, left_out, notes)
        return find_images(frame, data, names, left_out, notes)

    frame = read(data, left_out, notes)
    if data["where"] and data["combine"]:
        answers = frame["image"].value_counts()
        who = " and ".join(f"{column} is {value}" for column, value in data["where"].items())
        notes.add(
            (answers > 1).sum(), "images", f"more than one answer where {who}: combined by {data['combine']}"
        )
    found = label_images(frame, data["combine"], data["classes"], left_out)
    if "split" in frame:
        found["split"] = found["image"].map(read_splits(frame, data))
        if "validation" in list_splits(whole, data) and not (found["split"] == "validation").any():
            raise UserError(
                f"{data['annotations']}: column {data['split_column']} gives images to validation, and none of them has an answer "
                "that is used. Take these rows out to have validation drawn from the training images."
            )
    if data["group_column"]:
        names_of = (
            whole[data["image_column"]]
            .str.strip()
            .map(names.find_all(list(whole[data["image_column"]].str.strip().unique()))[0])
        )
        cells = pd.DataFrame({"image": names_of, "group": whole[data["group_column"]], "row": whole.index})
        found["group"] = found["image"].map(read_groups(cells[names_of.notna()], data, notes)).fillna("")
    others = {column: value for column, value in data["where"].items() if column != data["annotator_column"]}
    everyone = frame
    if (
        others != data["where"]
    ):  # the label is of one annotator; how far the others agree is told all the same
        everyone = read(data | {"where": others, "missing_images": "skip"}, Counts("", ""), Counts("", ""))
    alternative = None
    if (
        data["combine"] == "majority"
        and isinstance(data["classes"], dict)
        and not list_ranges(data["classes"])
    ):
        with suppress(UserError):  # then no study was ever labelled so
            alternative = label_images(frame, "majority_of_labels", data["classes"], Counts("", ""))
    answers = everyone[["image", "annotator", "label"]]
    answers = answers.assign(**{"class": Classes(data["classes"], answers["label"]).of(answers["label"])})
    return Read(found, answers, alternative)


def from_folders(data, left_out, _notes):
    """Return, as a Read, what the folders that the images lie in say."""
    nobody = pd.DataFrame(columns=["image", "annotator", "label", "class"])
    frame = read_folders(data, left_out)
    chosen = choose_classes(frame, data["classes"], left_out)
    given, left = (one["image"].str.startswith("validation/").any() for one in (frame, chosen))
    if data["source"] == "split_folders" and given and not left:
        raise UserError(
            "data.classes: none of the images in validation/ is of these classes. Take the folder away to have validation "
            "drawn from the training images."
        )
    return Read(chosen, nobody)


def take_files_once(frame, data, left_out):
    """Return `frame` (image, class, ...) with each real file once, by the best of its names; links may give several.

    A file that is in several classes is in none: no model could be right about it. Raises UserError for one in several
    splits: who made them has to say which.
    """
    root = data["images"]
    repeated = find_repeated(real_files(root, frame["image"]))
    if not repeated.any() and frame["image"].is_monotonic_increasing:
        # Not put together and sorted anew: each is another copy of a table of a million rows.
        return frame.reset_index(drop=True)
    once, frame = frame[~repeated], frame[repeated]
    frame = frame.assign(file=list(real_files(root, frame["image"])))
    ranks = [rank_name(root, *names) for names in zip(frame["image"], frame["file"], strict=True)]
    frame = frame.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]
    if are_splits_given(data):
        split = frame["split"] if "split" in frame else frame["image"].str.split("/").str[0]
        splits = split.groupby(frame["file"]).transform("nunique")
        several = frame[splits > 1].sort_values(["file", "image"])
        if len(several):
            raise UserError(
                f"data.images: {several['file'].nunique()} files are in several splits, through links{such_as(several)}. A model "
                "is not tested on what it was trained on or chosen by: give each image one split."
            )
    classes = frame.groupby("file")["class"].transform("nunique")
    several = frame[classes > 1]
    left_out.add(len(several), "images", f"one file in several classes, through links{such_as(several)}")
    others = frame[(classes == 1) & frame["file"].duplicated()]
    left_out.add(len(others), "images", f"a link to a file that is used under another name{such_as(others)}")
    best = frame[(classes == 1) & ~frame["file"].duplicated()].drop(columns="file")
    return pd.concat([once, best]).sort_values("image", ignore_index=True)


def such_as(frame):
    return f": {some(frame['image'], 3)}" if len(frame) else ""


def refuse_new_majority(frame, read, data, before):
    """Raise UserError where a study that took the majority of labels before would take that of classes now.

    before: split.csv of the study as it was, which need not be there; a training run follows from its classes.
    """
    if read.alternative is None or not Path(before).exists():
        return
    earlier = read_manifest(before, ["image", "class"])
    earlier = dict(zip(earlier["image"], earlier["class"], strict=True))
    alternative = take_files_once(read.alternative, data | {"split_column": None}, Counts("", ""))
    now, then = (dict(zip(one["image"], one["class"], strict=True)) for one in (frame, alternative))
    if earlier != then or earlier == now:
        return
    changed = sum(now.get(image) != earlier.get(image) for image in now.keys() | earlier.keys())
    raise UserError(
        f"data.combine: majority is now the most frequent class, after data.classes has merged the answers, and before it was "
        f"the most frequent answer. For {changed} images of this study that is another label, and every model would be trained "
        "anew. To keep the labels as they are, set data.combine: majority_of_labels. To take the new ones, delete "
        f"{Path(before).parent}."
    )


def main(data, classes_csv, left_out_csv, notes_csv, answers_csv, folder, before):
    """Write classes.csv, left_out.csv (reason, unit, count), notes.csv (note, ...), answers.csv and the folders of links.

    classes.csv: image, class, split where a column gives it, group where some images belong together; answers.csv: image,
    annotator (a column's name of a wide table, empty where it is not known), answer and its class (empty where it has none), of
    all images that were answered, those without a class too; before: see refuse_new_majority.
    """
    left_out, notes = Counts("left out", "reason"), Counts("note", "note")
    read = (from_folders if data["source"].endswith("folders") else from_annotations)(data, left_out, notes)
    frame = take_files_once(read.frame, data, left_out)
    if data["group_pattern"]:
        frame["group"] = frame["image"].map(find_groups(frame["image"], data["group_pattern"], notes))
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
    refuse_new_majority(frame, read, data, before)
    if "group" in frame and are_splits_given(data):
        refuse_parted_groups(
            frame if "split" in frame else frame.assign(split=frame["image"].str.split("/").str[0])
        )
    for label in sort_labels(counts.index):
        log.info("class %s: %d images", label, counts[label])
    answers = read.answers.rename(columns={"label": "answer"})
    write_manifest(frame, classes_csv)
    write_manifest(left_out.to_frame(), left_out_csv)
    write_manifest(notes.to_frame(), notes_csv)
    write_manifest(answers.sort_values(["image", "annotator", "answer"]), answers_csv)
    link_images(
        folder, lambda: zip(frame["image"], frame["class"], strict=True), data["images"], counts.index
    )


if __name__ == "__main__":
    console.start(snakemake.log[0])
    made = snakemake.output
    main(
        snakemake.params.data,
        *(made[name] for name in ("classes", "left_out", "notes", "answers", "folder")),
        snakemake.params.before,
    )
