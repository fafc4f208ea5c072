"""The report on more models than a page can tell in detail: what it shows, what it says of the rest, what it costs."""

import time
from itertools import combinations

import numpy as np
import pytest
from report_builder import LABELS, VEGETABLES, Made, answers, embedded, files_below, problems, run, saying

from baton.results import comparison, groups
from report.collect import DETAILED as SHOWN

WRONG = np.random.default_rng(4).permutation(100)  # the images in the order in which models fail at them
TRAINED = 30  # models that learned something: number n is wrong on 2 n images and one of its own
STUCK, BROKEN, LATE = 4, 2, 5


def name_of(number):
    return f"swept_dense_64_kernels_{number}_l2_0p0001"


def make_many(folder, trained=TRAINED, stuck=STUCK, broken=BROKEN, late=LATE):
    """Return a study of many models: the later in the config the better, then those that failed."""
    runs = []
    for number in range(trained, 0, -1):
        probabilities = answers(LABELS, 4, {*WRONG[: 2 * number], WRONG[99 - number]})
        runs.append(run(name_of(number), probabilities, parameters=1000 * number * number))
    runs += [run(f"stuck_{number}", saying(np.zeros(100, int), 4)) for number in range(stuck)]
    runs += [run(f"broken_{number}", np.full((100, 4), np.nan), loss=np.nan) for number in range(broken)]
    runs += [run(f"late_{number}", None) for number in range(late)]
    return Made(folder, VEGETABLES, LABELS, runs)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return make_many(tmp_path_factory.mktemp("many")).write()


@pytest.fixture(scope="module")
def several_seeds(tmp_path_factory):
    """Twenty models, each with two seeds."""
    draw = np.random.default_rng(8)
    runs = []
    for number in range(1, 21):
        for seed in (1, 2):
            wrong = draw.choice(100, 2 * number, replace=False)
            probabilities = answers(LABELS, 4, wrong)
            runs.append(run(f"{name_of(number)}_seed_{seed}", probabilities, name_of(number), seed))
    return Made(tmp_path_factory.mktemp("seeds"), VEGETABLES, LABELS, runs).write()


BEST = [name_of(number) for number in range(1, SHOWN + 1)]
PAIRS = 36 * 35 // 2


class TestTables:
    def test_every_finished_model_is_in_the_tables_the_best_first(self, many):
        trained = [name_of(number) for number in range(1, TRAINED + 1)]
        for heading in ("test accuracy", "parameters"):
            names = [row["model"] for row in many.page.table(heading)]
            assert names[:TRAINED] == trained and len(names) == 36
        rows = many.page.table("test accuracy")
        assert [row["place"] for row in rows] == [str(number) for number in range(1, 37)]
        assert [row["test accuracy"] for row in rows[:3]] == ["0.970", "0.950", "0.930"]

    def test_which_differ_from_the_first_is_what_the_pairs_say(self, many):
        rows = many.page.table("differs from the first")
        found = {row["model"]: row["differs from the first"] for row in rows}
        apart = {
            pair["models"][1]: "yes" if pair["different"] else "no"
            for pair in many.numbers["comparison"]["pairs"]
            if pair["models"][0] == BEST[0]
        }
        assert found == {BEST[0]: "–"} | apart
        assert len(apart) == 35 and set(apart.values()) == {"yes", "no"}
        letters = [row["group"] for row in many.page.table("group")]
        assert all(letters[:26]) and set(letters[26:]) == {"–"}

    def test_the_files_hold_all_and_in_the_order_of_the_config(self, many):
        assert [row["name"] for row in many.models[:2]] == [name_of(TRAINED), name_of(TRAINED - 1)]
        assert len(many.models) == 36 and len(many.pairs) == PAIRS
        assert [one["name"] for one in many.numbers["runs"]] == [one["name"] for one in many.runs]
        assert len(many.numbers["comparison"]["pairs"]) == PAIRS
        assert problems(many.numbers) == []

    def test_the_settings_that_a_sweep_varies_are_in_models_csv(self, many):
        row = many.models[0]
        assert (row["l2"], row["dropout"], row["learning_rate"]) == ("0.0001", "0.5", "0.001")
        assert (row["batch_size"], row["initializer"], row["patience"]) == ("32", "normal", "")


class TestDetail:
    """What the page tells of the most accurate only, and where it says that the rest is."""

    def test_pairs_of_the_shown_with_p_corrected_for_all(self, many):
        rows = many.page.table("corrected p")
        assert {(row["first"], row["second"]) for row in rows} == set(combinations(BEST, 2))
        pairs = {tuple(pair["models"]): pair for pair in many.numbers["comparison"]["pairs"]}
        everyone, _ = comparison.holm([pair["p"] for pair in pairs.values()])
        corrected = dict(zip(pairs, everyone, strict=True))
        among_shown, _ = comparison.holm([pairs[pair]["p"] for pair in combinations(BEST, 2)])
        differing = 0
        for row, alone in zip(rows, among_shown, strict=True):
            p = corrected[row["first"], row["second"]]
            assert row["corrected p"] == ("< 0.0001" if p < 0.0001 else f"{p:.4f}")
            differing += abs(p - alone) > 0.01
        assert differing > 5  # it matters for how many it is corrected
        assert f"corrected for {PAIRS} pairs (Holm)" in many.text
        assert f"all {PAIRS} pairs are in results/report/pairs.csv" in many.text

    def test_curves_and_confusion_of_the_shown(self, many):
        curves = [alt for alt in many.page.attributes("img", "alt") if alt.startswith("Loss and accuracy of")]
        assert [alt.split()[4].rstrip(",") for alt in curves] == BEST
        assert len(many.page.confusions()) == SHOWN
        # The first is wrong on three images; rows are true classes.
        right = [int(row[place + 1]) for place, row in enumerate(many.page.confusions()[0][1:])]
        assert sum(right) == 97
        assert len(embedded(many.page, "svg+xml")) == SHOWN + 3
        assert files_below(many / "results/report") == {
            "models.csv",
            "pairs.csv",
            "table.md",
            "table.tex",
        } | {
            f"{name}.{kind}"
            for name in (
                "accuracy",
                "accuracy_parameters",
                "reliability",
                *(f"confusion/{name}" for name in BEST),
            )
            for kind in ("svg", "png")
        }

    def test_it_says_where_the_others_are(self, many):
        assert "All 36 models, the most accurate first" in many.text
        assert "shows the 12 most accurate in detail" in many.text
        assert "all are in results/report/models.csv and results/report.json" in many.text
        for rest in (
            "the bins of all are in results/report.json",
            "those of all are results/models/MODEL/seed_N/curves.svg",
            "the tables of all are in results/report.json",
        ):
            assert f"Shown for the 12 most accurate models; {rest}." in many.text

    def test_it_says_that_the_highest_is_partly_luck(self, many):
        assert "The highest of so many accuracies is partly luck" in many.text

    def test_all_seeds_of_a_shown_model_are_shown(self, several_seeds):
        ranked = [row["model"] for row in several_seeds.numbers["comparison"]["models"]]
        names = [
            title for title in several_seeds.page.attributes("div", "aria-label") if "Confusion" in title
        ]
        assert names == [
            f"Confusion matrix of {model}, seed {seed}" for model in ranked[:SHOWN] for seed in (1, 2)
        ]
        places = [(row["place"], row["model"]) for row in several_seeds.page.table("test accuracy")]
        assert places == [(str(place), model) for place, model in enumerate(ranked, 1) for _ in (1, 2)]
        assert [row["model"] for row in several_seeds.page.table("mean accuracy")] == ranked
        assert len(several_seeds.page.table("corrected p")) == SHOWN * (SHOWN - 1) // 2
        assert problems(several_seeds.numbers) == []


class TestFindings:
    def test_what_went_wrong_is_counted_not_listed(self, many):
        assert (
            "4 of 36 training runs predict one class always, or for 95 % of the images and more" in many.text
        )
        assert "Among them stuck_0, stuck_1, stuck_2; all are in results/report/models.csv" in many.text
        assert "2 of 36 training runs diverged" in many.text and "They are broken_0, broken_1." in many.text
        assert "5 of 41 training runs are not finished" in many.text and "late_3" not in many.text
        verdicts = [row["verdict"] for row in many.models]
        assert verdicts.count("constant") == STUCK and verdicts.count("no answers") == BROKEN

    def test_how_many_cannot_be_told_from_the_first(self, many):
        alike = [row for row in many.page.table("test accuracy") if row["differs from the first"] == "no"]
        assert 0 < len(alike) < 35
        said = f"{len(alike)} of the other models cannot be distinguished from {BEST[0]}, the most accurate. That is no proof"
        assert said in many.text

    def test_of_several_seeds_it_says_what_the_pairs_are_tested_by(self, several_seeds):
        assert several_seeds.numbers["comparison"]["noise"]["degrees_of_freedom"] == 19
        assert "t-test of the mean accuracies over all seeds" in several_seeds.text
        assert "corrected for 190 pairs (Holm)" in several_seeds.text

    def test_when_few_are_finished_it_is_still_a_study_of_many(self, tmp_path):
        made = make_many(tmp_path, trained=2, stuck=0, broken=0, late=20).write("results/report_now")
        assert "20 of 22 training runs are not finished" in made.text and "late_1" not in made.text
        assert [row["place"] for row in made.page.table("test accuracy")] == ["1", "2"]
        assert "shows each in detail" in made.text and "most accurate models;" not in made.text
        assert "results/report_now/models.csv" in made.text and "results/report/" not in made.text

    @pytest.mark.parametrize("trained", [0, 1])
    def test_when_one_or_none_is_finished(self, trained, tmp_path):
        made = make_many(tmp_path, trained, stuck=0, broken=0, late=20).write()
        assert problems(made.numbers) == []
        ids = {attributes["id"] for _, attributes in made.page.elements if "id" in attributes}
        assert {target[1:] for target in made.page.attributes("a", "href")} <= ids


class TestBorder:
    """As many models as are told in detail are told as before; one more, and the page is arranged anew."""

    def test_twelve(self, tmp_path):
        made = make_many(tmp_path, SHOWN, 0, 0, 0).write()
        assert [row["model"] for row in made.page.table("test accuracy")] == BEST[::-1]  # of the config
        assert "In the order of the config" in made.text and "most accurate models;" not in made.text
        assert not made.page.has_table("place") and "partly luck" not in made.text
        assert len(made.page.confusions()) == SHOWN and len(made.page.table("corrected p")) == 66

    def test_thirteen(self, tmp_path):
        made = make_many(tmp_path, SHOWN + 1, 0, 0, 0).write()
        assert [row["model"] for row in made.page.table("test accuracy")] == [*BEST, name_of(SHOWN + 1)]
        assert len(made.page.confusions()) == SHOWN and len(made.page.table("corrected p")) == 66
        assert "all 78 pairs are in results/report/pairs.csv" in made.text


def plant(models, images, seed=1):
    """Return {model: (1, images) right or not} of models of all accuracies, with images hard for all of them."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(size=images)
    return {
        f"model_{number}": (skill > hard + 0.7 * draw.normal(size=images))[None]
        for number, skill in enumerate(draw.uniform(-1, 2, models))
    }


class TestComparison:
    def test_the_26_most_accurate_are_in_groups(self):
        """By brute force: two of them share a group exactly where they do not differ."""
        found = comparison.compare(plant(150, 4500))
        ranked = [row["model"] for row in found["models"]]
        assert sorted({model for group in found["groups"] for model in group}) == sorted(ranked[:26])
        assert [row["groups"] for row in found["models"][26:]] == [[]] * 124
        assert all(row["groups"] for row in found["models"][:26])
        assert 1 < len(found["groups"]) <= 26
        numbers = {row["model"]: set(row["groups"]) for row in found["models"]}
        for pair in found["pairs"]:
            one, other = pair["models"]
            if {one, other} <= set(ranked[:26]):
                assert bool(numbers[one] & numbers[other]) is not pair["different"]

    def test_more_groups_than_letters_are_none(self):
        """13 couples, each of which differs (16 images to none) and from no other model (216 to 200): 2^13 groups."""
        right = np.ones((26, 13 * 216), bool)
        for couple in range(13):
            right[2 * couple : 2 * couple + 2, 216 * couple : 216 * couple + 200] = False
            right[2 * couple + 1, 216 * couple + 200 : 216 * couple + 216] = False
        found = comparison.compare({f"model_{number}": row[None] for number, row in enumerate(right)})
        assert sum(pair["different"] for pair in found["pairs"]) == 13
        assert found["groups"] is None and {row["groups"] for row in found["models"]} == {None}

    def test_300_models_take_no_more_than_a_minute(self):
        correct = plant(300, 450)
        begun = time.monotonic()
        found = comparison.compare(correct)
        assert time.monotonic() - begun < 60  # it takes 2; finding every group took hours
        assert len(found["pairs"]) == 44_850
        means = {model: float(rows.mean()) for model, rows in correct.items()}
        assert [row["accuracy"] for row in found["models"]] == sorted(means.values(), reverse=True)
        pair = found["pairs"][12_345]
        first, second = (correct[model][0] for model in pair["models"])
        b, c = int((first & ~second).sum()), int((second & ~first).sum())
        assert pair["p"] == comparison.exact_mcnemar(b, c)
        assert pair["difference"] == pytest.approx((b - c) / 450)

    def test_groups_are_counted_no_further_than_asked(self):
        names = [str(number) for number in range(600)]
        partners = list(
            zip(names[::2], names[1::2], strict=True)
        )  # each differs from its partner: 2^300 groups
        begun = time.monotonic()
        assert groups.group_models(names, partners, 26) is None
        assert time.monotonic() - begun < 30
        assert groups.group_models(names, [], 26) == [names]
        assert len(groups.group_models(names[:8], partners[:4], 16)) == 16
        assert groups.group_models(names[:8], partners[:4], 15) is None

    def test_the_best_of_many_is_named(self):
        right = np.arange(1000)
        correct = {f"model_{number}": (right < 500 + number)[None] for number in range(40)}
        correct["best"] = (right < 900)[None]
        assert comparison.compare(correct)["best"] == "best"


def test_the_page_of_many_is_small(many):
    assert len(many.html.encode()) < 1_000_000
