"""`snakemake new_study`: what it writes of folders and tables, where it leaves a choice, and where it refuses."""

import contextlib
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import REPOSITORY, Study, run_forked, save_image, write_csv
from snakemake.utils import validate

import new_study
import sort_into_classes
import split_holdout
from baton.errors import ConfigError, UserError
from baton.manifests import read_manifest, write_manifest
from baton.study.spelling import FILL_IN, read_config_file
from baton.study.study import make_study
from new_config.text import ConfigText, spell

DATA = REPOSITORY.parent / "shared/data"
ANNOTATORS = ("ann", "bob", "cleo")


def images(folder, count, start=0):
    """Save images under `folder` as photo 0.png, ...: the same one under many names, since nothing here looks at them."""
    save_image(folder / f"photo {start}.png", "red")
    content = (folder / f"photo {start}.png").read_bytes()
    for number in range(start, start + count):
        (folder / f"photo {number}.png").write_bytes(content)


def begin(folder, photos="../photos", table=None, called_in=None):
    """Call new_study in folder/study; return the text of its config."""
    study = folder / "study"
    study.mkdir(exist_ok=True)
    with contextlib.chdir(study):
        new_study.main(photos, table, str(called_in or study))
    return (study / "config.yaml").read_text(encoding="utf-8")


def draw(folder):
    """Read the config that new_study wrote, sort and draw the holdout by it; return (class, split) of each image."""
    with contextlib.chdir(folder / "study"):
        settings = SimpleNamespace(configfiles=["config.yaml"], config_args=[])
        study = make_study({}, validate, settings)
        made = ("classes.csv", "left_out.csv", "notes.csv", "answers.csv", "classes", "before.csv")
        sort_into_classes.main(study.config["data"], *made)
        images = read_manifest("classes.csv")[["image"]]
        write_manifest(images.assign(sha256="", damage="", warning=""), "inspected.csv")
        write_manifest(images.assign(group="")[:0], "groups.csv")
        data = ("classes.csv", "inspected.csv", "groups.csv", "split.csv")
        split_holdout.main(*data, study.config["holdout"], study.splits_are_given, None, "images.csv")
        return [(row["class"], row["split"]) for _, row in read_manifest("split.csv").iterrows()]


def try_out(folder, *targets):
    """Run snakemake with what new_study wrote, as its user would; return the Outcome."""
    study = folder / "study"
    arguments = ["--snakefile", REPOSITORY / "Snakefile", "--directory", study, "--cores", 2, *targets]
    return run_forked([*arguments, "--configfile", study / "config.yaml"], study)


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level("INFO", logger="baton")
    yield
    assert logging.getLogger("baton").level == logging.INFO


class TestFolders:
    def test_class_folders_with_a_holdout_that_the_smallest_bears(self, tmp_path):
        for label, count in (("cat", 31), ("dog", 12), ("cow", 400)):
            images(tmp_path / "photos" / label, count)
        text = begin(tmp_path)
        assert yaml.safe_load(text) == {
            "data": {"source": "class_folders", "images": "../photos"},
            "holdout": {"validation": 2, "test": 2},  # a fifth of 12
        }
        assert "# 443 images" in text and "# 3 classes: cat: 31 images, cow: 400, dog: 12" in text
        assert "# the smallest class, dog, has 12 images" in text
        drawn = draw(tmp_path)
        assert drawn.count(("dog", "test")) == 2 and drawn.count(("dog", "train")) == 8

    def test_large_classes_are_held_out_as_by_default(self, tmp_path):
        for label in ("a", "b"):
            images(tmp_path / "photos" / label, 251)
        assert yaml.safe_load(begin(tmp_path))["holdout"] == {"validation": 50, "test": 50}

    def test_a_class_that_is_too_small_is_left_out_and_that_is_said(self, tmp_path):
        for label, count in (("rare", 4), ("b", 5), ("c", 9)):
            images(tmp_path / "photos" / label, count)
        text = begin(tmp_path)
        assert yaml.safe_load(text)["data"]["classes"] == ["b", "c"]
        assert "# Left out are those with fewer than 5 images: rare." in text
        assert draw(tmp_path)

    def test_split_folders_are_taken_as_they_are(self, tmp_path):
        for split, count in (("train", 6), ("validation", 2), ("test", 3)):
            for label in ("a", "b"):
                images(tmp_path / "photos" / split / label, count)
        images(tmp_path / "photos/test/new", 1)
        text = begin(tmp_path)
        assert yaml.safe_load(text) == {
            "data": {"source": "split_folders", "images": "../photos", "classes": ["a", "b"]}
        }
        assert "train: 12 images, validation: 4, test: 7" in text
        assert "# Left out are those without training images: new" in text
        assert draw(tmp_path)

    def test_splits_of_other_names_are_no_classes(self, tmp_path):
        for split in ("train", "val", "test"):
            images(tmp_path / "photos" / split / "a", 6)
        with pytest.raises(
            UserError, match=r"looks split already \(test, train, val\).*folder validation is missing"
        ):
            begin(tmp_path)

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ([], r"holds no images\. Name"),
            (["notes.txt"], r"holds no images, but 1 other file\."),
            (["one.png", "two.png"], r"holds 2 images and no folders of classes.*annotations=CSV"),
        ],
    )
    def test_a_folder_that_says_nothing(self, tmp_path, files, said):
        (tmp_path / "photos").mkdir()
        for name in files:
            save_image(tmp_path / "photos" / name, "red") if name.endswith("png") else (
                tmp_path / "photos" / name
            ).touch()
        with pytest.raises(UserError, match=said):
            begin(tmp_path)
        assert not (tmp_path / "study/config.yaml").exists()


class TestLongTables:
    def table(self, folder, header, questions=("beauty",), count=60, people=ANNOTATORS):
        """Write a table with an answer of each person to each question about each image: 1 to 3, by the image's number."""
        images(folder / "photos", count)
        rows = [
            {"image": f"photo {number}.png", "who": person, "what": question, "answer": str(1 + number % 3)}
            for number in range(count)
            for person in people
            for question in questions
        ]
        write_csv(
            folder / "ratings.csv", [list(header.values()), *([row[key] for key in header] for row in rows)]
        )

    def test_one_question_is_written_and_the_answers_are_combined(self, tmp_path):
        self.table(tmp_path, {"image": "image", "who": "annotator", "what": "question", "answer": "answer"})
        text = begin(tmp_path, table="../ratings.csv")
        assert yaml.safe_load(text) == {
            "data": {
                "source": "annotations",
                "images": "../photos",
                "annotations": "../ratings.csv",
                "image_column": "image",
                "label_column": "answer",
                "annotator_column": "annotator",
                "where": {"question": "beauty"},
                "combine": "median",
            },
            "holdout": {"validation": 4, "test": 4},
        }
        assert "# 3 annotators in column annotator: ann: 60 rows, bob: 60, cleo: 60" in text
        assert "# 60 images with several answers, up to 3;" in text
        assert "# 3 classes: 1: 20 images, 2: 20, 3: 20" in text
        assert draw(tmp_path)

    def test_columns_are_known_by_what_they_hold(self, tmp_path):
        self.table(tmp_path, {"who": "x", "answer": "y", "image": "z"})
        data = yaml.safe_load(begin(tmp_path, table="../ratings.csv"))["data"]
        assert (data["image_column"], data["label_column"], data["combine"]) == ("z", "y", "median")

    def test_which_of_two_questions_is_left_to_fill_in(self, tmp_path):
        self.table(
            tmp_path,
            {"image": "image", "who": "annotator", "what": "question", "answer": "answer"},
            ("beauty", "valence"),
        )
        text = begin(tmp_path, table="../ratings.csv")
        assert "# 2 questions in column question: beauty: 180 rows, valence: 180" in text
        assert "beauty, combine: median: 1: 20 images, 2: 20, 3: 20; at most 4" in text
        lines = text.splitlines()
        open_lines = [number for number, line in enumerate(lines, 1) if line.endswith(FILL_IN)]
        assert [lines[number - 1].strip() for number in open_lines] == [
            "question: FILL_IN",
            "validation: FILL_IN",
            "test: FILL_IN",
        ]
        refused = try_out(tmp_path, "-n")
        assert refused.code == 1
        for number in open_lines:
            assert f"line {number}, `{lines[number - 1].strip()}`" in refused.output
        filled = text.replace("question: FILL_IN", "question: beauty").replace(FILL_IN, "4")
        (tmp_path / "study/config.yaml").write_text(filled, encoding="utf-8")
        assert draw(tmp_path)

    def test_words_are_combined_by_majority(self, tmp_path):
        images(tmp_path / "photos", 40)
        rows = [
            [f"photo {number}.png", person, "cat" if number % 2 else "dog"]
            for number in range(40)
            for person in ANNOTATORS
        ]
        write_csv(tmp_path / "ratings.csv", [["file", "rater", "label"], *rows])
        assert yaml.safe_load(begin(tmp_path, table="../ratings.csv"))["data"]["combine"] == "majority"


class TestWideTables:
    def write(self, folder, header, row_of, count=60):
        images(folder / "photos", count)
        rows = [[f"photo {number}.png", *map(str, row_of(number))] for number in range(count)]
        write_csv(folder / "ratings.csv", [["image", *header], *rows])

    def test_the_one_column_that_can_be_classes_is_taken(self, tmp_path):
        self.write(tmp_path, ["id", "theme"], lambda n: (f"I{n}", ("sea", "wood", "town")[n % 3]))
        text = begin(tmp_path, table="../ratings.csv")
        data = yaml.safe_load(text)["data"]
        assert data["label_column"] == "theme" and "combine" not in data
        assert draw(tmp_path)

    def test_several_that_can_be_are_listed(self, tmp_path):
        self.write(tmp_path, ["calm", "sharp"], lambda n: (1 + n % 4, "yes" if n % 2 else "no"))
        text = begin(tmp_path, table="../ratings.csv")
        assert "  label_column: FILL_IN" in text
        assert "#   calm: 4 values, 1: 15 rows, 2: 15, 3: 15, 4: 15" in text
        assert "#   sharp: 2 values, no: 30 rows, yes: 30" in text
        assert "calm: 1: 15 images, 2: 15, 3: 15, 4: 15; at most 3" in text

    def test_means_are_rounded_and_that_is_said(self, tmp_path):
        self.write(tmp_path, ["name", "mean"], lambda n: (f"I{n}", f"{2 + n % 3 + 0.1 + 0.0001 * n:.4f}"))
        text = begin(tmp_path, table="../ratings.csv")
        data = yaml.safe_load(text)["data"]
        assert (data["label_column"], data["combine"]) == ("mean", "mean")
        assert "its values are numbers such as 2.1000: each is rounded to a whole one" in text
        assert "# 3 classes: 2: 20 images, 3: 20, 4: 20" in text
        assert draw(tmp_path)

    def test_images_that_are_not_there_are_left_out_and_that_is_said(self, tmp_path):
        self.write(tmp_path, ["theme"], lambda n: (("sea", "wood")[n % 2],))
        (tmp_path / "photos/photo 7.png").unlink()
        text = begin(tmp_path, table="../ratings.csv")
        assert "# Not in the folder, and left out: photo 7.png" in text
        assert yaml.safe_load(text)["data"]["missing_images"] == "skip"
        assert draw(tmp_path)

    def test_a_table_of_other_images(self, tmp_path):
        images(tmp_path / "photos", 3)
        write_csv(tmp_path / "ratings.csv", [["image", "label"], ["a.png", "1"], ["b.png", "2"]])
        with pytest.raises(
            UserError,
            match=r"no column names the images in \.\./photos.*photo 0\.png.*first row has a\.png, 1",
        ):
            begin(tmp_path, table="../ratings.csv")

    @pytest.mark.parametrize(
        "label", ["no", "null", "010", "a: b", "# c", '"', "é\t{x}", "- d", "FILL_IN ?", "~", "1e3"]
    )
    def test_labels_mean_in_the_config_what_they_mean_in_the_table(self, tmp_path, label):
        images(tmp_path / "photos", 12)
        rows = [
            [f"photo {n}.png", (label, "other", "few")[0 if n < 5 else 1 if n < 10 else 2]] for n in range(12)
        ]
        write_csv(tmp_path / "ratings.csv", [["image", "label"], *rows])
        begin(tmp_path, table="../ratings.csv")
        if label == "null":  # which stands for no answer
            return
        read = read_config_file(tmp_path / "study/config.yaml")["data"]["classes"]
        drawn = draw(tmp_path)
        assert len(read) == 2 and {name for name, _ in drawn} == set(read)
        assert {split for _, split in drawn} == {"train", "validation", "test"}


class TestWhatIsNotSure:
    """Tables in which a guess would be wrong without a word."""

    def write(self, folder, header, rows, count=40):
        images(folder / "photos", count)
        write_csv(folder / "ratings.csv", [header, *rows])
        return begin(folder, table="../ratings.csv")

    def test_ratings_that_are_also_names_of_images_are_no_column_of_images(self, tmp_path):
        for number in range(30):
            save_image(tmp_path / f"photos/{number}.png", "red") if not number else (
                tmp_path / f"photos/{number}.png"
            ).write_bytes((tmp_path / "photos/0.png").read_bytes())
        rows = [(str(1 + number % 5), f"{number}.png") for number in range(30)]
        write_csv(tmp_path / "ratings.csv", [("rating", "photo"), *rows])
        data = yaml.safe_load(begin(tmp_path, table="../ratings.csv"))["data"]
        assert (data["image_column"], data["label_column"]) == ("photo", "rating")

    def test_answers_to_what_may_be_several_questions_are_not_combined(self, tmp_path):
        rows = [
            (f"photo {n}.png", person, str(side), str(1 + n % 3 + 4 * side))
            for n in range(40)
            for person in ANNOTATORS
            for side in (0, 1)
            for _ in range(2)
        ]
        text = self.write(tmp_path, ("image", "rater", "side", "rating"), rows)
        assert "  where: FILL_IN" in text and "  combine: FILL_IN" in text
        assert "#   side: 2 values, 0: 240 rows, 1: 240" in text

    def test_a_questions_way_of_combining_is_not_the_others(self, tmp_path):
        rows = [
            (f"photo {n}.png", person, what, answer)
            for n in range(40)
            for person in ANNOTATORS
            for what, answer in (("beauty", str(1 + n % 4)), ("place", ("sea", "wood")[n % 2]))
        ]
        text = self.write(tmp_path, ("image", "annotator", "question", "answer"), rows)
        assert "  combine: FILL_IN" in text
        assert (
            "beauty, combine: median: 1: 10 images" in text
            and "place, combine: majority: sea: 20 images" in text
        )

    @pytest.mark.parametrize(
        ("header", "answer", "annotator"),
        [
            (("user_rating", "user_id"), "user_rating", "user_id"),
            (("rating", "reviewer", "response_time"), "rating", "reviewer"),
            (("emotion", "labeler"), "emotion", "labeler"),
            (("rating", "user_age", "user_id"), "rating", "user_id"),
        ],
    )
    def test_columns_whose_names_hold_two_words(self, tmp_path, header, answer, annotator):
        ages = {"ann": "20", "bob": "30", "cleo": "30"}
        cells = {"user_age": lambda n, who: ages[who], "response_time": lambda n, who: f"{1 + n / 40:.3f}"}
        rows = [
            (
                f"photo {n}.png",
                *(
                    who if name == annotator else cells.get(name, lambda n, who: str(1 + n % 2))(n, who)
                    for name in header
                ),
            )
            for n in range(40)
            for who in ANNOTATORS
        ]
        text = self.write(tmp_path, ("image", *header), rows)
        assert f"  label_column: {answer}\n" in text
        assert f"3 annotators in column {annotator}: " in text

    def test_codes_far_off_are_asked_for(self, tmp_path):
        rows = [
            (f"photo {n}.png", who, "99" if n % 4 == 3 else str(1 + n % 4))
            for n in range(40)
            for who in ANNOTATORS
        ]
        text = self.write(tmp_path, ("image", "annotator", "rating"), rows)
        assert "30 answers: far off the others, which are from 1 to 3: 99" in text
        assert "  no_answer: FILL_IN" in text
        codes = re.search(r"write the list as it is: (\[[^]]+\])", re.sub(r"\n  # +", " ", text))[1]
        assert yaml.safe_load(codes) == default_codes()

    def test_what_is_no_answer_is_none_and_is_counted(self, tmp_path):
        rows = [
            (f"photo {n}.png", who, "NA" if (n + place) % 4 == 0 else str(1 + n % 3))
            for n in range(40)
            for place, who in enumerate(ANNOTATORS)
        ]
        text = self.write(tmp_path, ("image", "annotator", "rating"), rows)
        assert yaml.safe_load(text)["data"]["combine"] == "median"
        assert "# Left out: 30 rows: no answer: NA" in text

    def test_the_separator_is_the_one_by_which_images_are_named(self, tmp_path):
        images(tmp_path / "photos", 30)
        lines = [
            "image;How nice, from 1 (ugly), to 5 (nice)?",
            *(f"photo {n}.png;{1 + n % 2}" for n in range(30)),
        ]
        (tmp_path / "ratings.csv").write_text("\n".join(lines))
        data = yaml.safe_load(begin(tmp_path, table="../ratings.csv"))["data"]
        assert data["label_column"] == "How nice, from 1 (ugly), to 5 (nice)?"
        assert draw(tmp_path)

    def test_a_table_without_a_header(self, tmp_path):
        with pytest.raises(UserError, match=r"the first row names an image, photo 0\.png"):
            self.write(tmp_path, ("photo 0.png", "1"), [(f"photo {n}.png", "2") for n in range(1, 40)])


def default_codes():
    """Return the codes for no answer that a config has which names none."""
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))["data"]["no_answer"]


class TestText:
    @pytest.mark.parametrize(
        "text", ["a", "photo 1.png", "null", "x: y", "#", "é", "no\n: yes", " a", "", "[a]", "~"]
    )
    def test_what_is_spelled_is_read_back(self, tmp_path, text):
        (tmp_path / "config.yaml").write_text(f"key: {spell(text)}\n", encoding="utf-8")
        assert str(read_config_file(tmp_path / "config.yaml")["key"]) == text

    def test_a_comment_stays_one(self):
        config = ConfigText()
        config.comment("a\nmodels: []\x85b " + "word " * 60, 2)
        assert all(re.match(r"  # ", line) and len(line) <= 118 for line in str(config).splitlines())

    def test_each_open_line_is_named_wherever_it_stands(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text("data:\n  where: {a: FILL_IN}\n  classes: [x, FILL_IN]\nmodels: []\n")
        with pytest.raises(ConfigError, match=r"config\.yaml: .*line 2, `where: .*`, line 3, `classes: "):
            read_config_file(path)


class TestCall:
    def test_an_existing_config_stays_as_it_is(self, tmp_path):
        images(tmp_path / "photos/a", 6)
        (tmp_path / "study").mkdir()
        (tmp_path / "study/config.yaml").write_text("mine")
        with pytest.raises(UserError, match="there is a config.yaml in .*stays as it is"):
            begin(tmp_path)
        assert (tmp_path / "study/config.yaml").read_text() == "mine"

    def test_a_path_is_relative_to_where_it_was_typed(self, tmp_path):
        for label in ("a", "b"):
            images(tmp_path / "photos" / label, 6)
        assert yaml.safe_load(begin(tmp_path, "photos", called_in=tmp_path))["data"]["images"] == "../photos"

    def test_a_path_that_may_be_two_is_refused(self, tmp_path):
        for folder in ("photos", "study/photos"):
            images(tmp_path / folder / "a", 6)
        with pytest.raises(UserError, match="may be .*: give the whole path"):
            begin(tmp_path, "photos", called_in=tmp_path)

    def test_by_snakemake_from_nothing_to_a_dry_run(self, tmp_path):
        for label in ("a", "b"):
            images(tmp_path / "photos" / label, 6)
        arguments = ["--snakefile", REPOSITORY / "Snakefile", "--cores", 1, "new_study"]
        arguments += ["--directory", tmp_path / "study", "--config", f"images={tmp_path / 'photos'}"]
        done = run_forked(arguments, tmp_path)
        assert done.code == 0, done.output
        assert re.search(r"next: \S*snakemake .*-n ", done.output) and "To resume" not in done.output
        assert try_out(tmp_path, "-n").jobs()["train_model_1"] == 1
        again = run_forked(arguments, tmp_path)
        assert again.code == 1 and "already, and it stays as it is" in again.output
        assert "not begun" not in again.output

    def test_a_table_goes_to_no_other_target(self, tmp_path):
        study = Study(tmp_path, {})
        refused = study.try_run("-n", "--config", "annotations=ratings.csv")
        assert refused.code == 1
        assert "only `snakemake new_study` takes that. To name the study's annotations" in refused.output


@pytest.mark.skipif(not DATA.exists(), reason="the real image sets are not here")
class TestRealImages:
    @pytest.mark.parametrize(
        ("name", "table", "found"),
        [
            ("waste", None, {"source": "class_folders"}),
            ("vegetables", None, {"source": "split_folders"}),
            (
                "ratings/images",
                "ratings/annotations.csv",
                {"label_column": "answer", "where": {"question": FILL_IN}},
            ),
        ],
    )
    def test_what_is_written_of_them(self, tmp_path, name, table, found):
        text = begin(tmp_path, str(DATA / name), table and str(DATA / table))
        data = yaml.safe_load(text)["data"]
        assert found.items() <= data.items()
        assert Path(tmp_path, "study", data["images"]).samefile(DATA / name)
        if FILL_IN not in text:
            assert draw(tmp_path)
