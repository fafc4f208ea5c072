"""The config of images that lie in class folders, or in train/, validation/ and test/."""

from collections import Counter

from baton.console import log
from baton.data.passed_over import why_passed_over
from baton.errors import UserError, some
from new_config.holdout import LISTED, add_holdout, count_images, listed, read_classes
from sort_into_classes import SPLITS

OTHER_NAMES = {"train": ("training",), "validation": ("val", "valid", "dev"), "test": ("testing",)}


def describe_folders(text, images, names):
    """Write the config of images that lie in class folders, or in train/, validation/ and test/."""
    files = [path for path in names.by_name if why_passed_over(path) is None]
    if not files:
        others = len(names.by_name)
        raise UserError(
            f"the folder {images} holds no images{f', but {others} other files' if others else ''}. Name the folder that "
            "holds them: images=FOLDER."
        )
    tops = Counter(path.split("/")[0] for path in files if "/" in path)
    if not tops:
        raise UserError(
            f"{images} holds {len(files):,} images and no folders of classes. Name the table that says what they are: "
            "annotations=CSV. Or put the images of each class into a folder of its name."
        )
    splits = [name for name in SPLITS if name in tops]
    called = {
        name: split
        for name in tops
        for split, others in OTHER_NAMES.items()
        if name.lower() in (split, *others)
    }
    if len(splits) == len(SPLITS):
        source = "split_folders"
    elif len(called) > 1 and len(called) >= len(tops) - 1:
        missing = [split for split in SPLITS if split not in splits]
        raise UserError(
            f"{images} looks split already ({some(sorted(called))}), but the folder{'' if len(missing) == 1 else 's'} "
            f"{some(missing)} {'is' if len(missing) == 1 else 'are'} missing: the names are train, validation and test. Rename "
            "or add folders (links will do), or name one of them to draw the splits from it: images="
            f"{images}/{sorted(called)[0]}."
        )
    else:
        source = "class_folders"
    log.info(
        "%s: %s images, %s",
        images,
        f"{len(files):,}",
        "split already" if source == "split_folders" else "in folders",
    )
    frame = read_classes({"source": source, "images": images})
    counts = count_images(frame)
    text.section("data")
    if source == "split_folders":
        shape = "train/CLASS/, validation/CLASS/ and test/CLASS/"
        text.comment(
            f"{shape}; used as they are: {listed({split: tops[split] for split in SPLITS}, 'images')}", 2
        )
    else:
        text.comment("a folder for each class; the holdout is drawn", 2)
    text.add("source", source, 2)
    text.comment(f"{len(files):,} images", 2)
    text.add("images", images, 2)
    if source == "class_folders":
        add_holdout(text, counts)
    else:
        add_given_classes(text, counts, frame)


def add_given_classes(text, counts, frame):
    """Write the classes of images that are split already, where some miss from training."""
    text.comment(f"{len(counts)} classes: {listed(counts, 'images')}", 2)
    there = {split: set(frame.loc[frame["image"].str.startswith(f"{split}/"), "class"]) for split in SPLITS}
    trained = [label for label in counts if label in there["train"]]
    if len(trained) < len(counts):
        text.comment(
            f"Left out are those without training images: {some((c for c in counts if c not in trained), LISTED)}",
            2,
        )
        text.add("classes", trained, 2)
    for split in SPLITS[1:]:
        if lacking := [label for label in trained if label not in there[split]]:
            text.comment(f"In {split}/ there are no images of {some(lacking, LISTED)}", 2)
