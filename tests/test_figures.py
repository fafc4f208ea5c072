"""The figures: what is drawn, where labels go, and what many models or classes change."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from baton.results import figures
from report.collect import DETAILED as SHOWN


def legends(figure):
    """Return the legends of a figure, its own and those of its axes."""
    return [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]


class TestCurves:
    def history(self, epochs):
        keys = ("loss", "val_loss", "accuracy", "val_accuracy")
        return [{"epoch": epoch} | dict.fromkeys(keys, 0.5) for epoch in range(1, epochs + 1)]

    def test_they_mark_where_sessions_began_and_the_kept_epoch(self):
        figure = figures.draw_curves(self.history(5), 3, [1.25, 4.0], "one")
        for axes in figure.axes:
            lines = {line.get_label(): line for line in axes.lines}
            assert list(lines["new session"].get_xdata()) == [1.25, 4.0]
            assert list(lines["kept: epoch 3"].get_xdata()) == [3, 3]
            assert set(lines) == {
                text.get_text() for legend in legends(figure) for text in legend.get_texts()
            }

    def test_no_legend_hides_a_mark(self, tmp_path):
        figure = figures.draw_curves(self.history(5), 3, [0.1, 1.25, 4.0], "one")
        figures.save_figure(figure, tmp_path / "curves.svg")
        boxes = [legend.get_window_extent() for legend in legends(figure)]
        for axes in figure.axes:
            marks = next(line for line in axes.lines if line.get_label() == "new session")
            points = marks.get_transform().transform(marks.get_xydata())
            assert not [point for point in points for box in boxes if box.contains(*point)]

    def test_a_single_session_marks_none(self):
        figure = figures.draw_curves(self.history(5), 3, [], "one")
        assert "new session" not in [line.get_label() for axes in figure.axes for line in axes.lines]

    def test_training_is_red_and_validation_blue(self):
        for axes in figures.draw_curves(self.history(2), 1, [], "one").axes:
            colours = {line.get_label(): line.get_color() for line in axes.lines}
            assert (colours["training"], colours["validation"]) == ("tab:red", "tab:blue")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_diverged_training_has_curves(self, value, tmp_path):
        history = self.history(3)
        history[2] |= {"loss": value, "val_loss": value}
        figures.save_figure(figures.draw_curves(history, 1, [], "one"), tmp_path / "curves.svg")
        assert (tmp_path / "curves.png").stat().st_size > 1000


class TestCost:
    def test_every_model_is_named_once_and_within_the_figure(self, tmp_path):
        names = ["small", "small", "a_model_of_a_long_name", "a_model_of_a_long_name"]
        runs = [
            {
                "name": name,
                "parameters": 1000 ** (1 + (name != "small")),
                "accuracy": accuracy,
                "low": 0.5,
                "high": 0.9,
            }
            for name, accuracy in zip(names, (0.7, 0.71, 0.8, 0.81), strict=True)
        ]
        figure = figures.draw_cost(runs)
        figures.save_figure(figure, tmp_path / "cost.svg")
        texts = figure.axes[0].texts
        assert [text.get_text() for text in texts] == ["small", "a_model_of_a_long_name"]
        for text in texts:
            box = text.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


class TestCostOfMany:
    RUNS = [
        {
            "name": f"model_{number}",
            "parameters": 10**5 + 2000 * (number % 3),
            "accuracy": 0.9 - number / 2000,
            "low": 0.85,
            "high": 0.95,
        }
        for number in range(60)
    ]

    def test_the_labels_of_the_shown_do_not_lie_on_one_another(self):
        labels = {f"model_{number}": str(number + 1) for number in range(SHOWN)}
        figure = figures.draw_cost(self.RUNS, labels)
        figure.draw_without_rendering()
        texts = figure.axes[0].texts
        assert [text.get_text() for text in texts] == [str(number) for number in range(1, SHOWN + 1)]
        boxes = [Text.get_window_extent(text) for text in texts]  # without the line to its dot
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        for box in boxes:
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1

    def test_names_of_a_few_lie_on_no_other_name_no_dot_and_no_interval(self):
        """Five models of 32 to 96 px: three as accurate, two of nearly as many parameters."""
        found = [
            ("narrow_size_32", 155_558, 0.544),
            ("narrow_size_64", 548_774, 0.606),
            ("narrow_size_96", 1_204_134, 0.622),
            ("wide_size_32", 356_294, 0.606),
            ("wide_size_64", 1_142_726, 0.606),
        ]
        keys = ("name", "parameters", "accuracy")
        runs = [dict(zip(keys, row, strict=True)) | {"low": 0.47, "high": 0.69} for row in found]
        figure = figures.draw_cost(runs)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
        assert list(boxes) == [row[0] for row in found]
        assert not [pair for pair in combinations(boxes.values(), 2) if pair[0].overlaps(pair[1])]
        for name, box in boxes.items():
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, name
            for _, parameters, accuracy in found:
                x, y = axes.transData.transform((parameters, accuracy))
                assert not box.x0 <= x <= box.x1, f"{name} crosses an interval"
                assert not (box.x0 <= x + 3 and x - 3 <= box.x1 and box.y0 <= y + 3 and y - 3 <= box.y1), name

    def test_every_model_is_a_dot_and_only_the_shown_have_an_interval(self):
        labels = {f"model_{number}": str(number + 1) for number in range(SHOWN)}
        axes = figures.draw_cost(self.RUNS, labels).axes[0]
        pale = axes.lines[0]
        assert list(pale.get_ydata()) == [one["accuracy"] for one in self.RUNS[SHOWN:]]
        assert len(axes.containers) == SHOWN

    @pytest.mark.parametrize(
        "name, folded",
        [
            ("model_1", "model_1"),
            ("narrow_kernels_8_l2_1em05", "narrow_kernels_\n8_l2_1em05"),
            ("a model, seed 1", "a model, seed 1"),
            ("one_word_" + "x" * 30, "one_word_\n" + "x" * 30),
            ("", ""),
            ("__init__", "__init__"),
        ],
    )
    def test_long_names_are_folded_between_words(self, name, folded):
        assert figures.fold(name, 16) == folded
        assert figures.fold(name, 16).replace("\n", "") == name

    def test_titles_stay_within_their_figure(self):
        name = "narrow_dense_256_dropout_0p25_kernel_size_3_kernels_128_l2_0p0001_layers_4"
        confusion = figures.draw_confusion([[5, 1], [2, 4]], ["red", "green"], name)
        table = [{"count": 5, "confidence": 0.7, "accuracy": 0.8}]
        reliability = figures.draw_reliability([table] * 3, [name] * 3)
        for figure in (confusion, reliability):
            figure.draw_without_rendering()
            boxes = [axes.title.get_window_extent() for axes in figure.axes]
            assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
            assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]

    def test_the_reliability_diagram_shows_accuracy_and_the_share_of_the_images(self):
        bins = [
            {"count": 30, "confidence": 0.95, "accuracy": 0.9},
            {"count": 0, "confidence": 0.5, "accuracy": None},
            {"count": 10, "confidence": 0.25, "accuracy": 0.3},
        ]
        axes = figures.draw_reliability([bins], ["net"]).axes[0]
        assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches] == [
            (pytest.approx(0.95), 0.75),
            (pytest.approx(0.25), 0.25),
        ]
        assert axes.lines[1].get_xydata().tolist() == [[0.95, 0.9], [0.25, 0.3]]
        assert axes.get_xlim() == axes.get_ylim() == (0, 1)

    def test_an_interval_is_drawn_from_its_low_to_its_high_end(self):
        one = {"name": "net", "parameters": 1000, "accuracy": 0.6, "low": 0.5, "high": 0.65}
        (line,) = figures.draw_cost([one]).axes[0].collections
        (segment,) = line.get_segments()
        np.testing.assert_allclose(segment, [[1000, 0.5], [1000, 0.65]])

    def test_a_confusion_matrix_grows_with_its_classes(self):
        sizes = [
            figures.draw_confusion(np.eye(n, dtype=int), [f"{i}" for i in range(n)], "net").get_size_inches()
            for n in (2, 20)
        ]
        assert (sizes[1] - sizes[0]).tolist() == [9, 9]  # half an inch a class
