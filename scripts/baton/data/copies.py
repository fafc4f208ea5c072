"""Copies of images: which of them a split of the data puts where it should not."""

import networkx
import pandas as pd

COPIES = ("identical", "copy")  # kinds of pairs; beside them there are images that are alike


def place_copies(pairs, images):
    """Return the pairs of copies that are in use, with class and split of each: image, twin, class, twin_class, split, twin_split.

    pairs: copies.csv; images: image, class, split of those that are in use.
    """
    pairs = pairs[pairs["kind"].isin(COPIES)]
    placed = images.set_index("image")[["class", "split"]]
    pairs = pairs[pairs["image"].isin(placed.index) & pairs["twin"].isin(placed.index)]
    one, twin = (placed.loc[pairs[name]].reset_index(drop=True) for name in ("image", "twin"))
    return pd.concat([pairs.reset_index(drop=True), one, twin.add_prefix("twin_")], axis=1)


def connect_copies(placed):
    """Return the sets of images that are copies of one another, directly or by way of further copies; placed: see place_copies."""
    graph = networkx.Graph()
    graph.add_edges_from(zip(placed["image"], placed["twin"], strict=True))
    return list(networkx.connected_components(graph))


def find_seen(placed, split="test", among=("train", "validation")):
    """Return the images of a split that are copies of one in others, directly or by way of further copies, sorted.

    placed: see place_copies.
    """
    split_of = dict(zip(placed["image"], placed["split"], strict=True))
    split_of |= dict(zip(placed["twin"], placed["twin_split"], strict=True))
    seen = [
        image
        for images in connect_copies(placed)
        if {split_of[image] for image in images} & set(among)
        for image in images
        if split_of[image] == split
    ]
    return sorted(seen)


def name_groups(images, groups):
    """Return the group of each image; one that is in none is its own. groups: groups.csv."""
    group_of = dict(zip(groups["image"], groups["group"], strict=True))
    return pd.Series([group_of.get(image, image) for image in images], images.index, dtype=str)
