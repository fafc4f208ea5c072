"""Print how often studies of planted accuracies get the right winner, and a wrong one.

An image is hard or easy for all models, for one model, and for one training run; a training reaches its model's accuracy
and a normal deviation from it. The tables say for how many studies in a hundred a model was named best.
"""

import gc
import sys
from itertools import product

import numpy as np
from scipy import stats

from baton.results import comparison, pooled

gc.collect = lambda *_: 0  # statsmodels collects garbage at every call: a tenth of a second
STUDIES = int(sys.argv[1]) if len(sys.argv) > 1 else 400
SHARED, OWN = 1.0, 0.5  # standard deviations of the images' parts, beside 1 for a training run's own


def plant(draw, accuracies, seeds, images, spread, unstable=None, diverged=None):
    """Return (models, seeds, images) booleans; unstable: this model's spread is 8 times as large; diverged: answers alike."""
    models = len(accuracies)
    spreads = np.full(models, spread)
    if unstable is not None:
        spreads[unstable] *= 8
    reached = np.array(accuracies)[:, None] + spreads[:, None] * draw.normal(size=(models, seeds))
    threshold = stats.norm.ppf(reached.clip(0.001, 0.999)) * np.sqrt(1 + SHARED**2 + OWN**2)
    easy = SHARED * draw.normal(size=images) + OWN * draw.normal(size=(models, 1, images))
    right = threshold[..., None] + easy + draw.normal(size=(models, seeds, images)) > 0
    if diverged is not None:
        right[diverged] = draw.uniform(size=images) < 1 / 9
    return right


def count_named(accuracies, *design, studies=STUDIES, **what):
    """Return how often each model is named best in so many studies, and None for none."""
    draw = np.random.default_rng([1, len(accuracies), *design[:2]])
    named = []
    for _ in range(studies):
        right = plant(draw, accuracies, *design, **what)
        named.append(comparison.compare(dict(enumerate(right)))["best"])
    return {name: named.count(name) for name in {*named}}


def clear_winner():
    print("one model of 0.95, five of 0.85, 0.01 from seed to seed: the winner named, another named, in %")
    for seeds, images in product((1, 2, 3, 5, 10), (450, 2000)):
        counts = count_named([0.95] + [0.85] * 5, seeds, images, 0.01)
        right, wrong = counts.pop(0, 0), sum(count for name, count in counts.items() if name)
        print(
            f"  {seeds:2} seeds, {images:4} images: {100 * right / STUDIES:5.1f} {100 * wrong / STUDIES:5.1f}"
        )


def ties():
    print("equal models of 0.6: a winner named, in %, for 2, 3, 5 and 10 seeds")
    worst, cells, over = 0, 0, 0
    kinds = {"": {}, "one unstable": {"unstable": 0}, "one diverged": {"diverged": 0}}
    for models, images, spread, kind in product((2, 3, 6, 8), (100, 450, 5000), (0, 0.01, 0.03), kinds):
        if (kind == "one unstable" and not spread) or (kind == "one diverged" and models == 2):
            continue
        studies = STUDIES if images < 5000 else -(-STUDIES // 4)
        shares = []
        for seeds in (2, 3, 5, 10):
            counts = count_named([0.6] * models, seeds, images, spread, studies=studies, **kinds[kind])
            shares.append(sum(count for name, count in counts.items() if name is not None) / studies)
            cells += 1
            # Three standard deviations beyond 5 %.
            over += shares[-1] > 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
        worst = max(worst, *shares)
        row = "".join(f"{100 * share:6.1f}" for share in shares)
        print(f"  {models} models, {images:4} images, spread {spread:4}, {kind:13}{row}", flush=True)
    print(f"  the largest of {cells}: {100 * worst:.1f}; beyond 5 % by three standard deviations: {over}")


def promised_power():
    print("0.88 against others of 0.85: the power with the images and the seeds that are said to give 0.8")
    for models, seeds, spread in product((2, 6), (3, 5, 10), (0, 0.01)):
        accuracies = [0.88] + [0.85] * (models - 1)
        draw = np.random.default_rng([2, models, seeds])
        design = pooled.Design(plant(draw, accuracies, seeds, 200_000, 0), 0, 1)
        design.training, design.difference, design.images = spread**2, 0.03, 100
        level = 0.05 / (models * (models - 1) / 2)
        images = design.images_needed(level, 0.8)
        design.images = 1000
        trials = {"images": (seeds, images), "seeds": (design.seeds_needed(level, 0.8), 1000)}
        told = []
        for what, (number, count) in trials.items():
            if None in (number, count) or count > 20_000 or number > 40:
                told.append(f"{what}: {number if what == 'seeds' else count or 'no number'}")
                continue
            found = [
                pooled.compare_all(plant(draw, accuracies, number, count, spread))[2][0, 1] <= level
                for _ in range(STUDIES)
            ]
            told.append(f"{what}: {number if what == 'seeds' else count} ({np.mean(found):.2f})")
        print(f"  {models} models, {seeds:2} seeds, spread {spread:4}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    clear_winner()
    promised_power()
    ties()
