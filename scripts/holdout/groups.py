"""A draw of exactly N images per class in which groups of images stay whole.

Groups are taken in a random order where they fit, as single images would be. Where a class stays short in the end, an integer
program decides: either it finds such a draw, or it proves that there is none. It has a variable for each kind of group (those
with as many images of each class), not for each group, so that it is small for a million images. What ends it is a number of
nodes and no clock, so that a slow machine draws alike.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

HELD_OUT = ("validation", "test")
SHARE = 5  # of a class's test images no group fills more than one in so many
NODES = 200  # of the integer program's search


# How many images a group has of each class: (class, count) of those that it has.
Group = tuple[tuple[int, int], ...]


class Drawn(NamedTuple):
    """A draw: the split of each group, how it was found (see METHODS), and whether a group is larger than SHARE allows."""

    splits: list[str]
    method: str
    unavoidably_large: bool


METHODS = {"in order": "in random order", "program": "in random order, and the last by an integer program"}


class NoDraw(Exception):
    """There is no such draw, or none was found; proven: which of the two; nearest: what misses at least, (split, class, count)."""

    def __init__(self, proven, nearest):
        super().__init__()
        self.proven, self.nearest = proven, nearest


def draw_groups(groups, classes, validation, test):
    """Return the Drawn of Groups in random order, for so many images of each of the `classes` (their number). Raises NoDraw."""
    needed = {"validation": validation, "test": test}
    most = max(1, test // SHARE)
    splits = ["train"] * len(groups)
    complete = True
    for split in HELD_OUT:
        missing = [needed[split]] * classes
        limit = most if split == "test" else needed[split]
        open_classes = classes if needed[split] else 0
        for index, counts in enumerate(groups):
            if not open_classes:
                break
            if splits[index] == "train" and all(
                count <= missing[label] and count <= limit for label, count in counts
            ):
                splits[index] = split
                for label, count in counts:
                    missing[label] -= count
                    open_classes -= not missing[label]
        complete = complete and not open_classes
    if complete:
        return Drawn(splits, "in order", False)
    return _draw_by_program(groups, splits, classes, needed, most)


def _draw_by_program(groups, taken, classes, needed, most):
    """Return the Drawn that keeps as much as it can of what was taken in order."""
    kinds = defaultdict(list)  # counts: the groups of them, in order
    for index, counts in enumerate(groups):
        kinds[counts].append(index)
    members = list(kinds.values())
    table = np.zeros((classes, len(kinds)))
    for kind, counts in enumerate(kinds):
        for label, count in counts:
            table[label, kind] = count
    kept = np.array([[sum(taken[i] == split for i in group) for group in members] for split in HELD_OUT])
    large = (table > most).any(axis=0)
    proven = True
    for with_large in (False, True) if large.any() else (True,):
        for fixed in (kept, np.zeros_like(kept)):
            upper = np.array([[len(group) for group in members]] * 2, float)
            if not with_large:
                upper[1, large] = 0
            if (fixed > upper).any():
                continue
            chosen, status = _solve(table, needed, fixed, upper, kept, large if with_large else None)
            if chosen is not None:
                return Drawn(
                    _give(members, chosen, len(groups)),
                    "program",
                    with_large and bool(chosen[1, large].any()),
                )
            if with_large and not fixed.any():
                proven = status == INFEASIBLE
    raise NoDraw(proven, _find_nearest(table, needed, [len(group) for group in members]))


INFEASIBLE = 2  # milp's status


def _solve(table, needed, lower, upper, kept, large=None):
    """Return how many groups of each kind are held out, (2, kinds), or None, and milp's status.

    table: images of each class, (classes, kinds); lower, upper: bounds of what is held out, (2, kinds); kept: as many are
    kept as may be of these; large: which kinds are to be tested on as little as can be, before all else.
    """
    classes, kinds = table.shape
    sums = csr_array(np.kron(np.eye(2), table))
    once = hstack([_eye(kinds)] * 2)
    goal = np.repeat([needed[split] for split in HELD_OUT], classes)
    constraints = [LinearConstraint(sums, goal, goal), LinearConstraint(once, 0, upper[0])]
    weights = -np.minimum(kept, 1).ravel() - 1e-3
    if large is not None:
        weights[kinds:][large] += 1000 * table.max(axis=0)[large]
    result = milp(
        weights,
        integrality=np.ones(2 * kinds),
        bounds=Bounds(lower.ravel(), upper.ravel()),
        constraints=constraints,
        options={"mip_rel_gap": 1.0 if large is None else 0.0, "node_limit": NODES},
    )
    if result.x is None:
        return None, result.status
    chosen = np.rint(result.x).astype(int).reshape(2, kinds)
    exact = (table.astype(int) @ chosen.T == np.array([needed[split] for split in HELD_OUT])).all()
    return (chosen if exact and (chosen.sum(axis=0) <= upper[0]).all() else None), result.status


def _eye(size):
    return csr_array((np.ones(size), (np.arange(size), np.arange(size))), shape=(size, size))


def _find_nearest(table, needed, sizes):
    """Return (split, class, images) of what a draw that comes nearest lacks; [] where the search found none."""
    classes, kinds = table.shape
    sums = hstack([csr_array(np.kron(np.eye(2), table)), _eye(2 * classes)])
    once = hstack([_eye(kinds), _eye(kinds), csr_array((kinds, 2 * classes))])
    goal = np.repeat([needed[split] for split in HELD_OUT], classes)
    result = milp(
        np.concatenate([np.zeros(2 * kinds), np.ones(2 * classes)]),
        integrality=np.ones(2 * kinds + 2 * classes),
        bounds=Bounds(0, np.concatenate([sizes, sizes, goal])),
        constraints=[LinearConstraint(sums, goal, goal), LinearConstraint(once, 0, np.array(sizes, float))],
        options={"node_limit": NODES},
    )
    if result.x is None:
        return []
    lacking = np.rint(result.x[2 * kinds :]).astype(int).reshape(2, classes)
    return [
        (split, label, int(lacking[row, label]))
        for row, split in enumerate(HELD_OUT)
        for label in range(classes)
        if lacking[row, label]
    ]


def _give(members, chosen, count):
    """Return the split of each group; of a kind, those first in the random order are held out."""
    splits = ["train"] * count
    for group, held_out in zip(members, chosen.T, strict=True):
        start = 0
        for split, number in zip(HELD_OUT, held_out, strict=True):
            for index in group[start : start + number]:
                splits[index] = split
            start += number
    return splits


def find_smaller(groups, classes, validation, test):
    """Return (validation, test), a little smaller, for which there is a draw, or None where none was found among a few."""
    for step in range(1, 11):
        smaller = [max(min(1, number), round(number * (1 - step / 12))) for number in (validation, test)]
        if smaller == [validation, test]:
            continue
        try:
            draw_groups(groups, classes, *smaller)
        except NoDraw:
            continue
        return tuple(smaller)
    return None
