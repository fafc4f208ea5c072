"""Draw the images held out for validation and test, or take the splits that the folders give."""

import hashlib

from baton import console
from baton.console import log
from baton.data.labels import sort_labels
from baton.errors import UserError
from baton.manifests import read_manifest, write_manifest


def place_in_draw(image, seed):
    """Return a number that orders images at random: it follows from the seed and the name alone.

    So the draw depends on neither the order of the CSV nor the version of a random generator, and
    an image more or less leaves the others where they were.
    """
    text = f"{seed}/{image}".encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()


def draw_holdout(frame, validation, test, seed):
    """Return `frame` with `split` and `draw`, an image's place in its class's draw (0, 1, ...).

    The first `validation` of a class's draw are held out for validation, the next `test` for test,
    the rest is for training. Raises UserError naming every class that is too small.
    """
    counts = frame["class"].value_counts()
    least = validation + test + 1
    small = [f"{label} has {counts[label]}" for label in sort_labels(counts.index) if counts[label] < least]
    if small:
        raise UserError(
            f"too few images to hold out {validation} for validation and {test} for test and leave one to "
            f"train on: class {', class '.join(small)}, of {least} needed. Lower holdout.validation or "
            "holdout.test, or merge or leave out classes with data.classes."
        )
    hashes = frame["image"].map(lambda image: place_in_draw(image, seed))
    draw = hashes.groupby(frame["class"]).rank().astype(int) - 1
    split = draw.map(
        lambda place: "validation" if place < validation else "test" if place < validation + test else "train"
    )
    return frame.assign(split=split, draw=draw)


def take_given_splits(frame):
    """Return `frame` with `split`, the first folder of each image's path; `draw` is empty.

    A class that misses from a split is logged; one that misses from training raises UserError, and so does a split
    without any images.
    """
    frame = frame.assign(split=frame["image"].str.split("/").str[0], draw="")
    labels = sort_labels(frame["class"])
    for split in ("train", "validation", "test"):
        classes = set(frame.loc[frame["split"] == split, "class"])
        if not classes:
            raise UserError(
                f"there are no {split} images of the chosen classes ({', '.join(labels)}). Put some under "
                f"{split}/, in folders of the same names, capitals included."
            )
        missing = [label for label in labels if label not in classes]
        if missing and split == "train":
            raise UserError(
                f"no training images of class {', '.join(missing)}: a model cannot learn what it never sees. "
                "Add some under train/, or leave the class out with data.classes."
            )
        if missing:
            log.warning("no %s images of class %s", split, ", ".join(missing))
    return frame


def main(classes_csv, split_csv, holdout):
    """Write split.csv: image, class, split, draw; holdout: None where the splits are given."""
    frame = read_manifest(classes_csv)
    frame = take_given_splits(frame) if holdout is None else draw_holdout(frame, **holdout)
    for split in ("train", "validation", "test"):
        log.info("%s: %d images", split, (frame["split"] == split).sum())
    write_manifest(frame, split_csv)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(snakemake.input.classes, snakemake.output.split, **snakemake.params)
