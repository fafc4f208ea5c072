"""Folders of links to images, one per class, for people and for other tools to look at."""

import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import PurePosixPath

import numpy as np

# What some file system refuses in a name, and "%" itself, so that two labels never share a folder.
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]|^[. ]|[. ]$')
LONGEST_NAME = 120  # bytes; file systems allow 255, encrypted ones 143


def folder_name(label):
    """Return `label` as a name that stays inside its folder on every file system ("a/b" -> "a%2Fb")."""
    name = UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", label)
    if not name or len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{_shorten(name)}%{short_digest(label)}"
    return name


def as_some_disks_see(name):
    """Return a text that two names share which are one name on some disks, as on macOS and Windows: Cat and cat."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def name_folders(labels):
    """Return a folder's name for each of the `labels`, of which no two are one name on any disk."""
    names = {label: folder_name(label) for label in sorted(set(labels))}
    times = Counter(map(as_some_disks_see, names.values()))
    return {
        label: name if times[as_some_disks_see(name)] == 1 else f"{_shorten(name)}%{short_digest(label)}"
        for label, name in names.items()
    }


def link_images(folder, read, root, classes):
    """Fill `folder` with CLASS/NAME links to the files `root`/image; where no link can be made, a copy.

    read: a function that gives the images anew, pairs of relative path and class; a folder is made for each of their classes.
    classes: those of all folders that are filled in this way, so that a class has one folder's name in each. Images of one
    name in different folders get different link names. What the folder held is removed first.
    """
    root = os.path.abspath(root)
    if os.path.exists(folder):
        shutil.rmtree(folder)
    os.makedirs(folder)
    folders, made = name_folders(classes), set()
    names = (f"{label}/{as_some_disks_see(os.path.basename(image))}" for image, label in read())
    for (image, label), is_shared in zip(read(), find_repeated(names), strict=True):
        if label not in made:
            os.mkdir(os.path.join(folder, folders[label]))
            made.add(label)
        name = os.path.basename(image)
        if is_shared:
            name = f"{_shorten(PurePosixPath(name).stem)} {short_digest(image)}{PurePosixPath(name).suffix}"
        _link(os.path.join(root, image), os.path.join(folder, folders[label], name))


def find_repeated(texts):
    """Return which of the texts are there more than once, an array of bool; of a million, eight bytes each are held."""
    digests = (hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8] for text in texts)
    numbers = np.fromiter(digests, "V8").view(np.uint64)
    in_order = np.sort(numbers)
    repeated = in_order[1:][in_order[1:] == in_order[:-1]]
    return np.isin(numbers, repeated) if len(repeated) else np.zeros(len(numbers), bool)


def _link(target, link):
    try:  # os and not pathlib, which interns the parts of each path: a million names leave a large table behind
        os.symlink(target, link)
    except OSError:  # no right to make links (Windows), or a file system without them
        try:
            os.link(target, link)
        except OSError:
            if os.path.isfile(target):
                shutil.copy2(target, link)


def _shorten(name):
    return name.encode("utf-8", "surrogateescape")[:LONGEST_NAME].decode("utf-8", "ignore")


def short_digest(text):
    """Return eight characters that distinguish one text from others."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
