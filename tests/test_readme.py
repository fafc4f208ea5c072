"""What the README shows and says that a change of the workflow could make untrue."""

import re

from conftest import REPOSITORY, Study

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_graph_is_that_of_the_workflow(tmp_path):
    models = [
        {"name": f"model_{number}", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2}
        for number in (1, 2)
    ]
    study = Study(tmp_path, {"models": models})
    drawn = study.run("--rulegraph", "mermaid-js").output
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = {(names[one], names[other]) for one, other in re.findall(r"(id\d+) --> (id\d+)", drawn)}
    block = README.partition("```mermaid\n")[2].partition("```")[0]
    shown = re.findall(r"(\w+) --> (\w+)", block)
    assert len(edges) > 20
    assert set(shown) == edges
    assert len(shown) == len(edges)


def test_files_that_are_linked_are_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def test_targets_are_rules_of_the_workflow(tmp_path):
    study = Study(tmp_path, {})
    rules = set(study.run("--list-target-rules").output.split())
    asked = set(re.findall(r"^snakemake ([a-z]\w+)", README, re.MULTILINE))
    assert {"plan", "train_model_3", "status", "predict"} <= asked
    assert asked <= rules


def test_no_rule_needs_a_shell():
    parts = [REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk")]
    assert len(parts) > 5
    for path in parts:
        assert re.search(r"^\s*shell:", path.read_text(encoding="utf-8"), re.MULTILINE) is None, path
