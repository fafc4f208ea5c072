"""Find images that are copies of one another, and say which images are to stay in one split."""

from itertools import combinations

import numpy as np
import pandas as pd

from baton import console
from baton.console import log
from baton.data.inspected import read_faults
from baton.files import write_json
from baton.manifests import read_manifest, write_manifest
from copies.candidates import MOST_APART, find_candidates
from copies.chains import group_images, split_chains
from copies.registration import compare_all, describe, have_same_colours

# Correlations (see copies.registration.Match) from which on two images are copies, and from which on they are alike: bursts,
# shots of one scene. Measured on planted changes and on unrelated photos by tests/benchmark_copies.py.
COPY, ALIKE_WHOLE, ALIKE_DETAIL, ALIKE_TRIMMED = 0.93, 0.95, 0.8, 0.985
# Where images of another content come as near as that, as handwritten digits do, only those are copies that are the same but
# for encoding. So it is where pairs that nearly are copies outnumber those that are.
SAME, NEARLY, FEW = 0.995, 3, 10
MOST_COPIES = 3  # pairs for each image
SMALLEST = 8  # pixels of a side
# Candidates, and as many for each image, beyond which a study is one of images that are all alike.
MOST_CANDIDATES, PER_IMAGE = 2_000_000, 40
MOST_PAIRED = 20  # identical files that are listed in all pairs
ALL_ALIKE = 2  # of 63 signs: what is then still compared


def choose_candidates(described, threads):
    """Return the pairs that may be copies, (n, 3), see find_candidates, and how far apart they may be, None for no pairs at all.

    Where nearly all images are alike, only those are taken that are the same but for encoding, or none.
    """
    limit = max(MOST_CANDIDATES, PER_IMAGE * len(described.cut))
    for most_apart in (MOST_APART, ALL_ALIKE):
        pairs = find_candidates(described.hashes, described.cut, most_apart, limit, threads)
        if pairs is not None:
            return pairs, most_apart
    return np.empty((0, 3), np.int64), None


def find_pairs(thumbnails, threads, colours=None, left_out=()):
    """Return one, other (places), kind (copy or alike) and likeness of the pairs that are so, and the least of a copy.

    thumbnails: (n, SIDE, SIDE) uint8; colours: (n, COLOURS, COLOURS, 2) uint8, None where all are grey; left_out: places that
    are not compared. Likeness is the correlation of detail. The least is None where so many images are alike that they were
    not compared.
    """
    described = describe(thumbnails, left_out)
    pairs, most_apart = choose_candidates(described, threads)
    pairs, match = compare_all(thumbnails, described, pairs, threads)
    near = match.whole >= ALIKE_WHOLE
    same_colour = np.ones(len(pairs), bool)
    if colours is not None:
        same_colour = have_same_colours(colours, pairs)
    copies = near & (match.detail >= COPY) & same_colour
    alike = (near & (match.detail >= ALIKE_DETAIL)) | (match.trimmed >= ALIKE_TRIMMED)
    nearly = int((near & (match.detail >= ALIKE_DETAIL) & ~copies).sum())
    # An image has few copies; where images have many, they are of a study in which all are alike.
    crowded = copies.sum() > MOST_COPIES * len(np.unique(pairs[copies][:, :2]))
    doubtful = most_apart != MOST_APART or crowded or nearly > max(FEW, NEARLY * int(copies.sum()))
    least = SAME if doubtful else COPY
    copies &= match.detail >= least
    frame = pd.DataFrame(
        {
            "one": pairs[:, 0],
            "other": pairs[:, 1],
            "kind": np.where(copies, "copy", "alike"),
            "likeness": match.detail,
        }
    )[copies | alike]
    # A pair may be alike in several orientations: the best counts.
    frame = frame.sort_values(["one", "other", "kind", "likeness"], ascending=[True, True, False, False])
    frame = frame.drop_duplicates(["one", "other"]).reset_index(drop=True)
    return frame, None if most_apart is None else least


def add_identical(frame, digests):
    """Return pairs with those whose files are byte for byte the same as kind identical; digests: SHA-256 of each image."""
    digests = np.asarray(digests)
    shared = np.flatnonzero(pd.Series(digests).duplicated(keep=False))
    same = [
        shared[places] for places in pd.Series(shared).groupby(digests[shared], sort=False).indices.values()
    ]
    # All pairs of a few; of many each with the first, which ties them together as well.
    rows = [
        pair
        for places in map(np.sort, same)
        for pair in (
            combinations(places, 2) if len(places) <= MOST_PAIRED else [(places[0], n) for n in places[1:]]
        )
    ]
    identical = pd.DataFrame(rows, columns=["one", "other"]).assign(kind="identical", likeness=1.0)
    frame = pd.concat([part.astype({"one": int, "other": int}) for part in (identical, frame)])
    frame.loc[digests[frame["one"]] == digests[frame["other"]], "kind"] = "identical"
    return frame.drop_duplicates(["one", "other"]).sort_values(["one", "other"], ignore_index=True)


def main(
    classes_csv,
    inspected_csv,
    thumbnails,
    colours,
    copies_csv,
    groups_csv,
    facts,
    keep_together,
    warned,
    threads,
):
    """Write copies.csv (image, twin, kind, likeness), groups.csv (image, group) and how it was found as JSON.

    A group is named after its first image, and only images that share one are listed: those of a group in classes.csv, and
    copies, or what is alike as well, as keep_together says.
    """
    classes = read_manifest(classes_csv)
    inspected = read_manifest(inspected_csv, ["sha256", "width", "height"])
    damaged = list(read_faults(inspected_csv).judge_warnings(warned))
    good = np.delete(np.arange(len(classes)), damaged)
    sides = inspected.loc[good, ["width", "height"]].astype(int).min(axis=1).to_numpy()
    left_out = [*damaged, *good[sides < SMALLEST]]  # of so few pixels all are alike
    pixels, chroma = (np.load(path, mmap_mode="r") for path in (thumbnails, colours))
    pairs, least = find_pairs(pixels, threads, chroma, left_out)
    pairs[["one", "other"]] = np.searchsorted(good, pairs[["one", "other"]])
    pairs = add_identical(pairs, inspected["sha256"].to_numpy()[good])
    names = classes["image"].to_numpy()[good]
    counts = pairs["kind"].value_counts()
    log.info(
        "%d pairs of identical files, %d of copies, %d of images that are alike",
        *(counts.get(kind, 0) for kind in ("identical", "copy", "alike")),
    )
    if least == SAME:
        log.info(
            "different images of this study are nearly as alike as copies: only those count that differ in their encoding alone"
        )
    if least is None:
        log.warning(
            "too many images are nearly the same to be compared: only files that are byte for byte the same count as copies"
        )
    given = classes["group"].to_numpy()[good] if "group" in classes else np.full(len(good), "")
    kinds = {"none": [], "copies": ["identical", "copy"], "alike": ["identical", "copy", "alike"]}[
        keep_together
    ]
    links = pairs[pairs["kind"].isin(kinds)]
    links, chains = split_chains(links, classes["class"].to_numpy()[good])
    if chains:
        log.warning("%d chains of images were too long to stay together: see holdout.keep_together", chains)
    groups = group_images(len(good), links, given)
    write_manifest(
        pd.DataFrame(
            {
                "image": names[pairs["one"]],
                "twin": names[pairs["other"]],
                "kind": pairs["kind"],
                "likeness": pairs["likeness"].map("{:.3f}".format),
            }
        ),
        copies_csv,
    )
    first = names[groups]
    shared = pd.Series(groups).duplicated(keep=False).to_numpy()
    write_manifest(pd.DataFrame({"image": names[shared], "group": first[shared]}), groups_csv)
    write_json(
        facts, {"compared": len(good), "least": least, "split_chains": chains, "keep_together": keep_together}
    )


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        *(snakemake.input[name] for name in ("classes", "inspected", "thumbnails", "colours")),
        *(snakemake.output[name] for name in ("copies", "groups", "facts")),
        **snakemake.params,
        threads=snakemake.threads,
    )
