"""Which models of a study can be told apart, tested on the same images.

Results are dictionaries of plain numbers that JSON can hold; what is undefined is None, never NaN.
"""

import math
from collections import Counter
from functools import cache
from itertools import combinations

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from baton import pooled

LEVEL = 0.05  # of every test
POWER = 0.8
MOST_GROUPS = 26  # a letter each
EQUAL = 1e-9  # less than an image in a thousand million: rounding


@cache  # thousands of pairs have few different counts
def exact_mcnemar(b, c):
    """Return the two-sided p of b and c discordant images under equal chances; 1 where there are none.

    McNemar (1947), from the binomial distribution: statsmodels' mcnemar(exact=True).
    """
    return float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)


def holm(p_values):
    """Return the p values adjusted for their number, and which are significant at 0.05, both in their order.

    Holm (1979): statsmodels' multipletests(method="holm").
    """
    if not p_values:
        return [], []
    significant, adjusted, *_ = multipletests(p_values, alpha=LEVEL, method="holm")
    return adjusted.tolist(), significant.tolist()


def images_to_separate(first_rate, second_rate, level=LEVEL, power=POWER):
    """Return how many images McNemar's test needs to tell two models apart, or None for equal rates.

    first_rate, second_rate: the shares of images that only the first, only the second gets right; level:
    of the two-sided test; power: the chance to find the difference.
    n = (z(1 - level/2) sqrt(d) + z(power) sqrt(d - e^2))^2 / e^2, rounded up, for d the sum and e the
    difference of the rates: Connor (1987), Biometrics 43, 207-211, after Miettinen (1968). By the normal distribution: the
    exact test is a little weaker, and needs 6 discordant images at the least at level 0.05.
    """
    discordant, difference = first_rate + second_rate, first_rate - second_rate
    if abs(difference) < EQUAL:
        return None
    under_null = stats.norm.isf(level / 2) * math.sqrt(discordant)
    under_difference = stats.norm.isf(1 - power) * math.sqrt(max(discordant - difference**2, 0))
    return math.ceil(((under_null + under_difference) / difference) ** 2)


def discordant(first, second, seeds):
    """Return, for each of the `seeds` that two models share, what McNemar's test sees.

    first, second: {seed: (n,) right or not}. Each row: seed, b (images only the first gets right), c (only the
    second) and p of exact_mcnemar, which is about these two trainings and not about others with other seeds.
    """
    rows = []
    for seed in seeds:
        b, c = int((first[seed] & ~second[seed]).sum()), int((second[seed] & ~first[seed]).sum())
        rows.append({"seed": seed, "b": b, "c": c, "p": exact_mcnemar(b, c)})
    return rows


def group_models(models, different, most=math.inf):
    """Return groups of models that cannot be told apart, as lists of names, in the order of `models`.

    different: the pairs that differ, each two names. Two models are in a group together if and only if they
    do not differ, and no group lies within another; a model may be in several. These are the groups of the compact
    letter display (Piepho 2004, J. Comput. Graph. Stat. 13, 456-466), found as the maximal cliques of what does not
    differ: Bron and Kerbosch (1973), Commun. ACM 16, 575-577, with the pivot of Tomita et al. (2006).
    None where there are more than `most`: of hundreds of models, there may be more groups than any page can tell.
    """
    if not models:
        return []
    # Sets of models are whole numbers, a bit for each: there may be thousands.
    place = {name: number for number, name in enumerate(models)}
    everyone = (1 << len(models)) - 1
    alike = [everyone & ~(1 << number) for number in range(len(models))]
    for one, other in different:
        alike[place[one]] &= ~(1 << place[other])
        alike[place[other]] &= ~(1 << place[one])

    def members(some):
        return [number for number in range(len(models)) if some >> number & 1]

    groups, begun = [], [(0, everyone, 0)]  # a group, who may still join it, and who may but was tried before
    while begun:
        group, joining, tried = begun.pop()
        if not joining and not tried:
            groups.append(members(group))
            if len(groups) > most:
                return None
        if not joining:
            continue
        pivot = max(members(joining | tried), key=lambda number: (joining & alike[number]).bit_count())
        for number in members(joining & ~alike[pivot]):
            begun.append((group | 1 << number, joining & alike[number], tried & alike[number]))
            joining &= ~(1 << number)
            tried |= 1 << number
    return [[models[number] for number in group] for group in sorted(groups)]


def compare(correct, seeds=None):
    """Say which models can be told apart by the test images.

    correct: {model: (seeds, n) booleans}, whether each image was answered rightly; the images are the same
    and in the same order in all rows. seeds: {model: the seed of each row}; without it, rows are numbered
    from 0, and the same row is the same seed. ValueError where shapes do not fit or a seed is there twice.

    images: n; level: 0.05
    test: of the pairs. "exact McNemar" where every model has one seed: it compares these trainings; "pooled t"
      (baton.pooled) where one has several: it compares the models, whatever the seed
    noise: of the pooled t, else None: standard_deviation of a training's accuracy from seed to seed, its
      degrees_of_freedom, and outliers, the models that vary more than the others and keep their own
    models: by mean accuracy, of equal ones the first given first; each model, seeds, accuracies (a seed
      each), accuracy (their mean), standard_deviation (over n - 1; None for one seed), min, max, and groups:
      the numbers, from 1, of those it is in; None where there are too many
    pairs: of all models, in that order; each models [first, second]; seeds, what `discordant` says of the shared ones;
      difference, of the mean accuracies, and its standard_error (None for McNemar's test); p; p_holm (over all pairs)
      and different (p_holm <= 0.05)
    groups: of group_models, at most 26, else None
    best: the model that is different from every other and better, else None; None for a single model
    no_winner: None where there is a best, or fewer than two models; else why there is none:
      models: [the most accurate, the most accurate of those it cannot be told apart from (nearly always
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
    several = any(len(rows) > 1 for rows in ranked)
    noise, errors, pooled_p = pooled.compare_all(ranked) if several else (None, None, None)

    pairs = []
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        shared = [seed for seed in seeds[first] if seed in by_seed[second]]
        pair = {
            "models": [first, second],
            "seeds": discordant(by_seed[first], by_seed[second], shared),
            "difference": float(np.mean(ranked[i]) - np.mean(ranked[j])),
            "standard_error": float(errors[i, j]) if several else None,
        }
        if several:
            p = float(pooled_p[i, j])
        else:  # of one seed each, it may be another one's: what is compared is these two trainings
            only = [next(iter(by_seed[model].values())) for model in (first, second)]
            p = exact_mcnemar(int((only[0] & ~only[1]).sum()), int((only[1] & ~only[0]).sum()))
        pairs.append({**pair, "p": p})
    for pair, p, different in zip(pairs, *holm([pair["p"] for pair in pairs]), strict=True):
        pair |= {"p_holm": p, "different": different}

    groups = group_models(names, [pair["models"] for pair in pairs if pair["different"]], MOST_GROUPS)
    best = find_best(names, pairs)
    return {
        "images": images,
        "level": LEVEL,
        "test": "pooled t" if several else "exact McNemar",
        "noise": noise
        and {
            "standard_deviation": math.sqrt(noise.pooled),
            "degrees_of_freedom": noise.degrees_pooled,
            "outliers": [names[m] for m in noise.outliers],
        },
        "models": [
            {"model": model, "seeds": seeds[model]}
            | spread(arrays[model].mean(axis=1))
            | {"groups": groups and [number for number, group in enumerate(groups, 1) if model in group]}
            for model in names
        ],
        "pairs": pairs,
        "groups": groups,
        "best": best,
        "no_winner": None if best is not None or len(names) < 2 else explain_no_winner(names, ranked, pairs),
    }


def spread(accuracies):
    """Return accuracies (seeds,) as a list, and their mean, standard deviation (None for one), min and max."""
    return {
        "accuracies": [float(value) for value in accuracies],
        "accuracy": float(np.mean(accuracies)),
        "standard_deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "min": float(np.min(accuracies)),
        "max": float(np.max(accuracies)),
    }


def is_better(pair, model):
    """Whether a pair of `compare` finds this one of its models the better one."""
    return pair["different"] and (pair["difference"] > 0) == (pair["models"][0] == model)


def find_best(names, pairs):
    """Return the model that is significantly better than every other, or None."""
    better = Counter(model for pair in pairs for model in pair["models"] if is_better(pair, model))
    return next((model for model in names if better[model] == len(names) - 1 > 0), None)


def explain_no_winner(names, ranked, pairs):
    """Return `no_winner` of compare(); ranked: the answers of each of the `names`, (seeds, n)."""
    top, images = names[0], ranked[0].shape[1]
    # Pairs are in the order of accuracy: the first in which the top model is not the better one.
    pair = next(pair for pair in pairs if pair["models"][0] == top and not is_better(pair, top))
    level = LEVEL / max(len(pairs) - sum(pair["different"] for pair in pairs), 1)
    rows, place = pair["seeds"], names.index(pair["models"][1])
    rates = [float(np.mean([row[side] for row in rows])) / images for side in "bc"] if rows else None
    images_needed = seeds_needed = None
    if max(map(len, ranked)) > 1:
        design = pooled.Design(ranked, 0, place)
        images_needed = design.images_needed(level, POWER)
        seeds_needed = design.seeds_needed(level, POWER)
    else:
        only = ranked[0][0], ranked[place][0]
        images_needed = images_to_separate(
            float((only[0] & ~only[1]).mean()), float((only[1] & ~only[0]).mean()), level
        )
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


def judge(tests):
    """Return for each run what may be said of its answers; tests: what evaluate.measure returned for each.

    Any claim is corrected (Holm) for all of these tests, two a run; what cannot be claimed is measured by p as it is.
    A verdict of `constant_answers` stands where nothing can be claimed, else it is, the first that holds:

      above chance, below chance   right more, less often than blind answers
      against the scale            not that, and the answers are the lower, the higher the true place is
      depends on the class         the answers have to do with the true class; not shown that they are right more often
      not distinguishable from guessing   neither p is 0.05 or less
      not shown                    one is, and after correction neither
    """
    keys = ("accuracy_p", "dependence_p")
    p_values = [test["guessing"][key] for test in tests for key in keys]
    claims = iter(holm(p_values)[1])
    verdicts = []
    for test in tests:
        found, (more, related) = test["guessing"], (next(claims), next(claims))
        if test["answers"]["verdict"] == "no answers" or (
            test["answers"]["verdict"] and not more and not related
        ):
            verdicts.append(test["answers"]["verdict"])
        elif more:
            verdicts.append("above chance" if test["accuracy"] > found["blind"] else "below chance")
        elif related:
            verdicts.append("against the scale" if (found["rho"] or 0) < 0 else "depends on the class")
        elif min(found[key] for key in keys) > LEVEL:
            verdicts.append("not distinguishable from guessing")
        else:
            verdicts.append("not shown")
    return verdicts
