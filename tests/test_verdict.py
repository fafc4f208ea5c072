"""What is handed on of a study's outcome: the verdict, the terminal's last lines, tables, the methods section, model cards."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import REPOSITORY, Study, run_forked, save_images
from report_builder import HOSTILE, VEGETABLES, Made, answers, run, saying

from baton.markdown import escape_markdown
from baton.results import figures
from baton.study import answer
from evaluate import measure
from evaluation.card import write_card
from report.tables import escape_latex, write_latex, write_markdown

LABELS = [index for index in range(4) for _ in range(25)]
GOOD, WORSE = answers(LABELS, 4, wrong=range(0, 100, 20)), answers(LABELS, 4, wrong=range(0, 100, 2))
COIN = saying(np.tile(np.arange(4), 25), 4)  # right for 25 of 100


def report(folder, *runs, **more):
    return Made(folder, VEGETABLES, LABELS, runs, **more).write()


class TestVerdict:
    def test_it_is_the_first_that_is_read_and_the_figure_stands_beside_it(self, tmp_path):
        made = report(tmp_path / "My study", run("good", GOOD), run("worse", WORSE), run("coin", COIN))
        first = made.text.split("Question")[0]
        heading, verdict = (
            first.index("My study"),
            first.index("good is the best model: it is better than every other one"),
        )
        assert heading < verdict < first.index("3 training runs on 160 images")
        assert "2 of 3 training runs do better than guessing." in first
        assert "(exact McNemar test of every pair, Holm-corrected, level 0.05)" in first
        alternatives = made.page.attributes("img", "alt")
        assert alternatives[0].startswith("Test accuracy of each model with its 95 % interval")

    @pytest.mark.parametrize(
        ("runs", "said"),
        [
            ([run("a", GOOD), run("b", GOOD)], "Both training runs do better than guessing."),
            ([run("a", GOOD), run("b", COIN)], "1 of 2 training runs does better than guessing."),
            (
                [run("a", COIN), run("b", COIN)],
                "Neither of the two training runs is shown to do better than guessing.",
            ),
            ([run("a", GOOD)], "It does better than guessing."),
            ([run("a", COIN)], "It is not shown to do better than guessing."),
            (
                [run("a", answers(LABELS, 4, range(100)))],
                "It is not shown to do better than guessing. It is worse than guessing: check for swapped labels.",
            ),
            (
                [run("a", GOOD), run("b", np.full((100, 4), np.nan))],
                "1 of 2 training runs does better than guessing. One diverged.",
            ),
        ],
    )
    def test_how_many_do_better_than_guessing(self, tmp_path, runs, said):
        assert report(tmp_path, *runs).numbers["verdict"]["guessing"] == said

    def test_of_a_single_model_its_accuracy(self, tmp_path):
        verdict = report(tmp_path, run("only", GOOD)).numbers["verdict"]
        assert verdict["headline"] == "only is right about 0.950 of 100 test images."
        assert verdict["ground"] == verdict["outlook"] == ""

    def test_that_others_are_not_finished_is_said(self, tmp_path):
        late = run("late", None)
        none = report(tmp_path / "two", run("a", GOOD), run("b", GOOD), late).numbers["verdict"]
        assert none["headline"] == "No winner so far: 100 images cannot separate these models."
        one = report(tmp_path / "one", run("a", GOOD), late).numbers["verdict"]
        assert one["outlook"] == "Other training runs are not finished."

    def test_of_none(self, tmp_path):
        made = report(tmp_path, run("late", None))
        assert made.numbers["verdict"]["headline"] == "No training run is finished yet."
        assert 'id="methods"' not in made.html and 'id="findings"' in made.html

    def test_without_findings_there_is_no_such_heading(self, tmp_path):
        made = report(tmp_path, run("good", GOOD), run("worse", WORSE))
        assert "Findings" not in made.text


class TestAccuracyFigure:
    MODELS = [
        {"name": "one", "accuracy": 0.5, "seeds": [(0.4, 0.3, 0.5), (0.6, 0.5, 0.7)]},
        {"name": "two", "accuracy": 0.9, "seeds": [(0.9, 0.85, 0.93)]},
    ]

    def test_a_row_for_each_model_and_a_line_for_guessing(self):
        (axes,) = figures.draw_accuracies(self.MODELS, [(0.25, "guessing"), (0.4, "always")]).axes
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one", "two"]
        assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first model on top
        lines = {tuple(np.round(line.get_xdata(), 2)): line.get_ydata()[0] for line in axes.lines}
        assert {(0.25, 0.25), (0.4, 0.4)} <= set(lines)
        assert lines[0.3, 0.5] != lines[0.5, 0.7] and round(float(lines[0.85, 0.93])) == 1
        assert all(round(float(lines[place])) == 0 for place in ((0.4,), (0.6,), (0.5,)))
        assert axes.get_xlim()[0] < 0.25 and axes.get_xlim()[1] > 0.93

    def test_the_ceiling_is_a_line_in_its_band(self):
        ceiling = {"place": 0.95, "band": [0.92, 0.99], "what": "ceiling: about 0.95"}
        figure = figures.draw_accuracies(self.MODELS, [(0.25, "guessing")], ceiling)
        (axes,) = figure.axes
        assert (0.95, 0.95) in {tuple(np.round(line.get_xdata(), 2)) for line in axes.lines}
        (band,) = axes.patches
        assert [band.get_x(), band.get_x() + band.get_width()] == pytest.approx([0.92, 0.99])
        assert axes.get_xlim()[1] > 0.99
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["guessing", "ceiling: about 0.95"]
        (axes,) = figures.draw_accuracies(self.MODELS, [], ceiling | {"place": None}).axes
        assert 0.95 not in {round(float(line.get_xdata()[0]), 2) for line in axes.lines}


class TestLastLines:
    def write(self, folder, runs, **more):
        (folder / "results").mkdir()
        numbers = {"verdict": {"headline": "No winner.", "guessing": "All do."}, "runs": runs} | more
        (folder / "results/report.json").write_text(json.dumps(numbers))

    def test_verdict_accuracies_and_where_the_report_is(self, tmp_path):
        test = {"accuracy": 0.25, "interval": [0.125, 0.5]}
        self.write(
            tmp_path,
            [
                {"model": "one", "test": test},
                {"model": "longer", "test": test},
                {"model": "longer", "test": test | {"accuracy": 0.75}},
                {"model": "late"},
            ],
        )
        assert answer.describe_answer(str(tmp_path)) == [
            "",
            "No winner. All do.",
            "  one     0.250  (95 % interval 0.125 to 0.500)",
            "  longer  0.500  (mean of 2 seeds, 0.250 to 0.750)",
            f"Report: {tmp_path}/results/report.html",
        ]

    @pytest.mark.parametrize(
        ("share", "shown"),
        [(0.9504, "0.950"), (1.0, "1.000"), (0.0, "0.000"), (0.99971, "0.9997"), (0.00004, "0.00004")],
    )
    def test_what_is_nearly_all_is_not_all(self, share, shown):
        assert answer.show(share) == shown

    def test_of_many_the_best(self, tmp_path):
        tests = [{"accuracy": number / 100, "interval": [0, 1]} for number in range(20)]
        self.write(tmp_path, [{"model": f"m{place}", "test": test} for place, test in enumerate(tests)])
        lines = answer.describe_answer(str(tmp_path))
        assert [line.split()[0] for line in lines[2:14]] == [f"m{place}" for place in range(19, 7, -1)]
        assert lines[14] == "  and 8 more models, in results/report/models.csv"

    def test_a_report_of_an_earlier_version_says_nothing(self, tmp_path):
        assert answer.describe_answer(str(tmp_path)) == []
        self.write(tmp_path, [])
        numbers = json.loads((tmp_path / "results/report.json").read_text())
        del numbers["verdict"]
        (tmp_path / "results/report.json").write_text(json.dumps(numbers))
        assert answer.describe_answer(str(tmp_path)) == []

    def test_as_snakemake_ends(self, tmp_path):
        for label, colour in (("warm", "red"), ("cold", "blue")):
            save_images(tmp_path / "images" / label, colour, 12)
        net = {"name": "net", "kernels": 4, "kernel_size": 3, "dense": 8, "layers": 1}
        config = {
            "data": {"source": "class_folders", "images": "images"},
            "holdout": {"validation": 3, "test": 3},
            "images": {"size": 16},
            "training": {"epochs": 2, "batch_size": 8},
            "models": [net],
        }
        study = Study(tmp_path, config)
        trained = study.run("train_net").output
        assert "Report:" not in trained
        assert re.search(
            r"train/net/seed_1: epoch 1 of 2: val_accuracy [\d.]+, [\d.]+ s left \(loss [\d.]+, l2 [\d.]+, accuracy",
            trained,
        )
        assert re.search(r"epoch 2 of 2: val_accuracy [\d.]+ \(loss", trained)
        lines = study.run().output.rstrip().splitlines()
        accuracy = study.json("evaluation/net/seed_1/metrics.json")["accuracy"]
        assert lines[-1] == f"Report: {tmp_path}/results/report.html"
        assert lines[-2].startswith(f"  net  {accuracy:.3f}  (95 % interval ")
        assert lines[-3].startswith(f"net is right about {accuracy:.3f} of 6 test images. It ")
        # From another folder, as with --directory.
        again = run_forked(study.arguments(), tmp_path.parent)
        assert again.jobs() == {} and again.output.rstrip().splitlines()[-3:] == lines[-3:]
        assert "Report:" not in study.run("-n").output
        card = study.read("results/models/net/seed_1/model_card.md").decode()
        assert "0. cold\n1. warm\n" in card and "trained on 12 images and tested on 6 others" in card
        # Cut: how far each is, and the command that resumes.
        study.configure(
            config | {"training": {"epochs": 1_000_000, "batch_size": 8}, "session_minutes": 0.05}
        )
        cut = study.try_run("train_net")
        assert cut.code and "net: 2 of 1000000 epochs" in cut.output.replace("net: 3", "net: 2")
        assert "1 of 1 training runs are not done. To resume: snakemake " in cut.output.splitlines()[-1]
        assert "train_net" in cut.output.splitlines()[-1]


class TestTables:
    @pytest.mark.parametrize("text", [*HOSTILE, r"a_b & 50 % \cmd{x} ~^$#", "<x> – y"])
    def test_latex_prints_what_it_is_given(self, text):
        escaped = escape_latex(text)
        for escape in (
            r"\textbackslash{}",
            r"\textasciitilde{}",
            r"\textasciicircum{}",
            r"\textless{}",
            r"\textgreater{}",
        ):
            escaped = escaped.replace(escape, "")
        for letter in "&%$#_{}":
            escaped = escaped.replace(f"\\{letter}", "")
        assert not set(escaped) & set("\\&%$#_{}~^<>")

    @pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
    def test_latex_compiles_without_a_package(self, tmp_path):
        rows = [[r"a_b & {c}\x", "0.500"], ["50 % ~^$#<>", "–"]]
        table = write_latex(["Model", "95 % interval"], rows, "What it shows, 95 % intervals.")
        text = f"\\documentclass{{article}}\n\\begin{{document}}\n{table}\\end{{document}}\n"
        (tmp_path / "table.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert "Overfull" not in done.stdout and (tmp_path / "table.pdf").stat().st_size > 5_000

    def test_markdown_has_a_cell_for_each_value(self):
        lines = write_markdown(["Model", "F1"], [["a|b", "0.5"], ["*x*", "–"]], "What it shows.").splitlines()
        assert lines[2:4] == [r"| a\|b | 0.5 |", r"| \*x\* | – |"]

    def test_they_hold_the_numbers_of_the_report(self, tmp_path):
        made = report(tmp_path, run("good_one", GOOD, parameters=1234567), run("worse", WORSE))
        latex = (tmp_path / "results/report/table.tex").read_text()
        assert r"good\_one & 1,234,567 & 0.825 & 0.950 & 0.888 to 0.978 & 0.950 & 0.950 & A \\" in latex
        low, high = made.numbers["runs"][0]["test"]["interval"]
        assert f"{low:.3f} to {high:.3f}" == "0.888 to 0.978"
        markdown = (tmp_path / "results/report/table.md").read_text().splitlines()
        assert markdown[2].startswith(r"| good\_one | 1,234,567 | 0.825 | 0.950 |")
        assert len({line.count(" | ") for line in markdown[:4]}) == 1


class TestMethods:
    def methods(self, made):
        return made.text.split("Methods, for a paper")[1]

    def test_it_says_what_was_run(self, tmp_path):
        made = report(
            tmp_path,
            run("good", GOOD),
            run("worse", WORSE),
            left_out=[
                ("no answer", "rows", "3"),
                ("not what data.where asks for", "rows", "900"),
                ("combined into one per image by median", "answers", "120"),
                ("a label that data.classes does not name", "images", "1"),
            ],
            corrupt=[("a.png", "Bean", "train", "cut off")],
            asked={"data": {"where": {"annotator": "a001"}, "label_column": "feeling", "combine": None}},
        )
        text = self.methods(made)
        # 40 for training, 5 for validation and 25 for test of each class.
        assert "We used 280 images of four classes (Bean, Carrot, Potato, Tomato)." in text
        assert "the column “feeling” of a table of annotations, in rows where annotator is a001." in text
        assert "Left out were 3 rows (no answer); 1 image (of other classes)." in text
        assert "One file could not be decoded completely and was not used." in text
        assert "For validation 5 and for test 25 images per class were drawn at random (seed 1)" in text
        assert (
            "two convolutional neural networks on images resized to squares of 16 pixels: 2 convolutional layers"
            in text
        )
        assert (
            "L2 penalty of 0.0001" in text
            and "Adam (learning rate 0.001, batches of 32) for 4 epochs." in text
        )
        assert "rotated by up to 36 degrees either way" in text
        assert "exact McNemar tests (level 0.05)" in text and "Python 3.11.9, TensorFlow 2.20.0" in text

    def test_of_several_seeds_it_names_the_other_test(self, tmp_path):
        runs = [
            run(
                f"{name}_seed_{seed}", answers(LABELS, 4, wrong=range(seed, 100, step)), model=name, seed=seed
            )
            for name, step in (("a", 9), ("b", 7))
            for seed in (1, 2, 3)
        ]
        text = self.methods(report(tmp_path, *runs))
        assert "Each model was trained three times (seeds 1, 2, 3)" in text
        assert "Each model was trained three times (seeds 1, 2, 3)" in text
        some = self.methods(report(tmp_path / "some", *runs[:4]))
        assert "The models were trained once to three times (seeds 1, 2, 3)" in some
        assert "t-tests of their mean accuracies over the seeds" in text and "McNemar" not in text


class TestCard:
    def card(self, classes=VEGETABLES, probabilities=GOOD, **study):
        labels = np.array(LABELS)
        training = {
            "model": "net",
            "seed": 2,
            "settings": {
                "size": 32,
                "layers": 2,
                "kernels": 8,
                "kernel_size": 3,
                "dense": 16,
                "monitor": "val_loss",
            },
            "study": {
                "data": {
                    "source": "annotations",
                    "label_column": "feeling",
                    "where": {"who": "a|b"},
                    "combine": None,
                }
            },
            "classes": classes,
            "training_images": 1234,
            "parameters": 56789,
            "epochs": 9,
            "kept": {"epoch": 7},
            "versions": {"keras": "3.0"},
            "precision": "float32",
        } | study
        return write_card(training, measure(labels, probabilities, classes, None), {"uint16": [0, 4095]})

    def test_what_somebody_else_has_to_know(self):
        card = self.card()
        assert "0. Bean\n1. Carrot\n2. Potato\n3. Tomato\n" in card
        assert "(batch, 32, 32, 3), float32, RGB, plain pixels from 0 to 255" in card
        assert "| accuracy | 0.950 |\n| 95 % interval (Wilson) | 0.888 to 0.978 |" in card
        assert "trained on 1,234 images and tested on 100 others, which were held out" in card
        assert "0 is black, 4095 is white" in card
        assert "where who is a\\|b" in card
        assert "*To be filled in*" in card and "not shown to do better" not in card

    def test_a_model_that_guesses_says_so(self):
        assert "**On its test images it was not shown to do better than guessing**" in self.card(
            probabilities=COIN
        )

    def test_a_model_that_is_worse_or_diverged_says_so(self):
        worse = self.card(probabilities=answers(LABELS, 4, range(100)))
        assert "right about 0.000 of them, its predictions shuffled would be about 0.250" in worse
        nothing = self.card(probabilities=np.full((100, 4), np.nan), diverged={"epoch": 1, "step": 3})
        assert "diverged: its probabilities are not numbers, and it predicts nothing" in nothing
        assert "not shown to do better" not in nothing

    def test_merged_classes_say_from_what(self):
        study = {"data": {"source": "class_folders", "classes": {"low": ["1", "2"], "high": ["8*"]}}}
        assert "low from 1, 2; high from 8\\*." in self.card(study=study)

    def test_names_are_no_markup(self):
        classes = [f"{name}{place}" for place, name in enumerate(HOSTILE[:4])]
        card = self.card(classes)
        assert "<script>" not in card and "<img" not in card
        for label in classes:
            assert f". {escape_markdown(label)}\n" in card

    def test_of_an_earlier_version_it_says_what_is_known(self):
        assert "trained on 1,234 images" in self.card(study=None)


def test_what_is_handed_on_is_described():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "model_card.md" in text
