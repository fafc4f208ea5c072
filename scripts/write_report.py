"""Write results/report.html: the question, the data at each stage, the models and their test figures."""

import base64
import json
from collections import Counter
from pathlib import Path

import jinja2
import yaml

from baton import logs
from baton.logs import log
from baton.manifests import read_manifest

SPLITS = ("train", "validation", "test")


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def count_classes(classes, labelled, images, corrupt, packed, weights):
    """Return a row a class (in the order of `classes`) with its images at each stage, and a row of sums.

    labelled, images, corrupt, packed: the manifests classes.csv, images.csv, corrupt.csv, packed/train.csv.
    """
    found, damaged = Counter(labelled["class"]), Counter(corrupt["class"])
    placed = Counter(zip(images["class"], images["split"], strict=True))
    synthetic = Counter(packed.loc[packed["parent"] != "", "class"])
    rows = [
        {
            "class": label,
            "labelled": found[label],
            "damaged": damaged[label],
            **{split: placed[label, split] for split in SPLITS},
            "synthetic": synthetic[label],
            "weight": weight,
        }
        for label, weight in zip(classes, weights, strict=True)
    ]
    sums = {key: sum(row[key] for row in rows) for key in rows[0] if key not in ("class", "weight")}
    return rows, sums


def count_copies(images):
    """Return how many files are byte for byte copies of one in another split, and of one in another class."""
    counts = {}
    for column in ("split", "class"):
        spread = images.groupby("sha256")[column].nunique()
        counts[column] = int(images["sha256"].isin(spread[spread > 1].index).sum())
    return counts


def as_data_uri(svg):
    """Return an SVG file as a data URI: an image of its own, whose ids and styles meet no other's."""
    return "data:image/svg+xml;base64," + base64.b64encode(Path(svg).read_bytes()).decode()


def shade_confusion(confusion):
    """Return the confusion matrix as rows of (count, share of the row's images)."""
    return [[(count, count / max(sum(row), 1)) for count in row] for row in confusion]


def collect_runs(summaries, curves, metrics):
    """Return what the report tells of each run, in the config's order."""
    runs = []
    for summary, curve, metric in zip(summaries, curves, metrics, strict=True):
        run = read_json(summary) | {"test": read_json(metric), "curves": as_data_uri(curve)}
        run["test"]["confusion"] = shade_confusion(run["test"]["confusion"])
        runs.append(run)
    return runs


def duration(seconds):
    """Return seconds as text: 42 s, 3 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def number(value):
    """Return a count with its thousands set apart (by a narrow space, which no language reads as a point)."""
    return f"{value:,}".replace(",", "\u202f")


def main(files, summaries, curves, metrics, report, config):
    """Fill the template; files: the paths of template, weights and the data manifests, by name."""
    manifests = {
        name: read_manifest(files[name])
        for name in ("left_out", "classes", "images", "corrupt", "train_manifest")
    }
    mapping = read_json(files["weights"])
    rows, sums = count_classes(
        mapping["classes"],
        manifests["classes"],
        manifests["images"],
        manifests["corrupt"],
        manifests["train_manifest"],
        mapping["weights"],
    )
    runs = collect_runs(summaries, curves, metrics)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "number": number}
    template = environment.from_string(Path(files["template"]).read_text(encoding="utf-8"))
    page = template.render(
        data=config["data"],
        config_text=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        classes=rows,
        sums=sums,
        largest_in_test=max(row["test"] for row in rows),
        left_out=manifests["left_out"].to_dict("records"),
        corrupt=manifests["corrupt"].to_dict("records"),
        copies=count_copies(manifests["images"]),
        runs=runs,
        several_seeds=len({run["seed"] for run in runs}) > 1,
    )
    Path(report).write_text(page, encoding="utf-8", errors="replace")
    log.info("written to %s", report)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(
        snakemake.input,
        snakemake.input.summaries,
        snakemake.input.curves,
        snakemake.input.metrics,
        snakemake.output.report,
        snakemake.params.config,
    )
