"""Groups of images that belong together, from pairs that do: which are too long to be true, and which image is in which."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LONGEST, SHARE = 50, 0.02  # images of a group by likeness: so many, or this share of its largest class


def group_images(count, pairs, given):
    """Return the group of each of `count` images, (count,): the place of its first image.

    pairs: one, other, of places; given: the group that each image is said to be of, empty for none.
    """
    place = np.arange(count)
    first_of = {}
    for image, name in zip(place[given != ""], given[given != ""], strict=True):
        first_of.setdefault(name, image)
    named = place[given != ""]
    rows = np.concatenate([pairs["one"].to_numpy(np.int64), named])
    columns = np.concatenate(
        [pairs["other"].to_numpy(np.int64), np.array([first_of[name] for name in given[named]], np.int64)]
    )
    _, label = connected_components(
        coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count)), directed=False
    )
    first = np.full(label.max(initial=-1) + 1, count)
    np.minimum.at(first, label, place)
    return first[label]


def split_chains(pairs, classes):
    """Return the pairs without those that tie unlike images into a chain, and how many such chains there were.

    A chain is a group by likeness of more than LONGEST images and more than SHARE of the largest class: what is alike without
    being a copy is taken out of it. pairs: one, other, kind; classes: of each image.
    """
    if not (pairs["kind"] == "alike").any():
        return pairs, 0
    groups = group_images(len(classes), pairs, np.full(len(classes), ""))
    _, sizes = np.unique(classes, return_counts=True)
    first, counts = np.unique(groups, return_counts=True)
    long = first[counts > max(LONGEST, SHARE * sizes.max())]
    in_chain = np.isin(groups[pairs["one"].to_numpy(np.int64)], long) & (pairs["kind"] == "alike")
    chains = np.unique(groups[pairs["one"].to_numpy(np.int64)[in_chain]])
    return pairs[~in_chain], len(chains)
