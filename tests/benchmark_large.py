"""Print the time and memory of every stage but training on a large study, beside what the Slurm profile asks for.

    PYTHONPATH=scripts:tests python tests/benchmark_large.py [IMAGES [CLASSES [MODELS]]]

Without arguments 100,000 images of 320 px and a fifth of synthetic ones, 500 classes and 1,000 models: about an hour and 50 GB
of disk, in the temporary folder. With 0 images only the report. Fails where a stage took more than it asks for.
"""

import contextlib
import csv
import os
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from conftest import REPOSITORY, Study
from PIL import Image
from report_builder import Made, answers, run

from baton.study import memory

SIZE, SYNTHETIC = 320, 0.2
PROFILE = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text(encoding="utf-8"))[
    "set-resources"
]
PATHS = f"{REPOSITORY / 'scripts'}{os.pathsep}{REPOSITORY / 'tests'}"
DISTINCT = 500  # pictures; every file has bytes of its own
HELD_OUT = 10  # images per class, for validation and for test


def make_images(folder, count, classes):
    """Write `count` JPEG files of 400 x 300 pixels in class folders."""
    draw = np.random.default_rng(1)
    pictures = []
    for _ in range(DISTINCT):
        rough = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8))
        path = folder / "picture.jpg"
        rough.resize((400, 300), Image.Resampling.BICUBIC).save(path, quality=90)
        pictures.append(path.read_bytes())
        path.unlink()
    for label in range(classes):
        (folder / f"class {label:03}").mkdir()
    for number in range(count):
        path = folder / f"class {number % classes:03}" / f"{number}.jpg"
        path.write_bytes(pictures[number % DISTINCT] + str(number).encode())


class Stages:
    """What was measured beside what is asked for."""

    def __init__(self):
        self.over = []
        print(f"{'':24}{'seconds':>9}{'asked':>8}{'MB':>8}{'asked':>8}")

    def add(self, name, seconds, megabytes, minutes, asked):
        """megabytes: of the script; asked: for it and the Snakemakes beside it."""
        asked -= memory.SNAKEMAKES
        print(f"{name:24}{seconds:9.0f}{60 * minutes:8}{megabytes:8.0f}{asked:8.0f}", flush=True)
        if seconds > 60 * minutes or megabytes > asked:
            self.over.append(name)


def run_data(folder, count, classes, stages):
    """Run the data stages as the workflow does; their time and memory are Snakemake's own."""
    models = {"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2}
    study = Study(
        folder,
        {
            "data": {"source": "class_folders", "images": "photos"},
            "holdout": {"validation": HELD_OUT, "test": HELD_OUT},
            "images": {"size": SIZE, "synthetic_fraction": SYNTHETIC},
            "models": [models],
        },
    )
    (study / "photos").mkdir()
    make_images(study / "photos", count, classes)
    with open(study / "output.txt", "w") as output:
        subprocess.run(study.command("pack", cores=2), cwd=folder, stdout=output, stderr=output, check=True)
    told = (study / "output.txt").read_text()
    needs = dict(re.findall(r"^(?:local)?rule (\w+):$(?:\n .*)*? mem_mb=(\d+)", told, re.MULTILINE))
    for path in sorted((study / "benchmarks").rglob("*.tsv")):
        rule = path.relative_to(study / "benchmarks").parts[0].removesuffix(".tsv")
        with open(path, newline="") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        ask = PROFILE[rule]
        minutes = int(str(ask["runtime"]).split()[0])
        asked = int(ask.get("mem_mb") or needs[rule])
        stages.add(rule, float(row["s"]), float(row["max_rss"]), minutes, asked)


def run_report(folder, models, classes, images, stages):
    """Write the report of many models, whose results are made up: four, under as many names as are wanted."""
    draw, labels = np.random.default_rng(2), np.repeat(np.arange(classes), images // classes)
    pool = [
        run(
            f"made_{n}",
            answers(labels, classes, draw.choice(len(labels), len(labels) * (5 + n) // 20, False)),
        )
        for n in range(4)
    ]
    made = Made(folder, [f"class {number:03}" for number in range(classes)], labels, pool)
    names = [f"net_{number}" for number in range(models)]
    made.runs = [run(name, None) for name in names]
    for number, name in enumerate(names):
        target = folder / f"results/evaluation/{name}/seed_1"
        target.mkdir(parents=True)
        for file in ("metrics.json", "predictions.csv"):
            os.link(folder / f"results/evaluation/made_{number % 4}/seed_1/{file}", target / file)
        made._write_training(made.runs[number], f"{name}/seed_1")
    (folder / "made.pickle").write_bytes(pickle.dumps(made))
    code = (
        "import contextlib, pickle; made = pickle.load(open('made.pickle', 'rb'))\n"
        "made.quickly = contextlib.nullcontext  # nothing that a test leaves out\n"
        "made.write(read=False)"
    )
    start = time.monotonic()
    with contextlib.chdir(folder):
        child = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PATHS})
        _, status, usage = os.wait4(child.pid, 0)
    assert status == 0
    asked = memory.of_report(models, models, classes, 50 * classes + len(labels), len(labels))
    seconds = time.monotonic() - start
    name = f"report, {models:,} x {classes}"
    stages.add(
        name, seconds, usage.ru_maxrss / 1000, int(str(PROFILE["write_report"]["runtime"]).split()[0]), asked
    )


def main(count=100_000, classes=500, models=1000):
    """Returns the stages that took more than they asked for."""
    stages = Stages()
    if count:
        with tempfile.TemporaryDirectory(prefix="baton-large-") as folder:
            run_data(Path(folder) / "data", count, classes, stages)
    for some, kinds, images in (
        (1, classes, 10 * classes),
        (models, 9, 450),
        (models, classes, 10 * classes),
        (2 * models, 9, 450),
    ):
        with tempfile.TemporaryDirectory(prefix="baton-large-") as folder:
            run_report(Path(folder), some, kinds, images, stages)
    return stages.over


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    over = main(*map(int, sys.argv[1:]))
    if over:
        sys.exit(f"more than asked for: {', '.join(over)}")
