"""Which models of a study can be told apart, tested on the same images.

Results are dictionaries of plain numbers that JSON can hold; what is undefined is None, never NaN.
"""

import math
from collections import Counter
from functools import cache

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05  # of every test
POWER = 0.8
MOST_GROUPS = 26  # a letter each


@cache  # thousands of pairs have few different counts
def exact_mcnemar(b, c):
    """Return the two-sided p of b and c discordant images under equal chances; 1 where there are none.

    McNemar (1947), from the binomial distribution: statsmodels' mcnemar(exact=True).
    """
    return float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)


def paired_t(first, second):
    """Return the two-sided p of the paired t-test over seeds, or None for one seed or equal differences.

    first, second: (seeds,) right answers of two models, or accuracies (t knows no scale). Student (1908):
    SciPy's ttest_rel. Where all differences are the same, t divides by 0.
    """
    differences = np.subtract(first, second)
    if len(differences) < 2 or (differences == differences[0]).all():
        return None
    return float(stats.ttest_rel(first, second).pvalue)


def holm(p_values):
    """Return the p values adjusted for their number, and which are significant at 0.05, both in their order.

    Holm (1979): statsmodels' multipletests(method="holm"). A None (no test was possible) is no member of
    the family and stays None and not significant.
    """
    adjusted, significant = [None] * len(p_values), [False] * len(p_values)
    tested = [i for i, p in enumerate(p_values) if p is not None]
    if tested:
        reject, corrected, *_ = multipletests([p_values[i] for i in tested], alpha=LEVEL, method="holm")
        for i, yes, p in zip(tested, reject, corrected, strict=True):
            adjusted[i], significant[i] = float(p), bool(yes)
    return adjusted, significant


def images_to_separate(first_rate, second_rate, level=LEVEL, power=POWER):
    """Return how many images McNemar's test needs to tell two models apart, or None for equal rates.

    first_rate, second_rate: the shares of images that only the first, only the second gets right; level:
    of the two-sided test; power: the chance to find the difference.
    n = (z(1 - level/2) sqrt(d) + z(power) sqrt(d - e^2))^2 / e^2, rounded up, for d the sum and e the
    difference of the rates: Connor (1987), Biometrics 43, 207-211, after Miettinen (1968). By the normal distribution: the
    exact test is a little weaker, and needs 6 discordant images at the least at level 0.05.
    """
    discordant, difference = first_rate + second_rate, first_rate - second_rate
    if abs(difference) < 1e-9:  # less than an image in a thousand million: rounding
        return None
    under_null = stats.norm.isf(level / 2) * math.sqrt(discordant)
    under_difference = stats.norm.isf(1 - power) * math.sqrt(max(discordant - difference**2, 0))
    return math.ceil(((under_null + under_difference) / difference) ** 2)


def compare_pair(first, second, seeds):
    """Compare two models at the seeds they share.

    first, second: {seed: (n,) right or not}; seeds: the shared ones. Returns
    seeds: for each, seed, b (images only the first gets right), c (only the second) and p of exact_mcnemar;
    mcnemar_p: the largest of them: a difference has to hold at every seed. That is conservative, and meant
      to be: McNemar's test knows the chance of the images and not that of the training, so that the
      smallest, or one of all seeds' images together, would find a lucky seed significant. The largest of
      several p is valid however they depend on each other (Berger 1982, intersection-union test);
    paired_t_p: over the seeds, None for one seed or equal differences;
    difference: mean accuracy of the first less that of the second;
    p: the larger of the two; 1 where a seed favours the first and another the second.
    All None where no seed is shared.
    """
    rows = []
    for seed in seeds:
        b, c = int((first[seed] & ~second[seed]).sum()), int((second[seed] & ~first[seed]).sum())
        rows.append({"seed": seed, "b": b, "c": c, "p": exact_mcnemar(b, c)})
    if not rows:
        return {"seeds": [], "mcnemar_p": None, "paired_t_p": None, "difference": None, "p": None}
    largest = max(row["p"] for row in rows)
    t = paired_t([first[seed].sum() for seed in seeds], [second[seed].sum() for seed in seeds])
    contradicting = any(row["b"] > row["c"] for row in rows) and any(row["b"] < row["c"] for row in rows)
    images = len(first[seeds[0]])
    return {
        "seeds": rows,
        "mcnemar_p": largest,
        "paired_t_p": t,
        "difference": sum(row["b"] - row["c"] for row in rows) / (images * len(rows)),
        "p": 1.0 if contradicting else max(largest, t or 0.0),
    }


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
    models: by mean accuracy, of equal ones the first given first; each model, seeds, accuracies (a seed
      each), accuracy (their mean), standard_deviation (over n - 1; None for one seed), min, max, and groups:
      the numbers, from 1, of those it is in; None where there are too many
    pairs: of all models, in that order; each models [first, second] and what compare_pair returns, with
      p_holm (over all pairs) and different (p_holm <= 0.05)
    groups: of group_models, at most 26, else None
    best: the model that is different from every other and better, else None; None for a single model
    no_winner: None where there is a best, or fewer than two models; else why there is none:
      models: [the most accurate, the most accurate of those it cannot be told apart from (nearly always
        the second)]; accuracy: of both; discordant: [the share of images only the first gets right, the
        share only the second does], means over the shared seeds; power: 0.8;
      level: that of Holm's next step, 0.05 / (tests less those significant);
      images_needed: by images_to_separate at these rates, level and power, always more than n; else None;
      reason: "too few images" (a number is given), "equal accuracy" (no number of images would do),
        "seeds disagree" (n images would do for one training, but the difference varies from seed to seed:
        more seeds might do) or "no shared seed"
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

    pairs = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            shared = [seed for seed in seeds[first] if seed in by_seed[second]]
            found = compare_pair(by_seed[first], by_seed[second], shared)
            pairs.append({"models": [first, second], **found})
    for pair, p, different in zip(pairs, *holm([pair["p"] for pair in pairs]), strict=True):
        pair |= {"p_holm": p, "different": different}

    groups = group_models(names, [pair["models"] for pair in pairs if pair["different"]], MOST_GROUPS)
    best = find_best(names, pairs)
    return {
        "images": images,
        "level": LEVEL,
        "models": [
            {"model": model, "seeds": seeds[model]}
            | spread(arrays[model].mean(axis=1))
            | {"groups": groups and [number for number, group in enumerate(groups, 1) if model in group]}
            for model in names
        ],
        "pairs": pairs,
        "groups": groups,
        "best": best,
        "no_winner": None if best or len(names) < 2 else explain_no_winner(names, means, pairs, images),
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


def explain_no_winner(names, means, pairs, images):
    """Return `no_winner` of compare()."""
    top = names[0]
    # Pairs are in the order of accuracy: the first in which the top model is not the better one.
    pair = next(pair for pair in pairs if pair["models"][0] == top and not is_better(pair, top))
    tested = sum(pair["p"] is not None for pair in pairs)
    significant = sum(pair["different"] for pair in pairs)
    level, needed, rates = LEVEL / max(tested - significant, 1), None, None
    if pair["p"] is None:
        reason = "no shared seed"
    else:
        rates = [float(np.mean([row[side] for row in pair["seeds"]])) / images for side in "bc"]
        needed = images_to_separate(*rates, level)
        reason = "equal accuracy" if needed is None else "too few images"
        if needed is not None and needed <= images:
            reason, needed = "seeds disagree", None
    return {
        "models": pair["models"],
        "accuracy": [means[model] for model in pair["models"]],
        "discordant": rates,
        "level": level,
        "power": POWER,
        "images_needed": needed,
        "reason": reason,
    }
