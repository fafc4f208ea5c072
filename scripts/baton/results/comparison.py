"""Which models of a study can be distinguished, tested on the same images.

Results are dictionaries of plain numbers that JSON can hold; what is undefined is None, never NaN.
"""

import math
from collections import Counter
from itertools import combinations
from typing import Any, TypedDict

import numpy as np
from statsmodels.stats.multitest import multipletests

from baton.results import pooled
from baton.results.clusters import covariance_of_means
from baton.results.groups import group_models
from baton.results.mcnemar import EQUAL, LEVEL, POWER, exact_mcnemar, images_to_separate, pair_p

LETTERED = 26  # models, the most accurate ones, that are in groups, and groups: a letter each


class Discordant(TypedDict):
    """Of a seed that two models share: images that only the first gets right, only the second, and p."""

    seed: int
    b: int
    c: int
    p: float


class Pair(TypedDict):
    """Two models, the more accurate first; see compare()."""

    models: list[str]
    seeds: list[Discordant]
    difference: float
    standard_error: float | None
    p: float
    p_holm: float
    different: bool


class NoWinner(TypedDict):
    """Why there is no best model, and what would show one; see compare()."""

    models: list[str]
    accuracy: list[float]
    discordant: list[float] | None
    level: float
    power: float
    images_needed: int | None
    seeds_needed: int | None
    reason: str


class Comparison(TypedDict):
    """What compare() returns."""

    images: int
    image_groups: int | None
    level: float
    test: str
    noise: dict[str, Any] | None
    models: list[dict[str, Any]]
    pairs: list[Pair]
    groups: list[list[str]] | None
    best: str | None
    no_winner: NoWinner | None


def holm(p_values):
    """Return the p values adjusted for their number, and which are significant at 0.05, both in their order.

    Holm (1979): statsmodels' multipletests(method="holm").
    """
    if not p_values:
        return [], []
    significant, adjusted, *_ = multipletests(p_values, alpha=LEVEL, method="holm")
    return adjusted.tolist(), significant.tolist()


def discordant(first, second, seeds) -> list[Discordant]:
    """Return, for each of the `seeds` that two models share, what McNemar's test sees.

    first, second: {seed: (n,) right or not}. Each row: seed, b (images only the first gets right), c (only the
    second) and p of exact_mcnemar, which is about these two training runs and not about others with other seeds.
    """
    rows: list[Discordant] = []
    for seed in seeds:
        b, c = int((first[seed] & ~second[seed]).sum()), int((second[seed] & ~first[seed]).sum())
        rows.append({"seed": seed, "b": b, "c": c, "p": exact_mcnemar(b, c)})
    return rows


def compare(correct, seeds=None, groups=None) -> Comparison:
    """Say which models can be distinguished by the test images.

    correct: {model: (seeds, n) booleans}, whether each image was answered rightly; the images are the same
    and in the same order in all rows. seeds: {model: the seed of each row}; without it, rows are numbered
    from 0, and the same row is the same seed. groups: (n,), of images that are not independent (see
    baton.results.clusters), None where each is its own. ValueError where shapes do not fit or a seed is there twice.

    images: n; image_groups: how many groups, None for as many as images; level: 0.05
    test: of the pairs. "exact McNemar" where every model has one seed: it compares these training runs; with groups
      "sign flips of groups", which is the same of groups instead of images; "pooled t"
      (baton.results.pooled) where one has several: it compares the models, whatever the seed
    noise: of the pooled t, else None: standard_deviation of a training run's accuracy from seed to seed, its
      degrees_of_freedom, and outliers, the models that vary more than the others and keep their own
    models: by mean accuracy, of equal ones the first given first; each model, seeds, accuracies (a seed
      each), accuracy (their mean), standard_deviation (over n - 1; None for one seed), min, max, and groups:
      the numbers, from 1, of those it is in, none beyond the 26th model; None where there are too many
    pairs: of all models, in that order; each models [first, second]; seeds, what `discordant` says of the shared ones;
      difference, of the mean accuracies, and its standard_error (None for McNemar's test); p; p_holm (over all pairs)
      and different (p_holm <= 0.05)
    groups: of group_models, of the 26 most accurate models; None where there are more than 26 groups
    best: the model that is different from every other and better, else None; None for a single model
    no_winner: None where there is a best, or fewer than two models; else why there is none:
      models: [the most accurate, the most accurate of those it cannot be distinguished from (nearly always
        the second)]; accuracy: of both; discordant: [the share of images only the first gets right, the
        share only the second does], means over the shared seeds, None where they share none; power: 0.8;
      level: that of Holm's next step, 0.05 / (pairs less those significant);
      images_needed: how many would do at these rates, seeds, level and power; None where no number would;
      seeds_needed: how many seeds on these images; None for one seed, and where no number would;
      reason: "too few images" (a number is given), "too few seeds" (no number of images would do),
        "equal accuracy" (nor any number of seeds), "seeds disagree" (one favours the first and another the second)
    """
    arrays = {model: np.asarray(rows) for model, rows in correct.items()}
    seeds = {model: list(seeds[model] if seeds else range(len(rows))) for model, rows in arrays.items()}
    for model, rows in arrays.items():
        if rows.ndim != 2 or rows.dtype != bool or not rows.size:
            raise ValueError(f"{model}: wanted seeds x images of booleans, got {rows.dtype} {rows.shape}")
        if len(set(seeds[model])) != len(seeds[model]) or len(seeds[model]) != len(rows):
            raise ValueError(f"{model}: {len(rows)} rows for the seeds {seeds[model]}")
    if len({rows.shape[1] for rows in arrays.values()}) > 1:
        raise ValueError("the models were not tested on the same images")
    images = next((rows.shape[1] for rows in arrays.values()), 0)
    means = {model: float(rows.mean()) for model, rows in arrays.items()}
    names = sorted(arrays, key=lambda model: -means[model])
    by_seed = {model: dict(zip(seeds[model], rows, strict=True)) for model, rows in arrays.items()}
    ranked = [arrays[name] for name in names]
    pairs, noise = compare_pairs(names, ranked, by_seed, groups)
    lettered = names[:LETTERED]
    different = [
        pair["models"] for pair in pairs if pair["different"] and set(pair["models"]) <= set(lettered)
    ]
    letters = group_models(lettered, different, LETTERED)
    best = find_best(names, pairs)
    return {
        "images": images,
        "level": LEVEL,
        "image_groups": None if groups is None else int(groups.max()) + 1,
        "test": "pooled t" if noise else "exact McNemar" if groups is None else "sign flips of groups",
        "noise": None
        if noise is None
        else {
            "standard_deviation": math.sqrt(noise.pooled),
            "degrees_of_freedom": noise.degrees_pooled,
            "outliers": [names[m] for m in noise.outliers],
        },
        "models": [
            {"model": model, "seeds": seeds[model]}
            | spread(arrays[model].mean(axis=1))
            | {"groups": letters and [number for number, group in enumerate(letters, 1) if model in group]}
            for model in names
        ],
        "pairs": pairs,
        "groups": letters,
        "best": best,
        "no_winner": None
        if best is not None or len(names) < 2
        else explain_no_winner(names, ranked, pairs, groups),
    }


def compare_pairs(
    names: list[str], ranked, by_seed, groups=None
) -> tuple[list[Pair], pooled.TrainingNoise | None]:
    """Return `pairs` of compare() and the TrainingNoise, None where every model has one seed.

    names: of the models, the most accurate first; ranked: the predictions of each, right or not, (seeds, n); by_seed:
    the same, {model: {seed: (n,)}}.
    """
    places = list(combinations(range(len(names)), 2))
    if any(len(rows) > 1 for rows in ranked):
        noise, errors, pooled_p = pooled.compare_all(ranked, groups)
        p_values = [float(pooled_p[i, j]) for i, j in places]
    else:  # of one seed each, it may be another one's: what is compared is these training runs
        noise, only = None, [rows[0] for rows in ranked]
        p_values = [pair_p(only[i], only[j], groups) for i, j in places]
    pairs: list[Pair] = []
    for (i, j), p, p_holm, different in zip(places, p_values, *holm(p_values), strict=True):
        first, second = by_seed[names[i]], by_seed[names[j]]
        pairs.append(
            {
                "models": [names[i], names[j]],
                "seeds": discordant(first, second, [seed for seed in first if seed in second]),
                "difference": float(np.mean(ranked[i]) - np.mean(ranked[j])),
                "standard_error": float(errors[i, j]) if noise else None,
                "p": p,
                "p_holm": p_holm,
                "different": different,
            }
        )
    return pairs, noise


def spread(accuracies):
    """Return accuracies (seeds,) as a list, and their mean, standard deviation (None for one), min and max."""
    return {
        "accuracies": [float(value) for value in accuracies],
        "accuracy": float(np.mean(accuracies)),
        "standard_deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "min": float(np.min(accuracies)),
        "max": float(np.max(accuracies)),
    }


def is_better(pair: Pair, model: str) -> bool:
    """Whether a pair of `compare` finds this one of its models the better one."""
    return pair["different"] and (pair["difference"] > 0) == (pair["models"][0] == model)


def find_best(names: list[str], pairs: list[Pair]) -> str | None:
    """Return the model that is significantly better than every other, or None."""
    better = Counter(model for pair in pairs for model in pair["models"] if is_better(pair, model))
    return next((model for model in names if better[model] == len(names) - 1 > 0), None)


def explain_no_winner(names: list[str], ranked, pairs: list[Pair], groups=None) -> NoWinner:
    """Return `no_winner` of compare(); ranked: the answers of each of the `names`, (seeds, n)."""
    top, images = names[0], ranked[0].shape[1]
    # Pairs are in the order of accuracy: the first in which the top model is not the better one.
    pair = next(pair for pair in pairs if pair["models"][0] == top and not is_better(pair, top))
    level = LEVEL / max(len(pairs) - sum(pair["different"] for pair in pairs), 1)
    rows, place = pair["seeds"], names.index(pair["models"][1])
    sides = [row["b"] for row in rows], [row["c"] for row in rows]
    rates = [float(np.mean(counts)) / images for counts in sides] if rows else None
    images_needed = seeds_needed = None
    if max(map(len, ranked)) > 1:
        design = pooled.Design(ranked, 0, place, groups)
        images_needed = design.images_needed(level, POWER)
        seeds_needed = design.seeds_needed(level, POWER)
    else:
        only = ranked[0][0], ranked[place][0]
        images_needed = images_to_separate(
            float((only[0] & ~only[1]).mean()), float((only[1] & ~only[0]).mean()), level
        )
        if images_needed and groups is not None:
            difference = only[0].astype(float) - only[1]
            clustered = images * float(covariance_of_means(difference[None], groups)[0, 0])
            images_needed = math.ceil(images_needed * max(1.0, clustered / max(difference.var(), 1e-12)))
        # The formula is a little stronger than the exact test: with these images nothing was shown.
        images_needed = images_needed and max(images_needed, images + 1)
    signs = {np.sign(row["b"] - row["c"]) for row in rows}
    if {-1, 1} <= signs:
        reason = "seeds disagree"
    elif abs(pair["difference"]) < EQUAL:
        reason = "equal accuracy"
    else:
        reason = "too few images" if images_needed else "too few seeds"
    return {
        "models": pair["models"],
        "accuracy": [float(rows.mean()) for rows in (ranked[0], ranked[place])],
        "discordant": rates,
        "level": level,
        "power": POWER,
        "images_needed": images_needed,
        "seeds_needed": seeds_needed,
        "reason": reason,
    }
