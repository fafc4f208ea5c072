"""The Dockerfile, as far as it can be tried without a container engine, and `--sdm apptainer` with a stand-in for it."""

import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, Study, save_images

LINES = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "").splitlines()
STEPS = [line.split(" ", 1) for line in LINES if line and not line.startswith("#")]


def arguments(instruction):
    return [rest for name, rest in STEPS if name == instruction]


def copied():
    """Return what the Dockerfile copies from the repository, as paths in it."""
    for rest in arguments("COPY"):
        if not rest.startswith("--from"):
            yield from shlex.split(rest)[:-1]


def test_what_is_copied_is_there_and_let_through():
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    paths = set(copied())
    assert {"Snakefile", "config.yaml", "rules", "scripts", "examples", "profiles"} <= paths
    assert paths == {line[1:] for line in ignored if line.startswith("!")}
    assert all((REPOSITORY / path).exists() for path in paths)


def test_all_that_the_workflow_reads_is_copied():
    needed = {path.name for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith(".")}
    needed -= {"tests", "docs", "results", "state", "logs", "benchmarks"}
    assert needed <= set(copied())


def test_it_does_not_run_as_root():
    assert arguments("USER") == ["baton"]
    names = [name for name, _ in STEPS]
    assert names.index("USER") > len(names) - 1 - names[::-1].index("RUN")


def test_python_is_that_of_the_conda_environment():
    environment = yaml.safe_load((REPOSITORY / "envs/baton.yaml").read_text(encoding="utf-8"))
    version = next(line for line in environment["dependencies"] if str(line).startswith("python="))
    assert {rest.split()[0] for rest in arguments("FROM")} == {f"{version.replace('=', ':')}-slim"}


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_apptainer_runs_the_jobs_in_the_image_beside_the_snakefile(tmp_path, monkeypatch):
    image = REPOSITORY / "baton.sif"
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_in = programs / "apptainer"
    # Notes what is run in which image, and runs it here.
    stand_in.write_text(
        f"""#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.0"; exit; fi
while [ "$1" != {shlex.quote(str(image))} ]; do shift || exit 1; done
echo "$1" >> {shlex.quote(str(tmp_path / "images"))}
shift
exec "$@"
"""
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 2, "test": 2},
    }
    study = Study(tmp_path / "study", config)
    save_images(study / "photos/red", "red", 6)
    save_images(study / "photos/green", "green", 6)
    study.run("split_holdout", "--sdm", "apptainer")
    assert (tmp_path / "images").read_text().splitlines() == [str(image)] * 4
    assert sorted(row["split"] for row in study.rows("data/split.csv")) == (
        ["test"] * 4 + ["train"] * 4 + ["validation"] * 4
    )
