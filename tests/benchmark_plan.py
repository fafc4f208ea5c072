"""Print what `snakemake plan` says of a study beside what then happens, as a ratio.

Of the demo, or with the config of a study of one's own:
    python tests/benchmark_plan.py FOLDER CONFIG
"""

import csv
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(folder, config, *target):
    command = [sys.executable, "-m", "snakemake", *target, "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--cores", "all", "--quiet", "all"]
    if config:
        command += ["--configfile", config]
    subprocess.run(command, check=True, cwd=folder)


def seconds_of(folder, rule, model):
    """Return how long the jobs of a model's rule took, start and end of their process included."""
    total = 0
    for path in (folder / f"benchmarks/{rule}/{model}").glob("*.tsv"):
        with open(path, newline="") as file:
            total += sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    return total


def seconds_an_epoch(folder, model):
    """Return the mean seconds from one epoch's line in the log to the next."""
    log = (folder / f"logs/train/{model}/seed_1.log").read_text()
    moments = [
        datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
        for line in log.splitlines()
        if " INFO epoch " in line
    ]
    return (moments[-1] - moments[0]).total_seconds() / (len(moments) - 1)


def main(folder, config=None):
    """Plan the study, run it, and print planned / measured for each model and in all."""
    folder = Path(folder)
    run(folder, config, "plan")
    plan = json.loads((folder / "results/plan.json").read_text())
    run(folder, config)
    print("model: seconds per epoch, and of the training run in all; planned / measured = ratio")
    took_all = 0
    for row in plan["runs"]:
        epoch = seconds_an_epoch(folder, row["name"])
        took = seconds_of(folder, "train", row["name"])
        took_all += took + seconds_of(folder, "evaluate", row["name"])
        print(
            f"{row['name']}: {row['epoch_seconds']:.2f} / {epoch:.2f} = {row['epoch_seconds'] / epoch:.2f}; "
            f"{row['training_seconds']:.0f} / {took:.0f} = {row['training_seconds'] / took:.2f}"
        )
    planned = plan["training_seconds"] + plan["evaluation_seconds"]
    print(f"training and evaluation in all: {planned:.0f} / {took_all:.0f} = {planned / took_all:.2f}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
