"""statistics: against published values and values worked out by hand."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from baton.results import guessing, metrics, scale

pytestmark = pytest.mark.usefixtures("no_warning")


def say(predicted, classes, confidence=1.0):
    """Return probabilities (n, classes) with `confidence` on the predicted class, the rest shared out."""
    predicted = np.asarray(predicted)
    made = np.repeat(((1 - np.broadcast_to(confidence, len(predicted))) / (classes - 1))[:, None], classes, 1)
    made[np.arange(len(predicted)), predicted] = confidence
    return made


def right(*counts):
    """Return (n,) booleans from runs of equal answers: right(2, 3) is two right, then three wrong ones."""
    return np.concatenate([np.full(count, i % 2 == 0) for i, count in enumerate(counts)])


def strict_json(found):
    """Return what a JSON reader gets; NaN and NumPy's types are errors."""
    return json.loads(json.dumps(found, allow_nan=False))


# --- Intervals and figures of one model


@pytest.mark.parametrize(
    "count, n, low, high",
    [  # Newcombe (1998), Statistics in Medicine 17, 857-872, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(count, n, low, high):
    assert metrics.wilson_interval(count, n) == pytest.approx([low, high], abs=5e-5)


def test_wilson_interval_ends_at_exactly_0_and_1():
    for n in range(1, 200):
        # By hand: with no success the lower end is 0 and the upper z^2 / (n + z^2).
        z2 = 1.959964**2
        assert metrics.wilson_interval(0, n) == [0.0, pytest.approx(z2 / (n + z2), abs=1e-6)]
        assert metrics.wilson_interval(n, n) == [pytest.approx(n / (n + z2), abs=1e-6), 1.0]


@pytest.mark.parametrize("count, n", [(3, 2), (-1, 2), (0, 0)])
def test_wilson_interval_of_nothing_is_an_error(count, n):
    with pytest.raises(ValueError):
        metrics.wilson_interval(count, n)


def test_accuracy_stands_beside_chance_and_majority():
    labels = np.repeat([0, 1, 2], [81, 100, 82])  # 263 images of 4 classes, the last missing
    predicted = np.concatenate([np.zeros(81, int), np.full(182, 3)])
    found = metrics.accuracy(labels, say(predicted, 4))
    assert found == {
        "images": 263,
        "groups": None,
        "correct": 81,
        "unanswered": 0,
        "accuracy": 81 / 263,
        "interval": pytest.approx([0.2553, 0.3662], abs=5e-5),
        "chance": 0.25,
        "majority": 100 / 263,
    }


def test_balanced_accuracy_and_macro_f1_by_hand():
    # true 0: 4 images, 3 right, 1 said 1; true 1: 2 images, 1 right, 1 said 0; true 2: missing; true 3:
    # 1 image, said 2. Recalls 3/4, 1/2, 0. F1: 2*3/(4+4) = 3/4; 2*1/(2+2) = 1/2; 0.
    labels = [0, 0, 0, 0, 1, 1, 3]
    predicted = [0, 0, 0, 1, 1, 0, 2]
    found = metrics.class_averages(labels, say(predicted, 4))
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 3)
    assert found["macro_f1"] == pytest.approx((3 / 4 + 1 / 2) / 3)


def test_balanced_accuracy_is_scikit_learns():
    draw = np.random.default_rng(3)
    labels, predicted = draw.integers(0, 5, (2, 200))
    found = metrics.class_averages(labels, say(predicted, 5))["balanced_accuracy"]
    assert found == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_log_loss_by_hand():
    # True classes had 1/2, 1/4 and 1/8: ln 2, ln 4, ln 8 have the mean 2 ln 2.
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [0.125, 0.875]], np.float32)
    assert metrics.log_loss([0, 1, 0], probabilities) == pytest.approx(2 * math.log(2))


def test_log_loss_of_a_certain_error_is_finite():
    # 52 bits of mantissa: -ln(2^-52) = 36.04
    assert metrics.log_loss([1], [[1.0, 0.0]]) == pytest.approx(52 * math.log(2))


def test_top_2_by_hand():
    probabilities = [
        [0.5, 0.3, 0.1, 0.06, 0.04],  # true 1: second
        [0.5, 0.3, 0.1, 0.06, 0.04],  # true 0: first
        [0.5, 0.3, 0.1, 0.06, 0.04],  # true 2: third
        [0.04, 0.06, 0.1, 0.3, 0.5],  # true 3: second
    ]
    assert metrics.top_2_accuracy([1, 0, 2, 3], probabilities) == 0.75


def test_top_2_is_for_more_than_four_classes():
    assert metrics.top_2_accuracy([0], say([0], 4)) is None
    assert metrics.top_2_accuracy([0], say([0], 5)) == 1


def test_top_2_of_equal_probabilities_holds_the_answer():
    # Nothing is preferred: the first class is the answer, the first two the top two.
    level = np.full((5, 5), 0.2)
    assert metrics.accuracy(np.arange(5), level)["accuracy"] == 0.2
    assert metrics.top_2_accuracy(np.arange(5), level) == 0.4


# --- Calibration


def test_calibration_by_hand():
    # (0.5, 0.6]: 0.55 right, 0.6 wrong; mean 0.575, accuracy 0.5: gap 0.075, 2 of 5 images
    # (0.6, 0.7]: 0.7 right: gap 0.3, 1 of 5; (0.9, 1]: 1.0 right, 0.95 wrong: gap 0.475, 2 of 5
    confidence = np.array([0.55, 0.6, 0.7, 1.0, 0.95])
    found = metrics.calibration([0, 1, 0, 0, 1], np.stack([confidence, 1 - confidence], 1))
    assert found["images"] == 5
    assert found["expected_calibration_error"] == pytest.approx((2 * 0.075 + 0.3 + 2 * 0.475) / 5)
    assert [row["count"] for row in found["bins"]] == [0, 0, 0, 0, 0, 2, 1, 0, 0, 2]
    assert [(row["low"], row["high"]) for row in found["bins"]] == [(i / 10, (i + 1) / 10) for i in range(10)]
    assert found["bins"][5] == {
        "low": 0.5,
        "high": 0.6,
        "count": 2,
        "confidence": pytest.approx(0.575),
        "accuracy": 0.5,
    }
    assert found["bins"][0]["confidence"] is None
    assert found["bins"][0]["accuracy"] is None


def test_a_confidence_on_an_edge_is_in_the_lower_bin():
    # Guo et al. (2017), section 2: bin m is ((m - 1) / M, m / M]. Ten and more classes reach 0.1 to 1.
    for tenths in range(1, 11):
        table = metrics.calibration([0], say([0], 11, tenths / 10))["bins"]
        assert [row["count"] for row in table].index(1) == tenths - 1


def test_calibration_of_honest_answers_is_near_zero():
    # Each answer is right with its own confidence: the error left is that of 20000 draws, below 0.02.
    draw = np.random.default_rng(4)
    confidence = draw.uniform(0.5, 1, 20_000)
    labels = (draw.uniform(size=20_000) > confidence).astype(int)
    found = metrics.calibration(labels, np.stack([confidence, 1 - confidence], 1))
    assert found["expected_calibration_error"] < 0.02
    # and twice as sure of the opposite: right with 1 - confidence, a gap of 2 * 0.75 - 1 on average
    found = metrics.calibration(1 - labels, np.stack([confidence, 1 - confidence], 1))
    assert found["expected_calibration_error"] == pytest.approx(0.5, abs=0.02)


# --- Constant answers


@pytest.mark.parametrize(
    "labels, predicted, classes, verdict",
    [
        ([0, 1, 2] * 40, [1] * 120, 3, "constant"),
        ([0, 1] * 50, [0] * 95 + [1] * 5, 2, "constant"),
        ([0, 1] * 50, [0] * 94 + [1] * 6, 2, None),
        ([0, 1, 2] * 40, [0, 1, 2] * 40, 3, None),
        # The test split is one class too: it is not the answers that are constant.
        ([0] * 100, [0] * 100, 2, None),
        ([0] * 97 + [1] * 3, [0] * 98 + [1] * 2, 2, None),
        # ... but where it holds two classes, and all answers are one, they are.
        ([0] * 97 + [1] * 3, [0] * 100, 2, "constant"),
        ([0], [0], 2, None),
    ],
)
def test_constant_is_said_of_answers_of_one_class(labels, predicted, classes, verdict):
    assert metrics.constant_answers(labels, say(predicted, classes))["verdict"] == verdict


# --- Guessing


def from_table(table):
    """Return labels and probabilities of answers with these counts: rows the true class, columns the predicted."""
    table = np.array(table)
    labels = np.repeat(np.arange(len(table)), table.sum(axis=1))
    predicted = np.concatenate([np.repeat(np.arange(len(table)), row) for row in table])
    return labels, predicted, say(predicted, len(table))


HALF_BLIND = [[42, 1, 7], [42, 3, 5], [28, 7, 15]]


def test_two_classes_are_fishers_test():
    # With two classes the deals of the labels are Fisher's: the number of right answers follows the hypergeometric
    # distribution. 9,999 deals come within 0.01 of p (three standard deviations of a share near 0.1 are 0.009).
    labels, _, said = from_table([[30, 20], [21, 29]])
    found = guessing.guessing(labels, said)
    exact = stats.hypergeom(100, 50, 51).sf(29)  # 30 and more of class 0 dealt to the 51 answers
    assert 0.04 < exact < 0.08
    assert found["accuracy_p"] == pytest.approx(2 * exact, abs=0.01)
    assert found["blind"] == pytest.approx((50 * 51 + 50 * 49) / 100**2)
    # Chi-squared orders these tables as their distance from the mean does: both tails.
    both = exact + stats.hypergeom(100, 50, 51).cdf(21)
    assert found["dependence_p"] == pytest.approx(both, abs=0.01)


def test_three_classes_against_labels_shuffled_one_by_one():
    labels, predicted, said = from_table(HALF_BLIND)
    found = guessing.guessing(labels, said)
    draw = np.random.default_rng(5)
    right, related, ordered = [], [], []
    for _ in range(4000):
        dealt = draw.permutation(labels)
        table = np.zeros((3, 3))
        np.add.at(table, (dealt, predicted), 1)
        right.append((dealt == predicted).sum())
        related.append(stats.chi2_contingency(table, correction=False).statistic)
        ordered.append(abs(np.corrcoef(stats.rankdata(dealt), stats.rankdata(predicted))[0, 1]))
    assert found["accuracy_p"] == pytest.approx(2 * np.mean(np.array(right) >= 60), abs=0.012)
    real = stats.chi2_contingency(HALF_BLIND, correction=False).statistic
    assert found["dependence_p"] == pytest.approx(np.mean(np.array(related) >= real - 1e-9), abs=0.005)
    assert found["dependence_p"] < 0.01  # published with the case: 0.005
    assert found["blind"] == pytest.approx(1 / 3) and found["rho"] is None
    scale = guessing.guessing(labels, said, [0, 1, 2])
    rho = stats.spearmanr(labels, predicted).statistic
    assert scale["rho"] == pytest.approx(rho)
    assert scale["dependence_p"] == pytest.approx(np.mean(np.array(ordered) >= rho - 1e-9), abs=0.005)


def test_a_scale_of_unequal_classes_is_tested_by_spearmans_rho():
    # Ranks by hand: 8 x 4.5, 20 x 18.5, 4 x 30.5, and so on; other steps between classes give another p.
    labels, predicted, said = from_table(np.array([[3, 4, 1], [2, 16, 2], [0, 1, 3]]))
    draw, rho = np.random.default_rng(6), stats.spearmanr(labels, predicted).statistic
    dealt = [abs(stats.spearmanr(draw.permutation(labels), predicted).statistic) for _ in range(4000)]
    found = guessing.guessing(labels, said, [0, 1, 2])
    assert 0.005 < found["dependence_p"] < 0.1
    assert found["dependence_p"] == pytest.approx(np.mean(np.array(dealt) >= rho - 1e-9), abs=0.008)
    counts = np.bincount(labels)
    assert guessing._mean_ranks(counts, [0, 1, 2]).tolist() == [
        stats.rankdata(labels)[labels == label][0] for label in range(3)
    ]


def test_the_order_of_the_scale_is_that_of_the_classes():
    # high, low, middle: the same answers on the same scale, however the classes are numbered.
    labels, predicted, said = from_table(HALF_BLIND)
    index = np.array([1, 2, 0])  # of low, middle, high
    found = guessing.guessing(index[labels], say(index[predicted], 3), [1, 2, 0])
    assert found["rho"] == pytest.approx(stats.spearmanr(labels, predicted).statistic)
    # Against the scale, where the accuracy is what it was.
    away = guessing.guessing(labels, say(2 - predicted, 3), [0, 1, 2])
    assert away["rho"] == pytest.approx(-found["rho"]) and away["dependence_p"] < 0.01


def test_answers_blind_to_the_picture_are_found_in_as_many_studies_as_the_level_allows():
    # 90 % of the images are of one class, and answers name it for 94 %: accuracy 0.85, where 1 / k is 0.5.
    draw, found = np.random.default_rng(6), []
    labels = np.repeat([0, 1], [270, 30])
    for _ in range(200):
        predicted = (draw.uniform(size=300) < 0.06).astype(int)
        found.append(guessing.guessing(labels, say(predicted, 2)))
    assert np.mean([one["blind"] for one in found]) == pytest.approx(0.852, abs=0.002)
    for key in ("accuracy_p", "dependence_p"):
        assert np.mean([one[key] <= 0.05 for one in found]) <= 0.08


@pytest.mark.parametrize("labels, predicted", [([0, 1] * 20, [1] * 40), ([1] * 40, [0, 1] * 20), ([0], [0])])
@pytest.mark.parametrize("order", [None, [1, 0]])
def test_where_nothing_varies_nothing_is_shown(labels, predicted, order):
    found = guessing.guessing(labels, say(predicted, 2), order)
    assert found["accuracy_p"] == found["dependence_p"] == 1
    assert found["rho"] is None


def test_p_goes_below_what_so_many_deals_can_show_by_a_bound_that_holds():
    labels = np.arange(90) % 9
    found = guessing.guessing(labels, say(labels, 9))
    # m = 10, t = 80: 2 exp(-6400 / 200)
    assert found["accuracy_p"] == pytest.approx(2 * np.exp(-32))
    assert found["dependence_p"] == 1 / 10_000
    # Where the deals show more than the bound, they count: 18 right, t = 8: 2 exp(-64 / 56) = 0.64.
    predicted = np.where(np.arange(90) < 18, labels, (labels + 1) % 9)
    assert 0.001 < guessing.guessing(labels, say(predicted, 9))["accuracy_p"] < 0.05


def test_many_classes_are_dealt_less_often():
    labels = np.arange(404) % 101
    assert guessing.guessing(labels, say(labels, 101))["deals"] == 1_999
    assert guessing.guessing(labels[:300] % 100, say(labels[:300] % 100, 100))["deals"] == 9_999


def test_images_without_an_answer_are_wrong_and_in_no_dependence():
    labels, _, said = from_table([[20, 5], [5, 20]])
    some = np.concatenate([said, np.full((50, 2), np.nan)])
    more = np.concatenate([labels, np.arange(50) % 2])
    found, whole = guessing.guessing(more, some), guessing.guessing(labels, said)
    assert found["dependence_p"] == whole["dependence_p"]
    assert found["blind"] == pytest.approx((50 * 25 + 50 * 25) / 100**2)


def test_entropy_by_hand():
    # Shares 1/2, 1/4, 1/4 have 1.5 bits; four classes alike have 2.
    found = metrics.constant_answers([0, 1, 2, 3] * 2, say([2, 2, 2, 2, 0, 0, 1, 1], 4))
    assert found["entropy"] == pytest.approx(1.5)
    assert found["entropy_of_labels"] == pytest.approx(2)
    assert (found["most_frequent"], found["most_frequent_share"]) == (2, 0.5)
    assert metrics.constant_answers([0, 1], say([1, 1], 2))["entropy"] == 0


# --- Ordered classes


def test_scale_is_by_number_where_all_names_are_numbers():
    assert scale.read_scale(["10", "-1", "2.5"]) == {
        "unit": "label",
        "values": [10, -1, 2.5],
        "order": [1, 2, 0],
    }
    assert scale.read_scale(["low", "2", "high"]) == {
        "unit": "steps",
        "values": [0, 1, 2],
        "order": [0, 1, 2],
    }


def test_quadratic_kappa_by_hand():
    # Rows the true place: [3 1 0], [1 2 1], [0 0 2]; sums of rows 4 4 2, of columns 4 3 3. Squared steps:
    # 3 observed; expected (4 (3 + 4*3) + 4 (4 + 3) + 2 (4*4 + 3)) / 10 = 12.6. Kappa = 1 - 3 / 12.6.
    labels = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    predicted = [0, 0, 0, 1, 0, 1, 1, 2, 2, 2]
    found = scale.ordered(labels, say(predicted, 3), ["low", "middle", "high"])
    assert found["quadratic_kappa"]["value"] == pytest.approx(1 - 3 / 12.6)
    assert found["mean_absolute_error"]["value"] == pytest.approx(0.3)
    assert found["within_one"]["value"] == 1
    assert found["unit"] == "steps"


def test_quadratic_kappa_in_closed_form_is_scikit_learns():
    draw = np.random.default_rng(5)
    for _ in range(20):
        x, y = draw.integers(0, 7, (2, 50))
        expected = cohen_kappa_score(x, y, weights="quadratic", labels=np.arange(7))
        assert scale.quadratic_kappa(x, y) == pytest.approx(expected)


def test_spearman_is_the_published_one():
    # IQ and hours of television, Wikipedia "Spearman's rank correlation coefficient": -29/165
    iq = np.array([106, 100, 86, 101, 99, 103, 97, 113, 112, 110]).argsort().argsort()
    hours = np.array([7, 27, 2, 50, 28, 29, 20, 12, 6, 17]).argsort().argsort()
    found = scale.ordered(iq, say(hours, 10), list("abcdefghij"))
    assert found["spearman"]["value"] == pytest.approx(-29 / 165)


def test_spearman_with_ties_by_hand():
    # Ranks 1.5 1.5 3.5 3.5 and 1 3 3 3: covariance 2, sums of squares 4 and 3
    found = scale.ordered([0, 0, 1, 1], say([0, 1, 1, 1], 2), ["a", "b"])
    assert found["spearman"]["value"] == pytest.approx(2 / math.sqrt(12))


def test_numbers_count_in_their_own_units_and_order():
    # The config lists 10, 1, 2. True 1, 2, 10, 10; predicted 2, 1, 10, 1: off by 1, 1, 0, 9; places off by
    # 1, 1, 0, 2.
    found = scale.ordered([1, 2, 0, 0], say([2, 1, 0, 1], 3), ["10", "1", "2"])
    assert (found["unit"], found["order"]) == ("label", [1, 2, 0])
    assert found["mean_absolute_error"]["value"] == pytest.approx(11 / 4)
    assert found["within_one"]["value"] == 0.75
    # Places: true 0 1 2 2, predicted 1 0 2 0; squares 1 + 1 + 0 + 4 = 6; expected
    # (1*(1 + 4) + 1*(2 + 1) + 2*(2*4 + 1)) / 4 = 26 / 4
    assert found["quadratic_kappa"]["value"] == pytest.approx(1 - 6 / 6.5)


def test_names_in_order_count_in_steps():
    found = scale.ordered([0, 1, 2, 3], say([0, 2, 0, 0], 4), ["poor", "fair", "good", "great"])
    assert found["mean_absolute_error"]["value"] == (0 + 1 + 2 + 3) / 4
    assert found["within_one"]["value"] == 0.5


def test_bootstrap_interval_of_a_share_is_the_binomial_one():
    # 540 of 600 resampled is binomial(600, 0.9).
    predicted = np.zeros(600, int)
    predicted[540:] = 2
    found = scale.ordered(np.zeros(600, int), say(predicted, 3), ["a", "b", "c"])
    expected = binom.ppf([0.025, 0.975], 600, 0.9) / 600
    assert found["within_one"]["value"] == 0.9
    assert found["within_one"]["interval"] == pytest.approx(expected, abs=2 / 600)
    # The error is 2 where the share is 0.
    assert found["mean_absolute_error"]["interval"] == pytest.approx(2 * (1 - expected[::-1]), abs=4 / 600)
    assert found["resamples"] == 2000


@pytest.mark.parametrize("n", [1, 2])
def test_there_is_no_interval_for_two_images(n):
    assert scale.bootstrap_interval(np.mean, np.arange(n, dtype=float)) is None
    found = scale.ordered([0, 1][:n], say([0, 2][:n], 3), ["1", "2", "3"])
    assert found["mean_absolute_error"]["interval"] is None
    assert scale.bootstrap_interval(np.mean, np.arange(3.0)) == [0, 2]


def test_bootstrap_interval_of_rho_is_near_fishers():
    # tanh(atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3))): Bonett & Wright (2000), Psychometrika 65
    draw = np.random.default_rng(6)
    x = draw.normal(size=600)
    y = 0.6 * x + 0.8 * draw.normal(size=600)
    places = [np.searchsorted(np.quantile(v, np.arange(1, 20) / 20), v) for v in (x, y)]
    found = scale.ordered(places[0], say(places[1], 20), [str(i) for i in range(20)])["spearman"]
    rho = found["value"]
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / 597)
    expected = [math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)]
    assert found["interval"] == pytest.approx(expected, abs=0.015)


def test_bootstrap_is_the_same_every_time():
    draw = np.random.default_rng(7)
    labels, predicted = draw.integers(0, 5, (2, 300))
    found = [scale.ordered(labels, say(predicted, 5), list("abcde")) for _ in range(2)]
    assert found[0] == found[1]


def test_a_constant_prediction_has_no_rho():
    found = scale.ordered([0, 1, 2, 1], say([1, 1, 1, 1], 3), ["1", "2", "3"])
    assert found["spearman"] == {"value": None, "interval": None}
    assert found["quadratic_kappa"]["value"] == pytest.approx(0)  # as good as its own shares by chance
    assert found["mean_absolute_error"]["value"] == 0.5


def test_one_class_alone_has_neither_kappa_nor_rho():
    found = scale.ordered([1, 1, 1], say([1, 1, 1], 3), ["1", "2", "3"])
    assert found["quadratic_kappa"] == found["spearman"] == {"value": None, "interval": None}
    assert found["mean_absolute_error"] == {"value": 0, "interval": [0, 0]}


def test_a_nearly_constant_prediction_has_rho_without_an_interval():
    # The one other answer is missing from (9/10)^10 = 35 % of the resamples.
    found = scale.ordered(np.arange(10) % 3, say([0] * 9 + [2], 3), ["1", "2", "3"])
    assert found["spearman"]["value"] is not None
    assert found["spearman"]["interval"] is None


# --- Where it goes wrong


def test_most_confused_pairs_by_hand():
    confusion = [[5, 3, 0], [2, 0, 0], [2, 1, 97]]
    assert metrics.most_confused(confusion, ["<a>", "b", "c"]) == [
        {"true": "<a>", "predicted": "b", "count": 3, "share": 3 / 8},
        {"true": "b", "predicted": "<a>", "count": 2, "share": 1.0},
        {"true": "c", "predicted": "<a>", "count": 2, "share": 0.02},
        {"true": "c", "predicted": "b", "count": 1, "share": 0.01},
    ]
    # The largest count last, and of equal counts the larger share, not the class that comes first.
    last = [[90, 1, 2], [2, 8, 0], [4, 3, 9]]
    assert [
        (row["true"], row["predicted"], row["count"]) for row in metrics.most_confused(last, list("abc"))
    ] == [("c", "a", 4), ("c", "b", 3), ("b", "a", 2), ("a", "c", 2), ("a", "b", 1)]
    assert len(metrics.most_confused(confusion, ["a", "b", "c"], limit=2)) == 2
    assert metrics.most_confused([[3, 0], [0, 0]], ["a", "b"]) == []
    with pytest.raises(ValueError):
        metrics.most_confused(confusion, ["a", "b"])


def test_most_confident_mistakes_by_hand():
    probabilities = say([1, 0, 1, 1, 0], 2, np.array([0.8, 0.99, 0.9, 0.8, 0.7]))
    found = metrics.most_confident_mistakes([0, 0, 0, 0, 1], probabilities)  # image 1 is right
    assert [(row["index"], row["confidence"]) for row in found] == [(2, 0.9), (0, 0.8), (3, 0.8), (4, 0.7)]
    assert found[0] == {"index": 2, "true": 0, "predicted": 1, "confidence": 0.9}
    assert [row["index"] for row in metrics.most_confident_mistakes([0] * 5, probabilities, 2)] == [2, 0]
    assert metrics.most_confident_mistakes([1, 0, 1, 1, 0], probabilities) == []
    # Ties by index however many: 1000 mistakes, every other one a little surer.
    found = metrics.most_confident_mistakes([0] * 1000, say([1] * 1000, 2, np.tile([0.8, 0.9], 500)), 502)
    assert [row["index"] for row in found] == [*range(1, 1000, 2), 0, 2]


# --- All of it, at the edges


def measure(labels, probabilities, classes):
    """Return what every function says of a model, as JSON."""
    functions = (
        metrics.accuracy,
        metrics.class_averages,
        metrics.log_loss,
        metrics.top_2_accuracy,
        metrics.calibration,
        metrics.constant_answers,
        guessing.guessing,
        metrics.most_confident_mistakes,
    )
    found = {function.__name__: function(labels, probabilities) for function in functions}
    found["ordered"] = scale.ordered(labels, probabilities, classes)
    return strict_json(found)


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_right(classes, dtype):
    labels = np.arange(60) % classes
    found = measure(labels, say(labels, classes).astype(dtype), [str(i) for i in range(classes)])
    assert found["accuracy"]["interval"][1] == 1
    assert found["class_averages"] == {"balanced_accuracy": 1, "macro_f1": 1}
    assert found["log_loss"] == pytest.approx(0, abs=1e-12)
    assert found["calibration"]["expected_calibration_error"] == 0
    assert found["guessing"]["accuracy_p"] <= 0.0002 and found["guessing"]["rho"] is None
    assert found["most_confident_mistakes"] == []
    assert found["ordered"]["mean_absolute_error"] == {"value": 0, "interval": [0, 0]}
    assert found["ordered"]["quadratic_kappa"] == {"value": 1, "interval": [1, 1]}
    assert found["ordered"]["spearman"]["value"] == pytest.approx(1)
    assert found["top_2_accuracy"] == (None if classes == 2 else 1)


@pytest.mark.parametrize("classes", [2, 6])
def test_all_wrong(classes):
    labels = np.arange(60) % classes
    found = measure(labels, say((labels + 1) % classes, classes), [str(i) for i in range(classes)])
    assert found["accuracy"]["accuracy"] == found["accuracy"]["interval"][0] == 0
    assert found["class_averages"] == {"balanced_accuracy": 0, "macro_f1": 0}
    assert found["calibration"]["expected_calibration_error"] == 1
    assert found["guessing"]["accuracy_p"] <= 0.0002
    assert len(found["most_confident_mistakes"]) == 12


@pytest.mark.parametrize("predicted", [0, 1])
def test_one_image(predicted):
    found = measure([1], say([predicted], 6), list("abcdef"))
    assert found["accuracy"]["accuracy"] == found["class_averages"]["balanced_accuracy"] == predicted
    assert found["ordered"]["mean_absolute_error"] == {"value": 1 - predicted, "interval": None}
    assert found["ordered"]["spearman"]["value"] is None
    assert found["constant_answers"]["entropy"] == 0


def test_a_class_missing_from_the_test_split():
    # Class 2 is never true and once predicted.
    found = measure([0, 0, 1, 1], say([0, 2, 1, 1], 3), ["a", "b", "c"])
    assert found["accuracy"]["chance"] == pytest.approx(1 / 3)
    assert found["class_averages"]["balanced_accuracy"] == 0.75
    assert found["class_averages"]["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_model_has_no_answers(bad):
    found = measure([0, 1, 2, 0], np.full((4, 6), bad), list("abcdef"))
    assert found["accuracy"]["unanswered"] == 4
    assert found["accuracy"]["accuracy"] == 0  # not the 0.5 of class 0, which argmax makes of NaN
    assert found["log_loss"] is None
    assert found["top_2_accuracy"] == 0
    assert found["calibration"]["images"] == 0
    assert found["calibration"]["expected_calibration_error"] is None
    assert found["constant_answers"]["verdict"] == "no answers"
    assert found["constant_answers"]["entropy"] is None
    assert found["most_confident_mistakes"] == []
    assert found["ordered"]["images"] == 0
    for figure in ("mean_absolute_error", "within_one", "quadratic_kappa", "spearman"):
        assert found["ordered"][figure] == {"value": None, "interval": None}


def test_a_model_that_diverges_on_some_images():
    probabilities = say([0, 1, 2, 3, 4], 5, 0.9)
    probabilities[0, 3] = np.nan
    found = measure([0, 1, 2, 3, 4], probabilities, list("12345"))
    assert (found["accuracy"]["correct"], found["accuracy"]["unanswered"]) == (4, 1)
    assert found["class_averages"]["balanced_accuracy"] == 0.8
    assert found["top_2_accuracy"] == 0.8
    assert found["log_loss"] is None
    assert found["calibration"]["images"] == found["ordered"]["images"] == 4
    assert found["constant_answers"]["entropy"] == pytest.approx(2)


@pytest.mark.parametrize(
    "labels, probabilities",
    [
        ([], np.zeros((0, 2))),
        ([0], [[1.0]]),
        ([0, 1], [[0.5, 0.5]]),
        ([2], [[0.5, 0.5]]),
        ([-1], [[0.5, 0.5]]),
        ([0.0], [[0.5, 0.5]]),
        ([0], [[0.5, 0.4]]),
        ([0], [[1.5, -0.5]]),
    ],
)
def test_what_is_no_prediction_is_an_error(labels, probabilities):
    with pytest.raises(ValueError):
        metrics.accuracy(labels, probabilities)


def test_float16_probabilities_are_taken():
    probabilities = np.random.default_rng(17).dirichlet(np.ones(30), 200).astype(np.float16)
    measure(np.arange(200) % 30, probabilities, [str(i) for i in range(30)])


def test_one_name_too_few_is_an_error():
    with pytest.raises(ValueError):
        scale.ordered([0, 1], say([0, 1], 3), ["a", "b"])


@pytest.mark.parametrize(("unanswered", "verdict"), [(18, None), (19, "no answers")])
def test_no_answers_are_95_percent_or_more(unanswered, verdict):
    probabilities = np.array([[0.8, 0.2], [0.2, 0.8]] * 10)
    probabilities[:unanswered] = np.nan
    assert metrics.constant_answers(np.array([0, 1] * 10), probabilities)["verdict"] == verdict
