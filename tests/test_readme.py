"""What README and the pages of docs/ show and say that a change of the workflow could make untrue."""

import re
import shlex
import struct

import pytest
import yaml
from conftest import REPOSITORY, Study, run_forked, save_image, write_csv

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def test_graph_is_that_of_the_workflow(tmp_path):
    models = [
        {"name": f"model_{number}", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2}
        for number in (1, 2)
    ]
    study = Study(tmp_path, {"models": models})
    drawn = study.run("--rulegraph", "mermaid-js").output
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = {(names[one], names[other]) for one, other in re.findall(r"(id\d+) --> (id\d+)", drawn)}
    page = (REPOSITORY / "docs/files.md").read_text(encoding="utf-8")
    block = page.partition("```mermaid\n")[2].partition("```")[0]
    shown = re.findall(r"(\w+) --> (\w+)", block)
    assert len(edges) > 20
    assert set(shown) == edges
    assert len(shown) == len(edges)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_linked_are_there(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    if page.name == "README.md":
        assert len(links) > 10
        pages = {path.relative_to(REPOSITORY).as_posix() for path in PAGES if path != page}
        assert pages <= set(links), "each page is linked from README"


def test_targets_are_rules_of_the_workflow(tmp_path):
    study = Study(tmp_path, {})
    rules = set(study.run("--list-target-rules").output.split())
    asked = {
        target
        for page in PAGES
        for target in re.findall(r"^snakemake ([a-z]\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"plan", "train_model_3", "status", "predict", "new_study"} <= asked
    assert asked <= rules


def test_the_first_study_as_readme_has_it(tmp_path):
    """Its commands one after the other, word for word, in a folder with photos and ratings.csv."""
    save_image(tmp_path / "photos/0.png", "red")
    for number in range(30):
        (tmp_path / f"photos/{number}.png").write_bytes((tmp_path / "photos/0.png").read_bytes())
    rows = [(f"{number}.png", person, str(1 + number % 3)) for number in range(30) for person in "ab"]
    write_csv(tmp_path / "ratings.csv", [("image", "annotator", "answer"), *rows])
    own = README.partition("## Your own study")[2].partition("\n## ")[0]
    commands = [
        shlex.split(line, comments=True)[1:]
        for line in own.splitlines()
        if line.startswith("snakemake ") and "my-study" in line
    ]
    assert len(commands) == 3
    for command in commands[:2]:
        # Where the user types it is Baton's folder; here the Snakefile is named.
        words = [str(tmp_path / word) if word.startswith("my-study") else word for word in command]
        words = [
            re.sub(r"^(images|annotations)=", rf"\1={tmp_path}/", word) if "=" in word else word
            for word in words
        ]
        done = run_forked(["--snakefile", REPOSITORY / "Snakefile", "--cores", 1, *words], tmp_path)
        assert done.code == 0, done.output
    assert done.jobs()["train_model_6"] == 1


def test_configs_that_are_shown_are_valid(tmp_path):
    blocks = [
        block
        for page in PAGES
        for block in re.findall(
            r"^ *```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        )
    ]
    assert blocks
    assert all(isinstance(yaml.safe_load(block), dict) for block in blocks)


def test_pictures_are_pictures():
    for name in re.findall(r"!\[[^]]+\]\((\S+\.png)\)", README):
        header = (REPOSITORY / name).read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", header[16:])
        assert width >= 700 and height >= 300


def test_citation_names_the_version_of_the_package():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert citation["license"] == "MIT" and citation["cff-version"] == "1.2.0"


def test_the_forge_runs_what_decides_here():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run", "") for step in workflow["jobs"]["ci"]["steps"]]
    assert any(step.endswith("sh .ci/run") for step in steps)


def test_no_rule_needs_a_shell():
    parts = [REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk")]
    assert len(parts) > 5
    for path in parts:
        assert re.search(r"^\s*shell:", path.read_text(encoding="utf-8"), re.MULTILINE) is None, path
