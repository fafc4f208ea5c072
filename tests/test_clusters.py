"""Test images in groups: intervals that cover, and tests that are exact, against other ways to compute them."""

import itertools

import numpy as np
import pytest
from scipy import stats

from baton.results import clusters, comparison, guessing, mcnemar, metrics, pooled, scale


def draw_study(random, sizes, share, correlation):
    """Right or not, and group, of images in groups of these sizes; correlation: within groups."""
    a, b = share * (1 - correlation) / correlation, (1 - share) * (1 - correlation) / correlation
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return random.random(len(groups)) < random.beta(a, b, len(sizes))[groups], groups


@pytest.mark.parametrize(
    "sizes",
    [(10,) * 15, (10,) * 30, (3,) * 50, (1, 2, 5, 10) * 15],
    ids=["15 of 10", "30 of 10", "50 of 3", "mixed"],
)
@pytest.mark.parametrize("correlation", [0.05, 0.3])
def test_intervals_of_groups_cover(sizes, correlation):
    """Where Wilson's, of the images, does not: at a correlation of 0.3 in groups of ten it covers 70 %."""
    random, rounds, covered, naive = np.random.default_rng(1), 1000, 0, 0
    for _ in range(rounds):
        right, groups = draw_study(random, sizes, 0.6, correlation)
        low, high = clusters.clustered_interval(right, groups)
        covered += low <= 0.6 <= high
        low, high = metrics.wilson_interval(int(right.sum()), len(right))
        naive += low <= 0.6 <= high
    assert 0.93 <= covered / rounds <= 0.975, covered / rounds
    if correlation == 0.3 and sizes[0] == 10:
        assert naive / rounds < 0.8


def test_the_interval_is_never_narrower_than_that_of_the_images():
    random = np.random.default_rng(2)
    for _ in range(100):
        right, groups = draw_study(random, (4,) * 20, 0.5, 0.01)
        clustered = np.diff(clusters.clustered_interval(right, groups))
        assert clustered >= np.diff(metrics.wilson_interval(int(right.sum()), len(right))) - 1e-12


def test_all_right_counts_as_many_images_as_groups():
    groups = np.repeat(np.arange(12), 5)
    assert clusters.clustered_interval(np.ones(60, bool), groups) == pytest.approx(
        metrics.wilson_interval(12, 12)
    )


def test_signs_of_groups_of_one_image_are_mcnemars_test():
    random = np.random.default_rng(3)
    for _ in range(50):
        first, second = random.random((2, 40)) < 0.6
        p = mcnemar.pair_p(first, second, np.arange(40))
        assert p == pytest.approx(mcnemar.pair_p(first, second, None))


def test_signs_are_enumerated():
    differences = np.array([3, -1, 2, 5, 0, -4, 1])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=7)]
    expected = np.mean(np.array(sums) >= abs(differences.sum()))
    assert clusters.sign_flip_p(differences) == pytest.approx(expected)
    assert clusters.sign_flip_p(np.zeros(5)) == 1 == clusters.sign_flip_p(np.array([2, -2]))


def test_equal_models_differ_in_one_study_of_twenty_and_not_in_more():
    random, found, naive = np.random.default_rng(4), 0, 0
    groups = np.repeat(np.arange(25), 8)
    for _ in range(1000):
        shared = random.beta(2, 1, 25)[groups]
        # Each has its own good and bad groups.
        one, other = (random.random(200) < (shared + random.beta(2, 1, 25)[groups]) / 2 for _ in range(2))
        found += mcnemar.pair_p(one, other, groups) <= 0.05
        naive += mcnemar.pair_p(one, other, None) <= 0.05
    assert found / 1000 < 0.065 < 0.075 < naive / 1000


def test_a_study_with_groups_says_so():
    random = np.random.default_rng(4)
    models = {name: random.random((1, 60)) < 0.5 for name in ("one", "other")}
    found = comparison.compare(models, groups=np.repeat(np.arange(20), 3))
    assert (found["test"], found["image_groups"]) == ("sign flips of groups", 20)


def test_covariances_of_groups_of_one_image_are_the_usual():
    values = np.random.default_rng(5).random((3, 50))
    np.testing.assert_allclose(clusters.covariance_of_means(values, np.arange(50)), np.cov(values) / 50)


def test_several_seeds_count_groups_too():
    random = np.random.default_rng(6)
    groups = np.repeat(np.arange(10), 30)
    models = [(random.random((3, 300)) < random.random(10)[groups]) for _ in range(2)]
    _, errors, _ = pooled.compare_all(models)
    _, clustered, _ = pooled.compare_all(models, groups)
    assert clustered[0, 1] > 1.2 * errors[0, 1]
    _, same, p = pooled.compare_all(models, np.arange(300))
    assert same[0, 1] == pytest.approx(errors[0, 1])


def test_orders_keep_groups_whole_and_are_all_as_likely():
    groups = np.array([0, 1, 0, 2, 2, 3, 1, 4])
    shuffle, random = clusters.shuffle_groups(groups), np.random.default_rng(7)
    seen = {}
    for _ in range(6000):
        order = tuple(shuffle(random))
        assert order[5] in (5, 7)  # of one image each
        assert {groups[order[0]], groups[order[2]]} == {groups[order[0]]}
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6 * 2  # three groups of two images, two of one
    assert stats.chisquare(list(seen.values())).pvalue > 0.001


def test_a_model_that_knows_the_groups_alone_is_not_shown_to_know_the_classes():
    """Answers that follow from the group, whatever its class: as images, they would often be far from chance."""
    random, found, naive = np.random.default_rng(8), 0, 0
    groups = np.repeat(np.arange(20), 10)
    for _ in range(60):
        labels = random.integers(0, 2, 20)[groups]
        answers = random.integers(0, 2, 20)[groups]
        probabilities = np.eye(2)[answers]
        found += guessing.guessing(labels, probabilities, groups=groups)["accuracy_p"] <= 0.05
        naive += guessing.guessing(labels, probabilities)["accuracy_p"] <= 0.05
    assert found <= 8 and naive > 20


def test_the_scales_intervals_are_wider_in_groups():
    random = np.random.default_rng(9)
    groups = np.repeat(np.arange(15), 10)
    labels = random.integers(0, 5, 150)
    off = random.integers(0, 3, 15)[groups]
    probabilities = np.eye(5)[np.clip(labels + off, 0, 4)]
    classes = [str(number) for number in range(5)]
    plain = scale.ordered(labels, probabilities, classes)
    clustered = scale.ordered(labels, probabilities, classes, groups)
    for name in ("mean_absolute_error", "within_one"):
        assert clustered[name]["value"] == plain[name]["value"]
        assert np.diff(clustered[name]["interval"]) > 1.5 * np.diff(plain[name]["interval"])
    single = scale.ordered(labels, probabilities, classes, np.arange(150))["mean_absolute_error"]["interval"]
    assert np.diff(single) == pytest.approx(np.diff(plain["mean_absolute_error"]["interval"]), rel=0.15)
