"""The metrics of one model on the test split: accuracy with its interval, calibration, and its errors.

labels: (n,) whole numbers, the true class of each test image, 0 to k - 1; n is at least 1.
probabilities: (n, k) floats, what the model gave each of the k >= 2 classes; a row sums to 1, but for
rounding. Whatever breaks this is a ValueError.

A row with a NaN or an infinity (a diverged model) holds no answer. The image counts as wrong where right
answers are counted; where there is nothing to measure without an answer (confidence, distance on a
scale) it is left out, and `images` says how many were measured.

Results are dictionaries of plain numbers that JSON can hold; what is undefined is None, never NaN. An
interval is [low, high] at 95 %.
"""

import numpy as np
import sklearn.metrics
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from baton.results.clusters import clustered_interval

LEVEL = 0.05  # intervals are at 1 - LEVEL
BINS = 10
CONSTANT = 0.95  # one class in this share of the answers is a constant answer
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


def accuracy(labels, probabilities, groups=None):
    """Return the accuracy, its interval, and what it is to be held against.

    groups: of images that are not independent (see baton.results.clusters), None where each image is its own.

    images, correct, unanswered: counts (an unanswered image is a wrong one); accuracy in [0, 1];
    interval: wilson_interval, with groups clustered_interval; groups: how many, None for as many as images; chance: 1/k, for k classes, whether or not the test split holds them all;
    majority: the share of the test split's largest class, which a constant answer would reach.
    """
    labels, probabilities = check(labels, probabilities)
    predicted = predicted_classes(probabilities)
    right, images = predicted == labels, len(labels)
    correct = int(right.sum())
    return {
        "images": images,
        "groups": None if groups is None else int(groups.max()) + 1,
        "correct": correct,
        "unanswered": int((predicted == NO_ANSWER).sum()),
        "accuracy": correct / images,
        "interval": wilson_interval(correct, images) if groups is None else clustered_interval(right, groups),
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
        "balanced_accuracy": float(sklearn.metrics.recall_score(labels, predicted, **options)),
        "macro_f1": float(sklearn.metrics.f1_score(labels, predicted, **options)),
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
    return float(sklearn.metrics.log_loss(labels, exact, labels=np.arange(exact.shape[1])))


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
    found = sklearn.metrics.top_k_accuracy_score(
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
    hits = (predicted == labels)[answered]
    edges = np.arange(BINS + 1) / BINS
    place = np.searchsorted(edges, confidence, side="left") - 1
    bins, gaps = [], []
    for i in range(BINS):
        inside = place == i
        count, mean, share = int(inside.sum()), None, None
        if count:
            mean, share = float(confidence[inside].mean()), float(hits[inside].mean())
            gaps.append(count * abs(share - mean))
        bins.append(
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "count": count,
                "confidence": mean,
                "accuracy": share,
            }
        )
    images = len(confidence)
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
    share, verdict = counts.max() / max(answered, 1), None
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


# --- Errors


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
