"""What the report says of how far the data can be trusted: copies of images, and groups that stay together."""

import numpy as np

from baton.data.copies import connect_copies, find_seen, name_groups, place_copies
from baton.manifests import SPLITS, read_manifest
from baton.results.metrics import wilson_interval
from report.draw import thumbnail

SHOWN, PICTURES = 12, 4  # groups of copies on the page, and images of each


def collect_copies(images, copies, facts):
    """Return what there is of copies among the images in use; see data.copies in report.schema.json.

    images: images.csv; copies: copies.csv; facts: copies.json.
    """
    placed = place_copies(copies, images)
    differ = int((placed["class"] != placed["twin_class"]).sum())
    across = placed[placed["split"] != placed["twin_split"]]
    used = copies["image"].isin(images["image"]) & copies["twin"].isin(images["image"])
    return {
        "compared": facts["compared"],
        "least": facts["least"],
        "keep_together": facts["keep_together"],
        "split_chains": facts["split_chains"],
        "identical": int((placed["kind"] == "identical").sum()),
        "pairs": len(placed),
        "alike": int((used & (copies["kind"] == "alike")).sum()),
        "images": len(set(placed["image"]) | set(placed["twin"])),
        "across_splits": len(across),
        "test_seen": find_seen(placed),
        "labels_differ": {
            "pairs": differ,
            "share": differ / len(placed) if len(placed) else None,
            "interval": wilson_interval(differ, len(placed)) if len(placed) else None,
        },
    }


def count_groups(images, groups):
    """Return, for each split, how many images it has in how many groups, and how many the largest has."""
    named = name_groups(images["image"], groups)
    counts = {}
    for split in SPLITS:
        sizes = named[images["split"] == split].value_counts()
        counts[split] = {
            "images": int(sizes.sum()),
            "groups": len(sizes),
            "largest": int(sizes.max()) if len(sizes) else 0,
        }
    return counts


def show_copies(files, with_pictures):
    """Return the first SHOWN groups of copies, those in several splits or classes first, each a list of images.

    Each image: file, class, split and picture, None where with_pictures is false; files: the paths of the manifests and of
    the packed images, by name.
    """
    images = read_manifest(files["images"])
    placed = place_copies(read_manifest(files["copies"]), images)
    facts = images.set_index("image")

    def kinds(members):
        of_them = facts.loc[members]
        return -of_them["class"].nunique(), -of_them["split"].nunique(), members[0]

    groups = sorted(map(sorted, connect_copies(placed)), key=kinds)
    chosen = [members[:PICTURES] for members in groups[:SHOWN]]
    pictures = (
        find_pictures(files, {image for members in chosen for image in members}) if with_pictures else {}
    )
    return [
        [
            {
                "file": image,
                "class": facts.loc[image, "class"],
                "split": facts.loc[image, "split"],
                "picture": pictures.get(image),
            }
            for image in members
        ]
        for members in chosen
    ]


def find_pictures(files, wanted):
    """Return a thumbnail of each of the wanted images that is packed."""
    found = {}
    for manifest, array in zip(files["picture_manifests"], files["pictures"], strict=True):
        names, pixels = list(read_manifest(manifest, ["image"])["image"]), np.load(array, mmap_mode="r")
        for row in (row for row, name in enumerate(names) if name in wanted):
            found[names[row]] = thumbnail(pixels[row])
    return found
