"""Two training runs on the same images: McNemar's exact test, and how many images it needs."""

import math
from functools import cache

from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from baton.results.clusters import sign_flip_p, sum_groups

LEVEL = 0.05  # of every test
POWER = 0.8
EQUAL = 1e-9  # less than an image in a thousand million: rounding


@cache  # thousands of pairs have few different counts
def exact_mcnemar(b, c):
    """Return the two-sided p of b and c discordant images under equal chances; 1 where there are none.

    McNemar (1947), from the binomial distribution: statsmodels' mcnemar(exact=True).
    """
    return float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)


def images_to_separate(first_rate, second_rate, level=LEVEL, power=POWER):
    """Return how many images McNemar's test needs to distinguish two models, or None for equal rates.

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


def pair_p(first, second, groups):
    """Return the two-sided p of two training runs' answers, (n,) right or not each."""
    if groups is None:
        return exact_mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
    return sign_flip_p(sum_groups(first.astype(float) - second, groups))
