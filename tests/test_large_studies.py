"""What grows with a study: classes, pairs of models, the size of images. The figures of whole stages are `make bench`'s."""

import csv
import json
import threading
import tracemalloc

import numpy as np
import pytest
from report_builder import LABELS, VEGETABLES, Made, answers, problems, run

import filter_corrupt
import sort_into_classes
import split_holdout
import weigh_classes
import write_report
from baton.data.images import map_images
from baton.data.inspected import COLUMNS
from baton.formatting import decimals, p_value, percent
from baton.results import figures
from baton.study import memory
from baton.training.keeper import count_unended
from report import show

CLASSES = [f"class {number:02}" for number in range(45)]
CONFUSED = [("class 07", "class 08", "2", "100"), ("class 03", "class 04", "1", "50")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report on 45 classes of two images, of which class 7 is taken for 8 twice and class 3 for 4 once."""
    labels = np.repeat(np.arange(45), 2)
    runs = [run("net", answers(labels, 45, {6, 14, 15})), run("right", answers(labels, 45))]
    return Made(tmp_path_factory.mktemp("classes"), CLASSES, labels, runs).write()


class TestManyClasses:
    def test_the_matrix_is_a_picture_and_the_confusions_a_table(self, made):
        assert made.page.confusions() == []
        alts = [alt for alt in made.page.attributes("img", "alt") if alt.startswith("Confusion matrix of")]
        assert [alt.split()[3] for alt in alts] == ["net;", "right."]  # which confuses none
        rows = [tuple(row.values()) for row in made.page.table("predicted as")]
        assert rows == CONFUSED
        assert "45 classes are too many for numbers here; they are in results/report.json" in made.text

    def test_the_numbers_are_all_there(self, made):
        found = np.array(made.numbers["runs"][0]["test"]["confusion"])
        expected = 2 * np.eye(45, dtype=int)
        expected[3, 3], expected[3, 4], expected[7, 7], expected[7, 8] = 1, 1, 0, 2
        assert np.array_equal(found, expected)
        assert problems(made.numbers) == []

    def test_the_figure_has_no_numbers_and_the_size_of_any_other(self, made):
        few, many, more = (
            figures.draw_confusion(np.eye(n, dtype=int), [f"c{i}" for i in range(n)], "net")
            for n in (40, 41, 500)
        )
        assert [len(figure.axes[0].texts) for figure in (few, many, more)] == [1600, 0, 0]
        assert tuple(many.get_size_inches()) == tuple(more.get_size_inches()) <= (16, 16)
        named = [tick.get_text() for tick in more.axes[0].get_yticklabels()]
        assert len(named) <= 120 and named[:2] == ["c0", "c5"]


def test_shares_of_a_class_of_one_image_and_of_none():
    found = show.shares([[1, 0], [0, 0]])
    assert found == [[(1, 1), (0, 0)], [(0, 0), (0, 0)]]


class TestManyModels:
    def make(self, folder, monkeypatch, **limits):
        for name, value in limits.items():
            monkeypatch.setattr(write_report, name, value)
        wrong = np.random.default_rng(1)
        runs = [
            run(f"net_{n}", answers(LABELS, 4, wrong.choice(100, 5 + n, replace=False))) for n in range(15)
        ]
        return Made(folder, VEGETABLES, LABELS, runs).write()

    def test_beyond_a_number_pairs_are_in_their_table_alone(self, tmp_path, monkeypatch):
        made = self.make(tmp_path, monkeypatch, MOST_PAIRS=104)
        assert made.numbers["comparison"]["pairs"] is None and problems(made.numbers) == []
        assert len(made.pairs) == 105
        whole = self.make(tmp_path, monkeypatch, MOST_PAIRS=105)
        found = [(*pair["models"], f"{pair['p_holm']:.12g}") for pair in whole.numbers["comparison"]["pairs"]]
        assert found == [(row["first"], row["second"], f"{float(row['p_holm']):.12g}") for row in made.pairs]
        shown = [made.page.table("corrected p"), whole.page.table("corrected p")]
        assert shown[0] == shown[1] and len(shown[0]) == 66

    def test_beyond_a_number_matrices_are_in_their_metrics_alone(self, tmp_path, monkeypatch):
        made = self.make(tmp_path, monkeypatch, MOST_COUNTS=15 * 16 - 1)
        assert [one["test"]["confusion"] for one in made.numbers["runs"]] == [None] * 15
        assert problems(made.numbers) == []
        assert "the tables of all are in results/evaluation/MODEL/seed_N/metrics.json" in made.text
        whole = self.make(tmp_path, monkeypatch, MOST_COUNTS=15 * 16)
        assert whole.page.confusions() == made.page.confusions() != []
        for one in whole.numbers["runs"]:
            path = tmp_path / f"results/evaluation/{one['model']}/seed_1/metrics.json"
            assert json.loads(path.read_text())["confusion"] == one["test"]["confusion"]
        assert whole.numbers["confused"] == made.numbers["confused"]


class TestNumbers:
    """Nothing that is not 0 or 1 is printed as such."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "–"),
            (0, "0.000"),
            (1, "1.000"),
            (-1, "-1.000"),
            (-0.0, "0.000"),
            (2999 / 3000, "0.9997"),
            (-2999 / 3000, "-0.9997"),
            (1 / 3000, "0.0003"),
            (0.99951, "0.9995"),
            (0.9994, "0.999"),
            (0.00049, "0.0005"),
            (1 - 1e-7, "> 0.99999"),
            (1e-7, "< 0.00001"),
            (-1e-7, "> -0.00001"),
            (1e-7 - 1, "< -0.99999"),
            (1 - 2**-53, "1.000"),  # rounding
            (1.0002, "1.000"),  # no share
            (12.34567, "12.346"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
        ],
    )
    def test_decimals(self, value, text):
        assert decimals(value) == text

    @pytest.mark.parametrize(
        ("share", "text"),
        [
            (0, "0"),
            (1, "100"),
            (0.9997, "99.97"),
            (0.996, "99.6"),
            (0.994, "99"),
            (0.001, "0.1"),
            (1e-9, "< 0.01"),
        ],
    )
    def test_percent(self, share, text):
        assert percent(share) == text

    @pytest.mark.parametrize(
        ("p", "text"),
        [(1, "1.0000"), (0.99996, "> 0.9999"), (0.99984, "0.9998"), (0.00009, "< 0.0001"), (0.05, "0.0500")],
    )
    def test_p_value(self, p, text):
        assert p_value(p) == text

    def test_in_the_report(self, tmp_path):
        labels = np.repeat(np.arange(4), 750)
        runs = [run("all", answers(labels, 4)), run("but_one", answers(labels, 4, {0}))]
        made = Made(tmp_path, VEGETABLES, labels, runs).write()
        assert [row["test accuracy"] for row in made.page.table("test accuracy")] == ["1.000", "0.9997"]
        (pair,) = made.page.table("corrected p")
        assert pair["difference"] == "0.0003" and pair["corrected p"] == "1.0000"
        assert "Test accuracy on 3 000 images: 0.9997 to 1.000" in made.text.replace("\u202f", " ")


class TestMemory:
    def test_few_results_wait_to_be_taken(self):
        lock, counts = threading.Lock(), {"made": 0, "taken": 0, "most": 0}

        def make(number):
            with lock:
                counts["made"] += 1
                counts["most"] = max(counts["most"], counts["made"] - counts["taken"])
            return number

        for expected, number in enumerate(map_images(make, list(range(2000)), 4)):
            assert number == expected
            with lock:
                counts["taken"] += 1
        assert counts["made"] == 2000 and counts["most"] <= 2 * 4 + 2

    def test_an_error_ends_it_and_what_was_not_begun_is_not(self):
        begun = []

        def fail(number):
            begun.append(number)
            raise ValueError(number)

        with pytest.raises(ValueError, match="^0$"):
            list(map_images(fail, list(range(1000)), 2))
        assert len(begun) <= 6

    @pytest.mark.parametrize(("size", "batch"), [(8, 256), (224, 256), (225, 253), (512, 49), (2048, 3)])
    def test_synthetic_images_are_drawn_by_bytes(self, size, batch):
        # 256 images of 224 px in float32 are 154 MB; what is smaller is drawn as ever, to the same bits.
        assert memory.synthetic_batch(size) == batch == min(256, 256 * 224**2 // size**2)

    def test_what_packing_asks_for_does_not_grow_with_the_square_of_the_size(self):
        # Photos of 24 megapixels on 4 threads took 1,171 MB as JPEG and 1,539 as PNG.
        assert 1539 + memory.SNAKEMAKES < memory.of_packing(64, 0, 4, 1000) < 2300
        assert memory.of_packing(2048, 0, 4, 1000) < 2600
        assert memory.of_packing(224, 0.2, 4, 1000) < memory.of_packing(2048, 0.2, 4, 1000) < 4900

    def test_what_decoding_asks_for_grows_with_threads_and_images(self):
        # 8 threads took 2,166 MB for 24 megapixels; 900,000 images more 48.
        assert memory.of_decoding(8, 1000) > 2166 + memory.SNAKEMAKES
        assert memory.of_decoding(4, 1_000_000) > memory.of_decoding(4, 1000) + 60

    def test_what_the_report_asks_for_grows_with_models_classes_and_images(self):
        small = memory.of_report(6, 6, 9, 4000, 450)
        assert small < 1300
        few, many = (memory.of_report(1000, 1000, classes, 4000, 450) for classes in (50, 500))
        assert many > few + 200
        assert memory.of_report(2000, 2000, 9, 4000, 450) > memory.of_report(1000, 1000, 9, 4000, 450) + 1500
        assert memory.of_report(1, 1, 100, 1_000_000, 10_000) > 900 + memory.SNAKEMAKES  # measured

    @pytest.mark.parametrize(
        ("reasons", "count"),
        [
            ([], 0),
            ([None], 1),
            ([None, None], 2),
            (["the time is up", None], 1),
            ([None, None, "the time is up"], 0),
            ([None, "it received SIGTERM", None, None], 2),
        ],
    )
    def test_kills_count_until_a_session_ended_well(self, reasons, count):
        assert count_unended([{"reason": reason} for reason in reasons]) == count


class TestImagesOfALargeStudy:
    """What a stage holds of each image, by which its memory grows.

    The names of these take 61 bytes each, eight more in a list, and digests 113: only sorting holds the names.
    """

    def run(self, folder, count, stage):
        """Return the most bytes that a stage holds at a time, of `count` images."""
        made = folder / f"{stage} {count}"
        root = made / "images"
        names = [f"{number % 2}/{number:07}.jpg" for number in range(count)]

        def write(name, header, rows):
            with open(made / name, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([header, *rows])
            return made / name

        for label in "01":
            (root / label).mkdir(parents=True)
        calls = {
            "sort": lambda: sort_into_classes.main(data, *outputs, made / "none"),
            "split": lambda: split_holdout.main(
                *tables, made / "split.csv", sizes, False, None, made / "none"
            ),
            "filter": lambda: filter_corrupt.main(*filtered, root, sizes, None),
            "weigh": lambda: weigh_classes.main(split, grey, made / "weights.json", []),
        }
        data = {"source": "class_folders", "images": str(root), "classes": None, "split_column": None}
        data |= {"group_pattern": None, "ordered": None}
        outputs = [
            made / name for name in ("classes.csv", "left_out.csv", "notes.csv", "answers.csv", "links")
        ]
        if stage == "sort":
            for name in names:
                (root / name).touch()
        sizes = {"validation": 20, "test": 30, "seed": 1}
        classes = write("c.csv", ("image", "class"), ((name, name[0]) for name in sorted(names)))
        digest = "".join("0123456789abcdef"[n % 16] for n in range(64))
        rest = [""] * (len(COLUMNS) - 2)
        inspected = write(
            "i.csv", COLUMNS, ([name, f"{digest[:-7]}{name[2:9]}", *rest] for name in sorted(names))
        )
        tables = [classes, inspected, write("groups.csv", ("image", "group"), [])]
        rows = (
            (name, name[0], ("train", "validation", "test")[n // 2 % 3], n)
            for n, name in enumerate(sorted(names))
        )
        split = write("s.csv", ("image", "class", "split", "draw"), rows)
        grey = made / "grey.json"
        grey.write_text("{}")
        copies = write("copies.csv", ("image", "twin", "kind"), [])
        written = [made / name for name in ("images.csv", "corrupt.csv", "look_at.csv", "links")]
        filtered = [split, inspected, grey, copies, *written]
        tracemalloc.start()
        try:
            calls[stage]()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(
        ("stage", "most"), [("sort", 160), ("split", 100), ("filter", 100), ("weigh", 60)]
    )
    def test_a_stage_holds_no_more_than_this_of_an_image(self, tmp_path, stage, most):
        few, many = 10_000, 20_000
        held = [self.run(tmp_path, count, stage) for count in (few, many)]
        assert (held[1] - held[0]) / (many - few) < most
