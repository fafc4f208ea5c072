"""How far the answers to the same image agree: Krippendorff's alpha and the intraclass correlation.

An answer is a whole number from 0, its category in order; images with one answer say nothing of agreement and are left out.
All figures follow from sums over images, so that a bootstrap of images is one of sums, and a million images are no more work
than BLOCKS of them.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

LEVEL = 0.05  # intervals are at 1 - LEVEL
BLOCKS, CELLS = 2000, 20_000_000  # of images that are resampled together, at most; numbers in memory
RESAMPLES, SEED = 2000, 1
MOST_CATEGORIES = 60  # of numbers: more are a continuous scale
LEVELS = ("nominal", "ordinal", "interval")  # of measurement


class Answers(NamedTuple):
    """Answers to images that have two or more: image and category of each, whole numbers from 0, and the categories' values.

    values: (categories,) numbers in ascending order, None where the categories are names.
    """

    image: np.ndarray
    category: np.ndarray
    values: np.ndarray | None
    categories: int


def take_several(image, category, values, categories):
    """Return as Answers those to images that have two or more."""
    counts = np.bincount(image)
    several = counts[image] > 1
    _, image = np.unique(image[several], return_inverse=True)
    return Answers(image, category[several], values, categories)


def coincidences(answers, blocks, count):
    """Return the coincidence matrix of each block of images, (count, categories, categories); blocks: of each image.

    Each image with m answers gives each pair of different ones of these the weight 1 / (m - 1): Krippendorff (2011), Computing
    Krippendorff's Alpha-Reliability.
    """
    images, size = len(blocks), answers.categories
    table = sparse.csr_array(
        (np.ones(len(answers.image)), (answers.image, answers.category)), shape=(images, size)
    )
    weights = 1 / (np.bincount(answers.image, minlength=images) - 1)
    matrices = np.zeros((count, size, size))
    order = np.argsort(blocks, kind="stable")
    ends = np.searchsorted(blocks[order], np.arange(count), side="right")
    start = 0
    for block, end in enumerate(ends):
        rows = order[start:end]
        some, weight = table[rows], weights[rows]
        weighted = sparse.diags_array(weight) @ some
        matrix = (some.T @ weighted).toarray()
        matrix[np.diag_indices(size)] -= np.asarray(weighted.sum(axis=0)).ravel()
        matrices[block], start = matrix, end
    return matrices


def alpha(matrices, level, values=None):
    """Return Krippendorff's alpha of coincidence matrices, (..., categories, categories); NaN where only one category is used.

    level: "nominal", "ordinal" or "interval", the last by the categories' values. 1 - (n - 1) * observed / expected
    disagreement, with n the pairable answers.
    """
    margins = matrices.sum(axis=-1)
    if level == "nominal":
        distance = 1.0 - np.eye(matrices.shape[-1])
    else:
        # The ordinal metric: how far apart the middles of the two categories' ranks are.
        places = margins.cumsum(axis=-1) - margins / 2 if level == "ordinal" else np.asarray(values, float)
        distance = (places[..., :, None] - places[..., None, :]) ** 2
    observed = (matrices * distance).sum(axis=(-2, -1))
    expected = (margins[..., :, None] * margins[..., None, :] * distance).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (margins.sum(axis=-1) - 1) * observed / expected


def sums_of_variance(answers, blocks, count):
    """Return, of each block of images, what `correlation` needs, (count, 6).

    Images, answers, squares of their numbers, and of the answers' values: sum, sum of squares, squares of an image's sum / m.
    """
    images = len(blocks)
    value = np.asarray(answers.values, float)[answers.category]
    number = np.bincount(answers.image, minlength=images).astype(float)
    total = np.bincount(answers.image, value, minlength=images)
    squares = np.bincount(answers.image, value**2, minlength=images)
    columns = np.stack([np.ones(images), number, number**2, total, squares, total**2 / number], axis=1)
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, blocks, columns)
    return sums


def correlation(sums):
    """Return ICC(1,1) and ICC(1,k) of sums as sums_of_variance returns them, (..., 6): of one answer, and of the mean of k.

    Shrout and Fleiss (1979), Psychological Bulletin 86, 420-428: one-way random effects. With unequal numbers of answers k is
    (N - sum of m^2 / N) / (images - 1).
    """
    images, number, squared, total, squares, between = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        among = (between - total**2 / number) / (images - 1)
        within = (squares - between) / (number - images)
        answers = (number - squared / number) / (images - 1)
        return (among - within) / (among + (answers - 1) * within), (among - within) / among


def sums_of_chance(image, category, categories, blocks, count):
    """Return, of each block of images, what `gwet` needs, (count, 3 + categories); images with one answer are among them.

    Images, those with two answers or more, their shares of equal pairs, and each image's share of answers in each category.
    """
    table = sparse.csr_array((np.ones(len(image)), (image, category)), shape=(len(blocks), categories))
    number = np.asarray(table.sum(axis=1)).ravel()
    pairs = number * (number - 1)
    equal = np.asarray(table.multiply(table).sum(axis=1)).ravel() - number
    share = np.divide(equal, pairs, out=np.zeros(len(blocks)), where=pairs > 0)
    member = sparse.csr_array(
        (np.ones(len(blocks)), (blocks, np.arange(len(blocks)))), shape=(count, len(blocks))
    )
    shares = (member @ sparse.diags_array(1 / number) @ table).toarray()
    facts = member @ np.stack([np.ones(len(blocks)), pairs > 0, share], axis=1)
    return np.concatenate([facts, shares], axis=1)


def gwet(sums):
    """Return Gwet's AC1 of sums as sums_of_chance returns them, (..., 3 + categories).

    Gwet (2008), British Journal of Mathematical and Statistical Psychology 61, 29-48: agreement beyond chance, where chance is
    that of a guess, so that it bears categories that are rarely used.
    """
    shares = sums[..., 3:] / sums[..., :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = (shares * (1 - shares)).sum(axis=-1) / (shares.shape[-1] - 1)
        return (sums[..., 2] / sums[..., 1] - chance) / (1 - chance)


def measure_continuous(image, category, values, random):
    """Return what `measure` does, of numbers of which there are too many to be told apart as categories.

    Ranks and equal answers say little then, and would need a table of all pairs of values: the interval level alone is given.
    """
    answers = take_several(image, category, values, 1)
    blocks, count = make_blocks(int(answers.image.max()) + 1, 1, random)
    sums = sums_of_variance(answers, blocks, count)
    images = len(blocks)
    value = np.asarray(values, float)[answers.category]
    number = np.bincount(answers.image, minlength=images)
    total, squares = (np.bincount(answers.image, power, minlength=images) for power in (value, value**2))
    apart = np.bincount(blocks, 2 * (number * squares - total**2) / (number - 1), minlength=count)
    sums = np.concatenate([sums, apart[:, None]], axis=1)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    whole, resampled = sums.sum(axis=0), drawn @ sums
    figures = {"alpha": dict.fromkeys(LEVELS), "gwet_ac1": None, "equal_pairs": None}
    figures["alpha"]["interval"] = estimate(float(_alpha_of_sums(whole)), [_alpha_of_sums(resampled)])
    for place, name in enumerate(("icc_single", "icc_mean")):
        figures[name] = estimate(float(correlation(whole[:6])[place]), [correlation(resampled[:, :6])[place]])
    return figures


def _alpha_of_sums(sums):
    number, total, squares, apart = sums[..., 1], sums[..., 3], sums[..., 4], sums[..., 6]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (number - 1) * apart / (2 * (number * squares - total**2))


def make_blocks(images, categories, random):
    """Return the block of each image, and how many there are: each image is one where there are few."""
    count = min(images, BLOCKS, max(50, CELLS // categories**2))
    return (np.arange(images) if count == images else random.permutation(np.arange(images) % count)), count


def measure(image, category, values, categories):
    """Return the figures of answers, each {value, interval}, with 95 % bootstrap intervals over images.

    image, category: of each answer, whole numbers from 0; values: of the categories, ascending, None where they are names.
    alpha by level, and where the answers are numbers icc_single and icc_mean; gwet_ac1; equal_pairs: the share of pairs of
    answers to an image that are equal, each image with the weight of its answers. The intervals are about these annotators,
    and other images.
    """
    random = np.random.default_rng(SEED)
    if categories > MOST_CATEGORIES and values is not None:
        return measure_continuous(image, category, values, random)
    answers = take_several(image, category, values, categories)
    blocks, count = make_blocks(int(image.max()) + 1, categories, random)
    chance = sums_of_chance(image, category, categories, blocks, count)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    ac1 = estimate(float(gwet(chance.sum(axis=0))), [gwet(drawn @ chance)])
    blocks, count = make_blocks(int(answers.image.max()) + 1, categories, random)
    matrices = coincidences(answers, blocks, count)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    flat = matrices.reshape(count, -1)
    parts = np.array_split(drawn, max(1, RESAMPLES * answers.categories**2 // CELLS))
    levels = LEVELS[:1] if answers.values is None else LEVELS
    samples = {level: [] for level in (*levels, "equal_pairs")}
    for part in parts:
        resampled = (part @ flat).reshape(len(part), *matrices.shape[1:])
        for level in levels:
            samples[level].append(alpha(resampled, level, answers.values))
        samples["equal_pairs"].append(_equal_pairs(resampled))
    whole = matrices.sum(axis=0)
    found = dict.fromkeys(LEVELS) | {
        level: estimate(float(alpha(whole, level, answers.values)), samples[level]) for level in levels
    }
    figures = {
        "alpha": found,
        "gwet_ac1": ac1,
        "equal_pairs": estimate(float(_equal_pairs(whole)), samples["equal_pairs"]),
    }
    if answers.values is None:
        return figures | {"icc_single": None, "icc_mean": None}
    sums = sums_of_variance(answers, blocks, count)
    values, resampled = correlation(sums.sum(axis=0)), correlation(drawn @ sums)
    names = ("icc_single", "icc_mean")
    return figures | {
        name: estimate(float(value), [sample])
        for name, value, sample in zip(names, values, resampled, strict=True)
    }


def _equal_pairs(matrices):
    return np.trace(matrices, axis1=-2, axis2=-1) / matrices.sum(axis=(-2, -1))


def estimate(value, samples):
    """Return {value, interval} for JSON, None for what is not defined; samples: arrays of a bootstrap."""
    sample = np.concatenate(samples)
    sample = sample[np.isfinite(sample)]
    interval = (
        np.quantile(sample, [LEVEL / 2, 1 - LEVEL / 2]).tolist() if len(sample) >= 0.95 * RESAMPLES else None
    )
    return {"value": value, "interval": interval} if np.isfinite(value) else {"value": None, "interval": None}
