"""Raters whose distributions of answers are known, none of them of a shape that Baton's mixture has."""

import numpy as np
from scipy.stats import norm


class World:
    """Raters who answer on a scale of 1 to `categories`.

    kind: "humps", who are of two opinions on two images of five; "careless", who answer 15 % without looking, mostly the
    middle; "biased", three who differ by 1.2 steps of seven, and answer each image once at most.
    """

    def __init__(self, kind, categories, images, seed):
        self.kind, self.categories, self.random = kind, categories, np.random.default_rng(seed)
        self.unit = (categories - 1) / 6
        place = self.random.normal((categories + 1) / 2, 1.4 * self.unit, images)
        self.place = np.clip(place, 0.5, categories + 0.5)
        self.shapes = self._shapes()  # (annotators, images, categories)

    def _normal(self, place, spread):
        ends = np.arange(1.5, self.categories)
        reached = norm.cdf((ends - np.asarray(place)[:, None]) / (spread * self.unit))
        return np.diff(np.pad(reached, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1))), axis=1)

    def _shapes(self):
        if self.kind == "biased":
            return np.stack([self._normal(self.place + bias * self.unit, 0.8) for bias in (-1.2, 0, 1.2)])
        if self.kind == "careless":
            anything = np.full(self.categories, 0.6 / (self.categories - 1))
            anything[self.categories // 2] = 0.4
            return (0.85 * self._normal(self.place, 1.1) + 0.15 * anything)[None]
        shapes = self._normal(self.place, 1.0)
        apart = 2 * self.unit
        two = (self._normal(self.place - apart, 0.8) + self._normal(self.place + apart, 0.8)) / 2
        divided = self.random.random(len(self.place)) < 0.4
        shapes[divided] = two[divided]
        return shapes[None]

    def numbers(self, low, high):
        """Return how many answers each image gets, from low to high, at most one of each of three annotators."""
        numbers = self.random.integers(low, high + 1, len(self.place))
        return np.minimum(numbers, 3) if self.kind == "biased" else numbers

    def answer(self, numbers):
        """Return counts of answers, (images, annotators, categories)."""
        if self.kind != "biased":
            return self.random.multinomial(numbers, self.shapes[0])[:, None]
        counts = np.zeros((len(numbers), 3, self.categories), int)
        turn = self.random.random((len(numbers), 3)).argsort(axis=1)
        for annotator, shapes in enumerate(self.shapes):
            said = (self.random.random(len(numbers))[:, None] > shapes.cumsum(axis=1)[:, :-1]).sum(axis=1)
            there = turn[:, annotator] < numbers
            counts[there, annotator, said[there]] = 1
        return counts


def score_perfect(world, low, high, label, test, rounds=400, splits=400):
    """Return {measure: (splits,)} of a model that knows each image's distribution, by plain simulation.

    label: takes counts, (images, categories), and returns class indices, -1 for none; test: images per class. The classes
    are places on a scale, in their order; rounds: of answers to each image, by which the model knows it. Of few it would
    know them by heart, and look better than it is.
    """
    classes = len(test)
    labels, shares, means = [], [], []
    steps = np.arange(1, world.categories + 1)
    of_step = np.array([label(row[None])[0] for row in np.eye(world.categories, dtype=int)])
    for _ in range(rounds):
        counts = world.answer(world.numbers(low, high)).sum(axis=1)
        labels.append(label(counts))
        by_class = np.stack([counts[:, of_step == one].sum(axis=1) for one in range(classes)], axis=1)
        shares.append(by_class / by_class.sum(axis=1, keepdims=True))
        means.append(counts @ steps / counts.sum(axis=1))
    labels, shares, means = (
        np.stack(rows, axis=1) for rows in (labels, shares, means)
    )  # (images, rounds, ...)
    found = np.array([(labels == one).sum() for one in range(classes)])
    weight = np.where(labels >= 0, (np.asarray(test) / found)[labels], 0)
    posterior = np.stack([(weight * (labels == one)).sum(axis=1) for one in range(classes)], axis=1)
    total = np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
    posterior = posterior / total
    middle = np.minimum((posterior.cumsum(axis=1) < 0.5).sum(axis=1), classes - 1)
    said = {
        "mode": posterior.argmax(axis=1),
        "median": middle,
        "mean": np.rint(posterior @ np.arange(classes)).astype(int),
    }
    predicted = (weight[..., None] * shares).sum(axis=1) / total
    expected = (weight * means).sum(axis=1) / total[:, 0]
    reached, mean_reached = shares.cumsum(axis=2)[..., :-1], predicted.cumsum(axis=1)[:, :-1]
    middle_reached = np.nanmedian(np.where((labels >= 0)[..., None], reached, np.nan), axis=1)
    places = [np.argwhere(labels == one) for one in range(classes)]
    scores: dict[str, list] = {}
    for _ in range(splits):
        drawn = np.concatenate(
            [rows[world.random.integers(len(rows), size=n)] for rows, n in zip(places, test, strict=True)]
        )
        image, round_ = drawn.T
        true = labels[image, round_]
        one = {"accuracy": (said["mode"][image] == true).mean()}
        distance = {rule: abs(answer[image] - true).mean() for rule, answer in said.items()}
        kappas = {rule: _kappa(true, answer[image]) for rule, answer in said.items()}
        rhos = {rule: _rho(true, answer[image]) for rule, answer in said.items()}
        one["log_loss"] = (
            -(shares[image, round_] * np.log(np.maximum(predicted[image], 1e-12))).sum(axis=1).mean()
        )
        moved = {
            rule: abs(reached[image, round_] - way[image]).sum(axis=1).mean()
            for rule, way in (("mean", mean_reached), ("median", middle_reached))
        }
        one["spearman_of_mean"] = _rho(expected[image], means[image, round_])
        for name, value in one.items():
            scores.setdefault(name, []).append(value)
        for name, by_rule in (
            ("mean_absolute_error", distance),
            ("quadratic_kappa", kappas),
            ("spearman", rhos),
            ("earth_movers_distance", moved),
        ):
            scores.setdefault(name, []).append(by_rule)
    for name in ("mean_absolute_error", "quadratic_kappa", "spearman", "earth_movers_distance"):
        rules = scores[name][0]
        means_of = {rule: np.nanmean([row[rule] for row in scores[name]]) for rule in rules}
        lower = name in ("mean_absolute_error", "earth_movers_distance")
        best = (min if lower else max)(means_of, key=means_of.get)
        scores[name] = [row[best] for row in scores[name]]
    return {name: np.array(values) for name, values in scores.items()}


def _kappa(true, said):
    spread = true.var() + said.var() + (true.mean() - said.mean()) ** 2
    return 1 - ((true - said) ** 2).mean() / spread if spread else np.nan


def _rho(one, other):
    ranks = [np.unique(values, return_inverse=True)[1] for values in (one, other)]
    mean_ranks = []
    for rank in ranks:
        counts = np.bincount(rank)
        mean_ranks.append((counts.cumsum() - (counts - 1) / 2)[rank])
    return np.corrcoef(*mean_ranks)[0, 1]
