"""What the test figures of one model can carry: intervals, calibration, distances, and where it goes wrong.

labels: (n,) whole numbers, the true class of each test image, 0 to k - 1; n is at least 1.
probabilities: (n, k) floats, what the model gave each of the k >= 2 classes; a row sums to 1, but for
rounding. Whatever breaks this is a ValueError.

A row with a NaN or an infinity (a diverged model) holds no answer. The image counts as wrong where right
answers are counted; where there is nothing to measure without an answer (confidence, distance on a
scale) it is left out, and `images` says how many were measured.

Results are dictionaries of plain numbers that JSON can hold; what is undefined is None, never NaN. An
interval is [low, high] at 95 %. Nothing is drawn anew: the bootstrap is seeded.
"""

import warnings

import numpy as np
from scipy import stats
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from baton.labels import as_number

LEVEL = 0.05  # intervals are at 1 - LEVEL
BINS = 10
RESAMPLES = 2000
SEED = 1
CONSTANT = 0.95  # one class in this share of the answers is a constant answer
# How often the labels are dealt anew among the images: with more than a hundred classes less often.
DEALS, DEALS_OF_MANY, MANY = 9_999, 1_999, 100
SMALLEST = 1e-300  # the smallest p that is told apart from 0
CELLS = 2_000_000  # of tables at a time: 16 MB
DEFINED = 0.95  # a bootstrap interval needs a value in this share of the resamples
NO_ANSWER = -1


# --- Answers


def check(labels, probabilities):
    """Return labels (n,) and probabilities (n, k) as arrays; raise ValueError where they are not as said above."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities are images x classes, two or more; got {probabilities.shape}")
    if labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(f"{labels.shape} labels for {probabilities.shape} probabilities")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels are class indices from 0 to {probabilities.shape[1] - 1}")
    answered = probabilities[np.isfinite(probabilities).all(axis=1)]
    if (answered < 0).any() or (abs(answered.sum(axis=1) - 1) > 0.01).any():  # 16 bits round that far
        raise ValueError("the probabilities of an image are at least 0 and sum to 1")
    return labels.astype(int), probabilities


def predicted_classes(probabilities):
    """Return the class of the highest probability, (n,), the first of equal ones; -1 where there is no answer."""
    probabilities = np.asarray(probabilities, float)
    finite = np.isfinite(probabilities).all(axis=1)
    return np.where(finite, probabilities.argmax(axis=1), NO_ANSWER)


def none_for_nan(value):
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None


# --- Figures of one model


def wilson_interval(count, n):
    """Return the 95 % score interval [low, high] of the proportion count / n; n >= 1.

    Wilson (1927), without continuity correction: statsmodels' proportion_confint(method="wilson").
    """
    if not 0 <= count <= n or n < 1:
        raise ValueError(f"{count} of {n}")
    low, high = proportion_confint(count, n, alpha=LEVEL, method="wilson")
    # Exactly 0 and 1 by the formula, which the last bit may miss.
    return [0.0 if count == 0 else float(low), 1.0 if count == n else float(high)]


def accuracy(labels, probabilities):
    """Return the accuracy, its interval, and what it is to be held against.

    images, correct, unanswered: counts (an unanswered image is a wrong one); accuracy in [0, 1];
    interval: wilson_interval; chance: 1/k, for k classes, whether or not the test split holds them all;
    majority: the share of the test split's largest class, which a constant answer would reach.
    """
    labels, probabilities = check(labels, probabilities)
    predicted = predicted_classes(probabilities)
    correct, images = int((predicted == labels).sum()), len(labels)
    return {
        "images": images,
        "correct": correct,
        "unanswered": int((predicted == NO_ANSWER).sum()),
        "accuracy": correct / images,
        "interval": wilson_interval(correct, images),
        "chance": 1 / probabilities.shape[1],
        "majority": int(np.bincount(labels).max()) / images,
    }


def class_averages(labels, probabilities):
    """Return balanced accuracy and macro F1, each in [0, 1], over the classes that the test split holds.

    Balanced accuracy is the mean recall of the classes (Brodersen et al. 2010), as in scikit-learn's
    balanced_accuracy_score, which warns of every class the split lacks where recall_score does not.
    Macro F1 is the mean F1 of the classes: scikit-learn's f1_score(average="macro").
    """
    labels, probabilities = check(labels, probabilities)
    options = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    predicted = predicted_classes(probabilities)
    return {
        "balanced_accuracy": float(metrics.recall_score(labels, predicted, **options)),
        "macro_f1": float(metrics.f1_score(labels, predicted, **options)),
    }


def log_loss(labels, probabilities):
    """Return the mean of -ln(probability of the true class), or None where an image has no answer.

    scikit-learn's log_loss of the probabilities divided by their sum, as float32 sums to 1 only nearly. A
    probability of 0 counts as 2.2e-16: one image adds 36 at most.
    """
    labels, probabilities = check(labels, probabilities)
    if not np.isfinite(probabilities).all():
        return None
    exact = probabilities / probabilities.sum(axis=1, keepdims=True)
    return float(metrics.log_loss(labels, exact, labels=np.arange(exact.shape[1])))


def top_2_accuracy(labels, probabilities):
    """Return the share of images whose true class is one of the two most probable; None for 4 classes or fewer.

    scikit-learn's top_k_accuracy_score(k=2). Of equal probabilities the first class goes first, so that it
    is at least the accuracy.
    """
    labels, probabilities = check(labels, probabilities)
    classes = probabilities.shape[1]
    if classes <= 4:
        return None
    answered = predicted_classes(probabilities) != NO_ANSWER
    if not answered.any():
        return 0.0
    # scikit-learn puts the last of equal ones first: it is given the classes in reverse.
    found = metrics.top_k_accuracy_score(
        classes - 1 - labels[answered],
        probabilities[answered, ::-1],
        k=2,
        labels=np.arange(classes),
        normalize=False,
    )
    return float(found) / len(labels)


def calibration(labels, probabilities):
    """Return the reliability table and the expected calibration error, over the answered images.

    Confidence is the highest probability of an image. The bins are the ten of equal width: (0, 0.1],
    (0.1, 0.2], ... (0.9, 1]. The error is the sum over bins of count / images * |accuracy - confidence|,
    from 0 to 1 (Naeini et al. 2015; Guo et al. 2017); None where no image has an answer.

    images: how many have; bins: in order, each low, high, count, and confidence (mean) and accuracy, both
    None in an empty bin.
    """
    labels, probabilities = check(labels, probabilities)
    predicted = predicted_classes(probabilities)
    answered = predicted != NO_ANSWER
    confidence = probabilities[answered].max(axis=1).clip(max=1)
    right = (predicted == labels)[answered]
    edges = np.arange(BINS + 1) / BINS
    place = np.searchsorted(edges, confidence, side="left") - 1
    bins = []
    for i in range(BINS):
        inside = place == i
        count = int(inside.sum())
        bins.append(
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(right[inside].mean()) if count else None,
            }
        )
    images = len(confidence)
    gaps = [row["count"] * abs(row["accuracy"] - row["confidence"]) for row in bins if row["count"]]
    return {
        "images": images,
        "expected_calibration_error": sum(gaps) / images if images else None,
        "bins": bins,
    }


def constant_answers(labels, probabilities):
    """Return how varied the answers are, and a word for them where they are not.

    entropy, entropy_of_labels: of the distribution of predicted and of true classes, in bits, from 0 (one
    class) to log2(k) (Shannon 1948; SciPy's entropy); most_frequent: the index of the class predicted
    most, the first of equal ones, and its share. All but entropy_of_labels are over the answered images,
    and None where there are none.

    verdict, the first that holds, else None (see `judge`):
      no answers    95 % of the images or more have none
      constant      one class is 95 % of the answers or more and no class is 95 % of the test split; or
                    one class is all answers and the test split holds several, however unequal
    """
    labels, probabilities = check(labels, probabilities)
    predicted, found = predicted_classes(probabilities), accuracy(labels, probabilities)
    counts = np.bincount(predicted[predicted != NO_ANSWER], minlength=probabilities.shape[1])
    answered = int(counts.sum())
    share, verdict = counts.max() / answered if answered else None, None
    if found["unanswered"] >= CONSTANT * len(labels):
        verdict = "no answers"
    elif (share >= CONSTANT > found["majority"]) or (share == 1 > found["majority"]):
        verdict = "constant"
    return {
        "entropy": float(stats.entropy(counts, base=2)) if answered else None,
        "entropy_of_labels": float(stats.entropy(np.bincount(labels), base=2)),
        "most_frequent": int(counts.argmax()) if answered else None,
        "most_frequent_share": float(share) if answered else None,
        "verdict": verdict,
    }


# --- Guessing


def guessing(labels, probabilities, order=None):
    """Return whether the answers have to do with the images: two permutation tests, the answers fixed.

    The labels are dealt anew among the images, `deals` times from a fixed seed: answers that are blind to the picture
    are as good with any of these deals, however unequal the classes and the answers are. A deal is a table of true and
    predicted classes with the margins of the real one: SciPy's random_table (Patefield 1981). p is (1 + the deals at
    least as extreme) / (1 + deals) (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9, 39), from both sides.

    order: the class indices from the low end of a scale to the high one, None where the classes are no scale.

    blind: the accuracy that such answers have on average; accuracy_p: of the number of right answers, twice that of
    the nearer side. Beyond what the deals can show it is bounded by 2 exp(-t^2 / (4 m + 2 t)), for t answers more
    or less than the mean m (Chatterjee 2007, Probab. Theory Relat. Fields 138, 305-321).
    dependence_p: of chi-squared, or of Spearman's rho where the classes have an order; rho: its value, else None;
    measured, as chi-squared, on the answered images. Both p are 1 where all answers or all labels are one class. A
    dependence alone has no p below that of the deals: beyond 250 runs, correction leaves none to be claimed.
    """
    labels, probabilities = check(labels, probabilities)
    predicted, classes = predicted_classes(probabilities), probabilities.shape[1]
    # A column more, for no answer.
    table = np.zeros((classes, classes + 1), int)
    np.add.at(table, (labels, np.where(predicted == NO_ANSWER, classes, predicted)), 1)
    right = Statistic(table, lambda tables: np.trace(tables[:, :, :-1], axis1=1, axis2=2))
    answered, rho = table[:, :-1], None
    rows, columns = answered.sum(axis=1), answered.sum(axis=0)
    if order is None:
        expected = np.outer(rows, columns) / max(rows.sum(), 1)
        expected[expected == 0] = 1  # there is nothing in these, dealt as it may be
        related = Statistic(answered, lambda tables: (tables**2 / expected).sum(axis=(1, 2)))
    else:
        products = np.outer(_mean_ranks(rows, order), _mean_ranks(columns, order))
        mean = rows @ products @ columns / max(rows.sum(), 1)
        related = Statistic(answered, lambda tables: abs((tables * products).sum(axis=(1, 2)) - mean))
        places, found = np.argsort(order), predicted != NO_ANSWER
        rho = none_for_nan(spearman(places[labels[found]], places[predicted[found]])) if found.any() else None
    mean = float((table.sum(axis=1) * table.sum(axis=0)[:-1]).sum() / len(labels))
    off = abs(right.value - mean)
    bound = 2 * np.exp(-(off**2) / (4 * mean + 2 * off)) if off else 1.0
    return {
        "blind": mean / len(labels),
        "accuracy_p": min(1.0, 2 * min(right.p_above, right.p_below), max(float(bound), SMALLEST)),
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


class Statistic:
    """A statistic of a table of counts, and how often tables of the same margins have as much of it by chance."""

    def __init__(self, table, function):
        """table: (rows, columns) counts; function: of (tables, rows, columns), a value for each."""
        self.value = float(function(table[None])[0])
        self.p_above = self.p_below = 1.0
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        if (rows > 0).sum() < 2 or (columns > 0).sum() < 2:
            return
        tables = stats.random_table(rows, columns, seed=np.random.default_rng(SEED))
        above, below, deals, batch = 0, 0, _deals(len(table)), max(1, CELLS // table.size)
        for start in range(0, deals, batch):
            values = function(tables.rvs(min(batch, deals - start)))
            # Equal but for rounding is equal.
            near = 1e-9 * max(abs(self.value), 1)
            above += int((values >= self.value - near).sum())
            below += int((values <= self.value + near).sum())
        self.p_above, self.p_below = (above + 1) / (deals + 1), (below + 1) / (deals + 1)


# --- Ordered classes


def read_scale(classes):
    """Return the scale that class names form: its unit, the classes' values on it, and their order.

    Where every name is a number, the numbers are the values (unit "label") and order the classes, however
    the config lists them. Else the classes are in the order of their indices, a step apart (unit "steps").
    order: the class indices from the low end to the high one.
    """
    numbers = [as_number(name) for name in classes]
    if None in numbers:
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


def bootstrap_interval(statistic, *samples):
    """Return the 95 % percentile bootstrap interval of a statistic of paired samples (n,), or None.

    Efron & Tibshirani (1993), chapter 13: 2000 resamples of the images, drawn by SciPy's bootstrap from a
    fixed seed. statistic: takes the samples and an axis. Resamples where it is NaN are left out; None where
    more than 5 % are, or n < 3: of two images there are three resamples.
    """
    n = len(samples[0])
    if n < 3:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of resamples that are NaN
        drawn = stats.bootstrap(
            samples,
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=RESAMPLES,
            batch=max(1, 2_000_000 // n),  # 16 MB an array
            rng=np.random.default_rng(SEED),
        ).bootstrap_distribution
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < DEFINED * RESAMPLES:
        return None
    return np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2]).tolist()


def ordered(labels, probabilities, classes):
    """Return how far off the answers are, where the k classes are places on a scale (see read_scale).

    mean_absolute_error: in units of the scale; within_one: share of answers at most one place off, however
    far apart in value; quadratic_kappa: on places, 1 at best (Cohen 1968; scikit-learn's
    cohen_kappa_score); spearman: -1 to 1. Each is {value, interval}, over the answered images, with
    bootstrap_interval. A value is None where it is undefined: kappa where answers and labels are all one
    class, rho where either are.

    images: how many have an answer; unit, order: of read_scale; resamples: how many.
    """
    labels, probabilities = check(labels, probabilities)
    if len(classes) != probabilities.shape[1]:
        raise ValueError(f"{len(classes)} names for {probabilities.shape[1]} classes")
    scale = read_scale(classes)
    predicted = predicted_classes(probabilities)
    answered = predicted != NO_ANSWER
    true, predicted = labels[answered], predicted[answered]
    values, places = np.array(scale["values"], float), np.argsort(scale["order"])
    x, y = places[true], places[predicted]
    errors, near = abs(values[true] - values[predicted]), (abs(x - y) <= 1).astype(float)
    kappa = rho = np.nan
    if len(np.unique(np.concatenate([x, y]))) > 1:
        kappa = metrics.cohen_kappa_score(x, y, labels=np.arange(len(classes)), weights="quadratic")
    if len(x):
        rho = spearman(x, y)
    return {
        "images": len(x),
        "unit": scale["unit"],
        "order": scale["order"],
        "resamples": RESAMPLES,
        "mean_absolute_error": estimate(errors.mean() if len(x) else np.nan, np.mean, errors),
        "within_one": estimate(near.mean() if len(x) else np.nan, np.mean, near),
        "quadratic_kappa": estimate(kappa, quadratic_kappa, x, y),
        "spearman": estimate(rho, spearman, x, y),
    }


def estimate(value, statistic, *samples):
    """Return {value, interval} for JSON; no interval where there is no value."""
    value = none_for_nan(value)
    return {"value": value, "interval": None if value is None else bootstrap_interval(statistic, *samples)}


# --- Where it goes wrong


def most_confused(confusion, classes, limit=10):
    """Return the pairs of classes most often taken for each other, at most `limit`.

    confusion: (k, k) counts, rows the true class; classes: their k names. Each: true, predicted (names),
    count (1 or more) and share (of the true class's images in the matrix); by count, then share, then the
    classes' order. (a, b) and (b, a) are two pairs. ValueError where the shapes do not fit.
    """
    confusion = np.asarray(confusion)
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"{confusion.shape} counts for {len(classes)} classes")
    images = confusion.sum(axis=1)
    found = [
        (int(confusion[i, j]), int(confusion[i, j]) / int(images[i]), i, j)
        for i, j in np.argwhere(confusion).tolist()
        if i != j
    ]
    found.sort(key=lambda row: (-row[0], -row[1], row[2], row[3]))
    return [
        {"true": classes[i], "predicted": classes[j], "count": count, "share": share}
        for count, share, i, j in found[:limit]
    ]


def most_confident_mistakes(labels, probabilities, limit=12):
    """Return the wrong answers of the highest probability, at most `limit`; of equal ones the lower index first.

    Each: index (of the image, from 0), true, predicted (class indices), confidence (of the wrong answer,
    0 to 1). Images without an answer are not among them.
    """
    labels, probabilities = check(labels, probabilities)
    predicted = predicted_classes(probabilities)
    wrong = np.flatnonzero((predicted != labels) & (predicted != NO_ANSWER))
    confidence = probabilities[wrong].max(axis=1)
    order = np.argsort(-confidence, kind="stable")[:limit]
    return [
        {
            "index": int(wrong[i]),
            "true": int(labels[wrong[i]]),
            "predicted": int(predicted[wrong[i]]),
            "confidence": float(confidence[i]),
        }
        for i in order
    ]
