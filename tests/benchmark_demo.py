"""Print how long the demo takes from `snakemake` to its report, beside an earlier commit of Baton, and how accurate its models are.

    python tests/benchmark_demo.py [COMMIT]

COMMIT: 548e68d without it, the last before training was made faster. Both run with the packages that are installed here, on two
cores, in turn, each time in a folder of its own. A quarter of an hour, forty minutes on a slow processor.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEFORE, TURNS, CORES = "548e68d", 2, 2


def clone(commit, folder):
    """Clone the repository into `folder`, as it was at this commit."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    subprocess.run(["git", "-C", folder, "checkout", "--quiet", commit], check=True)


def run_demo(baton, folder):
    """Run the demo of the Baton in this folder; return its seconds and the mean accuracy of its models."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", baton / "Snakefile", "--directory", folder]
    # Without the path to ROOT's modules.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    start = time.perf_counter()
    subprocess.run(
        [*command, "--cores", str(CORES)], check=True, capture_output=True, env=environment, cwd=folder
    )
    seconds = time.perf_counter() - start
    metrics = (folder / "results/evaluation").rglob("metrics.json")
    return seconds, statistics.mean(json.loads(path.read_text())["accuracy"] for path in metrics)


def main(commit=BEFORE):
    pairs = []
    with tempfile.TemporaryDirectory() as scratch:
        clone(commit, Path(scratch) / "earlier")
        for turn in range(TURNS):
            ways = [(Path(scratch) / "earlier", "earlier"), (ROOT, "now")]
            found = {}
            for baton, name in reversed(ways) if turn % 2 else ways:  # who goes first changes
                folder = Path(scratch) / f"{name}_{turn}"
                folder.mkdir()
                found[name] = run_demo(baton, folder)
            (before, _), (now, _) = found["earlier"], found["now"]
            print(f"the demo: {before:.1f} s at {commit}, {now:.1f} s now: {now / before:.2f}", flush=True)
            pairs.append(found)
    ratio = statistics.median(found["now"][0] / found["earlier"][0] for found in pairs)
    accuracies = [statistics.mean(found[name][1] for found in pairs) for name in ("earlier", "now")]
    print(
        f"median: {ratio:.2f} of the time; the models' mean accuracy {accuracies[0]:.3f} and {accuracies[1]:.3f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
