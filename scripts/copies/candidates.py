"""Pairs of images that may be copies of one another: those whose hashes nearly agree, in any of eight orientations.

The hash is that of the "pHash" family (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions): the
signs of the lowest frequencies of a discrete cosine transform. A flip changes the sign of some of these, a quarter turn
transposes them, so that all eight symmetries of the square are found by comparing with eight hashes of the other image. All
is computed with whole numbers, so that every machine finds the same pairs.
"""

from threading import Lock
from typing import NamedTuple

import numpy as np

from baton.data.images import map_images
from baton.data.thumbnails import SIDE

ORIENTATIONS = 8  # 4: transposed; 2: rows in reverse; 1: columns in reverse
INVERSE = np.array([0, 1, 2, 3, 4, 6, 5, 7])  # the orientation that undoes each
FREQUENCIES = 8  # in each direction
SIGNS = FREQUENCIES**2 - 1  # of a hash
MOST_APART = 12  # of these
CUT = 0.07  # of each side: what is cut off is looked for as well, since a hash does not bear it
ROWS, COLUMNS = 128, 4096  # hashes that are compared at a time: as many as fit into a processor's cache
MANY, PARTS = 50_000, 5  # hashes from which on they are found by parts, see split_hash


def transform(thumbnails: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of thumbnails, (n, FREQUENCIES, FREQUENCIES): whole numbers, as float64."""
    places = 2 * np.arange(SIDE) + 1
    cosines = np.rint(1024 * np.cos(np.pi / (2 * SIDE) * np.arange(FREQUENCIES)[:, None] * places))
    return cosines @ thumbnails.astype(np.float64) @ cosines.T  # below 2 ** 53, so exact in any order


def hash_frequencies(frequencies: np.ndarray) -> np.ndarray:
    """Return the hash of each image in each orientation, (ORIENTATIONS, n), 63 bits in uint64; see `transform`."""
    # Spread, so that each part of a hash (see Part) has signs of all frequencies.
    bits = np.uint64(1) << np.arange(SIGNS + 1, dtype=np.uint64) * np.uint64(5) % np.uint64(SIGNS)
    bits[0] = 0  # the mean
    hashes = []
    for orientation in range(ORIENTATIONS):
        turned = turn_frequencies(frequencies, orientation)
        hashes.append(((turned.reshape(len(turned), SIGNS + 1) > 0) * bits).sum(axis=1, dtype=np.uint64))
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


def find_candidates(
    hashes: np.ndarray, cut: np.ndarray, most_apart: int, most: int, threads: int
) -> np.ndarray | None:
    """Return the pairs, (n, 3), of two images and the orientation of the second in which their hashes nearly agree, in order.

    hashes: (ORIENTATIONS, n), of the thumbnails; cut: (n,), of these without their edges (see CUT); most_apart: signs that may
    differ. None where there are more than `most` pairs.
    """
    parts = split_hash(len(cut), most_apart)
    count, counting = 0, Lock()

    def tasks():
        # Of two whole images each pair once; what is cut may be either of them, mirrored, but not turned as well.
        for known, others, once in ((hashes[:1], hashes, True), (cut[None], hashes[:2], False)):
            for number, part in enumerate(parts):
                rows, columns = _Index(known, part), _Index(others, part)
                for start in range(0, len(cut), COLUMNS):
                    yield rows, columns, range(start, min(start + COLUMNS, len(cut))), number, once

    def compare(task):
        nonlocal count
        *where, number, once = task
        found = [np.empty(0, np.int64)]
        for one, other, turned in _find_near(*where, parts[: number + 1], most_apart, once):
            one, other, turned = _order_pairs(one, other, turned, once)
            found.append((one * len(cut) + other) * ORIENTATIONS + turned)
            with counting:
                count += len(one)
            if count > most:
                break
        return np.concatenate(found)

    found = [np.empty(0, np.int64)]
    for keys in map_images(compare, tasks(), threads):
        found.append(keys)
        if count > most:
            return None
    one, rest = np.divmod(np.unique(np.concatenate(found)), ORIENTATIONS * max(len(cut), 1))
    return np.stack([one, *np.divmod(rest, ORIENTATIONS)], axis=1)


class Part(NamedTuple):
    """Some of a hash's signs: the place of the first, how many, and how many of them may differ."""

    first: int
    signs: int
    most_apart: int

    def of(self, hashes):
        return (hashes >> np.uint64(self.first) & np.uint64(2**self.signs - 1)).astype(np.uint16)


def split_hash(count: int, most_apart: int) -> list[Part]:
    """Return the parts by which near ones of `count` hashes are found: these nearly agree in one of them.

    If each part had more different signs than its share, all together had more than most_apart (Norouzi et al. 2014, Fast Exact
    Search in Hamming Space with Multi-Index Hashing). Of few hashes it is faster to compare all: one part, without a sign.
    """
    if count < MANY:
        return [Part(0, 0, 0)]
    share, more = divmod(most_apart + 1, PARTS)
    parts, first = [], 0
    for number in range(PARTS):
        signs = SIGNS // PARTS + (number < SIGNS % PARTS)
        parts.append(Part(first, signs, share - 1 + (number < more)))
        first += signs
    return [part for part in parts if part.most_apart >= 0]


class _Index:
    """Hashes, (orientations, n), in the order of a part of them: with each its image and its orientation."""

    def __init__(self, hashes, part):
        keys = part.of(hashes.ravel())
        order = np.argsort(keys, kind="stable")
        self.keys, self.hashes = keys[order], hashes.ravel()[order]
        self.images = (order % hashes.shape[1]).astype(np.int32)
        self.turned = (order // hashes.shape[1]).astype(np.int8)
        self.starts = np.searchsorted(self.keys, np.arange(2**part.signs + 1))

    def find(self, keys):
        """Return the places, in this order, of the hashes whose part is one of `keys`."""
        starts, counts = self.starts[keys], self.starts[keys + 1] - self.starts[keys]
        ends = np.cumsum(counts)
        return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])


def _find_near(some, others, places, parts, most_apart, once):
    """Yield the images of near hashes, at `places` of `some` and anywhere in `others`, and the orientation of the latter.

    parts: the last is what the two are in the order of; what is near in one before it is found by that. once: no pairs are
    needed whose second image is not after the first.
    """
    *before, part = parts
    flips = np.arange(2**part.signs)
    flips = flips[np.bitwise_count(flips) <= part.most_apart]
    differing = np.empty(ROWS * COLUMNS, np.uint64)  # once: making them takes longer than filling
    apart = np.empty(ROWS * COLUMNS, np.uint8)
    for key in np.unique(some.keys[places.start : places.stop]):
        columns = others.find(key ^ flips)
        hashes, images = others.hashes[columns], others.images[columns]
        first, last = max(some.starts[key], places.start), min(some.starts[key + 1], places.stop)
        for top in range(first, last, ROWS):
            rows = slice(top, min(top + ROWS, last))
            width = ROWS * COLUMNS // (rows.stop - rows.start)
            for left in range(0, len(columns), width):
                right = min(left + width, len(columns))
                if once and images[left:right].max() <= some.images[rows].min():
                    continue
                size = (rows.stop - rows.start) * (right - left)
                table = differing[:size].reshape(-1, right - left)
                np.bitwise_xor(some.hashes[rows, None], hashes[left:right], out=table)
                near = np.flatnonzero(np.bitwise_count(differing[:size], out=apart[:size]) <= most_apart)
                for other in before:
                    near = near[np.bitwise_count(other.of(differing[near])) > other.most_apart]
                if len(near):
                    row, column = np.divmod(near, right - left)
                    column += left
                    yield some.images[top + row], images[column], others.turned[columns[column]]


def _order_pairs(one, other, turned, once):
    """Return pairs with the image that comes first in them first, as int64; once: only those that are in this order."""
    needed = other > one if once else other != one
    one, other, turned = (array[needed].astype(np.int64) for array in (one, other, turned))
    swapped = one > other
    turned[swapped] = INVERSE[turned[swapped]]
    return np.minimum(one, other), np.maximum(one, other), turned
