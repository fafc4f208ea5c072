"""Groups of images that belong together, from pairs that do: which are too long to be true, and which image is in which."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LONGEST, SHARE = 50, 0.02  # images of a group by likeness: so many, or this share of the largest class
FEW, MOST = 10, 0.2  # nor more than so many, or this share of all images


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

    A chain is a group of more than LONGEST images and more than SHARE of the largest class, or of more than MOST of all
    images: what is alike without being a copy is taken out of it, and where it is one still, what is a copy without being
    identical. pairs: one, other, kind; classes: of each image.
    """
    _, sizes = np.unique(classes, return_counts=True)
    longest = min(max(LONGEST, SHARE * sizes.max(initial=0)), max(FEW, MOST * len(classes)))
    chains = set()
    for kind in ("alike", "copy"):
        groups = group_images(len(classes), pairs, np.full(len(classes), ""))
        first, counts = np.unique(groups, return_counts=True)
        of_pair = groups[pairs["one"].to_numpy(np.int64)]
        in_chain = np.isin(of_pair, first[counts > longest]) & (pairs["kind"] == kind).to_numpy()
        chains |= set(of_pair[in_chain].tolist())
        pairs = pairs[~in_chain]
    return pairs, len(chains)
