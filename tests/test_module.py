"""Baton as a module of another workflow: a rule before it makes the CSV, one after it takes report.json."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import yaml
from conftest import ENDLESS, REPOSITORY, Call, run_forked, save_images, saved_at, wait_until
from snakemake.utils import validate

from baton.errors import ConfigError
from baton.study.study import make_study

SNAKEFILE = f"""
configfile: "config.yaml"


rule all:
    input:
        "summary.txt",


rule make_csv:
    output:
        "ratings.csv",
    run:
        with open(output[0], "w") as file:
            print("image,answer", file=file)
            for colour in ("red", "green"):
                for number in range(1, 9):
                    print(f"{{colour}}/{{number}}.png,{{colour}}", file=file)


module baton:
    snakefile:
        {str(REPOSITORY / "Snakefile")!r}
    config:
        config["baton"]


use rule * from baton as baton_*


use rule train_net from baton as baton_train_net with:
    log:
        "logs/own.log",


rule summarize:
    input:
        "results/report.json",
    output:
        "summary.txt",
    run:
        import json

        with open(input[0]) as file, open(output[0], "w") as summary:
            print([run["test"]["images"] for run in json.load(file)["runs"]], file=summary)


onerror:
    print("the user's own handler")
"""
# What differs from Baton's config, and nothing else.
CONFIG = {
    "data": {
        "source": "annotations",
        "images": "photos",
        "annotations": "ratings.csv",
        "label_column": "answer",
    },
    "holdout": {"validation": 2, "test": 2},
    "images": {"size": 16},
    "training": {"epochs": 2, "precision": "float32"},
    "models": [{"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}],
}


class Composed:
    """A folder with a Snakefile of its own that uses Baton's."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
        self.configure()
        for colour in ("red", "green"):
            save_images(self / "photos" / colour, colour, 8)

    def __truediv__(self, path):
        return self.folder / path

    def configure(self, **sections):
        config = {
            key: {**value, **sections.pop(key, {})} if isinstance(value, dict) else value
            for key, value in CONFIG.items()
        }
        (self / "config.yaml").write_text(yaml.safe_dump({"baton": config | sections}), encoding="utf-8")

    def arguments(self, *arguments, cores=2):
        return ["--cores", str(cores), *arguments]

    def run(self, *arguments):
        return run_forked(self.arguments(*arguments), self.folder)


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """The study, and the outcome of its first whole run."""
    composed = Composed(tmp_path_factory.mktemp("composed"))
    composed.first = composed.run()
    assert composed.first.code == 0, composed.first.output
    return composed


def test_the_rule_before_and_the_one_after_run_with_all_of_batons(composed):
    jobs = composed.first.jobs()
    assert jobs.keys() > {"make_csv", "summarize", "all", "baton_train_net", "baton_write_report"}
    assert (composed / "summary.txt").read_text() == "[4]\n"
    report = json.loads((composed / "results/report.json").read_text())
    assert report["config"]["training"]["epochs"] == 2  # the user's
    assert report["config"]["augmentation"]["flip"] == "horizontal"  # the default below it
    assert composed.run("--dry-run").jobs() == {}
    assert composed.first.output.count("localrules") == 0


def test_a_rule_that_is_changed_is(composed):
    """`use rule ... with` reads the Snakefile once more."""
    assert "epoch 2 of" in (composed / "logs/own.log").read_text()


def test_a_training_run_that_is_left_out_is_not_planned(composed):
    before = SNAKEFILE.partition("use rule *")[0]
    (composed / "Without").write_text(
        f"{before}use rule * from baton exclude train_net as baton_*\n", encoding="utf-8"
    )
    outcome = composed.run("--snakefile", "Without", "baton_plan")
    assert "plan: error: this workflow has no rule for any training run" in outcome.output


def test_a_training_run_with_resources_of_the_users_is_planned(composed):
    """They take the place of all of Baton's: there is no mem_mb any more."""
    before = SNAKEFILE.partition("use rule *")[0]
    own = "use rule train_net from baton as baton_train_net with:\n    resources:\n        disk_mb=7,\n"
    (composed / "Own").write_text(f"{before}use rule * from baton as baton_*\n\n\n{own}", encoding="utf-8")
    outcome = composed.run("--snakefile", "Own", "baton_plan")
    assert outcome.code == 0 and "Models: 1; training runs: 1" in outcome.output


def test_status_tells_how_far_it_is(composed):
    assert "\nnet: done, 2 of 2 epochs\n" in composed.run("baton_status").output


def test_a_mistake_is_told_by_its_key_in_one_sentence(composed):
    composed.configure(training={"epoch": 3})
    outcome = composed.run("--dry-run")
    composed.configure()
    assert outcome.code == 1
    said = re.findall(r"^config: .*$", outcome.output, re.MULTILINE)
    assert said and said[0].startswith("config: unknown key in training: epoch (did you mean epochs?).")
    assert len(said) == 1 and "Traceback" not in outcome.output


def test_a_prefix_is_refused(composed):
    (composed / "prefixed.smk").write_text(
        SNAKEFILE.replace("    config:\n", '    prefix: "sub"\n    config:\n')
    )
    outcome = composed.run("--snakefile", "prefixed.smk", "--dry-run")
    assert outcome.code == 1 and "Traceback" not in outcome.output
    assert re.findall(r"^module: a prefix .*: leave it out\.$", outcome.output, re.MULTILINE)


def test_a_folder_to_predict_in_place_of_the_settings_of_images_is_refused():
    with pytest.raises(
        ConfigError, match="config: images: .* call `snakemake predict` on Baton's own Snakefile"
    ):
        make_study({"model": "net", "images": "photos"}, validate, made_before=True)


def test_class_folders_that_a_rule_makes_are_the_same_input_before_and_after(tmp_path):
    def read(folder, **how):
        data = {"source": "class_folders", "images": str(tmp_path / folder)}
        return make_study({"data": data, "models": CONFIG["models"]}, validate, **how)

    before = read("made", made_before=True)
    (tmp_path / "made/red").mkdir(parents=True)
    (tmp_path / "made/.snakemake_timestamp").touch()
    for study in (before, read("made", made_before=True), read("made")):
        assert study.images_are_made and study.images_seen == before.images_seen
    (tmp_path / "own/red").mkdir(parents=True)
    assert not read("own").images_are_made and read("own").images_seen != before.images_seen


def test_the_session_has_an_end(composed):
    composed.configure(training={"epochs": ENDLESS}, session_minutes=0.01)
    outcome = composed.run("baton_train_net")
    composed.configure()
    assert outcome.code == 1
    assert "s left of session_minutes are too short for one step" in outcome.output
    # Both handlers run, of this workflow and of Baton.
    assert f"\nnet: 2 of {ENDLESS} epochs\n" in outcome.output and "the user's own handler" in outcome.output


def test_sigterm_to_snakemake_alone_saves_and_ends(composed):
    composed.configure(training={"epochs": ENDLESS})
    before = saved_at(composed / "state", "net/seed_1")
    with Call(composed, "baton_train_net") as call:
        wait_until(lambda: saved_at(composed / "state", "net/seed_1") > before, "the first save")
        os.kill(call.process.pid, signal.SIGTERM)
        outcome = call.end()
    composed.configure()
    assert outcome.code != 0
    assert (
        "it received SIGTERM. The state is saved: run the same command again to resume here."
        in outcome.output
    )
    assert "1 of 1 training runs are not done" in outcome.output
