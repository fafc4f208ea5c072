"""Pairs of images that may be copies of one another: those whose hashes nearly agree, in any of eight orientations.

The hash is that of the "pHash" family (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions): the
signs of the lowest frequencies of a discrete cosine transform. A flip changes the sign of some of these, a quarter turn
transposes them, so that all eight symmetries of the square are found by comparing with eight hashes of the other image. All
is computed with whole numbers, so that every machine finds the same pairs.
"""

from collections.abc import Iterator

import numpy as np

from baton.data.images import map_images
from baton.data.thumbnails import SIDE

ORIENTATIONS = 8  # 4: transposed; 2: rows in reverse; 1: columns in reverse
FREQUENCIES = 8  # in each direction
MOST_APART = 12  # of 63 signs
CUT = 0.07  # of each side: what is cut off is looked for as well, since a hash does not bear it
ROWS, COLUMNS = 128, 4096  # hashes that are compared at a time: as many as fit into a processor's cache


def transform(thumbnails: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of thumbnails, (n, FREQUENCIES, FREQUENCIES): whole numbers, as float64."""
    places = 2 * np.arange(SIDE) + 1
    cosines = np.rint(1024 * np.cos(np.pi / (2 * SIDE) * np.arange(FREQUENCIES)[:, None] * places))
    parts = [np.empty((0, FREQUENCIES, FREQUENCIES))]
    for start in range(0, len(thumbnails), COLUMNS):  # float64 takes eight times the room
        some = thumbnails[start : start + COLUMNS].astype(np.float64)
        parts.append(cosines @ some @ cosines.T)  # below 2 ** 53, so exact in any order
    return np.concatenate(parts)


def hash_thumbnails(thumbnails: np.ndarray) -> np.ndarray:
    """Return the hash of each thumbnail in each orientation, (ORIENTATIONS, n), 63 bits in uint64."""
    frequencies = transform(thumbnails)
    bits = np.uint64(1) << np.arange(FREQUENCIES**2, dtype=np.uint64)
    bits[0] = 0  # the mean
    hashes = []
    for orientation in range(ORIENTATIONS):
        turned = turn_frequencies(frequencies, orientation)
        hashes.append(((turned.reshape(len(turned), FREQUENCIES**2) > 0) * bits).sum(axis=1, dtype=np.uint64))
    return np.stack(hashes)


def turn_frequencies(frequencies: np.ndarray, orientation: int) -> np.ndarray:
    """Return what `transform` gives of thumbnails in an orientation, from what it gives of them as they are."""
    signs = np.array([1, -1] * (FREQUENCIES // 2))
    turned = frequencies.transpose(0, 2, 1) if orientation & 4 else frequencies
    return turned * (signs[:, None] if orientation & 2 else 1) * (signs if orientation & 1 else 1)


def turn(thumbnails: np.ndarray, orientation: int) -> np.ndarray:
    """Return images, (n, side, side, ...), in an orientation."""
    turned = thumbnails.swapaxes(1, 2) if orientation & 4 else thumbnails
    return turned[:, :: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]


def invert(orientation: int) -> int:
    """Return the orientation that undoes one."""
    return {5: 6, 6: 5}.get(orientation, orientation)


def find_candidates(
    hashes: np.ndarray, cut: np.ndarray, most_apart: int, threads: int
) -> Iterator[np.ndarray]:
    """Yield arrays of pairs, (n, 3): two images and the orientation that the second is to be turned into.

    hashes, cut: of the thumbnails, and of these without their edges (see CUT), in each orientation. Every pair is compared,
    which takes time with the square of their number; a pair may come more than once. most_apart: signs that may differ.
    """
    starts = range(0, hashes.shape[1], ROWS)
    tasks = [(known, start) for known in (hashes, cut) for start in starts]

    def compare(task):
        known, start = task
        # Of two whole images each pair once; what is cut may be either of them, mirrored, but not turned as well.
        once = known is hashes
        turns = range(ORIENTATIONS) if once else (0, 1)
        return _compare(known[0, start : start + ROWS], hashes, start, turns, once, most_apart)

    yield from map_images(compare, tasks, threads)


def _compare(some, hashes, start, turns, once, most_apart):
    """Return the pairs of `some`, which are the hashes from `start` on, with all (once: those after it)."""
    found = [np.empty((0, 3), np.int64)]
    some = some[:, None]
    differing = np.empty(len(some) * COLUMNS, np.uint64)  # once: making them takes longer than filling
    apart = np.empty(len(some) * COLUMNS, np.uint8)
    for first in range(start // COLUMNS * COLUMNS if once else 0, hashes.shape[1], COLUMNS):
        columns = min(COLUMNS, hashes.shape[1] - first)
        size = len(some) * columns
        table = differing[:size].reshape(len(some), columns)
        for orientation in turns:
            np.bitwise_xor(some, hashes[orientation, first : first + columns], out=table)
            count = np.bitwise_count(differing[:size], out=apart[:size])
            row, column = np.divmod(np.flatnonzero(count <= most_apart), columns)
            if len(row):
                found.append(_order_pairs(row + start, column + first, orientation, once))
    return np.concatenate(found)


def _order_pairs(one, other, orientation, once):
    """Return pairs of images, the one that comes first in them first; once: only those that are in this order."""
    pairs = np.stack([one, other, np.full(len(one), orientation)], axis=1)
    pairs = pairs[other > one if once else other != one]
    swapped = pairs[:, 0] > pairs[:, 1]
    pairs[swapped] = np.stack(
        [pairs[swapped, 1], pairs[swapped, 0], np.full(swapped.sum(), invert(orientation))], axis=1
    )
    return pairs
