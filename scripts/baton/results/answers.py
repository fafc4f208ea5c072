"""How well a model's probabilities agree with the answers that people gave, by the conventions of baton.results.metrics."""

import numpy as np

from baton.results.metrics import check
from baton.results.scale import estimate, read_scale, spearman

LEAST_PROBABILITY = 1e-15  # as in scikit-learn's log_loss of float64


def against_answers(shares, means, labels, probabilities, classes, ordered, groups=None):
    """Return how far probabilities are from the shares of the answers; each is {value, interval}, see `estimate`.

    shares: (n, k), each image's; means: (n,) of its answers, None where they are no numbers; ordered: whether the classes are
    places on a scale; groups: of images that are not independent. Images without an answer of the model are left out.

    images: how many; log_loss: mean of -sum(share ln(probability)), whose least is the entropy of the shares;
    earth_movers_distance: mean of sum(|difference of the cumulated|), in places (NIMA, Talebi and Milanfar 2018, has its
    square); spearman_of_mean: Spearman's rho of the expected value and the mean answer. The last two None without a scale.
    """
    labels, probabilities = check(labels, probabilities)
    there = np.isfinite(probabilities).all(axis=1)
    shares, probabilities = shares[there], probabilities[there]
    groups = None if groups is None else groups[there]
    found = {
        "images": int(there.sum()),
        "log_loss": None,
        "earth_movers_distance": None,
        "spearman_of_mean": None,
    }
    if not there.any():
        return found
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    losses = -(shares * np.log(np.maximum(probabilities, LEAST_PROBABILITY))).sum(axis=1)
    found["log_loss"] = estimate(losses.mean(), np.mean, losses, groups=groups)
    if ordered:
        scale = read_scale(classes)
        order = scale["order"]
        distances = abs((shares - probabilities)[:, order].cumsum(axis=1)[:, :-1]).sum(axis=1)
        found["earth_movers_distance"] = estimate(distances.mean(), np.mean, distances, groups=groups)
        if means is not None:
            values, means = np.array(scale["values"], float), means[there]
            expected = probabilities @ values
            if (
                spearman(values[labels[there]], means) < 0
            ):  # classes that are listed from the high end to the low one
                expected = -expected
            found["spearman_of_mean"] = estimate(
                spearman(expected, means), spearman, expected, means, groups=groups
            )
    return found
