"""Bad input: each is refused with one clear sentence, no traceback, and nothing half-written.

Each case calls what the Snakefile and the rules call, in a folder of its own; a few are run as a user runs them. What is
the user's is compared before and after.
"""

import contextlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, Study, save_image, save_images, take_stock, write_csv
from snakemake.utils import validate

import filter_corrupt
import find_copies
import inspect_images
import sort_into_classes
import split_holdout
from baton.errors import ConfigError, UserError
from baton.study.labels import are_splits_given
from baton.study.study import make_study

MODEL = {"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
ROWS = [[f"{label}/{number}.png", label] for label in ("red", "green") for number in range(1, 7)]


def config(data=(), **sections):
    """Return a config of annotated images that is right, but for what is given."""
    whole = {
        "data": {"source": "annotations", "images": "photos", "annotations": "answers.csv"},
        "holdout": {"validation": 2, "test": 2},
        "images": {"size": 16},
        "training": {"epochs": 1},
        "models": [MODEL],
    }
    whole["data"] |= dict(data)
    return whole | sections


def text(line):
    """Return a right config in which one line is written as it is: `SECTION: {KEY: VALUE}`."""
    section, _, value = line.partition(":")
    right = {
        "data": "data: {source: annotations, images: photos, annotations: answers.csv}",
        "images": "images: {size: 16}",
        "models": "models: [{name: net, kernels: 2, kernel_size: 3, dense: 4, layers: 1}]",
    }
    if section == "data" and value.strip().startswith("{"):
        value = f" {{source: annotations, images: photos, annotations: answers.csv,{value.strip()[1:]}"
    return "\n".join((right | {section: f"{section}:{value}"}).values()) + "\n"


# Of the config: what is wrong in it, and what the sentence must say.
CONFIGS = {
    "model for models": (config(model=[MODEL]), ["unknown key: model", "did you mean models?"]),
    "unknown section": (text("trainning: {epochs: 3}"), ["trainning", "did you mean training?"]),
    "unknown key in data": (
        text("data: {lable_column: x}"),
        ["data: lable_column", "did you mean label_column?"],
    ),
    "unknown key in holdout": (text("holdout: {tests: 3}"), ["holdout: tests", "did you mean test?"]),
    "unknown key in images": (text("images: {sise: 16}"), ["images: sise", "did you mean size?"]),
    "unknown key in augmentation": (
        text("augmentation: {flips: 0}"),
        ["augmentation: flips", "did you mean flip?"],
    ),
    "unknown key in training": (text("training: {epoch: 3}"), ["training: epoch ", "did you mean epochs?"]),
    "unknown key in a model": (
        config(models=[MODEL, MODEL | {"name": "b", "learning_rat": 1}]),
        ["models.1: learning_rat", "did you mean learning_rate?"],
    ),
    "a model without layers": (
        config(models=[{key: MODEL[key] for key in MODEL if key != "layers"}]),
        ["models.0", "'layers'"],
    ),
    "unknown source": (text("data: {combine: modus}"), ["data.combine", "modus", "majority"]),
    "dropout out of range": (text("training: {dropout: 1}"), ["training.dropout", "1"]),
    "holdout out of range": (text("holdout: {test: 0}"), ["holdout.test", "0", "minimum of 1"]),
    "epochs out of range": (config(models=[MODEL | {"epochs": 0}]), ["models.0.epochs", "minimum of 1"]),
    "not a number": (text("training: {l2: .nan}"), ["training.l2", "nan"]),
    "infinite": (text("training: {learning_rate: .inf}"), ["training.learning_rate", "inf"]),
    "text for a number": (text("training: {epochs: many}"), ["training.epochs", "'many'", "integer"]),
    "a yes for a number": (text("training: {epochs: yes}"), ["training.epochs", "'yes'", "integer"]),
    "an octal number": (text("training: {epochs: 010}"), ["training.epochs", "'010'", "begins with 0"]),
    "a key twice": (
        text("training: {epochs: 3, epochs: 4}"),
        ["config.yaml, line", "the key epochs is there twice"],
    ),
    "nothing to select by": (text("data: {where: {annotator: }}"), ["data.where.annotator", "None"]),
    "ranges that share numbers": (
        text("data: {classes: {low: {to: 4}, high: {from: 3}}}"),
        ["data.classes", "low and high share the numbers from 3 on"],
    ),
    "a range of nothing": (
        text("data: {classes: {low: {from: 4, to: 4}, high: {from: 5}}}"),
        ["data.classes.low", "no number is from 4 to 4"],
    ),
    "ranges beside lists": (
        text("data: {classes: {low: {to: 4}, high: [5, 6]}}"),
        ["data.classes", "some classes are ranges and some are lists of labels (high)"],
    ),
    "annotators twice": (
        text("data: {label_column: [r1, r2], annotator_column: who}"),
        ["data.annotator_column", "label_column names a column for each annotator"],
    ),
    "two ways to group": (
        text("data: {group_column: patient, group_pattern: p}"),
        ["data.group_column and data.group_pattern", "set one of the two"],
    ),
    "no regular expression": (
        text("data: {group_pattern: '(p'}"),
        ["data.group_pattern", "(p is not a regular expression"],
    ),
    "a split's name twice": (
        text("data: {split_column: part, split_names: {validation: [test]}}"),
        ["data.split_names", "test is there twice"],
    ),
    "no name of a column": (text("data: {label_column: }"), ["data.label_column", "None"]),
    "a date for a number": (
        text("training: {epochs: 2024-01-05}"),
        ["training.epochs", "'2024-01-05'", "integer"],
    ),
    "an infinite number in words": (text("session_minutes: 1e400"), ["session_minutes", "inf"]),
    "a section that is none": (text("training: 3"), ["training", "3", "object"]),
    "one class alone": (text("data: {classes: [red]}"), ["data.classes", "red"]),
    "a label in two classes": (
        text("data: {classes: {a: [1, 2], b: [2]}}"),
        ["data.classes", "more than one", ": 2"],
    ),
    "a model named like a rule": (
        config(models=[MODEL | {"name": "verify_resume"}]),
        ["models", "verify_resume", "a name of Baton's own"],
    ),
    "a model named like a rule in capitals": (
        config(models=[MODEL, MODEL | {"name": "Pack_Images"}]),
        ["models", "Pack_Images", "a name of Baton's own"],
    ),
    "a model named like the group of the data": (
        config(models=[MODEL | {"name": "data"}]),
        ["models", "data", "a name of Baton's own"],
    ),
    "two models that differ in capitals": (
        config(models=[MODEL, MODEL | {"name": "NET"}]),
        ["models", "capitals", "net"],
    ),
    "a model's name twice": (config(models=[MODEL, MODEL]), ["models", "twice", "net"]),
    "a model named like a seed": (
        config(models=[MODEL | {"seeds": [1, 2]}, MODEL | {"name": "net_seed_2"}]),
        ["models", "net_seed_2"],
    ),
    "no such model to verify": (text("verify: nett"), ["verify", "no model nett"]),
    "no session": (text("session_minutes: 0"), ["session_minutes", "0"]),
    "a seed twice": (text("training: {seeds: [1, 1]}"), ["training.seeds", "[1, 1]"]),
    "too many layers": (config(models=[MODEL | {"layers": 5}]), ["net", "16 px", "5 times", "fewer layers"]),
    "copies for synthetic images": (
        config(models=[MODEL | {"synthetic_fraction": 0.2}], augmentation={"flip": None, "rotation": 0}),
        ["augmentation", "synthetic_fraction", "net", "copies"],
    ),
    "no folder of images": (config({"images": "fotos"}), ["data.images", "there is no fotos"]),
    "braces in a folder's name": (
        config({"source": "class_folders", "images": "photos {2020}"}),
        ["data.images", "photos {2020}", "Snakemake takes for a placeholder"],
    ),
    "megapixels out of range": (text("images: {megapixels: 0}"), ["images.megapixels", "0"]),
    "no way to treat warnings": (text("images: {warned: yes}"), ["images.warned", "'yes'", "leave_out"]),
    "an anchor within itself": (text("training: &a {epochs: *a}"), ["config.yaml", "within itself"]),
    "a number of many digits": (
        text(f"training: {{learning_rate: {'9' * 400}}}"),
        ["training.learning_rate", "400 digits"],
    ),
    "more epochs than can be counted": (
        text("training: {epochs: 1e20}"),
        ["training.epochs", "maximum of 1000000000"],
    ),
    "a class without a name": (text("data: {classes: {'': [a], b: [c]}}"), ["data.classes"]),
    "no CSV": (config({"annotations": "answer.csv"}), ["data.annotations", "there is no answer.csv"]),
    "a file for a folder": (
        config({"images": "answers.csv"}),
        ["data.images", "answers.csv is not a folder"],
    ),
    "a folder for a file": (config({"annotations": "photos"}), ["data.annotations", "photos is not a file"]),
    "images not named": (config({"images": None}), ["data.images is needed"]),
    "annotations not named": (config({"annotations": None}), ["data.annotations is needed"]),
}


def with_csv(*rows, header=("image", "label"), **how):
    """Return what writes a CSV of these rows."""
    return lambda study: write_csv(study / "answers.csv", [header, *rows], **how)


def with_text(content):
    return lambda study: (study / "answers.csv").write_bytes(content)


def one_image_of_a_class(study):
    save_image(study / "photos/blue/1.png", "blue")
    write_csv(study / "answers.csv", [["image", "label"], *ROWS, ["blue/1.png", "blue"]])


def damage(*images):
    def spoil(study):
        for image in images:
            (study / "photos" / image).write_bytes(b"")

    return spoil


def empty_folder(study):
    (study / "empty").mkdir()


def split_folders(**counts):
    """Return what makes split/train, split/validation ... with so many red and green images."""

    def make(study):
        (study / "split").mkdir()
        for split, (red, green) in counts.items():
            save_images(study / f"split/{split}/red", "red", red)
            save_images(study / f"split/{split}/green", "green", green)

    return make


SPLIT = {"source": "split_folders", "images": "split"}
# Of the data: the rule that refuses, what is done to a right study, its config, what the sentence must say.
DATA = {
    "an empty CSV": ("sort_into_classes", with_text(b""), config(), ["answers.csv is empty", "header row"]),
    "a CSV of blank lines": ("sort_into_classes", with_text(b"\n \n"), config(), ["answers.csv is empty"]),
    "a header alone": ("sort_into_classes", with_csv(), config(), ["answers.csv", "header and no rows"]),
    "no such column": (
        "sort_into_classes",
        with_csv(*ROWS, header=("image", "mood")),
        config(),
        ["answers.csv", "no column label", "image, mood", "data.label_column"],
    ),
    "no such column to select by": (
        "sort_into_classes",
        with_csv(*ROWS),
        config({"where": {"rater": "a1"}}),
        ["answers.csv", "no column rater", "data.where"],
    ),
    "no such annotator": (
        "sort_into_classes",
        with_csv(*ROWS),
        config({"where": {"label": "blue"}}),
        ["answers.csv", "blue", "column label", "It has: green, red"],
    ),
    "no UTF-8": (
        "sort_into_classes",
        with_text("image,label\nred/1.png,red\nred/2.png,gr\u00fcn\n".encode("latin-1")),
        config(),
        ["answers.csv, row 3", "not UTF-8"],
    ),
    "a ragged row": (
        "sort_into_classes",
        with_text(b"image,label\nred/1.png,red\nred/2.png,red,,x,\n"),
        config(),
        ["answers.csv", "row 3", "5 cells", "header 2"],
    ),
    "no answers": (
        "sort_into_classes",
        with_csv(*([image, ""] for image, _ in ROWS)),
        config(),
        ["answers.csv", "no answer is left", "data.label_column"],
    ),
    "several answers": (
        "sort_into_classes",
        with_csv(*ROWS, ["red/1.png", "green"], ["red/2.png", "red"], ["red/2.png", "red"]),
        config(),
        ["2 images have several answers (up to 3)", "red/1.png, red/2.png", "data.combine"],
    ),
    "text for a median": (
        "sort_into_classes",
        with_csv(*([image, "3"] for image, _ in ROWS[:5]), ["green/6.png", "high"]),
        config({"combine": "median"}),
        ["row 7", "high", "not a number", "median"],
    ),
    "an image that is not there": (
        "sort_into_classes",
        with_csv(*ROWS, ["red/7.png", "red"], ["red/8.png", "red"]),
        config(),
        [
            "answers.csv",
            "2 images",
            "photos",
            "red/7.png (row 14), red/8.png (row 15)",
            "data.missing_images",
        ],
    ),
    "an image outside of the folder": (
        "sort_into_classes",
        with_csv(*ROWS, ["../config.yaml", "red"]),
        config(),
        ["answers.csv", "../config.yaml (row 14)"],
    ),
    "a class nobody named": (
        "sort_into_classes",
        with_csv(*ROWS),
        config({"classes": ["red", "grean"]}),
        ["data.classes", "grean", "green, red"],
    ),
    "one class in all": (
        "sort_into_classes",
        with_csv(*ROWS[:6]),
        config(),
        ["6 images are of one class, red", "data.label_column"],
    ),
    "an empty folder of images": (
        "sort_into_classes",
        empty_folder,
        config({"images": "empty"}),
        ["data.images", "empty holds no files"],
    ),
    "an empty folder of class folders": (
        "sort_into_classes",
        empty_folder,
        config({"source": "class_folders", "images": "empty"}),
        ["data.images", "empty holds no images", "CLASS/"],
    ),
    "a class folder without images": (
        "sort_into_classes",
        lambda study: (study / "photos/blue").mkdir(),
        config({"source": "class_folders"}),
        ["photos", "blue", "no images"],
    ),
    "no test folder": (
        "sort_into_classes",
        split_folders(train=(3, 3), validation=(2, 2)),
        config(SPLIT),
        ["data.images", "split holds no images for test", "train/CLASS/, validation/CLASS/ and test/CLASS/"],
    ),
    "a class that is not in training": (
        "split_holdout",
        split_folders(train=(3, 0), validation=(2, 2), test=(2, 2)),
        config(SPLIT | {"classes": ["red", "green"]}),
        ["no training images of class green", "data.classes"],
    ),
    "a label with one image": (
        "split_holdout",
        one_image_of_a_class,
        config(),
        ["blue has 1, of 5 needed", "holdout.validation", "data.classes"],
    ),
    "classes too small": (
        "split_holdout",
        with_csv(*ROWS),
        config(holdout={"validation": 3, "test": 3}),
        ["class green has 6, class red has 6, of 7 needed"],
    ),
    "too many damaged images": (
        "filter_corrupt",
        damage("red/1.png", "red/2.png"),
        config(),
        ["red", "2 damaged", "holdout.validation"],
    ),
}

# What the rules before these leave behind, and what the refusing rule must not.
OUTPUTS = {
    "sort_into_classes": ["classes.csv", "left_out.csv", "notes.csv", "answers.csv", "classes"],
    "split_holdout": ["split.csv"],
    "filter_corrupt": ["images.csv", "corrupt.csv", "look_at.csv", "dataset"],
}


def users_own(study):
    """Return the stock of what is the user's in the study."""
    stock = take_stock(study.folder)
    made = ("results", "logs", "logs.txt", "benchmarks", "state", ".snakemake")
    return {path: entry for path, entry in stock.items() if path != "." and path.split("/")[0] not in made}


RULES = [
    rule
    for path in (REPOSITORY / "rules").glob("*.smk")
    for rule in re.findall(r"^rule (\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
]


def make_case(folder, name):
    """Return the right study that is spoilt for a case, in a folder of its own."""
    settings, spoil = (CONFIGS[name][0], None) if name in CONFIGS else (DATA[name][2], DATA[name][1])
    study = Study(folder, settings)
    save_images(study / "photos/red", "red", 6)
    save_images(study / "photos/green", "green", 6)
    write_csv(study / "answers.csv", [["image", "label"], *ROWS])
    (study / "photos {2020}/red").mkdir(parents=True)
    if spoil:
        spoil(study)
    return study


def read_study(study):
    """Return what the Snakefile makes of the study's config, where the study is."""
    settings = SimpleNamespace(configfiles=[study / "config.yaml"], config_args=None)
    found = make_study({}, validate, settings)
    found.check_names(RULES)
    return found


def run_stages(study):
    """Call what the rules up to filter_corrupt call, one after the other, with what they would be handed."""
    settings = read_study(study).config
    data = Path("results/data")
    data.mkdir(parents=True)
    yield "sort_into_classes"
    images, holdout = settings["data"]["images"], settings["holdout"]

    def paths(*names):
        return [data / name for name in names]

    sort_into_classes.main(
        settings["data"],
        *paths("classes.csv", "left_out.csv", "notes.csv", "answers.csv", "classes", "split.csv"),
    )
    yield "inspect_images"
    inspect_images.main(
        *paths("classes.csv", "inspected.csv", "thumbnails.npy", "colours.npy", "grey.json"), images, 2, 250
    )
    yield "find_copies"
    find_copies.main(
        *paths(
            "classes.csv",
            "inspected.csv",
            "thumbnails.npy",
            "colours.npy",
            "copies.csv",
            "groups.csv",
            "copies.json",
        ),
        holdout["keep_together"],
        None,
        2,
    )
    yield "split_holdout"
    split_holdout.main(
        *paths("classes.csv", "inspected.csv", "groups.csv", "split.csv"),
        holdout,
        are_splits_given(settings["data"]),
        None,
        data / "images.csv",
    )
    yield "filter_corrupt"
    filter_corrupt.main(
        *paths("split.csv", "inspected.csv", "grey.json", "copies.csv"),
        *paths("images.csv", "corrupt.csv", "look_at.csv", "dataset"),
        images,
        holdout,
        None,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_config_is_refused_by_its_key(name, tmp_path):
    study = make_case(tmp_path, name)
    before = take_stock(study.folder)
    with contextlib.chdir(study.folder), pytest.raises(ConfigError) as refusal:
        read_study(study)
    said = str(refusal.value)
    assert said.startswith(("config: ", str(tmp_path))) and "\n" not in said
    assert [part for part in CONFIGS[name][1] if part not in said] == [], said
    assert said.endswith((".", ".)")) and "given schemas" not in said, said
    assert take_stock(study.folder) == before


@pytest.mark.parametrize("name", DATA)
def test_bad_data_is_refused_by_file_and_row(name, tmp_path):
    study = make_case(tmp_path, name)
    before, (rule, _, _, parts), begun = users_own(study), DATA[name], []
    with contextlib.chdir(study.folder), pytest.raises(UserError) as refusal:
        for stage in run_stages(study):
            begun.append(stage)
    said = str(refusal.value)
    assert begun[-1] == rule and "\n" not in said
    assert [part for part in parts if part not in said] == [], said
    left = [name for name in OUTPUTS[rule] if (study / "results/data" / name).exists()]
    assert left == []
    assert users_own(study) == before


@pytest.mark.parametrize("name", ["unknown key in data", "no CSV", "text for a number"])
def test_a_user_sees_one_sentence_on_the_config_and_no_place_in_the_code(name, tmp_path):
    study = make_case(tmp_path, name)
    before = users_own(study)
    outcome = study.try_run("--dry-run")
    assert outcome.code != 0
    said = re.findall(r"^config: .*$", outcome.output, re.MULTILINE)
    assert len(said) == 1 and all(part in said[0] for part in CONFIGS[name][1]), outcome.output
    assert "Traceback" not in outcome.output and "line " not in outcome.output.replace("command line", "")
    assert 'Snakefile"' not in outcome.output and ".py" not in outcome.output
    assert not (study / "results").exists() and users_own(study) == before


@pytest.mark.parametrize("name", ["a ragged row", "classes too small", "too many damaged images"])
def test_a_user_sees_one_sentence_on_the_data_and_it_is_in_the_log(name, tmp_path):
    """A case for each of the rules."""
    study = make_case(tmp_path, name)
    before, (rule, _, _, parts) = users_own(study), DATA[name]
    outcome = study.try_run("pack")
    assert outcome.code != 0, outcome.output
    said = re.findall(r"^(\w+): error: (.*)$", outcome.output, re.MULTILINE)
    assert [who for who, _ in said] == [rule], outcome.output
    assert [part for part in parts if part not in said[0][1]] == [], said[0][1]
    assert f"ERROR error: {said[0][1]}" in study.log(rule)
    assert "Traceback" not in outcome.output
    assert [name for name in OUTPUTS[rule] if (study / "results/data" / name).exists()] == []
    assert users_own(study) == before


def test_missing_images_that_are_skipped_are_counted(tmp_path):
    study = Study(tmp_path, config({"missing_images": "skip"}))
    save_images(study / "photos/red", "red", 6)
    save_images(study / "photos/green", "green", 6)
    write_csv(study / "answers.csv", [["image", "label"], *ROWS, ["red/7.png", "red"], ["red/8.png", "red"]])
    study.run("split_holdout")
    assert study.rows("data/left_out.csv") == [
        {"reason": "not in the folder of images", "unit": "images", "count": "2"}
    ]
    assert [row["image"] for row in study.rows("data/classes.csv")] == sorted(image for image, _ in ROWS)
