"""Decode and resize every image once, into arrays of bytes that training maps into memory."""

import math
import os
from functools import partial

import numpy as np
import pandas as pd

from baton import console
from baton.console import log, show_progress
from baton.data.images import DamagedImage, decode_resized
from baton.data.processes import count_processes, decoders
from baton.errors import UserError
from baton.files import read_json
from baton.manifests import open_manifest, read_categories, stream_manifest
from baton.study.identity import synthetic_batch

# How often a synthetic image that came out as its parent is drawn again: some parents are symmetric.
TRIES = 20
BUFFER = 2**20  # bytes of images that are handed over, and written, at once
LOTS = 8  # for each process, at least, where images are few: they are to end at about the same time


def write_header(file, count, size):
    """Write the header of a .npy file of shape (count, size, size, 3), uint8."""
    shape = (count, size, size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def read_images(path, rows, size):
    """Return some rows of a .npy file of (n, size, size, 3) images.

    Read and not mapped: mapped pages would count as this process's memory, to the size of the file.
    """
    image = size * size * 3
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    pixels = [np.fromfile(path, np.uint8, image, offset=start + row * image) for row in rows]
    return np.stack(pixels).reshape(-1, size, size, 3)


def choose_parents(frame, fraction, seed):
    """Return the rows of `frame` that get a synthetic image: round(fraction * n) of each class, seeded."""
    chosen = []
    for number, (_, rows) in enumerate(frame.groupby("label", sort=True)):
        draw = np.random.default_rng([seed, number]).permutation(len(rows))
        chosen += list(rows.index[np.sort(draw[: round(fraction * len(rows))])])
    return frame.loc[chosen]


def augment(read, rows, size, augmentation, seed):
    """Yield new images, (size, size, 3): those of the `rows`, augmented; read: of some rows returns their pixels."""
    # TensorFlow is slow to import, and only synthetic images need it; before networks, so with the kernels that it takes by
    # itself, as those of earlier versions were made.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from baton.training.networks import augmentation_layers, hide_gpus, set_up

    hide_gpus()  # they would turn images by other last bits: the data do not follow from the machine
    set_up(1, "float32", seed)
    layers = keras.Sequential(augmentation_layers(augmentation, seed))
    batch = synthetic_batch(size)
    for start in range(0, len(rows), batch):
        parents = read(rows[start : start + batch]).astype(np.float32)
        new = np.rint(layers(parents, training=True))
        for _ in range(TRIES):  # a flip alone leaves every other image as it is
            same = (new == parents).all(axis=(1, 2, 3))
            if not same.any():
                break
            new[same] = np.rint(layers(parents[same], training=True))
        yield from np.clip(new, 0, 255).astype(np.uint8)


def read_image(path, size, ranges):
    """Return the image at `path`, resized; UserError where it has vanished or changed since it was checked."""
    try:
        return decode_resized(path, size, math.inf, ranges)
    except DamagedImage as trouble:
        raise UserError(
            f"{path} could be read when the images were checked, and cannot any more: {trouble}. Put it back, or have all "
            "images checked again: snakemake --forcerun inspect_images"
        ) from None


def read_bytes(path, size, ranges):
    """Return the pixels of read_image as bytes, which pass from one process to another in less time than an array."""
    return read_image(path, size, ranges).tobytes()


def pack_split(images, count, rows, array, size, augmentation, seed):
    """Write the `count` images to the .npy file `array`, in their order, then a synthetic one of each of the `rows`.

    images: the bytes of each, as they come.
    """
    name = os.path.basename(array)
    with open(array, "wb", buffering=BUFFER) as file:
        write_header(file, count + len(rows), size)
        for image in show_progress(images, f"packing {name}", count, "image"):
            file.write(image)
        if len(rows):
            file.flush()  # what is written is read again
            new = augment(lambda some: read_images(array, some, size), rows, size, augmentation, seed)
            for image in show_progress(new, f"augmenting {name}", len(rows), "image"):
                file.write(image.data)


def lot_size(count, processes, size):
    """Return how many of `count` images a process is handed together: about 1 MB, and for each process several lots."""
    return max(1, min(256, BUFFER // (3 * size * size), count // (LOTS * processes)))


def main(manifest, weights, root, arrays, manifests, processes, size, synthetic_fraction, augmentation, seed):
    """Write SPLIT.npy and SPLIT.csv (image, class, label, sha256, parent) for each split.

    Row i of the CSV is image i of the array; label: the class's index; parent: the image that a
    synthetic one was made from, else empty. arrays and manifests: path of each, by split.
    """
    classes = read_json(weights)
    index = {label: number for number, label in enumerate(classes["classes"])}
    ranges = classes.get("grey", {})
    placed = read_categories(manifest, ["class", "split"])
    with decoders(partial(read_bytes, size=size, ranges=ranges), processes) as read:
        for split, array in arrays.items():
            labels = placed.loc[placed["split"] == split, "class"].map(index).astype(int)
            frame = pd.DataFrame({"label": labels}).reset_index(drop=True)
            rows = choose_parents(frame, synthetic_fraction if split == "train" else 0, seed).index.to_numpy()
            paths = (os.path.join(root, one["image"]) for one in stream_manifest(manifest, split))
            images = read(paths, lot_size(len(frame), processes, size))
            pack_split(images, len(frame), rows, array, size, augmentation, seed)
            with open_manifest(
                manifests[split], ["image", "class", "label", "sha256", "parent"]
            ) as write_row:
                parents, chosen = {}, set(rows.tolist())
                for row, one in enumerate(stream_manifest(manifest, split)):
                    write_row([one["image"], one["class"], index[one["class"]], one["sha256"], ""])
                    if row in chosen:
                        parents[row] = one["image"], one["class"]
                for number, row in enumerate(rows.tolist(), 1):
                    image, label = parents[row]
                    write_row([f"synthetic {number}", label, index[label], "", image])
            if len(rows):
                log.info("%d synthetic images added to %d for training", len(rows), len(frame))
            log.info("%s: %d images of %d x %d px", split, len(frame) + len(rows), size, size)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    splits = ("train", "validation", "test")
    main(
        snakemake.input.manifest,
        snakemake.input.weights,
        snakemake.input.images,
        {split: snakemake.output[split] for split in splits},
        {split: snakemake.output[f"{split}_manifest"] for split in splits},
        count_processes(snakemake.threads, snakemake.resources.get("mem_mb")),
        **snakemake.params,
    )
