"""`sweep:` in the config: which models it makes, what they are called, what is refused, and what many cost.

Names, values and refusals by what the rules make of a config; jobs and time by dry runs of snakemake.
"""

import copy
import os
import re
import time

import pytest
import yaml
from conftest import REPOSITORY, Study, save_images
from snakemake.utils import validate

from baton.errors import ConfigError
from baton.study.study import make_study

SHAPE = {"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
SECONDS = 60  # for a dry run of 300 models, which takes 4 on the slow machine that this was written on


def read(own):
    """Return the Study that is made of a config; `own` is what differs from config.yaml."""
    return make_study(copy.deepcopy(own), validate)


def config(sweep, models=(), **sections):
    whole = {
        "data": {"source": "demo", "images": "digits", "annotations": "digits.csv"},
        "images": {"size": 16},
        "models": list(models),
    }
    return whole | ({"sweep": sweep} if sweep is not None else {}) | sections


def expand(text):
    """Return the models of a sweep that is written as YAML, by name, without their names."""
    models = read(config([{"name": "s", **SHAPE} | yaml.safe_load(text)])).models
    made = {model["name"]: {key: model[key] for key in model if key != "name"} for model in models}
    assert len(made) == len(models)
    return made


def column(text, key):
    """Return the values of `key` in the models of a sweep, with their types, in their order."""
    return [(model[key], type(model[key])) for model in expand(text).values()]


class TestValues:
    @pytest.mark.parametrize(
        "values, expected",
        [
            ("[3, 5]", [3, 5]),
            ("[5, 3]", [5, 3]),  # in the user's order
            ("[64]", [64]),
            ("[1.0, 2.0]", [1, 2]),
        ],
    )
    def test_whole_numbers(self, values, expected):
        assert column(f"kernels: {values}", "kernels") == [(value, int) for value in expected]

    @pytest.mark.parametrize(
        "values, expected",
        [
            ("[1.0e-6, 1.0e-5, 0.1]", [1e-6, 1e-5, 1e-1]),
            ("[0, 0.35, 0.7]", [0, 0.35, 0.7]),
            ("[1.0e-5, 0, 0.5]", [1e-5, 0, 0.5]),
        ],
    )
    def test_fractions_are_those_that_one_would_write(self, values, expected):
        kinds = [(value, float if value else int) for value in expected]
        assert column(f"l2: {values}", "l2") == kinds

    def test_null_and_words(self):
        made = expand("{patience: [null, 5], initializer: [he_normal, normal]}")
        assert [(model["initializer"], model["patience"]) for model in made.values()] == [
            ("he_normal", None),
            ("he_normal", 5),
            ("normal", None),
            ("normal", 5),
        ]

    def test_one_model_for_each_combination_and_what_is_one_value_in_all(self):
        made = expand("{kernels: [2, 4], layers: [1, 2, 3], l2: 0.5, seeds: [3, 4]}")
        expected = [
            SHAPE | {"kernels": kernels, "layers": layers, "l2": 0.5, "seeds": [3, 4]}
            for kernels in (2, 4)
            for layers in (1, 2, 3)
        ]
        assert list(made.values()) == expected

    def test_models_of_several_kinds_of_images_read_the_arrays_of_theirs(self):
        sweep = {"name": "s", **SHAPE, "size": [16, 24], "synthetic_fraction": [0, 0.25]}
        runs = read(config([sweep, {"name": "plain", **SHAPE}])).runs
        found = [
            (r.name, r.settings["size"], r.settings["synthetic_fraction"], r.packed.folder) for r in runs
        ]
        # What synthetic images are drawn with is part of what their training runs follow from, where no manifest tells
        # it: a holdout that is drawn with another seed makes other manifests.
        assert [r.settings.get("synthetic_seed") for r in runs] == [None] * 5
        given = {"source": "split_folders", "images": ".", "annotations": None}
        runs = read(config([sweep, {"name": "plain", **SHAPE}], data=given, holdout={"seed": 7})).runs
        assert [r.settings.get("synthetic_seed") for r in runs] == [None, 7, None, 7, None]
        assert found == [
            ("s_size_16_synthetic_fraction_0", 16, 0, "results/data/packed/16px"),
            ("s_size_16_synthetic_fraction_0p25", 16, 0.25, "results/data/packed/16px_synthetic_0.25"),
            ("s_size_24_synthetic_fraction_0", 24, 0, "results/data/packed/24px"),
            ("s_size_24_synthetic_fraction_0p25", 24, 0.25, "results/data/packed/24px_synthetic_0.25"),
            ("plain", 16, 0, "results/data/packed/16px"),
        ]

    def test_without_lists_it_is_one_model_of_the_sweeps_name(self):
        assert expand("{name: alone}") == {"alone": SHAPE}


class TestRanges:
    """Earlier versions had ranges; each is refused with the list that makes the same models."""

    @pytest.mark.parametrize(
        "values, expected",
        [
            ("{from: 3, to: 6}", [3, 4, 5, 6]),
            ("{from: 1, to: 12, step: 4}", [1, 5, 9]),  # 12 is not hit
            ("{from: 8, to: 64, factor: 2}", [8, 16, 32, 64]),
            ("{from: 8, to: 63, factor: 2}", [8, 16, 32]),
            ("{from: 7, to: 7}", [7]),
            ("{from: 1.0, to: 2.0}", [1, 2]),
            ("{from: 1.0e-6, to: 0.1, factor: 10}", [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
            ("{from: 0.1, to: 0.5, step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5]),
            ("{from: 0, to: 0.7, step: 0.35}", [0, 0.35, 0.7]),
            ("{from: 0.1, to: 0.35, step: 0.1}", [0.1, 0.2, 0.3]),
            ("{from: 0.3, to: 8.1, factor: 3}", [0.3, 0.9, 2.7, 8.1]),
            ("{from: 1.5e-7, to: 1.5e-6, factor: 10}", [1.5e-7, 1.5e-6]),
        ],
    )
    def test_the_list_to_write_reads_as_the_same_numbers(self, values, expected):
        """To the last bit: 0.1 + 2 * 0.1 and 1e-6 * 10 ** 3 are others."""
        with pytest.raises(ConfigError, match="not a range") as refusal:
            expand(f"l2: {values}")
        written = yaml.safe_load(re.search(r"write (\[.*\])\.$", str(refusal.value))[1])
        assert [(value, type(value)) for value in written] == [
            (value, float if value % 1 else int) for value in expected
        ]

    @pytest.mark.parametrize(
        "values",
        [
            "{from: 8}",
            "{from: 8, to: 1}",
            "{from: 1, to: 8, step: 1, factor: 2}",
            "{from: 0, to: 1, factor: 10}",
            "{from: 1, to: 8, factor: 1}",
            "{from: 1, to: 8, step: 0}",
            "{from: 1, to: .inf}",
            "{from: 1, to: 1.0e+9}",
            "{from: .inf, to: .inf}",
            "{from: .nan, to: 3, factor: 2}",
            "{from: 1, to: .inf, factor: 2}",
            "{from: 1" + 400 * "0" + ", to: 3}",
            "{from: one, to: 8}",
            "{from: 1, to: 8, steps: 2}",
            "{}",
        ],
    )
    def test_one_that_is_none_or_too_long_is_refused_too(self, values):
        with pytest.raises(ConfigError, match=r"sweep\.0\.l2: .* write a list of the values"):
            expand(f"l2: {values}")


class TestNames:
    @pytest.mark.parametrize(
        "values, names",
        [
            ("kernels: [2, 16]", ["s_kernels_2", "s_kernels_16"]),
            ("kernels: [2]", ["s_kernels_2"]),
            ("l2: [0, 1.0e-5, 0.001, 0.25]", ["s_l2_0", "s_l2_1em05", "s_l2_0p001", "s_l2_0p25"]),
            ("l2: [0.1, 0.2, 0.3]", ["s_l2_0p1", "s_l2_0p2", "s_l2_0p3"]),
            ("patience: [null, 5]", ["s_patience_null", "s_patience_5"]),
            ("initializer: [he_normal]", ["s_initializer_he_normal"]),
            (
                "{layers: [1, 2], dense: [4, 8]}",
                ["s_dense_4_layers_1", "s_dense_4_layers_2", "s_dense_8_layers_1", "s_dense_8_layers_2"],
            ),
        ],
    )
    def test_they_tell_the_values_that_differ(self, values, names):
        assert list(expand(values)) == names

    def test_the_ones_that_the_manual_tells(self):
        comment = (REPOSITORY / "config.yaml").read_text(encoding="utf-8").rsplit("This makes the", 1)[1]
        told = re.search(r"(\d+) models\n# (\w+), \.\.\., (\w+):\n", comment)
        example = "\n".join(line[1:] for line in comment.splitlines() if line.startswith("#   "))
        (sweep,) = yaml.safe_load(example)
        names = list(expand(yaml.safe_dump(sweep)))
        assert (str(len(names)), names[0], names[-1]) == told.groups()

    def test_the_order_of_the_keys_in_the_file_does_not_matter(self):
        one = expand("{kernels: [2, 4], dense: [4, 8], l2: [0.1, 1]}")
        other = expand("{l2: [0.1, 1], dense: [4, 8], kernels: [2, 4]}")
        assert list(one.items()) == list(other.items()) and len(one) == 8

    @pytest.mark.parametrize(
        "before, after",
        [
            ("kernels: [2, 4]", "kernels: [8, 2, 4]"),
            ("kernels: [2, 4, 8]", "kernels: [1, 2, 4, 8, 16, 32, 64]"),
            ("kernels: [2, 4, 8]", "kernels: [2, 3, 4, 8]"),
            ("kernels: [2, 4]", "kernels: [2.0, 4, 6]"),
        ],
    )
    def test_a_value_that_is_added_leaves_the_others_as_they_are(self, before, after):
        old, new = (expand(f"{{{values}, l2: [0, 0.1]}}") for values in (before, after))
        assert len(new) > len(old) or after.startswith("kernels: [2.0")
        assert {name: new[name] for name in old} == old

    def test_two_values_are_never_one_name(self):
        values = "[0, 1, 10, 0.1, 0.01, 1.0e-5, 1.0e+5, 1.5, 15, 0.15, 1.0e-10, 1.0e+10]"
        assert len(expand(f"l2: {values}")) == 12


class TestLeftOut:
    def test_combinations_that_cannot_be_are_left_out_where_the_user_says_so(self):
        halved = {"name": "s", **SHAPE, "layers": [3, 4, 5], "size": [16, 32], "impossible": "leave_out"}
        found = read(config([halved]))
        # 16 px can be halved four times, to one; 32 px five times.
        assert [(model["layers"], model["size"]) for model in found.models] == [
            (3, 16),
            (3, 32),
            (4, 16),
            (4, 32),
            (5, 32),
        ]
        (note,) = found.notes
        assert note.startswith("config: sweep.0: left out") and note.endswith(": s_layers_5_size_16.")
        assert "impossible" not in found.runs[0].settings

    def test_what_the_initial_weights_do_not_ask_for_makes_no_other_model(self):
        text = "{initializer: [he_normal, normal, glorot_uniform], stddev: [0.1, 0.2]}"
        found = read(config([{"name": "s", **SHAPE} | yaml.safe_load(text)]))
        assert [(model["initializer"], model["stddev"]) for model in found.models] == [
            ("he_normal", 0.1),
            ("normal", 0.1),
            ("normal", 0.2),
            ("glorot_uniform", 0.1),
        ]
        assert [
            re.search(r"(\S+) is left out: it is (\S+) by another name", note).groups()
            for note in found.notes
        ] == [
            (f"s_initializer_{name}_stddev_0p2", f"s_initializer_{name}_stddev_0p1")
            for name in ("he_normal", "glorot_uniform")
        ]

    def test_of_models_that_are_the_same_one_that_is_trained_stays(self, tmp_path, monkeypatch):
        sweep = {"name": "s", **SHAPE, "initializer": ["he_normal"], "stddev": [0.05, 0.1, 0.2]}
        names = [f"s_initializer_he_normal_stddev_0p{value}" for value in ("05", "1", "2")]
        assert [model["name"] for model in read(config([sweep])).models] == names[:1]
        exists = os.path.exists
        monkeypatch.setattr(
            "os.path.exists", lambda path: path == f"results/models/{names[1]}" or exists(path)
        )
        found = read(config([sweep]))
        assert [model["name"] for model in found.models] == names[1:2]
        assert [
            f"config: sweep.0: {name} is left out: it is {names[1]} by another name."
            for name in (names[0], names[2])
        ] == found.notes
        with pytest.raises(
            ConfigError, match=f"no model {names[2]}. config: sweep.0: {names[2]} is left out"
        ):
            read(config([sweep], verify=names[2]))

    def test_models_that_are_one_by_two_names_are_named_and_trained(self):
        models = [{"name": "a", **SHAPE}, {"name": "b", **SHAPE, "kernels": 4}, {"name": "c", **SHAPE}]
        models += [{"name": "d", **SHAPE, "seeds": [5]}]
        found = read(config([{"name": "s", **SHAPE, "kernels": [4, 8]}], models))
        assert [model["name"] for model in found.models] == ["a", "b", "c", "d", "s_kernels_4", "s_kernels_8"]
        assert [
            f"config: {one} is {other} by another name: both give the same result."
            for one, other in (("c", "a"), ("s_kernels_4", "b"))
        ] == found.notes


def sweep(**keys):
    """Return a config with one sweep, of two models but for `keys`."""
    return config([{"name": "s", **SHAPE, "kernels": [2, 4]} | keys])


LONG = {"name": "a" * 40, "learning_rate": [0.00012345678901, 0.1], "dropout": [0.12345678901, 0.2]}
# Each refused: its config, and what the sentence has in it.
REFUSED = {
    "a range": (
        sweep(kernels={"from": 8, "to": 64, "factor": 2}),
        ["sweep.0.kernels", "not a range: write [8, 16, 32, 64]."],
    ),
    "a range that cannot be written out": (
        sweep(kernels={"from": 8}),
        ["sweep.0.kernels", "write a list of the values, such as [8, 16, 32]."],
    ),
    "too many models": (
        sweep(kernels=list(range(1, 51)), dense=list(range(1, 51))),
        ["sweep.0", "more than 2,000 models"],
    ),
    "too many of one list": (sweep(dense=list(range(1, 2002))), ["sweep.0", "more than 2,000 models"]),
    "an unknown key": (sweep(kernls=[1, 2]), ["unknown key in sweep.0: kernls (did you mean kernels?)"]),
    "no models and no sweep": (config(None), ["models", "there is none, and no sweep makes one"]),
    "no models and an empty sweep": (config([]), ["models", "there is none, and no sweep makes one"]),
    "too many layers": (
        sweep(layers=[1, 2, 3, 4, 5, 6]),
        ["4 of its 12 models have more layers", "s_kernels_2_layers_5, ", "or set impossible: leave_out"],
    ),
    "too many layers in every one": (
        sweep(layers=[5, 6], impossible="leave_out"),
        ["sweep.0: 4 of its 4 models have more layers than their images (size) can be halved"],
    ),
    "one model by two sweeps": (
        config(
            [{"name": "s", **SHAPE, "kernels": [2, 4]}, {"name": "s", **SHAPE, "kernels": list(range(4, 10))}]
        ),
        ["models and sweep", "used twice: s_kernels_4."],
    ),
    "a model that is there": (
        config([{"name": "s", **SHAPE, "dense": [4]}], [{"name": "s_dense_4", **SHAPE}]),
        ["models and sweep", "used twice: s_dense_4."],
    ),
    "many that are there": (
        config([{"name": "s", **SHAPE, "dense": list(range(1, 201))}] * 2),
        ["used twice: s_dense_1, s_dense_10, s_dense_100, s_dense_101, s_dense_102 and 195 more."],
    ),
    "a long name": (
        sweep(**LONG),
        [
            "sweep.0",
            f"{'a' * 40}_dropout_0p12345678901_",
            "103 characters; at most 80 are allowed",
            "shorter name",
        ],
    ),
    "a long name of its own": (sweep(name="a" * 41), ["sweep.0.name", "is too long"]),
    "a value no model may have": (
        sweep(kernels=[1, 1.5, 2]),
        ["sweep.0.kernels: 1.5 is not of type 'integer'"],
    ),
    "a value out of range": (sweep(kernels=[4, 0]), ["sweep.0.kernels: 0 is less than the minimum of 1"]),
    "a word no model may have": (
        sweep(initializer=["normal", "he_norma"]),
        ["sweep.0.initializer: 'he_norma' is not one of"],
    ),
    "of the second sweep": (
        config([{"name": "s", **SHAPE}, {"name": "t", **SHAPE, "epochs": [1, 0]}]),
        ["sweep.1.epochs: 0 is less than the minimum of 1"],
    ),
    "text for a number": (sweep(l2=["1e-5x", 0]), ["sweep.0.l2: '1e-5x' is not of type 'number'"]),
    "on for a word": (sweep(class_weights=True), ["sweep.0.class_weights: True"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_sweep_is_refused_in_one_sentence(name):
    own, parts = REFUSED[name]
    with pytest.raises(ConfigError) as refusal:
        read(own)
    said = str(refusal.value)
    assert said.startswith("config: ") and "\n" not in said
    assert [part for part in parts if part not in said] == [], said
    assert said.endswith((".", ".)")) and "given schemas" not in said, said


def prepare(folder, sweeps, models=()):
    """Return a study of class folders with these models and sweeps."""
    own = {"data": {"source": "class_folders", "images": "photos"}, "holdout": {"validation": 2, "test": 2}}
    study = Study(folder, config(sweeps, models, **own))
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 9)
    return study


@pytest.mark.parametrize("name", ["a range", "a long name"])
def test_a_user_sees_that_sentence_and_no_traceback(name, tmp_path):
    outcome = Study(tmp_path, REFUSED[name][0]).try_run("--dry-run", "--quiet")
    assert outcome.code == 1
    said = re.findall(r"^config: .*$", outcome.output, re.MULTILINE)
    assert len(said) == 1 and all(part in said[0] for part in REFUSED[name][1]), outcome.output
    assert "Traceback" not in outcome.output and "AttributeError" not in outcome.output


def jobs_of(outcome, verb):
    """Return the training runs that a dry run has a job of `verb` for; each may have one."""
    found = {rule: count for rule, count in outcome.jobs().items() if rule.startswith(f"{verb}_")}
    assert set(found.values()) <= {1}
    return {rule.removeprefix(f"{verb}_") for rule in found}


STAGES = {
    "sort_into_classes",
    "inspect_images",
    "measure_agreement",
    "estimate_ceiling",
    "find_copies",
    "split_holdout",
    "filter_corrupt",
    "weigh_classes",
}
STAGES |= {"write_report", "all"}


class TestJobs:
    def test_sweeps_stand_beside_the_models(self, tmp_path):
        sweeps = [
            {"name": "wide", **SHAPE, "kernels": [8, 16], "l2": [0.001, 0.01, 0.1]},
            {"name": "deep", **SHAPE, "layers": [2, 3], "seeds": [1, 2]},
        ]
        study = prepare(tmp_path, sweeps, [{"name": "net", **SHAPE}])
        outcome = study.run("--dry-run")
        expected = {"net"}
        expected |= {f"wide_kernels_{k}_l2_{l2}" for k in (8, 16) for l2 in ("0p001", "0p01", "0p1")}
        expected |= {f"deep_layers_{layers}_seed_{seed}" for layers in (2, 3) for seed in (1, 2)}
        assert jobs_of(outcome, "train") == jobs_of(outcome, "evaluate") == expected
        study.run("--dry-run", "train_wide_kernels_8_l2_0p01", "evaluate_deep_layers_2")

    def test_300_models_are_300_trainings_and_evaluations_within_the_time(self, tmp_path):
        values = {"kernels": list(range(1, 11)), "dense": list(range(2, 12))}
        study = prepare(tmp_path, [{"name": "s", **SHAPE, **values, "kernel_size": [2, 3, 4]}])
        begun = time.monotonic()
        outcome = study.run("--dry-run")
        seconds = time.monotonic() - begun
        names = {
            f"s_dense_{dense}_kernel_size_{side}_kernels_{kernels}"
            for dense in range(2, 12)
            for side in (2, 3, 4)
            for kernels in range(1, 11)
        }
        assert len(names) == 300
        assert jobs_of(outcome, "train") == jobs_of(outcome, "evaluate") == names
        others = {
            rule: n for rule, n in outcome.jobs().items() if not rule.startswith(("train_s", "evaluate_s"))
        }
        assert set(others) >= STAGES and sum(others.values()) < 12, others
        assert seconds < SECONDS
