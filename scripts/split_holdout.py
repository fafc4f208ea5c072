"""Draw the images held out for validation and test, or take the splits that the folders give."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from baton import console
from baton.console import log
from baton.data.inspected import read_faults
from baton.data.labels import sort_labels
from baton.errors import UserError, some
from baton.manifests import SPLITS, read_manifest, stream_manifest, write_manifest
from filter_corrupt import replace_held_out
from holdout.groups import HELD_OUT, METHODS, Group, NoDraw, draw_groups, find_smaller


def places_in_draw(images, seed):
    """Return what orders images at random, an array of 32 bytes each: it follows from the seed and the name alone.

    So the draw depends on neither the order of the CSV nor the version of a random generator, and
    an image more or less leaves the others where they were.
    """
    texts = (f"{seed}/{image}".encode("utf-8", "surrogateescape") for image in images)
    return np.fromiter((hashlib.sha256(text).digest() for text in texts), "S32", len(images))


def draw_holdout(frame, validation, test, seed, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, an image's place in its class's draw (0, 1, ...).

    The first `validation` of a class's draw are held out for validation, the next `test` for test, the rest is for training;
    splits: which of the two are drawn. Raises UserError naming every class that is too small.
    """
    sizes = [size if split in splits else 0 for split, size in (("validation", validation), ("test", test))]
    refuse_small(frame["class"].value_counts(), *sizes)
    label, _ = pd.factorize(frame["class"])
    order = np.lexsort((places_in_draw(frame["image"], seed), label))
    draw = np.empty(len(frame), int)
    draw[order] = number_within(label[order])
    split = np.full(len(frame), "train", object)
    split[draw < sum(sizes)] = "test"
    split[draw < sizes[0]] = "validation"
    return frame.assign(split=split, draw=draw)


def number_within(labels):
    """Return the number of each row among those of its label, from 0."""
    return pd.Series(labels).groupby(labels).cumcount().to_numpy()


def refuse_small(counts, validation, test):
    """Raise UserError naming every class that is too small; counts: images of each class."""
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


def draw_whole_groups(frame, validation, test, seed, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, as draw_holdout does, with every group in one split.

    frame: image, class, group (empty: of its own), damaged. The place of a group is that of its first image by name. Damaged
    images are not drawn, as nothing would be left of a group that another takes the place of: they are listed for training,
    without a place.
    """
    needed = {
        "validation": validation if "validation" in splits else 0,
        "test": test if "test" in splits else 0,
    }
    good = frame[~frame["damaged"]]
    refuse_small(good["class"].value_counts(), **needed)
    labels = sort_labels(good["class"].unique())
    rows = np.flatnonzero(~frame["damaged"].to_numpy())
    rows = rows[np.argsort(good["image"].to_numpy(object), kind="stable")]
    # Arrays: a table of a million rows makes its texts anew at each step.
    images, classes, given = (frame[name].to_numpy(object)[rows] for name in ("image", "class", "group"))
    label = pd.Index(labels, dtype=object).get_indexer(classes)
    unit, _ = pd.factorize(np.where(given == "", images, given))
    places = places_in_draw(images[np.unique(unit, return_index=True)[1]], seed)
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
    by_place = np.argsort(unit, kind="stable")  # of a group by name
    places.iloc[rows[by_place]] = number_within(label[by_place])
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


def take_given_splits(frame, validation, seed):
    """Return `frame` with `split` and `draw`: the splits that a column or the first folder of each image's path gives.

    Where none of the images is for validation, so many are drawn from those for training, and `draw` is their place; else it is
    empty. A class that misses from a split is logged; one that misses from training raises UserError, and so does a split
    without any images.
    """
    if "split" not in frame:
        frame = frame.assign(split=frame["image"].str.split("/").str[0])
    frame = frame.assign(draw=pd.Series(pd.NA, frame.index, "Int64"))
    labels = sort_labels(frame["class"])
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
    drawn = draw(train, validation, 0, seed, ("validation",))
    return frame.assign(
        split=drawn["split"].reindex(frame.index).fillna(frame["split"]),
        draw=drawn["draw"].astype("Int64").reindex(frame.index),
    )


def draw(frame, validation, test, seed, splits=HELD_OUT):
    """Return `frame` with `split` and `draw`, with groups whole where there are any."""
    groups = frame["group"][~frame["damaged"] & (frame["group"] != "")]
    draw_them = draw_whole_groups if groups.duplicated().any() else draw_holdout
    return draw_them(frame, validation, test, seed, splits)


def refuse_new_draw(frame, placed, damage, sizes, before):
    """Raise UserError where a study that was drawn without regard to copies would be drawn anew because of them.

    frame, placed: image, class, ..., and as drawn now; damage: of each image; before: images.csv of the study as it was,
    which need not be there.
    """
    if not Path(before).exists() or not (frame["group"] != "").any():
        return
    earlier = read_manifest(before, ["image", "split"])
    earlier = dict(zip(earlier["image"], earlier["split"], strict=True))
    plain = draw_holdout(frame, **sizes).assign(damage=damage)
    plain = replace_held_out(plain)[damage.isna()]
    then = dict(zip(plain["image"], plain["split"], strict=True))
    if earlier != then or then == dict(zip(placed["image"], placed["split"], strict=True)):
        return
    splits = frame["image"].map(then).groupby(frame["group"].where(frame["group"] != "")).nunique()
    parted = (splits > 1).sum()
    trouble = f"{parted} groups of images that are copies of one another are in several splits of this study"
    if not parted:
        trouble = "some images of this study are copies of one another"
    raise UserError(
        f"{trouble}. Copies stay together now, which would draw another holdout and train every model "
        "anew. To keep the splits as they are, set holdout.keep_together: none. To draw them anew, delete "
        f"{Path(before).parent}. The copies are listed in {Path(before).parent}/copies.csv."
    )


def read_groups(path, images):
    """Return the group of each image, empty where it belongs to no other; each group's name is held once."""
    names: dict[str, str] = {}
    group_of = {row["image"]: names.setdefault(row["group"], row["group"]) for row in stream_manifest(path)}
    return [group_of.get(image, "") for image in images]


def main(classes_csv, inspected_csv, groups_csv, split_csv, holdout, given, warned, before):
    """Write split.csv: image, class, split, draw.

    groups_csv: image and group of images that are not to be parted; given: whether the splits are given; warned: see
    Faults.judge_warnings; before: images.csv of the study as it was, which need not be there.
    """
    columns = list(read_manifest(classes_csv, rows=0))
    groups_are_given = "group" in columns
    frame = read_manifest(classes_csv, [name for name in columns if name != "group"])
    damage = pd.Series(read_faults(inspected_csv).judge_warnings(warned), dtype=object).reindex(frame.index)
    frame = frame.assign(group=read_groups(groups_csv, frame["image"]), damaged=damage.notna())
    sizes = {key: holdout[key] for key in ("validation", "test", "seed")}
    if given:
        placed = take_given_splits(frame, sizes["validation"], sizes["seed"])
    else:
        placed = draw(frame, **sizes)
        if not groups_are_given:
            refuse_new_draw(frame, placed, damage, sizes, before)
    for split in SPLITS:
        log.info("%s: %d images", split, (placed["split"] == split).sum())
    write_manifest(placed[["image", "class", "split", "draw"]], split_csv)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        snakemake.input.classes,
        snakemake.input.inspected,
        snakemake.input.groups,
        snakemake.output.split,
        **snakemake.params,
    )
