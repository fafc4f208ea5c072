"""Set the damaged images aside, and keep the promised number held out."""

import os
from functools import partial

import numpy as np
import pandas as pd

from baton import console
from baton.console import log
from baton.data.copies import place_copies
from baton.data.inspected import look_at_contrast, read_faults
from baton.data.labels import sort_labels
from baton.data.links import link_images
from baton.errors import UserError
from baton.files import read_json
from baton.manifests import SPLITS, open_manifest, read_categories, read_manifest, stream_manifest


def replace_held_out(frame):
    """Return `frame` with each damaged held-out image's place taken by the next of its class's draw.

    frame: class, split, draw (missing: not drawn), damage (missing: readable). The damaged image keeps its split, so that the
    manifest of damaged files says where it was.
    """
    split = frame["split"].copy()
    drawn = frame[frame["draw"].notna()]
    for _, group in drawn.groupby("class"):
        group = group.sort_values("draw")
        readable = group["damage"].isna()
        spare = iter(group.index[readable & (group["split"] == "train")])
        for held_out in ("validation", "test"):
            for _ in range((~readable & (group["split"] == held_out)).sum()):
                if (substitute := next(spare, None)) is not None:
                    split[substitute] = held_out
    return frame.assign(split=split)


def check_enough(frame, needed):
    """Raise UserError where damage leaves a class without training images or short of its holdout.

    frame: class, split, damage; needed: images per class in each drawn split ({} where splits are given).
    """
    counts = frame[frame["damage"].isna()].groupby(["class", "split"]).size()
    damaged = frame[frame["damage"].notna()].groupby("class").size()
    short = []
    for label in sort_labels(frame["class"].unique()):
        for split, least in {"train": 1, **needed}.items():
            count = counts.get((label, split), 0)
            if count < least:
                short.append(
                    f"{label} has {count} for {split}, of {least} needed ({damaged.get(label, 0)} damaged)"
                )
    for split in ("validation", "test"):
        if not (frame["damage"].isna() & (frame["split"] == split)).any():
            short.append(f"every one has 0 for {split}, of 1 needed in all")
    if short:
        raise UserError(
            f"too few readable images: class {'; class '.join(short)}. Repair or replace the files, lower "
            "holdout.validation or holdout.test, or leave the class out with data.classes. "
            "The damaged files are listed above."
        )


def warn_of_copies(placed):
    """Log which images are copies of one in another split or class; placed: see place_copies."""
    for column, trouble in (
        (
            "split",
            "different splits: a model is validated or tested on images that it has seen, or was chosen by",
        ),
        ("class", "different classes: no model can be right about both"),
    ):
        apart = placed[placed[column] != placed[f"twin_{column}"]]
        if len(apart):
            pairs = "pair of copies is" if len(apart) == 1 else "pairs of copies are"
            log.warning("%d %s in %s", len(apart), pairs, trouble)
            for image, twin in apart[["image", "twin"]].head(5).itertuples(index=False):
                log.warning("  %s and %s", image, twin)


def read_draw(split_csv, damage):
    """Return class, split, draw (missing: not drawn) and damage (missing: readable) of each row; damage: why, by row."""
    frame = read_categories(split_csv, ["class", "split"])
    places = (float(one["draw"] or "nan") for one in stream_manifest(split_csv))
    frame["draw"] = np.fromiter(places, float, len(frame))
    return frame.assign(damage=pd.Series(damage, dtype=object).reindex(frame.index))


def main(
    split_csv,
    inspected_csv,
    grey_json,
    copies_csv,
    images_csv,
    corrupt_csv,
    look_at_csv,
    folder,
    root,
    holdout,
    warned,
):
    """Write images.csv (image, class, split, sha256), corrupt.csv and look_at.csv (file, class, split, reason), the links.

    grey_json: the ranges of grey images of more than 8 bits, by sample type; root: the folder of images; warned: see
    Faults.judge_warnings.
    """
    faults, ranges = read_faults(inspected_csv), read_json(grey_json)
    faults.tell_warnings()
    damage = faults.judge_warnings(warned)
    # Row by row, and only what the draw follows from in memory: of a million images names and digests would fill it.
    frame = read_draw(split_csv, damage)
    for row, one in enumerate(stream_manifest(split_csv)):
        if row in damage:
            log.warning("damaged: %s: %s", one["image"], damage[row])
    log.info("%d of %d images are damaged", len(damage), len(frame))
    drawn = set(frame.loc[frame["draw"].notna(), "split"].unique()) - {"train"}
    replaced = replace_held_out(frame)
    check_enough(replaced, {split: holdout[split] for split in SPLITS if split in drawn})
    columns = ["file", "class", "split", "reason"]
    with (
        open_manifest(images_csv, ["image", "class", "split", "sha256"]) as write_good,
        open_manifest(corrupt_csv, columns) as write_damaged,
        open_manifest(look_at_csv, columns) as write_odd,
    ):
        rows = zip(stream_manifest(split_csv), stream_manifest(inspected_csv), replaced["split"], strict=True)
        for row, (one, inspected, split) in enumerate(rows):
            place = [one["image"], one["class"], split]
            if row in damage:
                write_damaged([*place, damage[row]])
                continue
            write_good([*place, inspected["sha256"]])
            if look := look_at_contrast(inspected, ranges):
                write_odd([*place, look])
    copies = read_manifest(copies_csv)
    have_copies = {*copies["image"], *copies["twin"]}
    good = [row for row in stream_manifest(images_csv) if row["image"] in have_copies]
    warn_of_copies(place_copies(copies, pd.DataFrame(good, columns=["image", "class", "split"])))
    for split in SPLITS:
        link_images(
            os.path.join(folder, split), partial(read_links, images_csv, split), root, frame["class"].unique()
        )


def read_links(images_csv, split):
    """Yield image and class of the images of a split."""
    return ((row["image"], row["class"]) for row in stream_manifest(images_csv, split))


if __name__ == "__main__":
    console.start(snakemake.log[0])
    made = snakemake.output
    main(
        *(snakemake.input[name] for name in ("split", "inspected", "grey", "copies")),
        *(made[name] for name in ("images", "corrupt", "look_at", "folder")),
        snakemake.input.images,
        **snakemake.params,
    )
