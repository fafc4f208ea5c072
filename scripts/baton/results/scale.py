"""Distances on a scale that the classes form, with bootstrap intervals and the conventions of baton.results.metrics."""

import warnings

import numpy as np
import sklearn.metrics
from scipy import stats

from baton.formatting import as_number
from baton.results.clusters import resample_groups
from baton.results.metrics import LEVEL, NO_ANSWER, check, none_for_nan, predicted_classes

RESAMPLES = 2000
SEED = 1
DEFINED = 0.95  # a bootstrap interval needs a value in this share of the resamples


def read_scale(classes):
    """Return the scale that class names form: its unit, the classes' values on it, and their order.

    Where every name is a number, the numbers are the values (unit "label") and order the classes, however
    the config lists them. Else the classes are in the order of their indices, a step apart (unit "steps").
    order: the class indices from the low end to the high one.
    """
    numbers = [number for name in classes if (number := as_number(name)) is not None]
    if len(numbers) < len(classes):
        return {"unit": "steps", "values": list(range(len(classes))), "order": list(range(len(classes)))}
    return {"unit": "label", "values": numbers, "order": np.argsort(numbers, kind="stable").tolist()}


def quadratic_kappa(x, y, axis=-1):
    """Return Cohen's kappa with quadratic weights of places x and y, whole numbers, along an axis.

    1 - mean((x - y)^2) / (var x + var y + (mean x - mean y)^2), variances over n: Cohen (1968) in the form
    of Fleiss & Cohen (1973). For many resamples at once, which scikit-learn's cohen_kappa_score cannot
    take; NaN where all of x and y are one place.
    """
    expected = x.var(axis) + y.var(axis) + (x.mean(axis) - y.mean(axis)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - ((x - y) ** 2).mean(axis) / expected


def spearman(x, y, axis=-1):
    """Return Spearman's rho (1904) along an axis, ties by their mean rank: SciPy's spearmanrho.

    NaN where x or y is constant.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a constant has no rho is what NaN says
        return stats.spearmanrho(x, y, axis=axis).statistic


def bootstrap_interval(statistic, *samples, groups=None):
    """Return the 95 % percentile bootstrap interval of a statistic of paired samples (n,), or None.

    Efron & Tibshirani (1993), chapter 13: 2000 resamples of the images, drawn by SciPy's bootstrap from a
    fixed seed. statistic: takes the samples and an axis. Resamples where it is NaN are left out; None where
    more than 5 % are, or n < 3: of two images there are three resamples. With groups, (n,), whole groups are drawn.
    """
    n = len(samples[0]) if groups is None else len(np.unique(groups))
    if n < 3:
        return None
    if groups is not None:
        return _interval_of(_resample_groups(statistic, samples, groups))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of resamples that are NaN
        distribution = stats.bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // n),  # 16 MB per array
            rng=np.random.default_rng(SEED),
        ).bootstrap_distribution
    return _interval_of(distribution)


def _resample_groups(statistic, samples, groups):
    _, groups = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(SEED)
    drawn = (resample_groups(groups, random) for _ in range(RESAMPLES))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([statistic(*(sample[rows] for sample in samples), axis=-1) for rows in drawn])


def _interval_of(distribution):
    distribution = distribution[np.isfinite(distribution)]
    if len(distribution) < DEFINED * RESAMPLES:
        return None
    return np.quantile(distribution, [LEVEL / 2, 1 - LEVEL / 2]).tolist()


def ordered(labels, probabilities, classes, groups=None):
    """Return how far off the answers are, where the k classes are places on a scale (see read_scale).

    mean_absolute_error: in units of the scale; within_one: share of answers at most one place off, however
    far apart in value; quadratic_kappa: on places, 1 at best (Cohen 1968; scikit-learn's
    cohen_kappa_score); spearman: -1 to 1. Each is {value, interval}, over the answered images, with
    bootstrap_interval. A value is None where it is undefined: kappa where answers and labels are all one
    class, rho where either are. groups: of images that are not independent, None where each is its own.

    images: how many have an answer; unit, order: of read_scale; resamples: how many.
    """
    labels, probabilities = check(labels, probabilities)
    if len(classes) != probabilities.shape[1]:
        raise ValueError(f"{len(classes)} names for {probabilities.shape[1]} classes")
    scale = read_scale(classes)
    predicted = predicted_classes(probabilities)
    answered = predicted != NO_ANSWER
    true, predicted = labels[answered], predicted[answered]
    groups = None if groups is None else groups[answered]
    values, places = np.array(scale["values"], float), np.argsort(scale["order"])
    x, y = places[true], places[predicted]
    errors, near = abs(values[true] - values[predicted]), (abs(x - y) <= 1).astype(float)
    kappa = rho = np.nan
    if len(np.unique(np.concatenate([x, y]))) > 1:
        kappa = sklearn.metrics.cohen_kappa_score(x, y, labels=np.arange(len(classes)), weights="quadratic")
    if len(x):
        rho = spearman(x, y)
    return {
        "images": len(x),
        "unit": scale["unit"],
        "order": scale["order"],
        "resamples": RESAMPLES,
        "mean_absolute_error": estimate(errors.mean() if len(x) else np.nan, np.mean, errors, groups=groups),
        "within_one": estimate(near.mean() if len(x) else np.nan, np.mean, near, groups=groups),
        "quadratic_kappa": estimate(kappa, quadratic_kappa, x, y, groups=groups),
        "spearman": estimate(rho, spearman, x, y, groups=groups),
    }


def estimate(value, statistic, *samples, groups=None):
    """Return {value, interval} for JSON; no interval where there is no value."""
    value = none_for_nan(value)
    return {
        "value": value,
        "interval": None if value is None else bootstrap_interval(statistic, *samples, groups=groups),
    }
