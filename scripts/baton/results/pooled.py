"""The test of two models that were trained with several seeds, on the same images, beside the study's other models.

A model's accuracy varies from seed to seed (the training's part) and from image to image. Two models alone tell
too little of the first: with three seeds each a t-test has 2 degrees of freedom. So it is pooled over all models
of the study, as the error of an analysis of variance is.

The model of the data: whether a training answers an image rightly is the model's accuracy + the image's part + the
training's part (variance t^2) + the rest (variance e^2). With A_ms the accuracy of model m at seed s on n images,
V_m the variance of A_m1, A_m2, ... estimates t^2 + e^2 / n. The variance of the difference D between two models'
mean accuracies is

    T + I,  T = V_1 / S_1 + V_2 / S_2,  I = s^2 / n - (e_1^2 / S_1 + e_2^2 / S_2) / n,

with s^2 the variance over images of the difference of the two models' mean answers, which holds the rest's part
once more. It is at least s^2 / n (there is no negative t^2). This is the analysis of variance of Obuchowski and
Rockette (1995, Commun. Stat. Simul. Comput. 24, 285-308), several readers on the same cases, with the training for
the reader, and its variance estimated from all models instead of two.

V is the mean of the V_m, weighted by their degrees of freedom S_m - 1. A model whose V_m is an outlier (Cochran 1941,
Ann. Eugen. 11, 47-52, as in ISO 5725-2: at level 0.01, the largest first) keeps its own, and one of the same accuracy
at every seed, as a collapsed one has, says nothing about V. Where the V_m of the two models themselves make T larger
than V does, theirs count: other models may be steadier. Of the degrees of freedom one model's are given up: with
two models what is left is Mickey and Brown's bound (1966, Ann. Math. Stat. 37, 639-642), under which t holds its
level however unequal their variances are. By simulation (`make bench`) a wrong winner is then named in 5 % of ties at
most; with three seeds and several models of a sixth of the two best ones' spread, in about 7 %.

T and I are known with unlike degrees of freedom. The critical value is theirs, weighted by T and I: Cochran and Cox
(1957, Experimental Designs, 2nd ed., 4.14), which errs on the side of no difference, where Satterthwaite's (1946) is
too sure whenever the seeds happen to lie close together. And p is never below 2^(1 - k) for k images that the
models answer differently, the smallest p that exchanging their answers image by image can give.
"""

import math

import numpy as np
from scipy import special, stats

from baton.results.clusters import covariance_of_means, sum_groups

OUTLIER = 0.01  # the level of Cochran's test
SMALLEST = -300  # the logarithm (base 10) of the smallest p that is distinguished from 0
MOST_SEEDS = 100
MOST_IMAGES = 10**9
QUANTILES = (np.arange(24) + 0.5) / 24  # of the variance that a study may happen to find


class TrainingNoise:
    """How accuracy varies from seed to seed, estimated from the models of a study.

    variance, rest: (models,), V and e^2 for each (with t^2, which is small beside it); own: (models,), V_m, where a model
    has one seed the pooled V; degrees: (models,), of its V; outliers: their indices; seeds: (models,) how many;
    degrees_pooled: that the test counts for the pooled V; known: that it has; pool: of which models.
    """

    def __init__(self, correct):
        """correct: for each model (seeds, n) booleans, two seeds in one of them at least."""
        self.seeds = np.array([len(rows) for rows in correct])
        degrees = self.seeds - 1
        several = [rows if len(rows) > 1 else np.stack([*rows, *rows]) for rows in correct]
        own = np.array([rows.mean(axis=1).var(ddof=1) for rows in several])
        own[own < np.finfo(float).eps] = 0  # equal accuracies, but for rounding
        own_rest = np.array([rows.var(axis=0, ddof=1).mean() for rows in several])
        pool = [m for m in range(len(several)) if own[m]]
        if not pool:  # none varies at all
            pool = [m for m in range(len(several)) if degrees[m]]
        self.outliers = []
        while len(pool) > 2:
            largest = max(pool, key=lambda m: own[m])
            others = [m for m in pool if m != largest]
            ratio = own[largest] / max(np.average(own[others], weights=degrees[others]), np.finfo(float).tiny)
            if len(pool) * stats.f.sf(ratio, degrees[largest], degrees[others].sum()) > OUTLIER:
                break
            self.outliers.append(largest)
            pool = others
        self.pooled = np.average(own[pool], weights=degrees[pool])
        self.pool, self.known = pool, int(degrees[pool].sum())
        self.degrees_pooled = int(max(self.known - (len(pool) > 1) * degrees[pool].max(), 1))
        self.own = np.where(degrees > 0, own, self.pooled)
        self.variance = np.full(len(correct), self.pooled)
        self.rest = np.full(len(correct), np.average(own_rest[pool], weights=degrees[pool]))
        self.degrees = np.full(len(correct), self.degrees_pooled)
        for m in self.outliers:
            self.variance[m], self.rest[m], self.degrees[m] = own[m], own_rest[m], degrees[m]


def p_of(statistic, parts, degrees):
    """Return the two-sided p of a statistic |D| / standard error, by the critical value of Cochran and Cox.

    parts: arrays of the variance's parts, degrees: of each, the last axis running over the parts.
    """
    weights = _shares(parts)
    low, high = np.full(statistic.shape, float(SMALLEST)), np.zeros(statistic.shape)
    for _ in range(60):
        middle = (low + high) / 2
        critical = -(weights * special.stdtrit(degrees, 10.0 ** middle[..., None] / 2)).sum(axis=-1)
        low, high = np.where(critical > statistic, middle, low), np.where(critical > statistic, high, middle)
    return 10.0**high


def critical_value(level, parts, degrees):
    """Return the critical value whose p is `level`; parts and degrees as for `p_of`."""
    return -(_shares(parts) * special.stdtrit(degrees, level / 2)).sum(axis=-1)


def _shares(parts):
    """Return each part's share of their sum, equal ones where all are 0."""
    total = parts.sum(axis=-1, keepdims=True)
    return np.divide(parts, total, out=np.full_like(parts, 1 / parts.shape[-1]), where=total > 0)


def compare_all(correct, groups=None):
    """Return (noise, standard errors, p) of all pairs: a TrainingNoise and two (models, models) arrays.

    correct: for each model (seeds, n) booleans on the same n images, two seeds in one of them at least. A standard
    error of 0 and a p of 1 stand on the diagonal. groups: of images that are not independent, (n,): the variance over images
    is then that over groups (see baton.results.clusters), with as many degrees of freedom.
    """
    noise = TrainingNoise(correct)
    shares = np.stack([rows.mean(axis=0) for rows in correct])
    means, images = shares.mean(axis=1), shares.shape[1]
    units = images if groups is None else int(groups.max()) + 1
    if units < 2:
        return noise, np.zeros((len(correct),) * 2), np.ones((len(correct),) * 2)
    covariance = (
        np.atleast_2d(np.cov(shares)) / images if groups is None else covariance_of_means(shares, groups)
    )
    spread = np.diag(covariance)
    whole = (spread[:, None] + spread[None, :] - 2 * covariance).clip(0)
    each, own = noise.variance / noise.seeds, noise.own / noise.seeds
    training = np.maximum(each[:, None] + each[None, :], own[:, None] + own[None, :])
    rest = noise.rest / noise.seeds / images
    image = (whole - rest[:, None] - rest[None, :]).clip(0)
    errors = np.sqrt(np.maximum(training + image, whole))
    # Of two outliers, or an outlier and the others, the smaller degrees of freedom count.
    degrees = np.minimum(noise.degrees[:, None], noise.degrees[None, :])
    difference = abs(means[:, None] - means[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(difference > 0, difference / errors, 0.0)
    parts = np.stack([training, image], axis=-1)
    p = p_of(statistic, parts, np.stack([degrees, np.full_like(degrees, units - 1)], axis=-1))
    unlike = np.stack([count_unlike(shares, row, groups) for row in shares])
    p = np.maximum(p, 2.0 ** (1 - unlike.clip(1)))
    np.fill_diagonal(p, 1.0)
    np.fill_diagonal(errors, 0.0)
    return noise, errors, p


def count_unlike(shares, row, groups):
    """Return, for each model's shares, over how many images, or groups, they differ from one's."""
    if groups is None:
        return (shares != row).sum(axis=1)
    return (abs(sum_groups(shares - row, groups)) > 1e-9).sum(axis=1)


class Design:
    """Two models of a study as it might be: what power other numbers of images and seeds would have.

    difference: between their accuracies; image: the images' part of a variance, times the number of images; training:
    t^2 and rest: e^2, both of an average of the two models; noise: a TrainingNoise.
    """

    def __init__(self, correct, first, second, groups=None):
        """correct, groups: as for compare_all; first, second: indices of the two models."""
        noise, shares = TrainingNoise(correct), [correct[m].mean(axis=0) for m in (first, second)]
        images, pair = len(shares[0]), [first, second]
        self.noise, self.pair, self.images = noise, pair, images
        self.difference = abs(shares[0].mean() - shares[1].mean())
        self.rest = noise.rest[pair].mean()
        self.training = max(noise.variance[pair].mean() - self.rest / images, 0)
        difference = shares[0] - shares[1]
        variance = difference.var(ddof=1) if images > 1 else 0.0
        if groups is not None:  # as many groups as there are for so many images
            variance = images * float(covariance_of_means(difference[None], groups)[0, 0])
        self.image = max(variance - (noise.rest[pair] / noise.seeds[pair]).sum(), 0)

    def power(self, images, level, seeds=None):
        """Return the probability that the test finds the difference at `level`, with so many images.

        seeds: of each model; None: as many as the study has. Over the variances that such a study may happen to
        find: of the two models themselves, and of the others that are pooled with them.
        """
        if seeds is None:
            share = (1 / self.noise.seeds[self.pair]).sum()
            known, own = self.noise.known, int((self.noise.seeds[self.pair] - 1).sum())
            degrees = int(self.noise.degrees[self.pair].min())
        else:
            models = len(self.noise.pool)
            share, known, own = 2 / seeds, models * (seeds - 1), min(models, 2) * (seeds - 1)
            degrees = max(models - 1, 1) * (seeds - 1)
        own = min(own, known)
        training, image = share * (self.training + self.rest / images), self.image / images
        if not training + image:  # they differ in the same way everywhere
            return float(2.0 ** (1 - images) <= level)
        theirs = _mean_squares(own)[:, None]
        pooled = (own * theirs + (known - own) * _mean_squares(known - own)[None, :]) / known
        training_part = training * (np.maximum(pooled, theirs) if own else pooled).ravel()
        whole = image + share * self.rest / images
        parts = np.stack([training_part, np.full_like(training_part, image)], axis=-1)
        critical = critical_value(level, parts, np.array([degrees, max(images - 1, 1)]))
        errors = np.sqrt(np.maximum(training_part + image, whole))
        return float(
            stats.norm.sf((critical * errors - self.difference) / math.sqrt(training + image)).mean()
        )

    def images_needed(self, level, power):
        """Return how many images give this power with the study's seeds, more than it has; None where no number does."""
        if not self.difference or self.power(MOST_IMAGES, level) < power:
            return None
        low, high = self.images, MOST_IMAGES
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(middle, level) >= power else (middle, high)
        return high

    def seeds_needed(self, level, power):
        """Return how many seeds of each model give this power on the study's images, more than one of the two has.

        None where more than MOST_SEEDS would be needed.
        """
        if not self.difference:
            return None
        counts = range(int(self.noise.seeds[self.pair].min()) + 1, MOST_SEEDS + 1)
        return next((seeds for seeds in counts if self.power(self.images, level, seeds) >= power), None)


def _mean_squares(degrees):
    """Return what a mean square of expectation 1 may happen to be: (QUANTILES,), 1 where it has no degrees of freedom."""
    return stats.chi2.ppf(QUANTILES, degrees) / degrees if degrees else np.ones(len(QUANTILES))
