"""comparison: against published values and values worked out by hand; studies planted with a known winner."""

import json
import math
from itertools import combinations

import numpy as np
import pytest

from baton import comparison

pytestmark = pytest.mark.usefixtures("no_warning")


def right(*counts):
    """Return (n,) booleans from runs of equal answers: right(2, 3) is two right, then three wrong ones."""
    return np.concatenate([np.full(count, i % 2 == 0) for i, count in enumerate(counts)])


def discordant(n, both, b, c):
    """Return the answers of two models on n images: `both` right, b only by the first, c only by the second."""
    first, second = np.zeros(n, bool), np.zeros(n, bool)
    first[: both + b] = True
    second[:both] = second[both + b : both + b + c] = True
    return first, second


def strict_json(found):
    """Return what a JSON reader gets; NaN and NumPy's types are errors."""
    return json.loads(json.dumps(found, allow_nan=False))


# --- Comparison of models


@pytest.mark.parametrize(
    "b, c, p",
    [
        (9, 2, 134 / 2048),  # Fay, R package exact2x2, mcnemar.exact(matrix(c(21, 9, 2, 12), 2)): 0.06543
        (2, 9, 134 / 2048),
        (3, 0, 2 / 8),
        (6, 0, 2 / 64),
        (1, 1, 1),
        (0, 0, 1),
        (8, 1, 2 * (1 + 9) / 512),
    ],
)
def test_exact_mcnemar(b, c, p):
    assert comparison.exact_mcnemar(b, c) == pytest.approx(p)


def test_paired_t_is_the_published_one():
    # Student (1908), Biometrika 6, section IX: hours of sleep gained with two drugs; t = 4.0621, 9 degrees
    # of freedom, p = 0.002833 (R: t.test(extra ~ group, data = sleep, paired = TRUE)).
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    assert comparison.paired_t(first, second) == pytest.approx(0.002833, abs=5e-7)


def test_paired_t_is_undefined_for_one_seed_or_equal_differences():
    assert comparison.paired_t([5], [3]) is None
    assert comparison.paired_t([5, 6, 7], [3, 4, 5]) is None
    assert comparison.paired_t([5, 6], [5, 6]) is None


def test_holm_by_hand():
    # Holm (1979), Scand. J. Statist. 6, 65-70. Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1, each at least
    # the one before: 0.04, 0.06, 0.06, 0.2.
    adjusted, significant = comparison.holm([0.03, 0.01, 0.2, 0.02])
    assert adjusted == pytest.approx([0.06, 0.04, 0.2, 0.06])
    assert significant == [False, True, False, False]


def test_holm_leaves_out_what_was_not_tested():
    adjusted, significant = comparison.holm([None, 0.02, 0.04])
    assert adjusted == [None, pytest.approx(0.04), pytest.approx(0.04)]
    assert significant == [False, True, True]
    assert comparison.holm([None]) == ([None], [False])
    assert comparison.holm([]) == ([], [])


@pytest.mark.parametrize(
    "p10, p01, n",
    [
        (0.45, 0.05, 23),  # powersamplesize.com, "McNemar's Z-test, 2-Sided Equality", after Connor (1987)
        (0.30, 0.15, 155),  # clinicaltrials-tools.vercel.app, McNemar calculator, after Connor (1987)
    ],
)
def test_images_to_separate_are_the_published_ones(p10, p01, n):
    assert comparison.images_to_separate(p10, p01) == n
    assert comparison.images_to_separate(p01, p10) == n


def test_images_to_separate_by_hand():
    # d = e = 0.01: (1.959964 * 0.1 + 0.841621 * sqrt(0.0099))^2 / 0.0001 = 0.279736^2 * 10^4 = 782.5
    assert comparison.images_to_separate(0.01, 0) == 783
    # a third of the level: z = 2.393980; 0.323137^2 * 10^4 = 1044.2
    assert comparison.images_to_separate(0.01, 0, level=0.05 / 3) == 1045
    assert comparison.images_to_separate(0.02, 0.02) is None
    assert comparison.images_to_separate(0, 0) is None


def test_images_to_separate_have_the_power_they_promise():
    # Simulated: with the number asked for, the exact test finds the difference in about 80 %.
    n = comparison.images_to_separate(0.06, 0.02)
    draw = np.random.default_rng(8)
    counts = draw.multinomial(n, [0.06, 0.02, 0.92], 1000)
    found = np.mean([comparison.exact_mcnemar(b, c) <= 0.05 for b, c, _ in counts])
    assert 0.72 < found < 0.85  # the exact test is a little weaker than the formula's normal one


def test_a_pair_by_hand():
    first, second = discordant(100, 60, 9, 2)
    found = comparison.compare({"two": second[None], "one": first[None]})
    assert found["images"] == 100
    assert found["pairs"] == [
        {
            "models": ["one", "two"],
            "seeds": [{"seed": 0, "b": 9, "c": 2, "p": pytest.approx(134 / 2048)}],
            "mcnemar_p": pytest.approx(134 / 2048),
            "paired_t_p": None,
            "difference": pytest.approx(0.07),
            "p": pytest.approx(134 / 2048),
            "p_holm": pytest.approx(134 / 2048),
            "different": False,
        }
    ]
    assert found["groups"] == [["one", "two"]]
    assert found["best"] is None
    # d = 0.11, e = 0.07: (1.959964 * 0.331662 + 0.841621 * sqrt(0.1051))^2 / 0.0049
    # = (0.650046 + 0.272845)^2 / 0.0049 = 173.8
    assert found["no_winner"] == {
        "models": ["one", "two"],
        "accuracy": [0.69, 0.62],
        "discordant": [0.09, 0.02],
        "level": 0.05,
        "power": 0.8,
        "images_needed": 174,
        "reason": "too few images",
    }


def test_a_winner_has_no_explanation():
    first, second = discordant(100, 60, 8, 1)  # p = 20/512 = 0.039
    found = comparison.compare({"one": first[None], "two": second[None]})
    assert (found["best"], found["no_winner"]) == ("one", None)
    assert found["groups"] == [["one"], ["two"]]
    # A third, equal model: three pairs, of which two have that p. Times 3 it is 0.117.
    found = comparison.compare({"one": first[None], "two": second[None], "three": second[None]})
    assert [pair["p_holm"] for pair in found["pairs"]] == pytest.approx([60 / 512, 60 / 512, 1])
    assert found["best"] is None
    assert found["no_winner"]["level"] == pytest.approx(0.05 / 3)


def test_holms_next_step_is_the_level_of_the_number_needed():
    # Two good models, 10 and 6 images apart in their favour, and a bad one: 2 of 3 tests are significant.
    good, nearly = discordant(200, 150, 10, 6)
    bad = np.zeros(200, bool)
    found = comparison.compare({"bad": bad[None], "nearly": nearly[None], "good": good[None]})
    assert found["groups"] == [["good", "nearly"], ["bad"]]
    assert found["best"] is None
    assert found["no_winner"]["models"] == ["good", "nearly"]
    assert found["no_winner"]["level"] == 0.05
    assert found["no_winner"]["images_needed"] == comparison.images_to_separate(0.05, 0.03)


def test_equal_accuracy_is_not_a_matter_of_images():
    first, second = discordant(100, 60, 4, 4)
    found = comparison.compare({"one": first[None], "two": second[None]})["no_winner"]
    assert (found["reason"], found["images_needed"]) == ("equal accuracy", None)


def test_groups_overlap_where_the_middle_differs_from_neither_end():
    names = ["a", "b", "c", "d"]
    different = {frozenset(pair) for pair in (("a", "c"), ("a", "d"), ("b", "d"))}
    assert comparison.group_models(names, different) == [["a", "b"], ["b", "c"], ["c", "d"]]
    assert comparison.group_models(names, set()) == [names]
    every = {frozenset(pair) for pair in combinations(names, 2)}
    assert comparison.group_models(names, every) == [["a"], ["b"], ["c"], ["d"]]


def test_groups_are_all_and_only_the_largest_sets_without_a_difference():
    draw = np.random.default_rng(9)
    names = list("abcdef")
    for _ in range(100):
        different = {frozenset(pair) for pair in combinations(names, 2) if draw.uniform() < 0.5}
        alike = [
            set(some)
            for size in range(1, 7)
            for some in combinations(names, size)
            if not any(frozenset(pair) in different for pair in combinations(some, 2))
        ]
        largest = {frozenset(some) for some in alike if not any(some < other for other in alike)}
        found = comparison.group_models(names, different)
        assert {frozenset(group) for group in found} == largest
        assert len(found) == len(largest)


def test_models_are_listed_with_their_spread_and_groups():
    rows = {"low": [right(50, 50), right(54, 46), right(58, 42)], "high": [right(100, 0)] * 3}
    found = comparison.compare({name: np.array(answers) for name, answers in rows.items()})
    assert [row["model"] for row in found["models"]] == ["high", "low"]
    low = found["models"][1]
    assert low["accuracies"] == [0.5, 0.54, 0.58]
    assert low["accuracy"] == pytest.approx(0.54)
    assert low["standard_deviation"] == pytest.approx(0.04)
    assert (low["min"], low["max"], low["groups"], low["seeds"]) == (0.5, 0.58, [2], [0, 1, 2])
    assert found["models"][0]["standard_deviation"] == 0


def test_one_seed_has_no_spread():
    found = comparison.compare({"one": right(3, 1)[None]})
    assert found["models"][0] == {
        "model": "one",
        "seeds": [0],
        "accuracies": [0.75],
        "accuracy": 0.75,
        "standard_deviation": None,
        "min": 0.75,
        "max": 0.75,
        "groups": [1],
    }


def test_with_several_seeds_the_largest_p_counts():
    # b = 6, 8 and 9 against c = 0, 1 and 2: p = 2/64, 20/512, 134/2048. The differences are 6, 7 and 7
    # images: t = (20/3) / (sqrt(1/3) / sqrt(3)) = 20, 2 degrees of freedom, p = 0.0025
    pairs = [discordant(100, 60, b, c) for b, c in ((6, 0), (8, 1), (9, 2))]
    found = comparison.compare({"a": np.array([p[0] for p in pairs]), "b": np.array([p[1] for p in pairs])})
    pair = found["pairs"][0]
    assert [row["p"] for row in pair["seeds"]] == pytest.approx([2 / 64, 20 / 512, 134 / 2048])
    # Student's t with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2)
    assert pair["paired_t_p"] == pytest.approx(1 - 20 / math.sqrt(402))
    assert pair["difference"] == pytest.approx(0.2 / 3)
    assert pair["p"] == pair["mcnemar_p"] == pytest.approx(134 / 2048)
    assert found["best"] is None


def test_with_several_seeds_the_paired_t_counts_where_it_is_larger():
    # 10 to 0 and 40 to 0: significant at both seeds. t = 25 / 15, 1 degree of freedom:
    # p = 1 - 2/pi atan(t) = 0.344
    pairs = [discordant(100, 50, 10, 0), discordant(100, 50, 40, 0)]
    found = comparison.compare({"a": np.array([p[0] for p in pairs]), "b": np.array([p[1] for p in pairs])})
    pair = found["pairs"][0]
    assert pair["mcnemar_p"] == pytest.approx(2 / 1024)
    assert pair["p"] == pair["paired_t_p"] == pytest.approx(1 - 2 / math.pi * math.atan(25 / 15))
    assert found["best"] is None
    assert found["no_winner"]["reason"] == "seeds disagree"
    assert found["no_winner"]["images_needed"] is None


def test_seeds_that_contradict_each_other_are_no_difference():
    first, second = discordant(100, 50, 40, 0)
    found = comparison.compare({"a": np.array([first, second]), "b": np.array([second, first])})
    assert found["pairs"][0]["mcnemar_p"] < 1e-9
    assert found["pairs"][0]["p"] == 1
    assert found["no_winner"]["reason"] == "equal accuracy"
    # Nor where one of twelve says the contrary, significantly (6 to 0: 2/64), though t is sure of the mean.
    rows = [discordant(100, 50, 40, 0)] * 11 + [discordant(100, 50, 0, 6)]
    found = comparison.compare({"a": np.array([r[0] for r in rows]), "b": np.array([r[1] for r in rows])})
    assert found["pairs"][0]["mcnemar_p"] == pytest.approx(2 / 64)
    assert found["pairs"][0]["paired_t_p"] < 0.001
    assert found["pairs"][0]["p"] == 1
    assert found["best"] is None


def test_only_shared_seeds_are_paired():
    first, second = discordant(100, 60, 9, 2)
    found = comparison.compare(
        {"a": np.array([first, first]), "b": np.array([second, first])}, {"a": [7, 1], "b": [1, 5]}
    )
    assert found["pairs"][0]["seeds"] == [{"seed": 1, "b": 9, "c": 2, "p": pytest.approx(134 / 2048)}]


def test_models_without_a_shared_seed_cannot_be_told_apart():
    found = comparison.compare(
        {"a": right(100)[None], "b": ~right(100)[None], "c": ~right(100)[None]},
        {"a": [1], "b": [2], "c": [1]},
    )
    assert found["pairs"][0]["p"] is None
    assert found["pairs"][0]["p_holm"] is None
    assert found["groups"] == [["a", "b"], ["b", "c"]]
    assert found["best"] is None
    assert found["no_winner"]["reason"] == "no shared seed"
    strict_json(found)


@pytest.mark.parametrize(
    "correct, seeds",
    [
        ({"a": right(3)[None], "b": right(4)[None]}, None),
        ({"a": right(3)}, None),
        ({"a": np.ones((1, 3))}, None),
        ({"a": np.ones((0, 3), bool)}, None),
        ({"a": np.ones((1, 0), bool)}, None),
        ({"a": np.ones((2, 3), bool)}, {"a": [1, 1]}),
        ({"a": np.ones((2, 3), bool)}, {"a": [1]}),
    ],
)
def test_answers_that_do_not_fit_are_an_error(correct, seeds):
    with pytest.raises(ValueError):
        comparison.compare(correct, seeds)


@pytest.mark.parametrize("models", [0, 1])
def test_fewer_than_two_models_are_not_compared(models):
    found = comparison.compare({f"model_{i}": right(3, 1)[None] for i in range(models)})
    assert (found["pairs"], found["best"], found["no_winner"]) == ([], None, None)
    assert len(found["groups"]) == models
    strict_json(found)


def test_one_image_separates_nothing():
    found = comparison.compare({"a": np.array([[True]]), "b": np.array([[False]])})
    assert found["pairs"][0]["p"] == 1
    assert found["best"] is None
    # d = e = 1: 1.959964^2 = 3.84
    assert found["no_winner"]["images_needed"] == 4


# --- Planted studies: 600 images, some harder than others for all models


def plant(draw, errors, seeds=1, n=600):
    """Return answers of models that are wrong `errors` times as often as the first would be, 10 % on average."""
    hardness = draw.beta(0.5, 4.5, n)
    return {
        name: draw.uniform(size=(seeds, n)) >= factor * hardness
        for name, factor in zip("abcdef", errors, strict=False)
    }


def count_best(errors, draws, seed, seeds=1):
    """Return how often each model was named best, in `draws` studies."""
    draw = np.random.default_rng(seed)
    named = [comparison.compare(plant(draw, errors, seeds))["best"] for _ in range(draws)]
    return {name: named.count(name) for name in {*named} - {None}}


def test_a_much_better_model_is_named_and_no_other():
    named = count_best([1, 1, 0.3], 200, seed=10)
    assert named.get("a", 0) + named.get("b", 0) <= 10
    assert named["c"] >= 150


def test_a_slightly_better_model_gives_no_wrong_winner():
    named = count_best([1, 1, 0.8], 200, seed=11)
    assert named.get("a", 0) + named.get("b", 0) <= 10


def test_equal_models_have_no_winner():
    assert sum(count_best([1, 1, 1], 200, seed=12).values()) <= 10


def test_the_equal_ones_of_a_bad_third_have_no_winner():
    # The hardest case for Holm: the last step is at 0.05. More draws, as the share is near 5 %.
    assert sum(count_best([0.5, 0.5, 6], 1000, seed=13).values()) <= 50


def test_several_seeds_give_no_wrong_winner_either():
    assert sum(count_best([1, 1, 1], 100, seed=14, seeds=3).values()) <= 5
    named = count_best([1, 1, 0.2], 100, seed=15, seeds=5)
    assert named.get("a", 0) + named.get("b", 0) == 0
    assert named["c"] >= 80


def test_luck_in_training_is_not_taken_for_a_difference():
    # Two models, equal on average; each training is wrong in 5 to 25 % of the images. At one seed most
    # pairs differ, truly so for that training; over four seeds the models must not.
    draw = np.random.default_rng(16)
    one = several = 0
    for _ in range(100):
        rates = draw.uniform(0.05, 0.25, (2, 4, 1))
        answers = draw.uniform(size=(2, 4, 600)) >= rates
        one += comparison.compare({"a": answers[0, :1], "b": answers[1, :1]})["best"] is not None
        several += comparison.compare({"a": answers[0], "b": answers[1]})["best"] is not None
    assert one > 40
    assert several <= 5
