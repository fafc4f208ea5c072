"""Decode and resize every image once, into arrays of bytes that training maps into memory."""

import os
from functools import partial

import numpy as np
import pandas as pd

from baton import logs
from baton.images import BATCH, decode_resized, map_images
from baton.logs import log, show_progress
from baton.manifests import read_json, read_manifest, write_manifest

# How often a synthetic image that came out as its parent is drawn anew: some parents are symmetric.
TRIES = 20


def write_array(path, batches, count, size):
    """Write `count` images to a .npy file of shape (count, size, size, 3), uint8, a batch at a time."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
        )
        for batch in batches:
            file.write(np.ascontiguousarray(batch, dtype=np.uint8).tobytes())


def in_batches(images):
    """Yield arrays of up to BATCH of the `images`, so that writing is in large pieces."""
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def choose_parents(frame, fraction, seed):
    """Return the rows of `frame` that get a synthetic image: round(fraction * n) of each class, seeded."""
    chosen = []
    for number, (_, rows) in enumerate(frame.groupby("label", sort=True)):
        draw = np.random.default_rng([seed, number]).permutation(len(rows))
        chosen += list(rows.index[np.sort(draw[: round(fraction * len(rows))])])
    return frame.loc[chosen]


def augment(pixels, rows, augmentation, seed):
    """Yield batches of new images: the `rows` of the (n, size, size, 3) array `pixels`, augmented."""
    import keras  # TensorFlow is slow to import, and only synthetic images need it

    from baton.networks import augmentation_layers, set_up

    set_up(1, "float32", seed)
    layers = keras.Sequential(augmentation_layers(augmentation, seed))
    for start in range(0, len(rows), BATCH):
        parents = pixels[rows[start : start + BATCH]].astype(np.float32)
        new = np.rint(layers(parents, training=True))
        for _ in range(TRIES):  # a flip alone leaves every other image as it is
            same = (new == parents).all(axis=(1, 2, 3))
            if not same.any():
                break
            new[same] = np.rint(layers(parents[same], training=True))
        yield np.clip(new, 0, 255)


def pack_split(frame, root, array, size, threads):
    """Write the images of `frame` to the .npy file `array`, in its order."""
    paths = [os.path.join(root, image) for image in frame["image"]]
    images = map_images(partial(decode_resized, size=size), paths, threads)
    shown = show_progress(images, f"packing {os.path.basename(array)}", len(paths), "image")
    write_array(array, in_batches(shown), len(frame), size)


def add_synthetic(frame, array, size, fraction, augmentation, seed):
    """Append synthetic images to the .npy file `array`; return `frame` with a row for each."""
    parents = choose_parents(frame, fraction, seed)
    pixels = np.load(array, mmap_mode="r")
    new = augment(pixels, parents.index.to_numpy(), augmentation, seed)
    old = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
    both = (batch for part in (old, new) for batch in part)
    aside = f"{array}.tmp"
    write_array(aside, both, len(frame) + len(parents), size)
    os.replace(aside, array)
    log.info("%d synthetic images added to %d for training", len(parents), len(frame))
    names = [f"synthetic {number}" for number in range(1, len(parents) + 1)]
    rows = parents.assign(parent=parents["image"], image=names, sha256="")
    return pd.concat([frame, rows], ignore_index=True)


def main(manifest, weights, root, arrays, manifests, threads, size, synthetic_fraction, augmentation, seed):
    """Write SPLIT.npy and SPLIT.csv (image, class, label, sha256, parent) for each split.

    Row i of the CSV is image i of the array; label: the class's index; parent: the image that a
    synthetic one was made from, else empty. arrays and manifests: path of each, by split.
    """
    index = {label: number for number, label in enumerate(read_json(weights)["classes"])}
    images = read_manifest(manifest)
    for split, array in arrays.items():
        frame = images[images["split"] == split].reset_index(drop=True)
        frame = frame.assign(label=frame["class"].map(index), parent="")
        pack_split(frame, root, array, size, threads)
        if split == "train" and synthetic_fraction:
            frame = add_synthetic(frame, array, size, synthetic_fraction, augmentation, seed)
        write_manifest(frame[["image", "class", "label", "sha256", "parent"]], manifests[split])
        log.info("%s: %d images of %d x %d px", split, len(frame), size, size)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    splits = ("train", "validation", "test")
    main(
        snakemake.input.manifest,
        snakemake.input.weights,
        snakemake.input.images,
        {split: snakemake.output[split] for split in splits},
        {split: snakemake.output[f"{split}_manifest"] for split in splits},
        snakemake.threads,
        **snakemake.params,
    )
