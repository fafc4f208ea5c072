"""The config of images that lie in class folders, or in train/, validation/ and test/."""

from collections import Counter

from annotations.folders import class_folders
from baton.console import log
from baton.data.passed_over import why_passed_over
from baton.errors import UserError, some
from baton.manifests import SPLITS
from new_config.holdout import LEAST_IMAGES, LISTED, add_holdout, count_images, hold_out, listed, read_classes
from new_config.text import can_be_spelled, count

OTHER_NAMES = {"train": ("training",), "validation": ("val", "valid", "dev"), "test": ("testing",)}


def describe_folders(text, images, names):
    """Write the config of images that lie in class folders, or in train/, validation/ and test/."""
    files = [path for path in names.by_name if why_passed_over(path) is None]
    tops = check_shape(images, names, files)
    # Without validation/ that one is drawn from the training images.
    source = "split_folders" if {"train", "test"} <= set(tops) else "class_folders"
    shape = "split already" if source == "split_folders" else "in folders of classes"
    log.info("%s: %s, %s", images, count(len(files), "image"), shape)
    data = {"source": source, "images": images}
    empty = sorted(class_folders(images, 1 if source == "class_folders" else 2) - labels_of(files, source))
    if empty:
        data["classes"] = sorted(labels_of(files, source))
    frame, said = read_classes(data)
    counts = count_images(frame)
    text.section("data")
    if source == "split_folders":
        there = (
            "train/CLASS/, validation/CLASS/ and test/CLASS/"
            if "validation" in tops
            else "train/CLASS/ and test/CLASS/"
        )
        text.comment(f"{there}; used as they are", 2)
    else:
        text.comment("a folder for each class; the holdout is drawn", 2)
    text.add("source", source, 2)
    text.comment(f"{count(len(frame), 'image')} that can be used", 2)
    for sentence in said:
        text.comment(sentence, 2)
    deep = [path for path in frame["image"] if path.count("/") > (1 if source == "class_folders" else 2)]
    if deep:
        text.comment(
            f"{count(len(deep), 'image')} of these in folders within a class's folder, whose names do not count: {deep[0]}",
            2,
        )
    text.add("images", images, 2)
    if empty:
        text.comment(f"Left out are folders that hold no images: {some(empty, LISTED)}", 2)
        if all(map(can_be_spelled, counts)):
            text.add("classes", list(counts), 2)
        else:
            text.fill_in("classes", 2)
    if source == "class_folders":
        if empty and min(counts.values()) < LEAST_IMAGES:
            raise UserError(
                f"{images}: the folders {some(empty)} hold no images, and others hold fewer than {LEAST_IMAGES}: remove or fill them first."
            )
        add_holdout(text, counts)
    else:
        trained = add_given_classes(text, counts, frame, bool(empty))
        if "validation" not in tops:
            text.blank()
            text.comment(
                "Images of each class that are drawn from those for training, as none are given for validation"
            )
            text.section("holdout")
            text.add("validation", hold_out(min(trained.values())), 2)


def labels_of(files, source):
    """Return the names of the class folders that hold images."""
    depth = 0 if source == "class_folders" else 1
    return {path.split("/")[depth] for path in files if path.count("/") > depth}


def check_shape(images, names, files):
    """Return {folder: images} of the folders right below `images`. Raises UserError where they are no study's."""
    if not files:
        others = f", but {count(len(names.by_name), 'other file')}" if names.by_name else ""
        raise UserError(
            f"the folder {images} holds no images{others}. Name the folder that holds them: images=FOLDER."
        )
    tops = Counter(path.split("/")[0] for path in files if "/" in path)
    if not tops:
        raise UserError(
            f"{images} holds {count(len(files), 'image')} and no folders of classes. Name the table that says what they are: "
            "annotations=CSV. Or put the images of each class into a folder of its name."
        )
    known = {
        name: split
        for name in tops
        for split, others in OTHER_NAMES.items()
        if name.lower() in (split, *others)
    }
    missing = [split for split in SPLITS if split not in tops]
    if missing == ["validation"] and set(tops) == {"train", "test"}:
        missing = []
    if missing and len(known) > 1 and len(known) >= len(tops) - 1:
        train = next((name for name, split in known.items() if split == "train"), sorted(known)[0])
        raise UserError(
            f"{images} looks split already ({some(sorted(known))}), but the folder{'' if len(missing) == 1 else 's'} "
            f"{some(missing)} {'is' if len(missing) == 1 else 'are'} missing: the names are train, validation and test. Rename "
            f"or add folders (links will do), or name one of them to draw the splits from it: images={images}/{train}."
        )
    if missing and len(tops) == 1:
        (top,) = tops
        raise UserError(
            f"{images} holds images in one folder, {top}, and a study needs two classes. If {top} holds the folders of the classes, "
            f"name it: images={images}/{top}."
        )
    return tops


def add_given_classes(text, counts, frame, is_chosen):
    """Write the classes of images that are split already, where some miss from training; return the training images of each.

    is_chosen: whether the classes are written.
    """
    there = {split: frame.loc[frame["image"].str.startswith(f"{split}/"), "class"] for split in SPLITS}
    text.comment(f"{count(len(counts), 'class', 'classes')}: {listed(counts, 'image')}", 2)
    text.comment(f"In all {listed({split: len(there[split]) for split in SPLITS}, 'image')}", 2)
    trained = [label for label in counts if label in set(there["train"])]
    lost = [label for label in counts if label not in trained]
    if lost and (len(trained) < 2 or is_chosen or not all(map(can_be_spelled, trained))):
        raise UserError(
            f"there are no training images of {some(lost, LISTED)}: put some into train/, or take the folders of these classes away."
        )
    if lost:
        text.comment(f"Left out are those without training images: {some(lost, LISTED)}", 2)
        text.add("classes", trained, 2)
    for split in SPLITS[1:]:
        if not len(there[split]):
            continue
        if lacking := [label for label in trained if label not in set(there[split])]:
            text.comment(f"In {split}/ there are no images of {some(lacking, LISTED)}", 2)
    found = there["train"].value_counts()
    return {label: int(found[label]) for label in trained}
