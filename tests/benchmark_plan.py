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


def seconds_of(folder, rule, run):
    """Return how long the job of a rule took for a run, MODEL/seed_N, start and end of its process included."""
    with open(folder / f"benchmarks/{rule}/{run}.tsv", newline="") as file:
        return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))


def seconds_an_epoch(folder, run):
    """Return the mean seconds from one epoch's line in the log of a run, MODEL/seed_N, to the next; of one epoch None."""
    log = (folder / f"logs/train/{run}.log").read_text()
    moments = [
        datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")
        for line in log.splitlines()
        if " INFO epoch " in line
    ]
    return (moments[-1] - moments[0]).total_seconds() / (len(moments) - 1) if len(moments) > 1 else None


def compare(planned, measured, places=0):
    return f"{planned:.{places}f} / {measured:.{places}f} = {planned / measured:.2f}"


def place_of(name, folder):
    """Return MODEL/seed_N of a run, which is called MODEL, or MODEL_seed_N where there are several seeds."""
    logs = [path.stem for path in (folder / "logs/train" / name).glob("seed_*.log")]
    return f"{name}/{logs[0]}" if logs else "/seed_".join(name.rsplit("_seed_", 1))


def main(folder, config=None):
    """Plan the study, run it, and print planned / measured for each model and in all."""
    folder = Path(folder)
    run(folder, config, "plan")
    plan = json.loads((folder / "results/plan.json").read_text())
    run(folder, config)
    print("model: seconds per epoch, and of the training run in all; planned / measured = ratio")
    took_all = 0
    for row in plan["runs"]:
        place = place_of(row["name"], folder)
        epoch, took = seconds_an_epoch(folder, place), seconds_of(folder, "train", place)
        took_all += took + seconds_of(folder, "evaluate", place)
        each = "one epoch" if epoch is None else compare(row["epoch_seconds"], epoch, 2)
        print(f"{row['name']}: {each}; {compare(row['training_seconds'], took)}")
    planned = plan["training_seconds"] + plan["evaluation_seconds"]
    print(f"training and evaluation in all: {compare(planned, took_all)}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
