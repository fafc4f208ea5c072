"""What is told where no ceiling can be: a benchmark for one annotator's labels, a bracket for names without an order."""

import numpy as np

from baton.results.scale import quadratic_kappa, spearman
from ceiling.labelling import sum_classes
from ceiling.oracle import Oracle, Pool, Scale

BOOTSTRAPS, TESTS, SPLITS = 200, 20, 400
DRAWS, CELLS = 400, 20_000_000
MOST_IMAGES = 3000
LEVEL, SEED = 0.05, 1


def predict_by_others(labels, others, test, scale: Scale | None):
    """Return {measure: {value, interval}} of what the others' answers say of one annotator's labels, on splits like the study's.

    labels: (images,) class indices; test: images of each class in the test split. others: with a scale, (images,) mean of the
    others' answers, which is cut so that each class is predicted as often as it is in the test split: people differ in how they
    use a scale as much as in taste. Else (images, classes) counts of theirs, of which the most frequent class counts.
    """
    random = np.random.default_rng(SEED)
    rows = [np.flatnonzero(labels == label) for label in range(len(test))]
    value = _mean(_score_others(labels, others, rows, test, scale, SPLITS, random))
    found = [
        _mean(
            _score_others(
                labels, others, [random.choice(of, len(of)) for of in rows], test, scale, TESTS, random
            )
        )
        for _ in range(BOOTSTRAPS)
    ]
    return {
        name: {
            "value": value[name],
            "interval": np.quantile(
                [one[name] for one in found if name in one], [LEVEL / 2, 1 - LEVEL / 2]
            ).tolist(),
        }
        for name in value
        if any(name in one for one in found)
    }


def _mean(scores):
    """Return the mean of each measure that is defined."""
    return {name: float(np.nanmean(values)) for name, values in scores.items() if np.isfinite(values).any()}


def _score_others(labels, others, rows, test, scale, tests, random):
    """Return {measure: (tests,)} of test splits drawn from the `rows` of each class."""
    drawn = np.concatenate(
        [random.choice(of, (tests, count)) for of, count in zip(rows, test, strict=True) if count], axis=1
    )
    true = labels[drawn]
    if scale is None:
        votes = others[drawn] + random.random((*drawn.shape, others.shape[1])) / 2  # of equal ones, any
        return {"accuracy": (votes.argmax(axis=2) == true).mean(axis=1)}
    # Cut at the quantiles of the labels; of equal means, any first.
    order = np.argsort(scale.places)
    rank = np.argsort(np.argsort(others[drawn] + 1e-9 * random.random(drawn.shape), axis=1), axis=1)
    said = order[np.searchsorted(np.asarray(test)[order].cumsum(), rank, side="right")]
    x, y = scale.places[true], scale.places[said]
    return {
        "accuracy": (said == true).mean(axis=1),
        "mean_absolute_error": abs(scale.values[said] - scale.values[true]).mean(axis=1),
        "quadratic_kappa": quadratic_kappa(x, y),
        "spearman": spearman(x, others[drawn]),
    }


def bracket(counts, labelling, test):
    """Return two accuracies between which the best one lies as a rule, of labels that have no order.

    counts: (images, categories) answers; labelling: a Labelling; test: images of each class in the test split. The lower one:
    each answer is predicted from the others to its image (leave one out), which fewer answers know less of, and one answer
    scatters more than a label of several. The higher one: each image's own answers are taken for their distribution
    (plug-in), though they are but a few draws from it: mostly too high, and a little too low where nearly all agree.
    """
    counts = counts[counts.sum(axis=1) > 1]
    random = np.random.default_rng(SEED)
    if len(counts) > MOST_IMAGES:
        counts = counts[random.choice(len(counts), MOST_IMAGES, replace=False)]
    low, high = leave_one_out(counts, labelling.of_answers, test), plug_in(counts, labelling, test, random)
    return [min(low, high), high]


def leave_one_out(counts, of_answers, test):
    """Return how often the others' answers to an image predict one that is left out, by class as often as in the test split."""
    votes = sum_classes(counts, of_answers, len(test)).astype(float)  # (images, classes)
    found = votes.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(found > 0, np.asarray(test) / found, 0)
    right = np.zeros(len(test))
    for label in range(len(test)):
        left = votes - np.eye(len(test))[label]
        score = np.where(left > 0, left * weight, 0)
        best = (score == score.max(axis=1, keepdims=True)) & (weight > 0)
        right[label] = (votes[:, label] * best[:, label] / best.sum(axis=1)).sum()
    there = found > 0
    return float(
        (right[there] / found[there] * np.asarray(test)[there]).sum() / np.asarray(test)[there].sum()
    )


def plug_in(counts, labelling, test, random):
    """Return the accuracy of a model that knows each image's distribution of answers, were it that of its own answers."""
    rows, weights = np.unique(counts, axis=0, return_counts=True)
    numbers = rows.sum(axis=1)
    draws = int(np.clip(CELLS // rows.size, 50, DRAWS))
    drawn = random.multinomial(numbers[:, None], (rows / numbers[:, None])[:, None], (len(rows), draws))
    pool = Pool(drawn.astype(np.float32), labelling, len(test))
    return Oracle(pool, weights / weights.sum(), test).accuracy()
