"""Config values as they are spelled: what YAML would change is read as it stands, or refused by its key."""

import contextlib
import datetime
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import Study, save_image, write_csv
from snakemake.utils import validate

from baton.errors import ConfigError
from baton.study.study import make_study

MODELS = "models: [{name: net, kernels: 2, kernel_size: 3, dense: 4, layers: 1}]"


@pytest.fixture
def read(tmp_path):
    """Return what a config's lines below `data:` and beside it make, with arguments of --config."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "answers.csv").touch()

    def read_text(data="", others="", *arguments):
        lines = [
            "data:",
            "  source: annotations",
            "  images: photos",
            "  annotations: answers.csv",
            f"  {data}",
        ]
        (tmp_path / "config.yaml").write_text("\n".join([*lines, MODELS, others, ""]), encoding="utf-8")
        settings = SimpleNamespace(
            configfiles=[tmp_path / "config.yaml"], config_args=list(arguments) or None
        )
        with contextlib.chdir(tmp_path):
            return make_study({}, validate, settings)

    return read_text


# As YAML 1.1 has it: octal, minutes and seconds, a number with a low line, truths, nothing, dates, exponents, an infinity,
# hexadecimal, binary, a merge and a default.
SPELLINGS = "010 -007 12:30 1:02:03 2024_01 yes No ON off true y ~ null 2024-01-05 1e5 1.50 .5 .inf 0x1F 0b11 = +5 1_000"


@pytest.mark.parametrize("text", SPELLINGS.split())
class TestAsSpelled:
    def test_in_every_place_of_a_name(self, read, text):
        data = read(f"where: {{annotator: {text}}}").config["data"]
        assert data["where"] == {"annotator": text}
        data = read(f"where: {{{text}: a}}").config["data"]
        assert data["where"] == {text: "a"}
        data = read(f"classes: [{text}, other]").config["data"]
        assert data["classes"] == [text, "other"]
        data = read(f"classes: {{{text}: [a, {text}], b: [c]}}").config["data"]
        assert data["classes"] == {text: ["a", text], "b": ["c"]}
        data = read(f"label_column: {text}").config["data"]
        assert data["label_column"] == text

    def test_a_folder_on_the_command_line(self, read, text):
        assert read("", "", f"images={text}", "model=net").named == {
            "model": "net",
            "images": text,
            "annotations": None,
        }


def test_a_folder_and_a_table_are_named_as_they_are_spelled(tmp_path, read):
    (tmp_path / "2024_01").mkdir()
    (tmp_path / "010").touch()
    (tmp_path / "my.yaml").write_text(
        f"data: {{source: annotations, images: 2024_01, annotations: 010}}\n{MODELS}", encoding="utf-8"
    )
    with contextlib.chdir(tmp_path):
        found = make_study({}, validate, SimpleNamespace(configfiles=["my.yaml"], config_args=None))
    assert (found.config["data"]["images"], found.config["data"]["annotations"]) == ("2024_01", "010")


def test_whole_numbers_stay_numbers_and_quoted_ones_text(read):
    data = read("classes: {low: [1, -2, '3'], 4: [\"05\"]}").config["data"]
    assert data["classes"] == {"low": [1, -2, "3"], "4": ["05"]}


@pytest.mark.parametrize(
    "key, text, number",
    [
        ("learning_rate", "1e-4", 0.0001),
        ("learning_rate", "5E-3", 0.005),
        ("learning_rate", "'0.25'", 0.25),
        ("l2", ".5", 0.5),
        ("epochs", "1e5", 100_000),
        ("epochs", "'7'", 7),
        ("epochs", "1_000", 1000),
        ("dropout", "0.0", 0),
        ("patience", "~", None),
        ("patience", "null", None),
    ],
)
def test_a_number_is_one_however_it_is_spelled(read, key, text, number):
    found = read("", f"training: {{{key}: {text}}}").config["training"][key]
    assert found == number and type(found) in (type(number), int)
    argument = f"training={{{key}: {text}}}"
    assert read("", "", argument).config["training"][key] == number


def test_the_command_line_takes_what_a_file_takes(read):
    found = read(
        "",
        "training: {epochs: 9, l2: 0.5}",
        "session_minutes=null",
        "training={epochs: 3}",
        "report={images: no}",
    )
    assert found.config["session_minutes"] is None
    assert (found.config["training"]["epochs"], found.config["training"]["l2"]) == (3, 0.5)
    assert found.config["report"] == {"images": False, "annotators": "names"}
    assert read("", "", "session_minutes=1e2").config["session_minutes"] == 100


def test_values_of_a_sweep(read):
    varied = "learning_rate: [1e-3, 1e-4], patience: [null, 3], precision: [auto, float32]"
    found = read(
        "", f"sweep: [{{name: s, kernels: 2, kernel_size: 3, dense: 4, layers: 1, {varied}}}]"
    ).models[1:]
    assert {(model["learning_rate"], model["patience"], model["precision"]) for model in found} == {
        (rate, patience, precision)
        for rate in (0.001, 0.0001)
        for patience in (None, 3)
        for precision in ("auto", "float32")
    }


@pytest.mark.parametrize(
    "data, key, spelled",
    [
        ({"where": {"day": datetime.date(2024, 1, 5)}}, "data.where.day", "2024-01-05"),
        ({"where": {True: "a"}}, "data.where", "yes"),
        ({"where": {"a": False}}, "data.where.a", "no"),
        ({"where": {None: "a"}}, "data.where", "null"),
        ({"classes": [1.5, 2]}, "data.classes", "1.5"),
        ({"classes": {datetime.date(2024, 1, 5): ["a"], "b": ["c"]}}, "data.classes", "2024-01-05"),
        ({"classes": {"a": [True], "b": ["c"]}}, "data.classes.a", "yes"),
        ({"label_column": 12.5}, "data.label_column", "12.5"),
        ({"images": False}, "data.images", "no"),
    ],
)
def test_where_only_values_arrive_changed_names_are_refused_by_key(data, key, spelled):
    model = {"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
    given = {
        "data": {"source": "annotations", "images": "photos", "annotations": "a.csv"} | data,
        "models": [model],
    }
    with pytest.raises(ConfigError) as refusal:
        make_study(given, validate, made_before=True)
    said = str(refusal.value)
    assert (
        said.startswith(f"config: {key}: ")
        and f'in quotes, as it is spelled in the data, such as "{spelled}"' in said
    )


def test_an_annotator_with_zeros_in_front_is_the_one_that_is_taken(tmp_path):
    """Snakemake's own reading of file and command line ends where the config is read as it is spelled."""
    study = Study(
        tmp_path,
        "data: {source: annotations, images: photos, annotations: answers.csv, where: {annotator: 010}}\n"
        f"holdout: {{validation: 1, test: 1}}\nimages: {{size: 8}}\n{MODELS}\n",
    )
    rows = [["image", "annotator", "label"]]
    for number in range(8):
        save_image(study / f"photos/{number}.png", "red", number)
        rows += [[f"{number}.png", "008", f"{number % 2}"], [f"{number}.png", "010", f"{number // 4}"]]
        rows += [[f"{number}.png", "12", f"{number % 3 > 0:d}"]]
    write_csv(study / "answers.csv", rows)
    study.run("sort_into_classes")
    assert [row["class"] for row in study.rows("data/classes.csv")] == list("00001111")
    study.run("sort_into_classes", "--config", "data={where: {annotator: 008}}")
    assert [row["class"] for row in study.rows("data/classes.csv")] == list("01010101")


def test_a_value_of_the_command_line_that_is_no_yaml_is_named(tmp_path):
    study = Study(tmp_path, MODELS)
    done = subprocess.run(
        study.command("--dry-run", "--config", "training={epochs: 3"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode != 0 and "training={epochs: 3: this is not YAML" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr and sys.executable
