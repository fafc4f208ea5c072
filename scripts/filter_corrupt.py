"""Decode every image, set the damaged ones aside, and keep the promised number held out."""

import os

from baton import console
from baton.console import log, show_progress
from baton.data.images import DamagedImage, decode_image, digest_file, map_images
from baton.data.labels import sort_labels
from baton.data.links import link_images
from baton.errors import UserError
from baton.manifests import read_manifest, write_manifest


def check_image(path):
    """Return the SHA-256 of the image at `path` and None, or an empty string and what is wrong with it."""
    try:
        decode_image(path)
        return digest_file(path), None
    except DamagedImage as damage:
        return "", str(damage)


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
        ("split", "in different splits: a model is tested on what it was trained on"),
        ("class", "in different classes: no model can be right about both"),
    ):
        spread = frame.groupby("sha256")[column].nunique()
        several = frame[frame["sha256"].isin(spread[spread > 1].index)]
        if len(several):
            log.warning("%d files are copies of one another %s", len(several), trouble)
            for image in several.sort_values("sha256")["image"].head(10):
                log.warning("  %s", image)


def main(split_csv, images_csv, corrupt_csv, folder, root, threads, holdout):
    """Write images.csv (image, class, split, sha256), corrupt.csv (file, class, split, reason) and the links.

    root: the folder of images; holdout: None where the splits are given.
    """
    frame = read_manifest(split_csv)
    paths = [os.path.join(root, image) for image in frame["image"]]
    checked = show_progress(map_images(check_image, paths, threads), "decoding", len(paths), "image")
    frame["sha256"], frame["damage"] = zip(*checked, strict=True)
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
    write_manifest(good[["image", "class", "split", "sha256"]], images_csv)
    damaged = damaged.rename(columns={"image": "file", "damage": "reason"})
    write_manifest(damaged[["file", "class", "split", "reason"]], corrupt_csv)
    for split in ("train", "validation", "test"):
        part = good[good["split"] == split]
        link_images(os.path.join(folder, split), part["image"], part["class"], root, good["class"])


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        snakemake.input.split,
        snakemake.output.images,
        snakemake.output.corrupt,
        snakemake.output.folder,
        snakemake.input.images,
        snakemake.threads,
        **snakemake.params,
    )
