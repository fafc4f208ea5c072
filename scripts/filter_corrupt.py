"""Decode every image, set the damaged ones aside, and keep the promised number held out."""

import os
from functools import partial
from typing import NamedTuple

import numpy as np

from baton import console
from baton.console import log, show_progress
from baton.data import damage, grey
from baton.data.grey import range_of, read_values
from baton.data.images import DamagedImage, digest_file, map_images, open_image
from baton.data.labels import sort_labels
from baton.data.links import link_images
from baton.errors import UserError
from baton.files import write_json
from baton.manifests import read_manifest, write_manifest

JPEG = (".jpg", ".jpeg", ".jfif")
MANY = 0.2  # share of a study's JPEGs with a warning from which on the user has to say what it means


class Deep(NamedTuple):
    """The values of a grey image of more than 8 bits: see check_image."""

    sample: str
    declared: bool
    lowest: float
    highest: float
    limits: tuple[float, float]


def check_image(path, megapixels):
    """Return the SHA-256 of the image at `path`, what is wrong with it, its decoder's warning, what to look at, and its values.

    Each None for nothing; of a damaged image the digest is empty. Its values, of a grey one of more than 8 bits: sample
    type, whether its file declares their range, those of `inner_range`, and the range that they would be scaled by.
    """
    try:
        image, depth = open_image(path, megapixels)
        damaged, warning = damage.read_warnings(path)
    except DamagedImage as trouble:
        return "", str(trouble), None, None, None
    if damaged:
        return "", damaged, None, None, None
    if depth is None:
        return digest_file(path), None, warning, damage.look_at(path, np.asarray(image)), None
    values = read_values(image, depth)
    deep = Deep(depth.sample, depth.declared is not None, *grey.inner_range(values), range_of(values, depth))
    return digest_file(path), None, warning, None, deep


def scale_grey(frame):
    """Return by sample type the ranges by which deep grey images are scaled, and what to look at of each image.

    frame: look, deep (a Deep or None).
    """
    deep = frame["deep"].dropna()
    ranges = grey.find_ranges((one.sample, one.limits) for one in deep if not one.declared)
    look = frame["look"].copy()
    for row, one in deep.items():
        low, high = one.limits if one.declared else ranges[one.sample]
        if one.highest - one.lowest < damage.CONTRAST / 255 * (high - low):
            look[row] = (
                f"next to no contrast: its values (one at either end aside) are from {one.lowest:g} to {one.highest:g}, where "
                f"{low:g} is black and {high:g} white"
            )
    for sample, (low, high) in ranges.items():
        log.info("grey images of type %s: %g is black and %g white", sample, low, high)
    return ranges, look


def judge_warnings(frame, warned):
    """Return `damage` of each image with the decoders' warnings as `images.warned` has it: leave_out, keep, or None.

    frame: image, damage, warning. None leaves them out, but where more than a fifth of the JPEGs have one: a camera may
    write what libjpeg grumbles about. Raises UserError there.
    """
    some_warned = frame["warning"].notna() & frame["damage"].isna()
    jpegs = frame["image"].str.lower().str.endswith(JPEG) & frame["damage"].isna()
    if warned is None and some_warned.sum() > MANY * jpegs.sum():
        first = frame[some_warned].iloc[0]
        raise UserError(
            f"{some_warned.sum()} of {jpegs.sum()} JPEGs are read with a warning of the decoder, such as {first['image']}: "
            f"{first['warning']}. Look at some of them. If they are as they should be, set images.warned: keep; if they are "
            "damaged, images.warned: leave_out."
        )
    for image, warning in frame.loc[some_warned, ["image", "warning"]].itertuples(index=False):
        log.warning("read with a warning of the decoder: %s: %s", image, warning)
    if warned == "keep":
        return frame["damage"]
    return frame["damage"].where(~some_warned, "the decoder warns: " + frame["warning"].fillna(""))


def replace_held_out(frame):
    """Return `frame` with each damaged held-out image's place taken by the next of its class's draw.

    frame: image, class, split, draw (int), damage (None where readable). The damaged image keeps its
    split, so that the manifest of damaged files says where it was.
    """
    split = frame["split"].copy()
    for _, group in frame.groupby("class"):
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
    for label in sort_labels(frame["class"]):
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


def warn_of_duplicates(frame):
    """Log which files are byte for byte the same and stand in different splits or classes."""
    for column, trouble in (
        (
            "split",
            "in different splits: a model is validated or tested on images that it has seen, or was chosen by",
        ),
        ("class", "in different classes: no model can be right about both"),
    ):
        spread = frame.groupby("sha256")[column].nunique()
        several = frame[frame["sha256"].isin(spread[spread > 1].index)]
        if len(several):
            log.warning("%d files are copies of one another %s", len(several), trouble)
            for image in several.sort_values("sha256")["image"].head(10):
                log.warning("  %s", image)


def main(
    split_csv,
    images_csv,
    corrupt_csv,
    look_at_csv,
    grey_json,
    folder,
    root,
    threads,
    holdout,
    warned,
    megapixels,
):
    """Write images.csv (image, class, split, sha256), corrupt.csv and look_at.csv (file, class, split, reason), the links.

    grey_json: the ranges of grey images of more than 8 bits, by sample type, are written there; root: the folder of
    images; holdout: None where the splits are given; warned: see judge_warnings; megapixels: the most of an image.
    """
    frame = read_manifest(split_csv)
    paths = [os.path.join(root, image) for image in frame["image"]]
    checked = show_progress(
        map_images(partial(check_image, megapixels=megapixels), paths, threads),
        "decoding",
        len(paths),
        "image",
    )
    frame["sha256"], frame["damage"], frame["warning"], frame["look"], frame["deep"] = zip(
        *checked, strict=True
    )
    frame["damage"] = judge_warnings(frame, warned)
    ranges, frame["look"] = scale_grey(frame)
    damaged = frame[frame["damage"].notna()]
    for image, reason in zip(damaged["image"], damaged["damage"], strict=True):
        log.warning("damaged: %s: %s", image, reason)
    log.info("%d of %d images are damaged", len(damaged), len(frame))
    needed = {}
    if holdout is not None:
        frame = replace_held_out(frame.astype({"draw": int}))
        needed = {split: holdout[split] for split in ("validation", "test")}
    check_enough(frame, needed)
    good = frame[frame["damage"].isna()]
    warn_of_duplicates(good)
    write_json(grey_json, ranges)
    write_manifest(good[["image", "class", "split", "sha256"]], images_csv)
    for rows, reason, path in (
        (damaged, "damage", corrupt_csv),
        (good[good["look"].notna()], "look", look_at_csv),
    ):
        rows = rows.rename(columns={"image": "file", reason: "reason"})
        write_manifest(rows[["file", "class", "split", "reason"]], path)
    for split in ("train", "validation", "test"):
        part = good[good["split"] == split]
        link_images(os.path.join(folder, split), part["image"], part["class"], root, good["class"])


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        snakemake.input.split,
        snakemake.output.images,
        snakemake.output.corrupt,
        snakemake.output.look_at,
        snakemake.output.grey,
        snakemake.output.folder,
        snakemake.input.images,
        snakemake.threads,
        **snakemake.params,
    )
