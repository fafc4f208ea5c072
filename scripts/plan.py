"""Tell what a study takes - time, memory, disk, sessions - from some steps of each model on this machine.

What a training run costs is not guessed from its size: try_model.py does all that one does, on images of noise.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil

from baton import console
from baton.console import log, show_progress
from baton.errors import UserError
from baton.files import read_json, write_json
from baton.manifests import read_manifest
from baton.study import cost, gpus, memory
from baton.study.identity import COMPILED, UPDATE
from baton.study.progress import read_progress
from baton.study.runs import Run
from baton.study.status import how_far
from baton.training.batches import VALIDATION_BATCH
from baton.training.keeper import SAVING_SHARE
from planning.describe import describe, warn_of
from planning.schedule import find_faster, simulate

MEASUREMENTS = Path("benchmarks/plan")  # what was measured, for later plans
MOST_TRIALS = 12  # models tried out; of a larger study the others are interpolated
LONG_ENOUGH = 60  # seconds of training after which an earlier session is the better measure
STATES = 3  # there are so many while one is written

CHILD = """
import json, runpy, sys
sys.path[:0] = json.loads(sys.argv.pop(1))
runpy.run_module("try_model", run_name="__main__")
"""


def measure(arguments):
    """Return what `try_out` says, from a trial now or one that was kept; raises UserError where it fails."""
    kind = arguments | {"settings": cost_settings(arguments["settings"]), "machine": platform.node()}
    kind["visible"] = gpus.usable_gpus()
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    text = json.dumps(kind | versions | {"python": sys.version, UPDATE: COMPILED}, sort_keys=True)
    path = MEASUREMENTS / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    with contextlib.suppress(OSError, ValueError):
        return read_json(path)
    Path("state").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="plan-", dir="state") as folder:
        measurements = Path(folder, "found.json")
        child = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(sys.path), measurements],
            input=json.dumps(arguments | {"folder": folder}),
            capture_output=True,
            text=True,
        )
        if child.returncode:
            last = (child.stderr.strip() or f"ended by signal {-child.returncode}").splitlines()[-1]
            raise UserError(
                f"{arguments['settings']['name']} cannot be tried out on this machine: {last}. If it ran out of memory, "
                "its training will fail here as well."
            )
        values = read_json(measurements)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)
    return values


def cost_settings(settings):
    """Return the settings that the cost of a step depends on."""
    keys = ("size", "kernels", "kernel_size", "dense", "layers", "batch_size", "precision")
    return {key: settings[key] for key in keys} | {key: bool(settings[key]) for key in ("l2", "dropout")}


def measure_all(runs, fixed, given):
    """Return, for each run, what a training run of its kind takes, and "source": how that is known.

    fixed: what is the same for all, for `try_out`: augmentation, classes; given: see main.

    Models that differ only in what costs nothing share a trial. Of more than MOST_TRIALS, as many are tried, which
    are spread evenly from the smallest to the largest; the others lie between those on a line, in logarithms.
    """
    kind_of = [
        json.dumps(
            [cost_settings(run.settings), given[run.name]["threads"], given[run.name]["gpu"]], sort_keys=True
        )
        for run in runs
    ]
    kinds = dict(zip(kind_of, runs, strict=True))
    sizes = {kind: cost.measure(run.settings, fixed["classes"]) for kind, run in kinds.items()}
    work = {
        kind: (sizes[kind].multiplications * run.settings["batch_size"], sizes[kind].weights)
        for kind, run in kinds.items()
    }  # of a step
    ranked = sorted(kinds, key=work.__getitem__)
    places = np.linspace(0, len(ranked) - 1, min(len(ranked), MOST_TRIALS)).round().astype(int)
    measurements = {}
    for kind in show_progress([ranked[place] for place in places], "trying out", len(places), "model"):
        run = kinds[kind]
        computed_by = {"threads": given[run.name]["threads"], "gpus": given[run.name]["gpu"]}
        measurements[kind] = measure({"settings": run.settings, **computed_by, **fixed}) | {
            "source": "measured"
        }
    trials = list(measurements)
    places = np.log([work[kind][0] for kind in trials])
    for kind in set(kinds) - set(measurements):
        multiplications, parameters = work[kind]
        values = {
            name: math.exp(
                np.interp(math.log(multiplications), places, np.log([measurements[t][name] for t in trials]))
            )
            for name in measurements[trials[0]]
            if name not in ("source", "formats")
        }
        values |= {"parameters": parameters, "state_bytes": 16 * parameters, "model_bytes": 4 * parameters}
        measurements[kind] = values | {"source": "interpolated", "formats": None}
    return [measurements[kind] for kind in kind_of]


def earlier_session(run, data, threads):
    """Return how many epochs of a Run are done that count here, and what one took on this machine, None where that is not known."""
    status, epochs = how_far(run, data, threads), run.settings["epochs"]
    if status.lacks_gpu:
        return 0, None
    before = read_progress(run.files.progress)
    newest = next((Path(folder).name for _, folder in run.find_states(threads)), None)
    known = (
        newest
        and before.get("state", newest) == newest  # and no other training run's, which came after
        and not status.changes
        and before.get("machine") == platform.node()
        and before.get("epoch", 0) * (before.get("epoch_seconds") or 0) > LONG_ENOUGH
    )
    return epochs if status.done else min(status.epoch, epochs), before["epoch_seconds"] if known else None


def count_training(images, run):
    """Return how many images a Run is trained on; images: how many there are, by split."""
    return images["train"] + round(run.settings["synthetic_fraction"] * images["train"])


def plan_run(run, values, images, data, threads):
    """Return the row of the plan for a Run: what was measured for its kind, times its epochs; data: see how_far()."""
    steps = math.ceil(count_training(images, run) / run.settings["batch_size"])
    from_trial = values["step"] * steps
    from_trial += (
        values["validation_batch"] * math.ceil(images["validation"] / VALIDATION_BATCH) + values["epoch"]
    )
    done, known = earlier_session(run, data, threads)
    epoch_seconds = known or (1 + SAVING_SHARE) * from_trial
    left = run.settings["epochs"] - done
    trained = values["start"] + left * epoch_seconds + 2 * values["save"] + values["finish"]
    evaluated = values["evaluate"] + images["test"] * values["predict"]
    return {
        "name": run.name,
        "threads": threads,
        "parameters": values["parameters"],
        "memory_bytes": round(values["memory_bytes"]),
        "state_bytes": values["state_bytes"],
        "model_bytes": round(values["model_bytes"]),
        "epoch_seconds": epoch_seconds,
        "epochs_left": left,
        "training_seconds": trained if left else 0,
        "evaluation_seconds": evaluated if left else 0,
        "shortest_seconds": values["start"] + values["step"] + 3 * values["save"],
        "source": "last session" if known else values["source"],
        "faster": find_faster(values["formats"]),
    }


def main(split, runs, data, session_minutes, cores, limits, given):
    """Measure, print the plan and write results/plan.json.

    split: split.csv; runs: each Run; data: the settings that their data follow from; cores: of this machine; limits: mem_mb and
    gpu that all share, None for no limit; given: threads, mem_mb and gpu that Snakemake gives each run, by its name.
    """
    if not runs:
        raise UserError("this workflow has no rule for any training run: there is nothing to plan.")
    manifest = read_manifest(split)
    images = {name: int((manifest["split"] == name).sum()) for name in ("train", "validation", "test")}
    classes = manifest["class"].nunique()
    packed = {(run.settings["size"], count_training(images, run)) for run in runs}
    kinds = measure_all(runs, {"augmentation": runs[0].augmentation, "classes": classes}, given)
    rows = [
        plan_run(run, values, images, data, given[run.name]["threads"])
        for run, values in zip(runs, kinds, strict=True)
    ]
    jobs = [  # as Snakemake takes them
        (
            row["training_seconds"] + row["evaluation_seconds"],
            1e6 * given[row["name"]]["mem_mb"],
            row["threads"],
            given[row["name"]]["gpu"] or 0,
        )
        for run, row in sorted(zip(runs, rows, strict=True), key=lambda pair: -pair[0].priority)
        if row["epochs_left"]
    ]
    most, at_once = (math.inf if limits[name] is None else limits[name] for name in ("mem_mb", "gpu"))
    wall, at_a_time = simulate(jobs, cores, 1e6 * most, at_once)
    made = {Path(run.packed.images(split)) for run in runs for split in images} | {
        Path(run.files.model) for run in runs
    }
    plan = {
        "images": images | {"synthetic": max(count for _, count in packed) - images["train"]},
        "classes": classes,
        "sizes": sorted({size for size, _ in packed}),
        "models": len({run.model for run in runs}),
        "at_a_time": at_a_time,
        "training_seconds": sum(row["training_seconds"] for row in rows),
        "evaluation_seconds": sum(row["evaluation_seconds"] for row in rows),
        "wall_seconds": wall,
        "session_minutes": session_minutes,
        "sessions": math.ceil(wall / 60 / session_minutes) if session_minutes else None,
        "disk": {
            "packed": sum(
                (count + images["validation"] + images["test"]) * size * size * 3 for size, count in packed
            ),
            "states": STATES * sum(row["state_bytes"] for row in rows),
            "models": sum(row["model_bytes"] for row in rows),
            "free": shutil.disk_usage(".").free,
            "there": sum(
                path.stat().st_size
                for path in [*Path("state").rglob("*.safetensors"), *made]
                if path.exists()
            ),
        },
        "runs": rows,
    }
    available = min(1e6 * most, psutil.virtual_memory().total)
    decoding = memory.decoding_processes(int(available / 1e6), cores)
    needs = [
        memory.of_packing(run.packed.size, run.packed.synthetic_fraction, decoding, len(manifest))
        for run in runs
    ]
    plan["packing_memory_bytes"] = round(1e6 * (max(needs) - memory.SNAKEMAKES))
    plan["warnings"] = warn_of(plan, available)
    write_json("results/plan.json", plan)
    log.info("\n%s", describe(plan, MOST_TRIALS))
    for warning in plan["warnings"]:
        log.warning("WARNING: %s", warning)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    options = dict(snakemake.params.items())
    runs = [Run(**fields) for fields in options["runs"]]
    # A module's user may have left rules out.
    options["runs"] = [run for run in runs if run.name in options["given"]]
    main(snakemake.input.split, **options)
