"""The answer of a study, as the terminal's last lines: the verdict, each model's accuracy, where the report is."""

import json
import os
import shlex
import shutil
import sys
from typing import Any

REPORT, NUMBERS = "results/report.html", "results/report.json"
SHOWN = 12  # models


def describe_answer(folder: str) -> list[str]:
    """Return lines on the report of the study in a folder; none where there is none, or an earlier version wrote it."""
    try:
        with open(os.path.join(folder, NUMBERS), encoding="utf-8") as file:
            report = json.load(file)
        verdict, models = report["verdict"], average_seeds(report["runs"])
    except (OSError, ValueError, KeyError):
        return []
    lines = ["", f"{verdict['headline']} {verdict['guessing']}".rstrip()]
    lines += [verdict["ceiling"]] if verdict.get("ceiling") else []
    width = max((len(model["name"]) for model in models[:SHOWN]), default=0)
    for model in models[:SHOWN]:
        lines.append(f"  {model['name']:<{width}}  {describe_accuracy(model)}")
    if len(models) > SHOWN:
        lines.append(f"  and {len(models) - SHOWN:,} more models, in results/report/models.csv")
    return [*lines, f"Report: {os.path.join(folder, REPORT)}"]


def average_seeds(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return name and the accuracies and intervals of each model that is tested; of many, the most accurate first."""
    models: dict[str, dict[str, Any]] = {}
    for run in runs:
        if "test" in run:
            model = models.setdefault(run["model"], {"name": run["model"], "accuracies": [], "intervals": []})
            model["accuracies"].append(run["test"]["accuracy"])
            model["intervals"].append(run["test"]["interval"])
    found = list(models.values())
    if len(found) > SHOWN:
        found.sort(key=lambda model: -sum(model["accuracies"]) / len(model["accuracies"]))
    return found


def describe_accuracy(model: dict[str, Any]) -> str:
    """Return accuracy and interval of a model of one seed; of several their mean, the lowest and the highest."""
    accuracies = model["accuracies"]
    if len(accuracies) == 1:
        low, high = model["intervals"][0]
        return f"{show(accuracies[0])}  (95 % interval {show(low)} to {show(high)})"
    mean = sum(accuracies) / len(accuracies)
    return (
        f"{show(mean)}  (mean of {len(accuracies)} seeds, {show(min(accuracies))} to {show(max(accuracies))})"
    )


def show(share: float) -> str:
    """Return a share with three decimals, of one that is nearly 0 or 1 with as many as it takes to be neither."""
    places = next((places for places in range(3, 9) if round(share, places) not in (0, 1)), 3)
    return f"{share:.{places}f}"


def describe_program() -> str:
    """Return how Snakemake was called: by its name where that finds it, else by the path that was typed."""
    path = sys.argv[0]
    if os.path.basename(path) != "snakemake":  # python -m snakemake
        return "snakemake"
    return "snakemake" if path == shutil.which("snakemake") else shlex.quote(path)


def describe_call() -> str:
    """Return this call of snakemake as it can be typed again."""
    return " ".join([describe_program(), *map(shlex.quote, sys.argv[1:])])
