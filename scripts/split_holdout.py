"""Draw the images held out for validation and test, or take the splits that the folders give."""

import hashlib
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from baton import console
from baton.console import log
from baton.data.inspected import read_faults
from baton.data.labels import sort_labels
from baton.errors import UserError, some
from baton.manifests import SPLITS, open_manifest, read_categories, read_manifest, stream_manifest
from filter_corrupt import replace_held_out
from holdout.groups import HELD_OUT, METHODS, Group, NoDraw, draw_groups, find_smaller


def place_in_draw(image, seed):
    """Return a number below 2**64 that orders images at random: it follows from the seed and the name alone.

    So the draw depends on neither the order of the CSV nor the version of a random generator, and
    an image more or less leaves the others where they were.
    """
    text = f"{seed}/{image}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


def draw_holdout(frame, validation, test, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, an image's number in its class's draw (0, 1, ...).

    frame: class, place (see place_in_draw). The first `validation` of a class's draw are held out for validation, the next
    `test` for test, the rest is for training; splits: which of the two are drawn. Raises UserError naming every class that is
    too small.
    """
    sizes = [size if split in splits else 0 for split, size in (("validation", validation), ("test", test))]
    refuse_small(frame["class"].value_counts(), *sizes)
    label, _ = pd.factorize(frame["class"])
    draw = number_in_class(label, frame["place"])
    code = (draw >= sizes[0]).astype(np.int8) + (draw >= sum(sizes))
    return frame.assign(split=pd.Categorical.from_codes(code, [*HELD_OUT, "train"]), draw=draw)


def number_in_class(label, place):
    """Return the number of each row in its class's draw, from 0, by `place`, and where that is the same by row.

    label: of the class, from 0.
    """
    order = np.lexsort((place, label))
    numbers = np.empty(len(label), int)
    for rows in np.split(order, np.cumsum(np.bincount(label))[:-1]):
        numbers[rows] = np.arange(len(rows))
    return numbers


def refuse_small(counts, validation, test):
    """Raise UserError naming every class that is too small; counts: images of each class."""
    counts = counts[counts > 0]  # of categories, some may have none here
    least = validation + test + 1
    small = [f"{label} has {counts[label]}" for label in sort_labels(counts.index) if counts[label] < least]
    if small:
        held_out = [
            f"{size} for {split}" for split, size in (("validation", validation), ("test", test)) if size
        ]
        raise UserError(
            f"too few images to hold out {' and '.join(held_out)} and leave one to "
            f"train on: class {', class '.join(small)}, of {least} needed. Lower holdout.validation or "
            "holdout.test, or merge or leave out classes with data.classes."
        )


def draw_whole_groups(frame, validation, test, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, as draw_holdout does, with every group in one split.

    frame: class, place, group (empty: of its own), damaged, in the order of the images' names. The place of a group is that of
    its first image. Damaged images are not drawn, as nothing would be left of a group that another takes the place of: they
    are listed for training, without a place.
    """
    needed = {
        "validation": validation if "validation" in splits else 0,
        "test": test if "test" in splits else 0,
    }
    good = frame[~frame["damaged"]]
    refuse_small(good["class"].value_counts(), **needed)
    labels = sort_labels(good["class"].unique())
    rows = np.flatnonzero(~frame["damaged"].to_numpy())
    label = pd.Categorical(good["class"], categories=labels).codes.astype(int)
    group, _ = pd.factorize(good["group"])
    unit, _ = pd.factorize(np.where(good["group"] == "", len(rows) + np.arange(len(rows)), group))
    places = good["place"].to_numpy()[np.unique(unit, return_index=True)[1]]
    order = np.argsort(places, kind="stable")
    place_of = np.empty(len(order), int)
    place_of[order] = np.arange(len(order))
    unit = place_of[unit]  # from here on groups are numbered in their random order
    groups = count_classes(unit, label, len(labels))
    try:
        drawn = draw_groups(groups, len(labels), **needed)
    except NoDraw as trouble:
        raise UserError(explain_no_draw(trouble, groups, labels, needed)) from None
    log.info("%d images in %d groups: drawn %s", len(rows), len(groups), METHODS[drawn.method])
    if drawn.unavoidably_large:
        log.warning(
            "some groups are more than a fifth of a class's test images, since no draw without was found"
        )
    split = np.full(len(frame), "train", object)
    places = pd.Series(pd.NA, frame.index, "Int64")
    split[rows] = np.array(drawn.splits, object)[unit]
    places.iloc[rows] = number_in_class(label, unit)  # of a group by name
    return frame.assign(split=split, draw=places)


def count_classes(unit, label, classes):
    """Return the Groups of images: unit: the number of each one's group, from 0; label: its class."""
    kinds, counts = np.unique(unit * classes + label, return_counts=True)
    groups: list[Group] = [()] * (int(unit.max()) + 1)
    same: dict[Group, Group] = {}  # each of the few kinds is held once, not for each of a million groups
    for number, kind, count in zip(
        *(values.tolist() for values in (*divmod(kinds, classes), counts)), strict=True
    ):
        group = (*groups[number], (kind, count))
        groups[number] = same.setdefault(group, group)
    return groups


def explain_no_draw(trouble, groups, labels, needed):
    """Return why a holdout of whole groups cannot be drawn, and what can."""
    held_out = " and ".join(f"{size} for {split}" for split, size in needed.items() if size)
    known = (
        "There is no such draw: that is proven, for all groups and both splits."
        if trouble.proven
        else "None was found; whether there is one is not known."
    )
    lacking = [
        f"{needed[split] - count} of {needed[split]} for {split} of class {labels[label]}"
        for split, label, count in trouble.nearest
    ]
    nearest = f" The nearest found has {some(lacking)}." if lacking else ""
    sizes = [sum(count for _, count in group) for group in groups]
    smaller = find_smaller(groups, len(labels), **needed)
    instead = ""
    if smaller:
        asked = [f"{split}: {size}" for split, size in zip(needed, smaller, strict=True) if needed[split]]
        instead = f" With holdout: {{{', '.join(asked)}}} there is one."
    return (
        f"holdout: no draw of exactly {held_out} per class keeps all groups whole. {known}{nearest}{instead} There are "
        f"{len(groups)} groups of up to {max(sizes)} images; see data.group_column, data.group_pattern and holdout.keep_together."
    )


def take_given_splits(frame, validation):
    """Return `frame` with `split` as given, and `draw`.

    Where none of the images is for validation, so many are drawn from those for training, and `draw` is their place; else it is
    empty. A class that misses from a split is logged; one that misses from training raises UserError, and so does a split
    without any images.
    """
    frame = frame.assign(draw=pd.Series(pd.NA, frame.index, "Int64"))
    labels = sort_labels(frame["class"].unique())
    there = [split for split in SPLITS if (frame["split"] == split).any()]
    for split in SPLITS:
        classes = set(frame.loc[frame["split"] == split, "class"])
        if not classes and split == "validation":
            continue
        if not classes:
            raise UserError(
                f"there are no {split} images of the chosen classes ({', '.join(labels)}). Put some under "
                f"{split}/, in folders of the same names, capitals included, or name their split in data.split_column."
            )
        missing = [label for label in labels if label not in classes]
        if missing and split == "train":
            raise UserError(
                f"no training images of class {', '.join(missing)}: a model cannot learn what it never sees. "
                "Add some for training, or leave the class out with data.classes."
            )
        if missing:
            log.warning("no %s images of class %s", split, ", ".join(missing))
    if "validation" in there:
        return frame
    log.info("no images are given for validation: %d per class are drawn from those for training", validation)
    train = frame[frame["split"] == "train"]
    drawn = draw(train, validation, 0, ("validation",))
    return frame.assign(
        split=drawn["split"].astype(str).reindex(frame.index).fillna(frame["split"].astype(str)),
        draw=drawn["draw"].astype("Int64").reindex(frame.index),
    )


def draw(frame, validation, test, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, with groups whole where there are any."""
    groups = frame["group"][~frame["damaged"] & (frame["group"] != "")]
    draw_them = draw_whole_groups if groups.duplicated().any() else draw_holdout
    return draw_them(frame, validation, test, splits)


def refuse_new_draw(images, frame, placed, sizes, before):
    """Raise UserError where a study that was drawn without regard to copies would be drawn anew because of them.

    images: their names; frame, placed: class, ..., and as drawn now; before: images.csv of the study as it was.
    """
    good = ~frame["damaged"]
    earlier = read_manifest(before, ["image", "split"])
    earlier = dict(zip(earlier["image"], earlier["split"], strict=True))
    plain = draw_holdout(frame, **sizes).assign(damage=frame["damaged"].where(frame["damaged"]))
    plain = replace_held_out(plain)[good]
    then = dict(zip(images[good], plain["split"], strict=True))
    if earlier != then or then == dict(zip(images, placed["split"], strict=True)):
        return
    splits = images.map(then).groupby(frame["group"].where(frame["group"] != "")).nunique()
    parted = (splits > 1).sum()
    trouble = f"{parted} groups of images that are copies of one another are in several splits of this study"
    if not parted:
        trouble = "some images of this study are copies of one another"
    raise UserError(
        f"{trouble}. Copies stay together now, which would draw another holdout and train every model "
        "anew. To keep the splits as they are, set holdout.keep_together: none. To draw them anew, delete "
        f"{Path(before).parent}. The copies are listed in {Path(before).parent}/copies.csv."
    )


def read_images(classes_csv, groups_csv, seed, splits_are_given):
    """Return class, group (empty: it belongs to no other), split (as given) and place of each image, in the order of the names.

    split: where it is given, by a column, else the first folder of the path; the index is the row in classes.csv. Names are
    not held: a million of them take more memory than all that follows from them.
    """

    def images():
        return (one["image"] for one in stream_manifest(classes_csv))

    columns = read_manifest(classes_csv, rows=0)
    frame = read_categories(classes_csv, [name for name in ("class", "split") if name in columns])
    frame["place"] = np.fromiter((place_in_draw(image, seed) for image in images()), np.uint64, len(frame))
    if splits_are_given and "split" not in frame:
        frame["split"] = pd.Categorical([sys.intern(image.split("/")[0]) for image in images()])
    group_of = {one["image"]: sys.intern(one["group"]) for one in stream_manifest(groups_csv)}
    frame["group"] = pd.Categorical([group_of.get(image, "") for image in images()])
    if any(one > other for one, other in pairwise(images())):
        frame = frame.loc[read_manifest(classes_csv, ["image"])["image"].sort_values(kind="stable").index]
    return frame


def main(classes_csv, inspected_csv, groups_csv, split_csv, holdout, given, warned, before):
    """Write split.csv: image, class, split, draw.

    groups_csv: image and group of images that are not to be parted; given: whether the splits are given; warned: see
    Faults.judge_warnings; before: images.csv of the study as it was, which need not be there.
    """
    damage = read_faults(inspected_csv).judge_warnings(warned)
    frame = read_images(classes_csv, groups_csv, holdout["seed"], given)
    frame["damaged"] = np.isin(frame.index, list(damage))
    sizes = {key: holdout[key] for key in ("validation", "test")}
    placed = take_given_splits(frame, sizes["validation"]) if given else draw(frame, **sizes)
    groups_are_given = "group" in read_manifest(classes_csv, rows=0)
    if not given and not groups_are_given and Path(before).exists() and (frame["group"] != "").any():
        images = read_manifest(classes_csv, ["image"])["image"].reindex(frame.index)
        refuse_new_draw(images, frame, placed, sizes, before)
    for split in SPLITS:
        log.info("%s: %d images", split, (placed["split"] == split).sum())
    placed = placed[["split", "draw"]].sort_index()
    with open_manifest(split_csv, ["image", "class", "split", "draw"]) as write_row:
        for one, split, number in zip(
            stream_manifest(classes_csv), placed["split"], placed["draw"], strict=True
        ):
            write_row([one["image"], one["class"], split, "" if number is pd.NA else number])


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        snakemake.input.classes,
        snakemake.input.inspected,
        snakemake.input.groups,
        snakemake.output.split,
        **snakemake.params,
    )
