"""Print how long a study takes from `snakemake` to its report, beside an earlier commit of Baton, and how accurate its models are.

    python tests/benchmark_demo.py [COMMIT [IMAGES]]

COMMIT: 548e68d without it, the last before training was made faster. The study is the demo, or with IMAGES, a folder with a folder
for each class, two models at 32 px with three seeds, once. Both run with the packages that are installed here, on two cores, in
turn, each time in a folder of its own. A quarter of an hour, forty minutes on a slow processor.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
BEFORE, TURNS, CORES = "548e68d", 2, 2
MODELS = ("model_3", "model_4")  # of a study of images


def clone(commit, folder):
    """Clone the repository into `folder`, as it was at this commit."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    subprocess.run(["git", "-C", folder, "checkout", "--quiet", commit], check=True)


def configure(baton, images):
    """Return the config of the study of these images, in which the splits are the same whichever Baton it is."""
    default = (baton / "config.yaml").read_text(encoding="utf-8")
    models = [model for model in yaml.safe_load(default)["models"] if model["name"] in MODELS]
    config = {
        "data": {"source": "class_folders", "images": str(Path(images).resolve())},
        "images": {"size": 32},
        "training": {"epochs": 15, "seeds": [1, 2, 3]},
        "models": models,
    }
    # Earlier ones knew nothing of copies.
    return config | ({"holdout": {"keep_together": "none"}} if "keep_together:" in default else {})


def run_study(baton, folder, images):
    """Run a study with the Baton in this folder; return its seconds and the accuracies of each model, a seed each."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", baton / "Snakefile", "--directory", folder]
    if images:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(configure(baton, images)), encoding="utf-8")
        command += ["--configfile", config]
    # Without the path to ROOT's modules.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    start = time.perf_counter()
    command += ["--cores", str(CORES)]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=folder, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - start
    evaluations, accuracies = folder / "results/evaluation", {}
    for path in sorted(evaluations.rglob("metrics.json")):
        model = path.relative_to(evaluations).parts[0]
        accuracies.setdefault(model, []).append(json.loads(path.read_text())["accuracy"])
    return seconds, accuracies


def describe(accuracies):
    """Return the mean, and with several seeds their standard deviation, as text."""
    spread = f" (spread {statistics.stdev(accuracies):.3f})" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.3f}{spread}"


def main(commit=BEFORE, images=None):
    what, pairs = "the study" if images else "the demo", []
    with tempfile.TemporaryDirectory() as scratch:
        clone(commit, Path(scratch) / "earlier")
        for turn in range(1 if images else TURNS):  # a study of images is about its accuracies
            ways = [(Path(scratch) / "earlier", "earlier"), (ROOT, "now")]
            found = {}
            for baton, name in reversed(ways) if turn % 2 else ways:  # who goes first changes
                folder = Path(scratch) / f"{name}_{turn}"
                folder.mkdir()
                found[name] = run_study(baton, folder, images)
            before, now = found["earlier"][0], found["now"][0]
            print(f"{what}: {before:.1f} s at {commit}, {now:.1f} s now: {now / before:.2f}", flush=True)
            pairs.append(found)
    print(
        f"median: {statistics.median(found['now'][0] / found['earlier'][0] for found in pairs):.2f} of the time"
    )
    earlier, now = (pairs[0][name][1] for name in ("earlier", "now"))  # the same in each turn
    for model in now:
        print(f"{model}: accuracy {describe(earlier[model])} at {commit}, {describe(now[model])} now")


if __name__ == "__main__":
    main(*sys.argv[1:])
