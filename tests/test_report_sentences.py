"""Sentences of the report in the corners where they would say more than the numbers hold."""

import numpy as np
import pytest
from report_builder import VEGETABLES, Made, answers, run, saying

LABELS = [index for index in range(4) for _ in range(25)]
GOOD, WORSE = answers(LABELS, 4, wrong=range(0, 100, 20)), answers(LABELS, 4, wrong=range(0, 100, 2))


def report(folder, *runs, **more):
    return Made(folder, VEGETABLES, LABELS, runs, **more).write()


class TestWinner:
    def test_the_best_of_two_is_better_than_the_other_and_nothing_is_corrected(self, tmp_path):
        made = report(tmp_path, run("good", GOOD), run("worse", WORSE))
        assert "good is the best model: it is better than the other one" in made.text
        assert "(exact McNemar test, level 0.05)" in made.text
        assert "Holm" not in made.text

    def test_the_best_so_far_is_called_that(self, tmp_path):
        made = report(tmp_path, run("good", GOOD), run("worse", WORSE), run("late", None))
        assert "good is the best model of those that are finished: it is better" in made.text

    def test_models_beyond_the_26th_are_of_these_models_too(self, tmp_path):
        runs = [run(f"model_{number}", GOOD) for number in range(27)]
        made = report(tmp_path, *runs, run("last", WORSE))
        assert made.numbers["comparison"]["groups"] == [[f"model_{number}" for number in range(26)]]
        assert "No winner: 100 images cannot separate the best of these models." in made.text

    def test_equal_models_are_not_said_to_be_equal_elsewhere(self, tmp_path):
        runs = [run("one", answers(LABELS, 4, [1, 2])), run("two", answers(LABELS, 4, [3, 4]))]
        made = report(tmp_path, *runs)
        assert (
            "one and two are right equally often on these images, which therefore favour neither."
            in made.text
        )

    def test_a_single_model_has_no_letter(self, tmp_path):
        made = report(tmp_path, run("only", GOOD))
        assert "share a letter" not in made.text
        assert "group" not in made.page.table("test accuracy")[0]


class TestGuessing:
    @pytest.mark.parametrize(("others", "words"), [(0, "always"), (3, "nearly always")])
    def test_always_is_said_of_all_images_only(self, tmp_path, others, words):
        said = [2] * 100
        said[:others] = [1] * others  # wrong ones, of the first class
        made = report(tmp_path, run("stuck", saying(said, 4)))
        assert f"stuck {words} predicts one class: Potato for {100 - others} % of the images" in made.text

    def test_what_may_be_worse_than_guessing_is_not_said_to_have_learned(self, tmp_path):
        # 15 of 100 right where guessing gives 25: p is about 0.02, and among a dozen models that is no finding.
        said = (np.array(LABELS) + 1 + np.arange(100) % 3) % 4
        hits = np.linspace(0, 99, 15).round().astype(int)
        said[hits] = np.array(LABELS)[hits]
        others = [run(f"stuck_{number}", saying([2] * 100, 4)) for number in range(11)]
        made = report(tmp_path, run("odd", saying(said, 4)), *others)
        found = made.numbers["runs"][0]["test"]
        assert found["accuracy"] == 0.15 and found["guessing"]["accuracy_p"] < 0.05
        assert "odd may be worse than guessing: p = 0.0" in made.text
        assert "neither is significant" in made.text


class TestData:
    def test_only_damaged_images_that_were_held_out_were_replaced(self, tmp_path):
        damaged = [("a.png", "Bean", "train", "cut off"), ("b.png", "Bean", "train", "cut off")]
        made = report(tmp_path / "train", run("only", GOOD), corrupt=damaged)
        assert "2 files could not be decoded completely and are not used." in made.text
        assert "of the draw" not in made.text
        damaged += [("c.png", "Bean", "test", "the decoder warns: extraneous bytes")]
        made = report(tmp_path / "test", run("only", GOOD), corrupt=damaged)
        assert (
            "3 files could not be decoded completely, or with a warning of the decoder only, and are not"
            in made.text
        )
        assert "The one of validation and test was replaced by the next of the draw." in made.text
        assert "Nothing was left out but the damaged files." in made.text

    def test_what_is_so_for_some_models_is_not_said_of_all(self, tmp_path):
        made = report(tmp_path, run("only", GOOD))
        assert (
            "multiplies the loss of a class’s training images, in models with class_weights: balanced."
            in made.text
        )
        assert "with the class weights, dropout and augmentation that a model has" in made.text
        assert (
            "Where that was chosen among several, by these very images, it is a little too good." in made.text
        )


class TestPrecision:
    def test_why_auto_took_its_number_format(self, tmp_path):
        amd = "the processor is an AMD with avx512_bf16"
        made = report(tmp_path, run("good", GOOD, precision_reason=amd), run("worse", WORSE))
        assert f"The number format that auto took follows from the hardware: {amd}." in made.text

    def test_where_it_took_several_how_many_training_runs_each_is_for(self, tmp_path):
        old, new = "the processor is <b>old</b>", "the GPU is new"
        runs = [
            run("one", GOOD, precision_reason=old),
            run("two", GOOD, precision_reason=new),
            run("three", WORSE, precision_reason=new),
        ]
        made = report(tmp_path, *runs)
        assert (
            "the GPU is new (2 of 3 training runs); the processor is <b>old</b> (1 of 3 training runs)."
            in made.text
        )

    def test_a_gpu_is_named(self, tmp_path):
        made = report(tmp_path, run("one", GOOD, device="a GPU"), run("two", WORSE, device="the processor"))
        assert [row["threads"] for row in made.page.table("threads")] == ["2, on a GPU", "2"]

    def test_nothing_where_the_config_names_it(self, tmp_path):
        named = run("good", GOOD, precision="float32", precision_reason="set in the config")
        made = report(tmp_path, named)
        assert "follows from the hardware" not in made.text
