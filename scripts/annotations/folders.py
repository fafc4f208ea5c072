"""Images and labels from the folders that images lie in."""

import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from baton.data.images import SUFFIXES, real_files, walk
from baton.data.passed_over import why_passed_over
from baton.errors import UserError, some
from baton.files import is_own_folder
from baton.manifests import SPLITS


def read_folders(data, left_out):
    """Return image and label of every image in SPLIT/CLASS/ (split_folders) or CLASS/ (class_folders), by every name."""
    depth = 2 if data["source"] == "split_folders" else 1
    shape = "train/CLASS/, validation/CLASS/ and test/CLASS/" if depth == 2 else "CLASS/"
    images, labels, others, outside, elsewhere = [], [], {}, set(), set()
    for path, real in walk(data["images"]):
        parts = path.split("/")  # not by pathlib, which interns them: see baton.data.links
        if reason := why_passed_over(path):
            others[real] = reason
        elif len(parts) <= depth or (depth == 2 and parts[0] not in SPLITS):
            outside.add(real)
            elsewhere |= {parts[0]} if len(parts) > depth else set()
        else:
            images.append(path)
            labels.append(sys.intern(parts[depth - 1]))
    if others or outside:  # what is one of the images by another name is no other file
        for real in real_files(data["images"], images):
            others.pop(real, None)
            outside.discard(real)
    for reason, count in sorted(Counter(others.values()).items()):
        left_out.add(count, "files", reason)
    left_out.add(len(outside - others.keys()), "files", f"not in a folder {shape}")
    splits = {path.split("/")[0] for path in images}
    # Validation is drawn from the training images where there is none, and nothing that may be meant for it.
    needed = set(SPLITS if elsewhere else ("train", "test")) if depth == 2 else set()
    if not images or not splits.issuperset(needed):
        missing = [split for split in SPLITS if split in needed - splits]
        also = f" There are others in {some(sorted(elsewhere))}: rename or remove that." if elsewhere else ""
        raise UserError(
            f"data.images: {data['images']} holds no images{' for ' + some(missing) if missing else ''}: "
            f"for source: {data['source']} they lie in {shape}.{also}"
        )
    empty = sorted(class_folders(data["images"], depth) - set(labels))
    if empty and data["classes"] is None:
        raise UserError(
            f"data.images: in {data['images']} there are no images of class {some(empty)}. Put some there, remove "
            "the folder, or name the classes to use in data.classes."
        )
    return pd.DataFrame({"image": images, "label": labels})


def class_folders(root, depth):
    """Return the names of the class folders: CLASS/ (depth 1) or SPLIT/CLASS/ (depth 2)."""
    return {
        path.name
        for path in Path(root).glob("*" if depth == 1 else "*/*")
        if path.is_dir()
        and why_passed_over(f"{path.name}/1{SUFFIXES[0]}") is None
        and not is_own_folder(path)
        and not path.name.lower().endswith(SUFFIXES)
        and (depth == 1 or path.parent.name in SPLITS)
    }
