"""A model that knows the distribution of answers of every image, and how well it does on test splits like the study's.

The test split is drawn by labels that are made of answers, so many images of each class. With n(c) the share of images whose
label is c, and p(c | shape) the chance that the answers to an image of a shape give it, a test image of class c has shape s
with probability share(s) p(c | s) / n(c), and given its shape it is of class c in proportion to test(c) p(c | s) / n(c). What
such a model answers is, for the accuracy, the most probable class; for distances the median or the rounded mean, whichever is
best; as a distribution, that of the answers to such images, or of its cumulated shares the medians.
"""

from typing import NamedTuple

import numpy as np

from baton.results.scale import quadratic_kappa, spearman
from ceiling.labelling import sum_classes

DRAWS, FEWEST, CELLS = 2000, 200, 20_000_000  # of answers to an image of each shape; numbers in memory
LOWER_IS_BETTER = ("mean_absolute_error", "log_loss", "earth_movers_distance")


class Scale(NamedTuple):
    """Where classes are on their scale: places (classes,), from 0, and values (classes,)."""

    places: np.ndarray
    values: np.ndarray


def draw_answers(shapes, numbers, random):
    """Return counts of answers drawn for images of each shape, (shapes, draws, categories).

    shapes: (annotators, shapes, categories), their distributions as each annotator has them; numbers: of answers of each
    annotator per image, (images, annotators), of all images, whatever their shape.
    """
    draws = int(np.clip(CELLS // shapes[0].size, FEWEST, DRAWS))
    # Of images with few answers and with many as many as there are.
    order = np.argsort(numbers.sum(axis=1), kind="stable")
    drawn = numbers[order[((np.arange(draws) + 0.5) / draws * len(order)).astype(int)]]
    counts = np.zeros((shapes.shape[1], draws, shapes.shape[2]), np.float32)
    for number, of_annotator in zip(drawn.T, shapes, strict=True):
        some = np.flatnonzero(number)
        counts[:, some] += random.multinomial(number[some], of_annotator[:, None])
    return counts


class Pool:
    """Answers drawn for images of each shape, the labels that they give, and shares of their classes.

    chances: (shapes, classes) of each label, which may sum to less than 1: some answers give none.
    """

    def __init__(self, counts, labelling, classes, scale=None):
        """counts: of answers, (shapes, draws, categories); labelling: a Labelling; classes: how many; scale: a Scale."""
        shapes, draws, categories = counts.shape
        self.scale = scale
        labels = labelling.label(counts.reshape(-1, categories)).reshape(shapes, draws)
        self.answers = share_classes(counts, labelling.of_answers, labels, classes)
        self.means = None if labelling.values is None else counts @ labelling.values / counts.sum(axis=2)
        # The draws of each shape by their label, and where those of each label begin.
        self.order = np.argsort(labels, axis=1, kind="stable")
        by_label = np.stack([(labels == label).sum(axis=1) for label in range(-1, classes)], axis=1)
        self.starts, self.counts = by_label.cumsum(axis=1)[:, :-1], by_label[:, 1:]
        self.chances = self.counts / draws
        has = np.stack([labels == label for label in range(classes)], axis=1).astype(np.float32)
        self.sums = has @ np.nan_to_num(self.answers)  # (shapes, classes, classes): of shares, by label
        if self.means is not None:
            self.sums_of_means = (has @ self.means[..., None])[..., 0]
        if scale is not None:
            self.reached = self.answers[..., np.argsort(scale.places)].cumsum(axis=2)[..., :-1]
            known = np.where((labels >= 0)[..., None], self.reached, np.nan)
            self.medians = np.nan_to_num(_nanmedian(known))


def _nanmedian(values):
    with np.errstate(all="ignore"):
        values = np.sort(values, axis=1)  # NaN last
        number = np.isfinite(values[..., 0]).sum(axis=1)
        low, high = (np.clip(place, 0, values.shape[1] - 1) for place in ((number - 1) // 2, number // 2))
        rows = np.arange(len(values))
        return (values[rows, low] + values[rows, high]) / 2


def share_classes(counts, of_answers, labels, classes):
    """Return the shares of answers that are of each class, (..., classes), NaN for an image without class and such answers.

    counts: (..., categories); of_answers: the class index of each category, -1 for none; labels: (...), of each image. One none
    of whose answers is of a class, such as one between two ranges, is known by its label alone.
    """
    answers = sum_classes(counts, of_answers, classes)
    with np.errstate(invalid="ignore"):
        answers /= answers.sum(axis=-1, keepdims=True)
    alone = np.isnan(answers[..., 0]) & (labels >= 0)
    answers[alone] = np.eye(classes, dtype=np.float32)[labels[alone]]
    return answers


class Oracle:
    """See above. pool: a Pool; shares: of images with each shape, (shapes,); test: images of each class in the test split.

    together: of each class, the group of each test image, numbered from 0: those of a group have one shape. None: each its own.
    """

    def __init__(self, pool, shares, test, together=None):
        self.pool, self.scale, self.together = pool, pool.scale, together
        joint = shares[:, None] * pool.chances
        found = joint.sum(axis=0)
        self.test = np.where(found > 0, test, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # (shapes, classes): of the test images of each class; and how much likelier a class is in the test split.
            self.of_class = np.where(found > 0, joint / found, 0)
            self.factor = np.where(found > 0, self.test / found, 0)
            weights = self.factor * pool.chances
            self.posterior = np.nan_to_num(weights / weights.sum(axis=1, keepdims=True))
        self.said = self._list_classes()

    def accuracy(self):
        """Return the accuracy on an endless test split."""
        best = self.posterior.argmax(axis=1)
        right = [self.of_class[best == label, label].sum() for label in range(len(self.test))]
        return float((np.array(right) * self.test).sum() / self.test.sum())

    def gain(self):
        """Return what an image of each shape adds to the accuracy, (shapes,), were the classes as frequent as they are."""
        return (self.factor * self.pool.chances).max(axis=1) / self.test.sum()

    def _list_classes(self):
        """Return the class that is answered for each shape, (shapes,), by the rules of which one is best for a measure."""
        said = {"mode": self.posterior.argmax(axis=1)}
        if self.scale is not None:
            order = np.argsort(self.scale.places)
            ordered = self.posterior[:, order]
            said["median"] = order[(ordered.cumsum(axis=1) >= 0.5 - 1e-12).argmax(axis=1)]
            said["mean"] = order[np.rint(ordered @ np.arange(len(order))).astype(int)]
        return said

    def draw(self, tests, random):
        """Return of so many test splits the labels (images,), and shapes and draws of the pool, each (tests, images)."""
        labels = np.repeat(np.arange(len(self.test)), self.test)

        def draw_shapes(label, count):
            group = np.arange(count) if self.together is None else self.together[label]
            places = random.random((tests, group.max() + 1))
            return np.searchsorted(self.of_class[:, label].cumsum()[:-1], places, side="right")[:, group]

        shapes = np.concatenate(
            [draw_shapes(label, count) for label, count in enumerate(self.test) if count], axis=1
        )
        numbers = (random.random(shapes.shape) * self.pool.counts[shapes, labels]).astype(int)
        return labels, shapes, self.pool.order[shapes, self.pool.starts[shapes, labels] + numbers]

    def score(self, tests, random):
        """Return {measure: {rule: (tests,)}} of so many test splits."""
        labels, shapes, draws = self.draw(tests, random)
        scores = {"accuracy": {"mode": (self.said["mode"][shapes] == labels).mean(axis=1)}}
        if self.scale is not None:
            places, values = self.scale
            true = np.broadcast_to(places[labels], shapes.shape)
            scores |= {name: {} for name in ("mean_absolute_error", "quadratic_kappa", "spearman")}
            for rule, answer in self.said.items():
                said = answer[shapes]
                distance = abs(values[said] - values[labels]).mean(axis=1)
                scores["mean_absolute_error"][rule] = distance
                scores["quadratic_kappa"][rule] = quadratic_kappa(true, places[said])
                scores["spearman"][rule] = spearman(true, places[said])
        return scores | self._score_answers(shapes, draws)

    def _score_answers(self, shapes, draws):
        """Return what `score` does, of a distribution that is answered, against the distribution of the answers."""
        pool = self.pool
        # What is answered: the mean of the answers to such images, as often as they are in the test split.
        total = pool.counts @ self.factor
        total = np.where(total > 0, total, 1)
        mean = np.einsum("slc,l->sc", pool.sums, self.factor) / total[:, None]
        logs = np.log(np.maximum(mean, 1e-12))
        answers = pool.answers[shapes, draws]
        scores = {"log_loss": {"mean": -np.einsum("tic,tic->ti", answers, logs[shapes]).mean(axis=1)}}
        if self.scale is not None:
            cumulated = mean[:, np.argsort(self.scale.places)].cumsum(axis=1)[:, :-1]
            found = pool.reached[shapes, draws]
            scores["earth_movers_distance"] = {
                rule: abs(found - way[shapes]).sum(axis=2).mean(axis=1)
                for rule, way in (("mean", cumulated), ("median", pool.medians))
            }
            if pool.means is not None:
                expected = pool.sums_of_means @ self.factor / total
                scores["spearman_of_mean"] = {"mean": spearman(expected[shapes], pool.means[shapes, draws])}
        return scores


def choose_rules(scores):
    """Return the rule that is best for each measure that is defined; scores: of Oracle.score."""
    rules = {}
    for name, by_rule in scores.items():
        means = {rule: np.nanmean(values) for rule, values in by_rule.items() if np.isfinite(values).any()}
        if means:
            rules[name] = (min if name in LOWER_IS_BETTER else max)(means, key=means.get)
    return rules
