"""Whether a model does better than guessing: two permutation tests, with the conventions of baton.results.metrics."""

import numpy as np
from scipy import stats

from baton.results.clusters import shuffle_groups
from baton.results.comparison import LEVEL, holm
from baton.results.metrics import NO_ANSWER, check, none_for_nan, predicted_classes
from baton.results.scale import spearman

SEED = 1
# How often the labels are shuffled among the images: with more than a hundred classes less often.
DEALS, DEALS_OF_MANY, MANY = 9_999, 1_999, 100
SMALLEST = 1e-300  # the smallest p that is not 0
CELLS = 2_000_000  # of tables at a time: 16 MB


def guessing(labels, probabilities, order=None, groups=None):
    """Return whether the answers have to do with the images: two permutation tests, the answers fixed.

    The labels are shuffled among the images, `deals` times from a fixed seed: answers that are blind to the picture
    are as good with any of these shuffles, however unequal the classes and the answers are. A shuffle is a table of true and
    predicted classes with the margins of the real one: SciPy's random_table (Patefield 1981). p is (1 + the shuffles at
    least as extreme) / (1 + shuffles) (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39), from both sides.

    order: the class indices from the low end of a scale to the high one, None where the classes are no scale; groups: of
    images that are not independent (see baton.results.clusters): then the labels of whole groups change places with those of
    groups of the same size, and no bound is used.

    blind: the accuracy that such answers have on average; accuracy_p: of the number of right answers, twice that of
    the nearer side. Beyond what the shuffles can show it is bounded by 2 exp(-t^2 / (4 m + 2 t)), for t answers more
    or less than the mean m (Chatterjee 2007, Probab. Theory Relat. Fields 138, 305-321).
    dependence_p: of chi-squared, or of Spearman's rho where the classes have an order; rho: its value, else None;
    measured, as chi-squared, on the answered images. Both p are 1 where all answers or all labels are one class. A
    dependence alone has no p below that of the shuffles: beyond 250 runs, none remains significant after correction.
    """
    labels, probabilities = check(labels, probabilities)
    predicted, classes = predicted_classes(probabilities), probabilities.shape[1]
    # A column more, for no answer.
    table = np.zeros((classes, classes + 1), int)
    np.add.at(table, (labels, np.where(predicted == NO_ANSWER, classes, predicted)), 1)
    answered_rows = predicted != NO_ANSWER
    dealt = None if groups is None else list(deal_groups(labels, predicted, groups, classes))
    hits = Statistic(table, lambda tables: np.trace(tables[:, :, :-1], axis1=1, axis2=2), dealt)
    answered, rho = table[:, :-1], None
    rows, columns = answered.sum(axis=1), answered.sum(axis=0)
    if order is None:
        expected = np.outer(rows, columns) / max(rows.sum(), 1)
        expected[expected == 0] = 1  # there is nothing in these, dealt as it may be
        related = Statistic(answered, lambda tables: (tables**2 / expected).sum(axis=(1, 2)), dealt)
    else:
        products = np.outer(_mean_ranks(rows, order), _mean_ranks(columns, order))
        mean = rows @ products @ columns / max(rows.sum(), 1)
        related = Statistic(answered, lambda tables: abs((tables * products).sum(axis=(1, 2)) - mean), dealt)
        places = np.argsort(order)
        rho = (
            none_for_nan(spearman(places[labels[answered_rows]], places[predicted[answered_rows]]))
            if answered_rows.any()
            else None
        )
    mean = float((table.sum(axis=1) * table.sum(axis=0)[:-1]).sum() / len(labels))
    off = abs(hits.value - mean)
    # Of single images, which are independent.
    bound = 2 * np.exp(-(off**2) / (4 * mean + 2 * off)) if off and groups is None else 1.0
    return {
        "blind": mean / len(labels),
        "accuracy_p": min(1.0, 2 * min(hits.p_above, hits.p_below), max(float(bound), SMALLEST)),
        "dependence_p": related.p_above,
        "rho": rho,
        "deals": _deals(classes),
    }


def _deals(classes):
    return DEALS if classes <= MANY else DEALS_OF_MANY


def _mean_ranks(counts, order):
    """Return the mean rank of each class's images on a scale, counts (k,) of each; order: the classes, low end first."""
    ranks, ordered = np.empty(len(counts)), counts[order]
    ranks[order] = ordered.cumsum() - (ordered - 1) / 2
    return ranks


def deal_groups(labels, predicted, groups, classes):
    """Yield tables, (tables, classes, classes + 1), of labels and answers in which the labels of groups have changed places."""
    shuffle, random = shuffle_groups(groups), np.random.default_rng(SEED)
    column = np.where(predicted == NO_ANSWER, classes, predicted)
    for start in range(0, _deals(classes), batch := max(1, CELLS // (classes * (classes + 1)))):
        count = min(batch, _deals(classes) - start)
        cells = np.stack([labels[shuffle(random)] for _ in range(count)]) * (classes + 1) + column
        size = classes * (classes + 1)
        cells += size * np.arange(count)[:, None]
        yield np.bincount(cells.ravel(), minlength=count * size).reshape(count, classes, classes + 1)


class Statistic:
    """A statistic of a table of counts, and how often tables of the same margins have as much of it by chance."""

    def __init__(self, table, function, dealt=None):
        """table: (rows, columns) counts; function: of (tables, rows, columns), a value for each.

        dealt: tables to take for what chance gives, with a last column for no answer, instead of all of the same margins.
        """
        self.value = float(function(table[None])[0])
        self.p_above = self.p_below = 1.0
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        if (rows > 0).sum() < 2 or (columns > 0).sum() < 2:
            return
        above, below, deals, batch = 0, 0, _deals(len(table)), max(1, CELLS // table.size)
        if dealt is None:
            tables = stats.random_table(rows, columns, seed=np.random.default_rng(SEED))
            dealt = (tables.rvs(min(batch, deals - start)) for start in range(0, deals, batch))
        for found in dealt:
            values = function(found[:, :, : table.shape[1]])
            # Equal but for rounding is equal.
            near = 1e-9 * max(abs(self.value), 1)
            above += int((values >= self.value - near).sum())
            below += int((values <= self.value + near).sum())
        self.p_above, self.p_below = (above + 1) / (deals + 1), (below + 1) / (deals + 1)


def judge(tests):
    """Return for each run what may be said of its answers; tests: what evaluate.measure returned for each.

    Any claim is corrected (Holm) for all of these tests, two per run; what cannot be claimed is measured by p as it is.
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
