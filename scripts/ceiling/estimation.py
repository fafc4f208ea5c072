"""The ceiling of each measure, estimated from counts of answers: its value, interval and band."""

import numpy as np

from ceiling.mixture import Mixture, list_shapes_of_each
from ceiling.oracle import LOWER_IS_BETTER, Oracle, Pool, choose_rules, draw_answers

MOST_IMAGES = 3000  # that the mixture is fitted to, at random
BOOTSTRAPS, TESTS = 40, 50  # of the whole estimate, and test splits for each
SPLITS, MOST_SPLITS, ROWS = 200, 2000, 600_000  # test splits for the values, and their images in memory
LEVEL, SEED, WIDE = 0.05, 1, 1.96
# How far the estimate is off where people answer otherwise than any shape says, as a standard deviation, in shares of the
# measure's range: of the simulations in tests/test_ceiling.py.
MODEL_ERROR = 0.022


def estimate(counts, values, labelling, test, scale=None, together=None):
    """Return {measure: {value, interval, band}} of a model that knows each image's distribution of answers, and `twice`.

    counts: (images, annotators, categories) answers, see ceiling.mixture; values: of the categories, ascending,
    (categories,), of names their places; labelling: a Labelling; test: images of each class in the test split, (classes,);
    scale: a Scale of the classes, or None; together: see Oracle.

    value: on average of test splits like the study's; interval: of the value, at 95 %; band: into which 95 % of such models fall
    on one such test split, the error of the estimate with it; twice: the accuracy's value for labels of twice the answers.

    An estimate is too high as far as it takes chance for what images are like. By how much is seen by estimating again from
    answers that are drawn from it, and taken off: the parametric bootstrap (Efron and Tibshirani 1993, chapters 6 and 10).
    """
    random = np.random.default_rng(SEED)
    if len(counts) > MOST_IMAGES:
        counts = counts[random.choice(len(counts), MOST_IMAGES, replace=False)]
    shapes, numbers = list_shapes_of_each(values, counts), counts.sum(axis=2)
    mixture = Mixture(counts, shapes)
    shares = mixture.fit()
    pool, twice = (
        Pool(draw_answers(shapes, number, random), labelling, len(test), scale)
        for number in (numbers, 2 * numbers)
    )
    splits = int(np.clip(ROWS // sum(test), SPLITS, MOST_SPLITS))
    best = Oracle(pool, shares, test, together)
    final = best.score(splits, random)
    rules = choose_rules(final)
    ends = [
        Oracle(pool, mixture.push(shares, best.gain(), sign), test, together).score(splits, random)
        for sign in (-1, 1)
    ]
    found, more = {name: [] for name in rules}, []
    for _ in range(BOOTSTRAPS):
        again = Mixture(imagine(shapes, shares, numbers, random), shapes).fit()
        scores = Oracle(pool, again, test, together).score(TESTS, random)
        more.append(Oracle(twice, again, test).accuracy())
        for name, rule in rules.items():
            found[name].append(scores[name][rule])
    reaches = {"log_loss": np.log(len(test))}
    if scale is not None:
        reaches["mean_absolute_error"] = np.ptp(scale.values)
        reaches["earth_movers_distance"] = np.ptp(scale.places)
    measures = {
        name: correct(
            name,
            np.nanmean(final[name][rule]),
            [np.nanmean(end[name][rule]) for end in ends],
            np.array(found[name]),
            MODEL_ERROR * reaches.get(name, 1),
            random,
        )
        for name, rule in rules.items()
    }
    doubled = 2 * Oracle(twice, shares, test).accuracy() - np.mean(more)
    # More answers never make a model worse; that it comes out so is an error of the estimate.
    return measures | {"twice": float(np.clip(doubled, measures["accuracy"]["value"], 1))}


def imagine(shapes, shares, numbers, random):
    """Return counts of answers to as many images as there are, drawn from the mixture, (images, annotators, categories)."""
    shape = random.choice(len(shares), len(numbers), p=shares)
    return np.stack(
        [random.multinomial(number, of[shape]) for number, of in zip(numbers.T, shapes, strict=True)], axis=1
    )


def correct(name, value, ends, samples, model_error, random):
    """Return {value, interval, band} of a measure.

    ends: of the profile likelihood interval of the accuracy, the measure's value there; samples: (bootstraps, tests) scores;
    model_error: see MODEL_ERROR.
    """
    low, high = (0, np.inf) if name in LOWER_IS_BETTER else (-1, 1)
    means = np.nanmean(samples, axis=1, keepdims=True)
    bias = means.mean() - value
    # What the bootstrap does not see: where the answers leave open which mixture it is, and where it is none.
    ends = [end for end in ends if np.isfinite(end)]
    down, up = (value - min([value, *ends])) / WIDE, (max([value, *ends]) - value) / WIDE
    down, up = (np.sqrt(model_error**2 + max(0, open_ - means.var())) for open_ in (down**2, up**2))
    error = random.normal(size=samples.shape)
    error *= np.where(error < 0, down, up)

    def quantiles(scores):
        return np.clip(np.nanquantile(scores, [LEVEL / 2, 1 - LEVEL / 2]), low, high).tolist()

    return {
        "value": float(np.clip(value - bias, low, high)),
        "interval": quantiles(means + error - 2 * bias),
        "band": quantiles(samples + error - 2 * bias),
    }
