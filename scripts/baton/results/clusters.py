"""Test images that come in groups (of one patient, scene or burst) and so are not independent: what that does to intervals and tests.

groups: (n,) whole numbers, the group of each image. Where each image is a group of its own, everything is as without groups.
"""

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.05  # intervals are at 1 - LEVEL


def number_groups(names):
    """Return the group of each image as whole numbers from 0, by the names of their groups; None where each is its own."""
    _, groups = np.unique(np.asarray(names), return_inverse=True)
    return None if len(names) == groups.max(initial=-1) + 1 else groups


def sum_groups(values, groups):
    """Return the sum of values (..., n) over each group, (..., groups)."""
    sums = np.zeros((groups.max() + 1, *values.shape[:-1]))
    np.add.at(sums, groups, np.moveaxis(values, -1, 0))
    return np.moveaxis(sums, 0, -1)


def covariance_of_means(values, groups):
    """Return the covariance matrix of the means of each row of values, (rows, n), (rows, rows).

    The linearized estimate for clusters, G / (G - 1) * sum over groups of (sum of residuals)^2 / n^2 (Cochran 1977, Sampling
    Techniques, section 9A.5, with replacement).
    """
    count, images = groups.max() + 1, values.shape[1]
    sums = sum_groups(values - values.mean(axis=1, keepdims=True), groups)
    return sums @ sums.T * (count / max(count - 1, 1)) / images**2


def effective_images(correct, groups):
    """Return how many independent images tell as much of the share of right ones as these do, for an interval of it.

    n / deff * (z / t)^2, with the design effect from covariance_of_means and t of groups - 1 degrees of freedom: Korn and
    Graubard (1998), Survey Methodology 24, 193-201; never more than n, and where all or none is right, as many as groups.
    """
    correct = np.asarray(correct, float)
    images, count, share = len(correct), int(groups.max()) + 1, float(correct.mean())
    if share in (0, 1) or count < 2:
        return float(count)
    effect = float(covariance_of_means(correct[None], groups)[0, 0]) * images / (share * (1 - share))
    shrunk = (stats.norm.isf(LEVEL / 2) / stats.t.isf(LEVEL / 2, count - 1)) ** 2
    return min(images / max(effect, 1.0) * shrunk, images)


def clustered_interval(correct, groups):
    """Return the 95 % interval [low, high] of the share of right images: Wilson's, of effective_images."""
    share, effective = float(np.mean(correct)), effective_images(correct, groups)
    low, high = proportion_confint(share * effective, effective, alpha=LEVEL, method="wilson")
    return [0.0 if share == 0 else float(low), 1.0 if share == 1 else float(high)]


def sign_flip_p(differences):
    """Return the two-sided p of the sum of whole numbers, each of which might as well have the other sign.

    Exact, over all signs. differences: by group, images that only one model gets right less those that only the other does;
    where each group is one image, this is McNemar's exact test.
    """
    sizes = [abs(int(value)) for value in differences if value]
    total, chances = abs(int(np.sum(differences))), np.ones(1)
    for size in sizes:  # the chance of each sum, from - to + the sum of the sizes
        chances = (
            np.concatenate([chances, np.zeros(2 * size)]) + np.concatenate([np.zeros(2 * size), chances])
        ) / 2
    middle = len(chances) // 2
    return min(1.0, float(2 * chances[middle + total :].sum())) if total else 1.0


def shuffle_groups(groups):
    """Return a function of a random generator that returns an order of the images, in which groups have changed places.

    Groups change places with groups of as many images. What each order does to the labels is as likely as what they are, if
    the answers have nothing to do with them.
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    tables = [
        order[starts[np.flatnonzero(sizes == size)][:, None] + np.arange(size)]
        for size in np.unique(sizes[sizes > 0])
    ]

    def shuffle(random):
        places = np.empty(len(groups), int)
        for table in tables:
            places[table] = table[random.permutation(len(table))]
        return places

    return shuffle


def resample_groups(groups, random):
    """Return the indices of the images of as many groups as there are, drawn with replacement."""
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    drawn = random.integers(len(sizes), size=len(sizes))
    return np.concatenate([order[starts[group] : starts[group] + sizes[group]] for group in drawn])
