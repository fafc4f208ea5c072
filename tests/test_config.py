"""config.yaml, its schema, the examples and the pinned packages say the same, each to its reader."""

import re
import tomllib

import jsonschema
import pytest
import yaml
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from baton.study.labels import merges_ranges, put_in_order
from baton.study.models import OF_THE_IMAGES
from baton.study.study import Study

TEXT = (REPOSITORY / "config.yaml").read_text(encoding="utf-8")
CONFIG = yaml.safe_load(TEXT)
SCHEMA = yaml.safe_load((REPOSITORY / "rules/schemas/config.schema.yaml").read_text(encoding="utf-8"))
SECTIONS = [name for name, value in CONFIG.items() if isinstance(value, dict)]
ARCHITECTURE = ["name", "kernels", "kernel_size", "dense", "layers"]


def resolve(entry):
    """Return a schema's entry with what its $ref names laid under it."""
    if "$ref" not in entry:
        return entry
    return resolve(SCHEMA["$defs"][entry["$ref"].rsplit("/", 1)[1]]) | {
        k: v for k, v in entry.items() if k != "$ref"
    }


def entries():
    """Return the schema's entry of every key by its dotted name: training.epochs, models.layers, ..."""
    found = {}
    for name, entry in SCHEMA["properties"].items():
        inner = entry.get("properties") or entry.get("items", {}).get("properties")
        if inner and name != "sweep":  # its keys are those of the models
            found |= {f"{name}.{key}": resolve(value) for key, value in inner.items()}
        else:
            found[name] = resolve(entry)
    return found


def values():
    """Return the value of every key in config.yaml by its dotted name; of models, a model's keys."""
    found = {}
    for name, value in CONFIG.items():
        if name == "models":
            continue
        inner = value if isinstance(value, dict) else None
        found |= {f"{name}.{key}": inner[key] for key in inner} if inner else {name: value}
    return found


def lay_over(config, overlay):
    """Return `overlay` laid over `config` as Snakemake does: dictionaries merge, all else replaces."""
    merged = dict(config)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = lay_over(merged[key], value) if both else value
    return merged


class TestSchema:
    def test_it_is_a_valid_schema(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_it_has_the_keys_of_the_config_and_no_others(self):
        in_models = {f"models.{key}" for key in [*ARCHITECTURE, *OF_THE_IMAGES, *CONFIG["training"]]}
        assert set(entries()) == set(values()) | in_models
        assert set(SCHEMA["properties"]) == set(CONFIG)

    def test_a_model_may_override_every_key_of_training(self):
        models, training = SCHEMA["properties"]["models"]["items"], SCHEMA["properties"]["training"]
        for key in CONFIG["training"]:
            mine, theirs = resolve(models["properties"][key]), resolve(training["properties"][key])
            assert mine == {name: value for name, value in theirs.items() if name != "default"}, key
        assert models["required"] == ARCHITECTURE

    def test_a_sweep_may_vary_every_key_of_a_model_but_the_seeds(self):
        sweep, model = (SCHEMA["properties"][name]["items"] for name in ("sweep", "models"))
        assert list(sweep["properties"]) == [*model["properties"], "impossible"]
        assert sweep["required"] == model["required"] and sweep["additionalProperties"] is False
        values = {"$ref": "#/$defs/values"}
        varied = {key for key, entry in sweep["properties"].items() if entry == values}
        assert varied == set(model["properties"]) - {"name", "seeds"}
        assert sweep["properties"]["seeds"] == model["properties"]["seeds"]

    @pytest.mark.parametrize("key", entries())
    def test_every_key_has_a_description_and_what_is_allowed(self, key):
        entry = entries()[key]
        assert len(entry["description"].split()) >= 2 and entry["description"].endswith(".")
        assert {"type", "enum", "anyOf"} & set(entry)
        types = entry.get("type", [])
        if {"integer", "number"} & set([types] if isinstance(types, str) else types):
            assert {"minimum", "exclusiveMinimum"} & set(entry), "no least value"

    @pytest.mark.parametrize("key", values())
    def test_the_defaults_are_those_of_the_config(self, key):
        default = entries()[key]["default"]
        assert default == values()[key] and isinstance(default, bool) == isinstance(values()[key], bool)

    def test_every_section_refuses_unknown_keys(self):
        assert SCHEMA["additionalProperties"] is False
        for name in SECTIONS:
            assert SCHEMA["properties"][name]["additionalProperties"] is False, name
        assert SCHEMA["properties"]["models"]["items"]["additionalProperties"] is False

    def test_the_config_is_valid(self):
        jsonschema.validate(CONFIG, SCHEMA)


class TestConfig:
    def test_the_six_models_of_the_study_in_their_order(self):
        found = [tuple(model[key] for key in ARCHITECTURE) for model in CONFIG["models"]]
        assert found == [
            ("model_1", 64, 3, 1024, 4),
            ("model_2", 64, 3, 1024, 3),
            ("model_3", 32, 3, 768, 3),
            ("model_4", 32, 3, 1024, 4),
            ("model_5", 64, 4, 512, 4),
            ("model_6", 32, 4, 768, 2),
        ]
        assert all(set(model) == set(ARCHITECTURE) for model in CONFIG["models"])

    def test_the_values_that_the_study_gives(self):
        training = {"epochs": 50, "batch_size": 32, "initializer": "normal", "stddev": 0.1, "patience": None}
        assert {key: CONFIG["training"][key] for key in training} == training
        assert CONFIG["holdout"]["validation"] == CONFIG["holdout"]["test"] == 50
        assert {key: CONFIG["images"][key] for key in OF_THE_IMAGES} == {"size": 150, "synthetic_fraction": 0}
        augmentation = CONFIG["augmentation"]
        assert augmentation["flip"] and augmentation["rotation"]
        assert [augmentation[key] for key in ("zoom", "brightness", "contrast")] == [0, 0, 0]

    @pytest.mark.parametrize("key", [*values(), "models", *SECTIONS])
    def test_every_key_has_a_comment_near_it(self, key):
        """Above it, or above the keys just before it, which it then speaks of too; else above its section."""
        lines, (name, section) = TEXT.splitlines(), (key.split(".")[-1], key.split(".")[0])
        start = next(number for number, line in enumerate(lines) if re.match(rf"{section}:", line))
        indent = "" if name == section else "  "
        at = next(n for n in range(start, len(lines)) if re.match(rf"{indent}{name}:", lines[n]))
        above = [line.strip() for line in lines[:at]]
        block = above[max((n + 1 for n, line in enumerate(above) if not line), default=0) :]
        if key in SECTIONS:
            block += [lines[at + 1].strip()]
        comments = [number for number, line in enumerate(block) if line.startswith("#")]
        assert comments and len(block) - comments[-1] <= 4, f"no comment in the four lines above {key}"

    def test_a_models_keys_are_explained(self):
        comment = TEXT[: TEXT.index("\nmodels:")].rsplit("\n\n", 1)[1]
        for key in ARCHITECTURE[1:]:
            assert re.search(rf"\b{key}: ", comment), key
        assert "override `size` and `synthetic_fraction` of `images`, and any key of `training`" in comment

    def test_nothing_in_it_is_about_the_machine(self):
        assert not {"cores", "threads", "memory", "mem_mb", "runtime", "gpu"} & {
            key.split(".")[-1] for key in values()
        }


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=lambda path: path.stem)
class TestExamples:
    def test_it_lays_over_the_config(self, path):
        overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = lay_over(CONFIG, overlay)
        jsonschema.validate(merged, SCHEMA)
        assert merged["data"]["images"]
        assert bool(merged["data"]["annotations"]) == (merged["data"]["source"] in ("demo", "annotations"))

    def test_it_names_only_what_differs(self, path):
        overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(overlay) <= set(CONFIG) and "models" not in overlay, "the six of the study are the point"

    def test_its_first_lines_say_the_command_the_data_and_what_to_expect(self, path):
        head = path.read_text(encoding="utf-8").split("\ndata:")[0]
        command = "snakemake" if path.stem == "demo" else f"snakemake .*--configfile examples/{path.name}"
        assert re.search(rf"^#   {command}$", head, re.MULTILINE)
        assert re.search(r"^# Data: \S", head, re.MULTILINE)
        expected = re.search(r"^# Expect: (.*)", head, re.MULTILINE | re.DOTALL)[1]
        assert "TODO" not in head and re.search(r"\d", expected)


def test_the_vegetables_tell_the_published_accuracies():
    head = " ".join((REPOSITORY / "examples/vegetables.yaml").read_text(encoding="utf-8").split())
    assert "0.995, 0.982, 0.993, 0.995, 0.973, 0.983" in head and "600 test images" in head


def test_the_demo_tells_how_many_scans_it_is_made_of():
    from sklearn.datasets import load_digits

    scans = int((load_digits().target > 0).sum())
    assert f"{scans:,} real scans" in (REPOSITORY / "examples/demo.yaml").read_text(encoding="utf-8")


LOCK = "".join(
    (REPOSITORY / name).read_text(encoding="utf-8") for name in ("requirements.lock", "export.lock")
)
# An entry is a line `name==version [; marker] \` and the indented lines after it.
LOCKED = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;]+)(.*(?:\n .*)*)", LOCK, re.MULTILINE)


class TestPackages:
    def test_every_line_of_the_lock_is_a_package_with_its_exact_version_or_a_hash(self):
        assert len(LOCKED) > 50
        lines = [line for line in LOCK.splitlines() if line.strip() and not line.startswith((" ", "#"))]
        assert len(lines) == len(LOCKED)

    def test_every_package_has_a_hash(self):
        for name, version, rest in LOCKED:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", rest), f"{name} {version}"

    def test_no_registry_is_named(self):
        assert "://" not in LOCK
        assert not re.search(r"--(index-url|extra-index-url|find-links)", LOCK)
        assert not re.search(r"^\S+ @ ", LOCK, re.MULTILINE)

    def test_the_conda_environment_pins_what_the_lock_pins(self):
        pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
        environment = yaml.safe_load((REPOSITORY / "envs/baton.yaml").read_text(encoding="utf-8"))
        pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
        pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in pip)}
        locked = {}
        for name, version, _ in LOCKED:
            locked.setdefault(canonicalize_name(name), set()).add(version)
        project = pyproject["project"]
        lines = [*project["dependencies"], *project["optional-dependencies"]["export"]]
        asked = {canonicalize_name(Requirement(line).name) for line in lines}
        assert asked - set(pinned) == set() == set(pinned) - asked
        for name, version in pinned.items():
            assert version in locked[name], name

    def test_the_conda_environments_python_is_one_that_is_supported(self):
        pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
        environment = yaml.safe_load((REPOSITORY / "envs/baton.yaml").read_text(encoding="utf-8"))
        python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python="))
        version = Requirement(f"python{pyproject['project']['requires-python']}").specifier
        assert version.contains(python.removeprefix("python=") + ".0")


class TestOrdered:
    @pytest.mark.parametrize(
        "classes, ordered",
        [
            ({"low": [1, 2, 3], "middle": [4], "high": [5, 6, 7]}, True),
            ({"high": [5, 6], "low": [1, "2.5"]}, True),
            ({"a": [10], "b": [9]}, True),
            ({"low": [1, 3], "high": [2, 4]}, False),
            ({"a": [1, 2], "b": [2.5, 9], "c": [3]}, False),
            ({"low": [1], "high": ["two"]}, False),
            ({"winter": ["2024_01"], "spring": ["2024_04"]}, False),  # months
            (["a", "b"], False),
            ([1, 2], False),  # the evaluation sees that
            (None, False),
            ({"middle": {"from": 3, "to": 5}, "low": {"to": 3}, "high": {"from": 5}}, True),
        ],
    )
    def test_classes_merged_from_numbers_in_order_are(self, classes, ordered):
        assert merges_ranges(classes) is ordered

    @pytest.mark.parametrize(
        "given, names",
        [
            (
                {"middle": {"from": 3, "to": 5}, "low": {"to": 3}, "high": {"from": 5}},
                ["low", "middle", "high"],
            ),
            ({"high": {"from": 5}, "low": {"to": 5}}, ["high", "low"]),  # from the high end to the low one
            ({"b": ["1"], "a": ["2"]}, ["b", "a"]),
        ],
    )
    def test_ranges_are_in_their_order(self, given, names):
        assert list(put_in_order(given)) == names

    @pytest.mark.parametrize("said", [True, False])
    def test_what_the_config_says_counts(self, said):
        data = {"data": {"classes": {"low": [1], "high": [2]}, "ordered": said}}
        assert Study(data, [], [], [], {}).ordered is said
