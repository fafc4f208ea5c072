"""Write the report: one page for people, the same numbers as JSON and CSV for programs, and the figures."""

import csv
import os
import string
from pathlib import Path

import jinja2
import numpy as np
import yaml

from baton import console
from baton.console import log
from baton.data.copies import name_groups
from baton.errors import UserError
from baton.files import read_json, write_json, written_aside
from baton.formatting import MOST_NUMBERED
from baton.manifests import read_manifest
from baton.results import clusters, comparison, guessing, metrics
from baton.study.runs import Run
from report.ceiling import guess, list_measures, measure_way, state_ceiling
from report.collect import arrange, collect_data, collect_run, compare_models, git_commit
from report.draw import draw_figures, list_mistakes
from report.methods import describe_methods
from report.quality import show_copies
from report.show import FILTERS, table_of_models, table_of_pairs
from report.tables import list_rows, write_caption, write_latex, write_markdown
from report.verdict import state_verdict

RESULTS = ("summary", "curves", "metrics", "predictions")
# In report.json: counts of all confusion matrices (15 MB) and pairs (6 MB). More are in each metrics.json, in pairs.csv.
MOST_COUNTS, MOST_PAIRS = 1_000_000, 10_000


def write_csv(path, rows):
    """Write dictionaries of the same keys as CSV; no rows, an empty file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def collect_runs(runs, paths, weights, test_images, classes, keep_counts, seen):
    """Return what there is of each Run, and of the finished ones which classes are most often confused, by name.

    paths: of each run, by name, the path of each kind in RESULTS; weights: class_weights.json; test_images: their
    manifest; classes: their names; seen: the test images that have a copy in another split; keep_counts: whether the counts of the confusion matrices are kept (1,000 models of
    500 classes: 2 GB).
    """
    entries, confused = [], {}
    for run in runs:
        entries.append(collect_run(run, paths[run.name], weights, test_images, seen))
        if test := entries[-1].get("test"):
            confused[run.name] = metrics.most_confused(test["confusion"], classes)
            if not keep_counts:
                test["confusion"] = None
    return entries, confused


def refuse_unfinished(entries):
    """Raise UserError where one of the runs that were collected is not finished."""
    for run in entries:
        if run["status"] == "unfinished":
            raise UserError(
                f"{run['name']}: {run['reason'] or 'it is not trained and tested'}. `snakemake evaluate --forcerun "
                f"train_{run['name']}` makes it again; `snakemake report_now` reports on the others."
            )


def render(parts, **values):
    """Return the page; parts: the paths of the template and its parts, in one folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(parts[0]).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment.get_template(Path(parts[0]).name).render(**values)


def main(files, results, base, runs, config, workflow, whole=False):
    """Write base.html, base.json and, in the folder `base`, models.csv, pairs.csv and the figures.

    files: the paths of the page's parts, test images, weights and the data manifests, by name; results: the paths of
    the runs' summaries, curves, metrics and predictions, by kind, in their order; runs: each Run, finished or not;
    workflow: the folder it lies in; whole: refuse (UserError) where one is not finished.
    """
    data = collect_data(files)
    classes = [row["class"] for row in data["classes"]]
    few_counts = len(runs) * len(classes) ** 2 <= MOST_COUNTS
    paths = {run.name: {kind: results[kind][place] for kind in RESULTS} for place, run in enumerate(runs)}
    test_images = read_manifest(files["test_manifest"])
    seen = data["copies"]["test_seen"]
    entries, confused = collect_runs(runs, paths, files["weights"], test_images, classes, few_counts, seen)
    if whole:
        refuse_unfinished(entries)
    done = [run for run in entries if run["status"] == "done"]
    groups = clusters.number_groups(name_groups(test_images["image"], read_manifest(files["groups"])))
    compared = compare_models(done, groups)
    for run, verdict in zip(done, guessing.judge([run["test"] for run in done]), strict=True):
        test = run["test"]
        test["answers"]["verdict"] = verdict
        test["way"] = measure_way(test["accuracy"], test["interval"], guess(test), data["ceiling"])
    report = {
        "format": 1,
        "verdict": state_verdict(done, compared, len(entries) - len(done), data["sums"]["test"])
        | {"ceiling": state_ceiling(done, compared, data["ceiling"])},
        "config": config,
        "data": data,
        "runs": entries,
        "comparison": compared,
        "confused": confused,
        "commit": git_commit(workflow),
    }
    arranged = arrange(done, runs, compared)
    confusion = {
        run["name"]: run["test"]["confusion"] or read_json(paths[run["name"]]["metrics"])["confusion"]
        for run in arranged["detailed"]
    }
    folder = Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    if done:
        draw_figures(done, arranged, confusion, data, folder)
    write_csv(folder / "models.csv", table_of_models(done))
    table = *list_rows(done, compared), write_caption(compared, data["sums"]["test"])
    for name, write in (("table.tex", write_latex), ("table.md", write_markdown)):
        (folder / name).write_text(write(*table), encoding="utf-8")
    write_csv(folder / "pairs.csv", table_of_pairs(compared))
    few_pairs = len(compared["pairs"]) <= MOST_PAIRS
    numbers = report if few_pairs else report | {"comparison": compared | {"pairs": None}}
    with written_aside(f"{base}.json") as aside:
        # A file name that is not UTF-8 loses what cannot be shown.
        write_json(aside, numbers, errors="replace", ensure_ascii=False, allow_nan=False)

    pixels = np.load(files["test"], mmap_mode="r") if config["report"]["images"] else None
    images = list(test_images["image"])
    page = render(
        files["parts"],
        **report,
        **arranged,
        study=os.path.basename(os.getcwd()) or "Baton",
        unfinished=[run for run in entries if run["status"] == "unfinished"],
        config_text=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        largest_in_test=max(row["test"] for row in data["classes"]),
        mistakes={run["name"]: list_mistakes(run, images, pixels, classes) for run in arranged["detailed"]},
        confusion=confusion,
        numbered=len(classes) <= MOST_NUMBERED,
        few_counts=few_counts,
        ceilings=list_measures(done, data["ceiling"]),
        copies_shown=show_copies(files, config["report"]["images"]) if data["copies"]["pairs"] else [],
        curves={name: of_run["curves"] for name, of_run in paths.items()},
        folder=folder,
        methods=describe_methods(config, data, done, compared, report["commit"]) if done else [],
        letters=string.ascii_uppercase[: comparison.LETTERED],
    )
    with written_aside(f"{base}.html") as aside:
        aside.write_text(page, encoding="utf-8", errors="replace")
    log.info("written to %s.html", base)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    # report_now promises no file: it may be asked again, and again finds something else.
    is_whole = "page" in snakemake.output.keys()  # noqa: SIM118
    page = snakemake.output.page if is_whole else snakemake.params.page
    main(
        snakemake.input,
        snakemake.input if is_whole else snakemake.params.results,
        page.removesuffix(".html"),
        [Run(**fields) for fields in snakemake.params.runs],
        snakemake.params.config,
        snakemake.scriptdir,
        whole=is_whole,
    )
