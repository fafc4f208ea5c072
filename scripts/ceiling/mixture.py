"""The distribution of answers that images have, estimated from a few answers each: a mixture over many shapes.

An image's own few answers say little of its distribution, and taken for it they make the best possible model look far too good.
What the images have in common says more: the share of images with each shape is estimated by maximum likelihood (Kiefer and
Wolfowitz 1956, Annals of Mathematical Statistics 27, 887-906), over a grid of shapes.

Where a few annotators answered, each may have a bias of his own, which is no chance: the same one comes with each label. Then a
shape is shifted by it for each annotator. Counts of answers are therefore (images, annotators, categories); with one annotator
for all, who answered is not told apart.
"""

import numpy as np
from scipy import stats

CENTRES, MARGIN = 41, 1.5  # of the normals, and how far beyond the ends of the scale they reach, in steps
SPREADS = (0.35, 0.5, 0.7, 0.9, 1.15, 1.45, 1.8, 2.3, 3.0, 4.5)  # in steps
STEPS = 10  # of a scale at most: a finer one, of 0 to 100, has steps of ten
# Shapes with heavier ends: a normal with this share of answers that are given without looking.
CARELESS, CARELESS_SPREADS = (0.04, 0.15, 0.35), (0.3, 0.5, 0.8, 1.2, 1.7)
HUMPS, HUMP_SPREADS, HUMP_SHARES = 7, (0.6, 1.1), (0.3, 0.5, 0.7)
FAR = 2  # steps
# Of EM, one for so many images: few images bear few details, and more rounds would find them in chance.
IMAGES_PER_ROUND, FEWEST_ROUNDS, MOST_ROUNDS = 10, 60, 300
SWEEPS = 50
DROP, PULLS, PULLED_ROUNDS = (
    1.92,
    7,
    60,
)  # half of the 95 % quantile of chi-squared with one degree of freedom
STRETCHES, TRIED = (1.0, 1.2, 1.4, 1.7), 40  # of the shifts, and rounds of the fit for each


def place_steps(values):
    """Return where ascending values are, in steps of their scale, (categories,).

    A value far from all others, such as a slip of 55 for 5, is two steps from the next: it would make one step of all others.
    """
    gaps = np.diff(np.asarray(values, float))
    gaps = np.minimum(gaps, FAR * np.median(gaps))
    steps = np.concatenate([[0], gaps.cumsum()])
    return steps / steps[-1] * min(len(steps) - 1, STEPS)


def list_shapes(values, shift=0.0, anything=None):
    """Return the shapes, (shapes, categories), each a distribution over the categories; values: ascending, (categories,).

    shift: of all of them along the scale, in steps; anything: what is answered without looking, (categories,), None for each
    category alike.
    """
    steps = place_steps(values)
    ends = np.concatenate([[-np.inf], (steps[1:] + steps[:-1]) / 2, [np.inf]]) - shift

    def normals(centres, spreads):
        centre, spread = (grid.ravel()[:, None] for grid in np.meshgrid(centres, spreads))
        return np.diff(stats.norm.cdf((ends - centre) / spread), axis=1)

    centres = np.linspace(-MARGIN, steps[-1] + MARGIN, CENTRES)
    shapes = [normals(centres, SPREADS)]
    plain = normals(centres[::2], CARELESS_SPREADS)
    anything = np.full(len(steps), 1 / len(steps)) if anything is None else anything
    shapes += [(1 - share) * plain + share * anything for share in CARELESS]
    for spread in HUMP_SPREADS:
        humps = normals(np.linspace(0, steps[-1], HUMPS), (spread,))
        shapes += [
            (share * humps[one] + (1 - share) * humps[other])[None]
            for one in range(HUMPS)
            for other in range(one + 2, HUMPS)
            for share in HUMP_SHARES
        ]
    shapes = np.concatenate(shapes)
    return shapes / shapes.sum(axis=1, keepdims=True)


def list_shapes_of_each(values, counts):
    """Return the shapes as each annotator has them, (annotators, shapes, categories); counts: see above."""
    shifts = estimate_shifts(counts, place_steps(values))
    anything = counts.sum(axis=(0, 1)) / counts.sum()  # who does not look answers as people do to all images
    if len(shifts) == 1:
        return list_shapes(values, anything=anything)[None]
    # An answer at the end of the scale hides a part of the bias: as much as the answers say is put back.
    best = max(STRETCHES, key=lambda stretch: _log_likelihood(counts, values, stretch * shifts, anything))
    return np.stack([list_shapes(values, best * shift, anything) for shift in shifts])


def _log_likelihood(counts, values, shifts, anything):
    shapes = np.stack([list_shapes(values, shift, anything) for shift in shifts])
    logs = log_likelihoods(counts, shapes)
    most = logs.max(axis=1, keepdims=True)
    likelihood = np.exp(logs - most)
    shares = fit(likelihood, np.ones(len(counts)), TRIED)
    return float((np.log(likelihood @ shares) + most[:, 0]).sum())


def estimate_shifts(counts, steps):
    """Return the bias of each annotator, (annotators,), in steps: by least squares of answer = image + annotator."""
    number, total = counts.sum(axis=2), counts @ steps  # (images, annotators)
    shifts = np.zeros(counts.shape[1])
    for _ in range(SWEEPS):
        images = (total - number * shifts).sum(axis=1) / number.sum(axis=1)
        shifts = (total - number * images[:, None]).sum(axis=0) / np.maximum(number.sum(axis=0), 1)
        shifts -= (shifts * number.sum(axis=0)).sum() / number.sum()
    return shifts


def log_likelihoods(counts, shapes):
    """Return the log likelihood of each image's answers under each shape, (images, shapes).

    counts: (images, annotators, categories); shapes: (annotators, shapes, categories).
    """
    logs = np.log(np.maximum(shapes, 1e-12))
    return sum(counts[:, annotator] @ logs[annotator].T for annotator in range(counts.shape[1]))


class Mixture:
    """Counts of answers, (images, annotators, categories), under shapes, (annotators, shapes, categories)."""

    def __init__(self, counts, shapes):
        rows, weights = np.unique(counts.reshape(len(counts), -1), axis=0, return_counts=True)
        logs = log_likelihoods(rows.reshape(-1, *counts.shape[1:]), shapes)
        # Each image's likelihood under each shape, up to a factor.
        self.likelihood = np.exp(logs - logs.max(axis=1, keepdims=True)).astype(np.float32)
        self.weights = weights.astype(np.float32)

    def fit(self):
        """Return the share of images with each shape, (shapes,), by EM."""
        return fit(self.likelihood, self.weights)

    def _log_likelihood(self, shares):
        return float(self.weights @ np.log(np.maximum(self.likelihood @ shares.astype(np.float32), 1e-30)))

    def push(self, shares, gain, sign):
        """Return the shares with the highest (sign 1) or lowest (-1) sum of shares x gain that the answers bear as well.

        That is, whose log likelihood is at most DROP less than that of `shares`, the best: an end of the profile likelihood
        interval at 95 %. Few answers an image leave much open that many images do not settle.
        """
        least = self._log_likelihood(shares) - DROP
        found = start = (shares + 1e-5) / (shares + 1e-5).sum()
        pull, low, high = self.weights.sum() / 20, 0.0, None
        for _ in range(PULLS):
            pushed = self._fit_pulled(start, sign * pull * gain)
            if self._log_likelihood(pushed) >= least:
                found = start = pushed
                low = pull
            else:
                high = pull
            pull = 3 * pull if high is None else (low + high) / 2
        return found

    def _fit_pulled(self, shares, pull):
        """Return the shares that maximise log likelihood + sum of shares x pull, by EM with that in its second step."""
        count = float(self.weights.sum())
        for _ in range(PULLED_ROUNDS):
            expected = shares * (
                (self.weights / (self.likelihood @ shares.astype(np.float32))) @ self.likelihood
            )
            low = max(pull.max(), 0) + 1e-9  # of the multiplier for which the shares sum to 1
            high = low + count + 2 * abs(pull).max()
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (middle, high) if (expected / (middle - pull)).sum() > 1 else (low, middle)
            shares = expected / (high - pull)
            shares = shares / shares.sum()
        return shares


def fit(likelihood, weights, rounds=None):
    """Return the share of images with each shape, (shapes,), by EM.

    likelihood: (rows, shapes), each row up to a factor; weights: images of each row; rounds: None for as many as they bear.
    """
    if rounds is None:
        rounds = int(np.clip(weights.sum() / IMAGES_PER_ROUND, FEWEST_ROUNDS, MOST_ROUNDS))
    likelihood = likelihood.astype(np.float32)
    shares = np.full(likelihood.shape[1], 1 / likelihood.shape[1], np.float32)
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(rounds):
        shares = shares * ((weights / (likelihood @ shares)) @ likelihood)
        shares = shares / shares.sum()
    return shares.astype(float) / shares.sum(dtype=float)
