"""How alike two images are, once one is laid over the other: the candidates' thumbnails, registered.

One of the two is cut at its four edges, by steps, until the correlation with the other is highest. Sums are of whole numbers
below 2 ** 53 and so exact in any order, and what is compared follows from them by single operations, so that every machine
comes to the same pairs.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from baton.data.thumbnails import GREY, SIDE
from copies.candidates import CUT, ORIENTATIONS, hash_frequencies, transform, turn, turn_frequencies

STEPS = 128  # of a side, in which it is cut
LEAST_CUT, MOST_CUT = -2, 20  # steps
# Left, top, right, bottom: from where the best cut is looked for.
STARTS = [(0, 0, 0, 0), (4, 4, 4, 4), (9, 9, 9, 9), (13, 13, 13, 13)]
STARTS += [(8, 8, 0, 0), (0, 8, 8, 0), (0, 0, 8, 8), (8, 0, 0, 8)]
LOW, LEAST = 0.9, 0.75
ROUNDS = 12
TRIMMED = 0.15  # of the pixels: a text over an image may cover so many
DETAIL = 5  # pixels: side of the square whose mean is taken off, so that detail is left
FAINT, SAME_COLOUR = 4, 0.7  # chroma, of 128, that is no colour; the cosine between two images' colours
CHUNK = 512  # pairs at a time
DESCRIBED = 4096  # thumbnails at a time
LEAST_CONTRAST = 8  # of a thumbnail's values: flat images are all alike


class Match(NamedTuple):
    """How alike the two images of each pair are: correlations, arrays of one length.

    whole: of their pixels; detail: of their pixels less the mean around each; trimmed: of their pixels without those that
    differ most, -1 where less than half of the picture's contrast is in the others.
    """

    whole: np.ndarray
    detail: np.ndarray
    trimmed: np.ndarray


def _matrices():
    """Return the resizing of one axis for each cut of its first and last edge: (cuts, cuts, SIDE, SIDE) float32.

    Each new pixel is a mean of the two that it lies between, in 256ths: whole numbers, so that what is made with them is
    exact in float32 (no sum is over 2 ** 24).
    """
    cuts = np.arange(LEAST_CUT, MOST_CUT + 1)
    first, last = (cuts[:, None, None], cuts[None, :, None])
    at = (SIDE * first + (np.arange(SIDE) + 0.5) * (STEPS - first - last)) / STEPS - 0.5
    before = np.floor(at).astype(np.int64)
    share = np.rint(256 * (at - before)).astype(np.float32)
    matrices = np.zeros((len(cuts), len(cuts), SIDE, SIDE), np.float32)
    place = np.indices(at.shape)
    for pixel, weight in ((before, 256 - share), (before + 1, share)):
        np.add.at(matrices, (*place, np.clip(pixel, 0, SIDE - 1)), weight)
    return matrices


MATRICES = _matrices()


def _resizing(cuts):
    """Return the matrices that resize columns and rows, (..., SIDE, SIDE) each; cuts: (..., 4), in STEPS."""
    left, top, right, bottom = np.moveaxis(np.asarray(cuts) - LEAST_CUT, -1, 0)
    return MATRICES[left, right], MATRICES[top, bottom]


def _floor(resized):
    return resized.astype(np.int32) >> 8


def cut(thumbnails, cuts):
    """Return thumbnails without their edges, resized to as many pixels: (n, SIDE, SIDE), 256 times their values.

    thumbnails: (n, SIDE, SIDE), whole numbers; cuts: (n, 4), left, top, right and bottom, in STEPS of a side, or (4,) for all.
    """
    across, down = _resizing(cuts)
    return _floor(down @ thumbnails.astype(np.float32) @ np.swapaxes(across, -1, -2))


def cut_edges(thumbnails):
    """Return thumbnails without CUT of each side, as uint8."""
    return ((cut(thumbnails, (round(CUT * STEPS),) * 4) + 128) >> 8).astype(np.uint8)


def _flatten(images):
    return images.reshape(len(images), int(np.prod(images.shape[1:])))


def correlate(one, other):
    """Return the correlation of each row of one array with that of the other; -1 where a row has no contrast."""
    one, other = (_flatten(rows).astype(np.float64) for rows in (one, other))
    count = one.shape[1]
    sums = [rows.sum(axis=1) for rows in (one, other)]
    spread = [
        count * np.einsum("ij,ij->i", rows, rows) - sum_ * sum_
        for rows, sum_ in zip((one, other), sums, strict=True)
    ]
    both = count * np.einsum("ij,ij->i", one, other) - sums[0] * sums[1]
    product = np.sqrt(spread[0]) * np.sqrt(spread[1])
    return np.divide(both, product, out=np.full(len(both), -1.0), where=product > 0)


def take_detail(images):
    """Return images, (n, SIDE, SIDE), less the mean of the square around each pixel, without their borders; DETAIL**2 times."""
    sums = np.pad(images.astype(np.int64), ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    means = (
        sums[:, DETAIL:, DETAIL:]
        - sums[:, :-DETAIL, DETAIL:]
        - sums[:, DETAIL:, :-DETAIL]
        + sums[:, :-DETAIL, :-DETAIL]
    )
    edge = DETAIL // 2
    return DETAIL**2 * images[:, edge:-edge, edge:-edge] - means


def correlate_trimmed(one, other):
    """Return the correlation of each row of two arrays without the TRIMMED pixels that differ most: see Match."""
    one, other = (_center(_flatten(rows)) for rows in (one, other))
    squares = (one * one).sum(axis=1)
    lengths = [np.rint(np.sqrt((rows * rows).sum(axis=1))).astype(np.int64)[:, None] for rows in (one, other)]
    apart = np.abs(one * lengths[1] - other * lengths[0])
    pixels, kept = one.shape[1], round((1 - TRIMMED) * one.shape[1])
    best = np.argsort(apart, axis=1, kind="stable")[:, :kept]
    one, other = (np.take_along_axis(rows, best, axis=1) for rows in (one, other))
    left = kept * (one * one).sum(axis=1) - one.sum(axis=1) ** 2
    return np.where(2.0 * pixels * left >= float(kept**2) * squares, correlate(one, other), -1.0)


def _center(rows):
    """Return rows of whole numbers less their mean, in the same unit or nearly so."""
    return (rows.shape[1] * rows - rows.sum(axis=1, keepdims=True)) // SIDE**2


def _register(one, other, cuts, best):
    """Improve the cuts of `one`, (n, 4), and their correlations with `other`, in place, by steps that get ever smaller."""
    one, target = one.astype(np.float32), other.astype(np.int32) << 8
    for step in (3, 1):
        rows = np.arange(len(one))
        for _ in range(ROUNDS):
            before, base = best[rows], cuts[rows]
            across, down = _resizing(base)
            # What is cut along one axis alone needs the other resized once.
            wide, high = down @ one[rows], one[rows] @ across.transpose(0, 2, 1)
            for edge in range(4):
                for change in (step, -step):
                    tried = base.copy()
                    tried[:, edge] = np.clip(tried[:, edge] + change, LEAST_CUT, MOST_CUT)
                    across, down = _resizing(tried)
                    resized = down @ high if edge % 2 else wide @ across.transpose(0, 2, 1)
                    found = correlate(_floor(resized), target[rows])
                    better = found > best[rows]
                    best[rows[better]], cuts[rows[better]] = found[better], tried[better]
            rows = rows[best[rows] > before + 1e-4]
            if not len(rows):
                break


class Described(NamedTuple):
    """What is known of n thumbnails that can be compared, in some 340 bytes each.

    places: (n,), of the thumbnails; hashes: (ORIENTATIONS, n), see hash_frequencies; cut: (n,), of the thumbnails without their edges; low: (2, n, FREQUENCIES,
    FREQUENCIES) int16, the lowest frequencies of both.
    """

    places: np.ndarray
    hashes: np.ndarray
    cut: np.ndarray
    low: np.ndarray


def describe(thumbnails, left_out=()):
    """Return the Described of thumbnails, (n, SIDE, SIDE), but for those at the places that are left out, and for flat ones."""
    used = np.ones(len(thumbnails), bool)
    used[np.asarray(left_out, int)] = False
    found = [_describe(np.empty((0, SIDE, SIDE), np.uint8), np.empty(0, bool), 0)]
    for start in range(0, len(thumbnails), DESCRIBED):
        rows = slice(start, start + DESCRIBED)
        found.append(_describe(thumbnails[rows], used[rows], start))
    places, hashes, cut_hashes, low = zip(*found, strict=True)
    return Described(
        np.concatenate(places),
        np.concatenate(hashes, axis=1),
        np.concatenate(cut_hashes),
        np.concatenate(low, axis=1),
    )


def _shorten(frequencies):
    """Return frequencies but for the mean in 16 bits, each image's divided by a power of two; no correlation needs the mean."""
    frequencies = frequencies.copy()
    frequencies[:, 0, 0] = 0
    _, bits = np.frexp(np.abs(frequencies).max(axis=(1, 2), keepdims=True))
    return np.floor(np.ldexp(frequencies, 15 - bits)).astype(np.int16)


def _describe(thumbnails, used, start):
    values = _flatten(thumbnails)
    used = used & (values.max(axis=1).astype(int) - values.min(axis=1) >= LEAST_CONTRAST)
    thumbnails = thumbnails[used]
    whole, edgeless = (transform(images) for images in (thumbnails, cut_edges(thumbnails)))
    low = np.stack([_shorten(whole), _shorten(edgeless)])
    places = start + np.flatnonzero(used)
    return Described(places, hash_frequencies(whole), hash_frequencies(edgeless)[0], low)


def are_near(low, pairs):
    """Return which pairs are as alike in their lowest frequencies as copies are; low: see Described."""
    whole, edgeless = (both[pairs[:, 0]] for both in low)
    turned = [both[pairs[:, 1]] for both in low]
    for orientation in range(ORIENTATIONS):
        rows = pairs[:, 2] == orientation
        for both in turned:
            both[rows] = turn_frequencies(both[rows], orientation)
    compared = ((whole, turned[0]), (whole, turned[1]), (edgeless, turned[0]))
    likeness = [correlate(*(_flatten(images)[:, 1:] for images in two)) for two in compared]
    return np.max(likeness, axis=0) >= LOW


def take_pairs(images, pairs):
    """Return the two images of each pair, the second turned as the pair says; images: (n, side, side, ...)."""
    one = images[pairs[:, 0]]
    other = np.empty_like(one)
    for orientation in np.unique(pairs[:, 2]):
        rows = pairs[:, 2] == orientation
        other[rows] = turn(images[pairs[rows, 1]], orientation)
    return one, other


def have_same_colours(colours, pairs):
    """Return whether each pair has the same colours, or one of the two none; see baton.data.thumbnails.make_colours.

    Colours are the same if they differ in their strength alone, as those of brighter images do.
    """
    one, other = (_flatten(images.astype(np.int64) - GREY) for images in take_pairs(colours, pairs))
    both, first, second = ((a * b).sum(axis=1) for a, b in ((one, other), (one, one), (other, other)))
    none = np.minimum(first, second) < FAINT**2 * one.shape[1]
    return none | ((both > 0) & (both.astype(float) ** 2 >= SAME_COLOUR**2 * first.astype(float) * second))


def compare_pairs(thumbnails, pairs):
    """Return the Match of pairs, (n, 3), of two places and an orientation: of either image cut, whichever is more alike."""
    one, other = take_pairs(thumbnails, pairs)
    best, cuts, swapped = (
        np.full(len(pairs), -1.0),
        np.zeros((len(pairs), 4), np.int64),
        np.zeros(len(pairs), bool),
    )
    for first, second, is_swapped in ((one, other, False), (other, one, True)):
        target = second.astype(np.int32) << 8
        for start in STARTS:
            found = correlate(cut(first, start), target)
            better = found > best
            best[better], cuts[better], swapped[better] = found[better], start, is_swapped
    match = Match(best, *(np.full(len(pairs), -1.0) for _ in Match._fields[1:]))
    rows = np.nonzero(best >= LEAST)[0]
    turned_round = swapped[rows, None, None]
    first, second = (
        np.where(turned_round, other[rows], one[rows]),
        np.where(turned_round, one[rows], other[rows]),
    )
    best, cuts = best[rows], cuts[rows]
    _register(first, second, cuts, best)
    match.whole[rows] = best
    laid, under = cut(first, cuts), second.astype(np.int32) << 8
    match.detail[rows] = correlate(take_detail(laid), take_detail(under))
    match.trimmed[rows] = correlate_trimmed(laid, under)
    return match


def compare_all(thumbnails, described, pairs, threads):
    """Return which of many pairs are near one another, and the Match of these; see are_near and compare_pairs.

    pairs: (n, 3) as find_candidates returns them, of thumbnails as numbered in `described`; those that are returned are of
    their places.
    """
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        near = pool.map(lambda chunk: chunk[are_near(described.low, chunk)], chunks)
        pairs = np.concatenate([np.empty((0, 3), np.int64), *near])
        pairs[:, :2] = described.places[pairs[:, :2]]
        chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
        matches = list(pool.map(lambda chunk: compare_pairs(thumbnails, chunk), chunks))
    empty = Match(*(np.empty(0) for _ in Match._fields))
    return pairs, Match(*(np.concatenate(parts) for parts in zip(empty, *matches, strict=True)))
