"""Tell what a study takes - time, memory, disk, sessions - from some steps of each model on this machine.

What a training costs is not guessed from its size: a process of its own does all that a training does (starts
TensorFlow, compiles, steps, validates, saves, writes its outputs, evaluates), on images of noise.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil

from baton import logs, memory
from baton.images import VALIDATION_BATCH
from baton.keeper import SAVING_SHARE, Keeper
from baton.logs import UserError, log, show_progress
from baton.manifests import read_json, read_manifest, write_manifest
from baton.progress import how_far, read_progress

KEPT = Path("benchmarks/plan")  # what was measured, for later plans
MOST_TRIALS = 12  # models tried out; of a larger study the others are interpolated
MOST_ROWS = 30  # printed
STEPS, VALIDATION_BATCHES = 4, 2  # of an epoch of a trial
SECONDS = 4  # of epochs at full speed, and at least one
TELLING = 60  # seconds of training after which an earlier session is the better measure
STATES = 3  # there are so many while one is written

CHILD = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import plan
json.dump(plan.try_out(**json.load(sys.stdin)), open(sys.argv[2], "w"))
"""


def age():
    """Return for how many seconds this process has been running."""
    return time.time() - psutil.Process().create_time()


def try_out(settings, augmentation, classes, threads, gpus, folder):
    """Train on noise for some seconds, in a process of its own, and return what everything took.

    folder: for its files, on the disk that states are saved to. Seconds: start (all but the steps until training
    is at full speed), step, validation_batch, epoch (what an epoch takes beyond these), save, finish, evaluate
    (but for the predictions), predict (of an image); bytes: memory at most, state, model; parameters.
    """
    # Here and not above: the plan itself needs no TensorFlow.
    import keras

    import train
    from baton import networks
    from evaluate import time_prediction

    imported = age()
    folder, draw, size = Path(folder), np.random.default_rng(1), settings["size"]
    counts = {"train": STEPS * settings["batch_size"], "validation": VALIDATION_BATCHES * VALIDATION_BATCH}
    packed = {}
    for split, count in counts.items():
        packed |= {split: folder / f"{split}.npy", f"{split}_manifest": folder / f"{split}.csv"}
        np.save(packed[split], draw.integers(0, 256, (count, size, size, 3), np.uint8))
        labels = pd.DataFrame({"label": draw.integers(0, classes, count)})
        write_manifest(labels, packed[f"{split}_manifest"])
    weights = folder / "class_weights.json"
    weights.write_text(json.dumps({"classes": list(range(classes)), "weights": [1] * classes}))
    precision = networks.choose_precision(settings["precision"])
    training, set_up = train.prepare(packed, weights, threads, settings, augmentation, 1, precision, gpus)

    epochs = []  # seconds of each one's batches, and of what was beyond them
    while len(epochs) < 2 or sum(map(sum, epochs[1:])) < SECONDS:
        moments = [time.monotonic()]
        training.run_epoch(lambda: moments.append(time.monotonic()))  # noqa: B023
        epochs.append(np.diff([*moments, time.monotonic()]).tolist())
        if len(epochs) == 1:
            begun = age()
    typical = np.median(epochs[1:], axis=0)

    keeper = Keeper(folder / "state", {})
    keeper.current.mkdir(parents=True)
    for _ in range(2):  # the second replaces one, as all but the first do
        keeper.save(training)
    memory = peak_memory()
    finish = time.monotonic()
    outputs = {"model": "model.keras", "history": "h.csv", "curves": "c.svg", "summary": "s.json"}
    outputs = {name: folder / path for name, path in outputs.items()}
    train.write_outputs(training, set_up, **outputs)
    finish = time.monotonic() - finish

    images = np.load(packed["validation"])[:64]
    evaluate = time.monotonic()
    network = keras.saving.load_model(outputs["model"], compile=False)
    time_prediction(network, images[:32])
    evaluate = time.monotonic() - evaluate
    predict = time.monotonic()
    networks.predict(network, images)
    predict = (time.monotonic() - predict) / len(images)
    return {
        "start": begun - typical.sum(),
        "step": np.mean(typical[:STEPS]),
        "validation_batch": np.mean(typical[STEPS:-1]),
        "epoch": typical[-1],
        "save": keeper.cost,
        "finish": finish,
        "evaluate": imported + evaluate,
        "predict": predict,
        "memory_bytes": memory,
        "state_bytes": training.state_bytes(),
        "model_bytes": outputs["model"].stat().st_size,
        "parameters": training.trainer.network.count_params(),
    }


def peak_memory():
    """Return the most memory that this process ever held, in bytes."""
    if os.name == "nt":
        return psutil.Process().memory_info().peak_wset
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(arguments):
    """Return what `try_out` says, from a trial now or one that was kept; raises UserError where it fails."""
    kind = arguments | {"settings": cost_settings(arguments["settings"]), "machine": platform.node()}
    text = json.dumps(kind | {"python": sys.version}, sort_keys=True)
    kept = KEPT / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    with contextlib.suppress(OSError, ValueError):
        return read_json(kept)
    Path("state").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="plan-", dir="state") as folder:
        found = Path(folder, "found.json")
        child = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(sys.path), found],
            input=json.dumps(arguments | {"folder": folder}),
            capture_output=True,
            text=True,
        )
        if child.returncode:
            said = (child.stderr.strip() or f"ended by signal {-child.returncode}").splitlines()[-1]
            raise UserError(
                f"{arguments['settings']['name']} cannot be tried out on this machine: {said}. If it was for want of "
                "memory, its training will fail here as well."
            )
        values = read_json(found)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return values


def cost_settings(settings):
    """Return the settings that the cost of a step depends on."""
    keys = ("size", "kernels", "kernel_size", "dense", "layers", "batch_size", "precision")
    return {key: settings[key] for key in keys} | {key: bool(settings[key]) for key in ("l2", "dropout")}


def work(settings, classes):
    """Return the multiplications of a step's forward pass, and the network's parameters."""
    channels, size, multiplications, parameters = 3, settings["size"], 0, 0
    for number in range(settings["layers"]):
        kernels = settings["kernels"] * 2**number
        weights = kernels * channels * settings["kernel_size"] ** 2
        multiplications += size * size * weights
        parameters += weights + kernels
        channels, size = kernels, size // 2
    for inputs, outputs in ((size * size * channels, settings["dense"]), (settings["dense"], classes)):
        multiplications += inputs * outputs
        parameters += (inputs + 1) * outputs
    return multiplications * settings["batch_size"], parameters


def measure_all(runs, fixed):
    """Return, for each run, what a training of its kind takes, and "source": how that is known.

    fixed: what is the same for all, for `try_out`: augmentation, classes, threads, gpus.

    Models that differ only in what costs nothing share a trial. Of more than MOST_TRIALS, so many are tried that
    are spread evenly from the smallest to the largest; the others lie between those on a line, in logarithms.
    """
    kinds = {json.dumps(cost_settings(run["settings"]), sort_keys=True): run["settings"] for run in runs}
    effort = {kind: work(settings, fixed["classes"]) for kind, settings in kinds.items()}
    ranked = sorted(kinds, key=effort.get)
    places = np.linspace(0, len(ranked) - 1, min(len(ranked), MOST_TRIALS)).round().astype(int)
    found = {}
    for kind in show_progress([ranked[place] for place in places], "trying out", len(places), "model"):
        found[kind] = measure({"settings": kinds[kind], **fixed}) | {"source": "measured"}
    tried = list(found)
    for kind in set(kinds) - set(found):
        multiplications, parameters = effort[kind]
        at = np.log([effort[other][0] for other in tried])
        values = {
            name: math.exp(np.interp(math.log(multiplications), at, np.log([found[t][name] for t in tried])))
            for name in found[tried[0]]
            if name != "source"
        }
        values |= {"parameters": parameters, "state_bytes": 16 * parameters, "model_bytes": 4 * parameters}
        found[kind] = values | {"source": "interpolated"}
    return [found[json.dumps(cost_settings(run["settings"]), sort_keys=True)] for run in runs]


def earlier_session(run, augmentation, study, threads):
    """Return how many epochs of a run are done and what one took on this machine, None where that is not known."""
    at = how_far(SimpleNamespace(**run), augmentation, study, threads)
    asked = run["settings"]["epochs"]
    before = read_progress(run["folder"])
    known = (
        before
        and not at.changes
        and before["machine"] == platform.node()
        and before["epoch"] * (before["epoch_seconds"] or 0) > TELLING
    )
    return asked if at.done else min(at.epoch, asked), before["epoch_seconds"] if known else None


def count_training(images, run):
    """Return how many images a run is trained on; images: how many there are, by split."""
    return images["train"] + round(run["settings"]["synthetic_fraction"] * images["train"])


def plan_run(run, values, images, augmentation, study, threads):
    """Return the row of the plan for a run: what `try_out` found for its kind, times its epochs."""
    steps = math.ceil(count_training(images, run) / run["settings"]["batch_size"])
    from_trial = values["step"] * steps
    from_trial += (
        values["validation_batch"] * math.ceil(images["validation"] / VALIDATION_BATCH) + values["epoch"]
    )
    done, known = earlier_session(run, augmentation, study, threads)
    epoch_seconds = known or (1 + SAVING_SHARE) * from_trial
    left = run["settings"]["epochs"] - done
    trained = values["start"] + left * epoch_seconds + 2 * values["save"] + values["finish"]
    evaluated = values["evaluate"] + images["test"] * values["predict"]
    return {
        "name": run["name"],
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
    }


def warn_of(plan, memory):
    """Return a sentence for each thing that will not fit; memory: the machine's memory, in bytes."""
    warnings = []
    largest = sorted((row["memory_bytes"] for row in plan["runs"]), reverse=True)[: plan["at_a_time"]]
    if sum(largest) > memory:
        warnings.append(
            f"{len(largest)} trainings at a time take up to {show_bytes(sum(largest))} of memory, and this machine has "
            f"{show_bytes(memory)}: give fewer --cores, or a smaller batch_size."
        )
    if plan["packing_memory_bytes"] > memory:
        warnings.append(
            f"packing the images takes up to {show_bytes(plan['packing_memory_bytes'])} of memory, and this machine has "
            f"{show_bytes(memory)}: give fewer --cores, or take smaller images (images.size) or no synthetic ones."
        )
    disk = plan["disk"]
    if disk["packed"] + disk["states"] + disk["models"] > disk["free"] + disk["there"]:
        warnings.append(
            "the disk is too small: free some space, or move the study to another one. A state can be deleted "
            "once its model is trained."
        )
    session = plan["session_minutes"]
    short = [row["name"] for row in plan["runs"] if session and row["shortest_seconds"] > 60 * session]
    if short:
        warnings.append(
            f"session_minutes: {session:g} minutes are too short for one step and its saves of {', '.join(short)}."
        )
    return warnings


def show_bytes(count):
    """Return a number of bytes as people say it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return (
                f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
            )
    return f"{count / 1e3:.0f} kB"


def show_seconds(seconds):
    """Return a duration as people say it."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def describe(plan):
    """Return the plan as text for a terminal."""
    images, disk = plan["images"], plan["disk"]
    rows = plan["runs"]
    if len(rows) > MOST_ROWS:
        rows = sorted(rows, key=lambda row: -row["training_seconds"])[:MOST_ROWS]
    table = pd.DataFrame(
        {
            "training": row["name"],
            "parameters": f"{row['parameters']:,}",
            "memory": show_bytes(row["memory_bytes"]),
            "state": show_bytes(row["state_bytes"]),
            "an epoch": show_seconds(row["epoch_seconds"]),
            "epochs left": row["epochs_left"],
            "in all": show_seconds(row["training_seconds"]),
            "known from": row["source"],
        }
        for row in rows
    )
    more = len(plan["runs"]) - len(rows)
    session = plan["session_minutes"]
    sessions = f", which is {plan['sessions']} of {session:g} minutes" if session else ""
    synthetic = f" and up to {images['synthetic']:,} synthetic ones" if images["synthetic"] else ""
    lines = [
        f"{images['train']:,} images{synthetic} for training, {images['validation']:,} for validation, {images['test']:,} for test; "
        f"{plan['classes']} classes; {', '.join(map(str, plan['sizes']))} px",
        f"{plan['models']} models, {len(plan['runs'])} trainings; {plan['threads']} threads each, "
        f"{plan['at_a_time']} at a time",
        "",
        table.to_string(index=False),
        *([f"... and {more} shorter ones: all are in results/plan.json"] if more else []),
        "",
        f"Training:   {show_seconds(plan['training_seconds'])}",
        f"Evaluation: {show_seconds(plan['evaluation_seconds'])}",
        f"Both, on this machine: {show_seconds(plan['wall_seconds'])}{sessions}. Preparing the images and writing the "
        "report come on top.",
        f"Disk: {show_bytes(disk['packed'])} of packed images, {show_bytes(disk['states'])} of states, "
        f"{show_bytes(disk['models'])} of models; {show_bytes(disk['free'])} are free.",
        f"Packing the images takes up to {show_bytes(plan['packing_memory_bytes'])} of memory, for photos of up to 24 megapixels.",
    ]
    if any(run["source"] == "interpolated" for run in plan["runs"]):
        lines.append(f"{MOST_TRIALS} kinds of models were tried; those marked interpolated lie between them.")
    return "\n".join(lines)


def main(split, threads, gpus, runs, augmentation, study, session_minutes, cores):
    """Measure, print the plan and write results/plan.json.

    split: split.csv; runs: dictionaries of name, model, seed, folder, packed and settings; study: the settings that
    the data follow from; cores: of this machine.
    """
    manifest = read_manifest(split)
    images = {name: int((manifest["split"] == name).sum()) for name in ("train", "validation", "test")}
    classes = manifest["class"].nunique()
    packed = {(run["settings"]["size"], count_training(images, run)) for run in runs}
    fixed = {"augmentation": augmentation, "classes": classes, "threads": threads, "gpus": gpus}
    kinds = measure_all(runs, fixed)
    rows = [
        plan_run(run, values, images, augmentation, study, threads)
        for run, values in zip(runs, kinds, strict=True)
    ]
    seconds = [row["training_seconds"] + row["evaluation_seconds"] for row in rows]
    at_a_time = min(max(cores // threads, 1), len(rows))
    wall = max(max(seconds), sum(seconds) / at_a_time)
    plan = {
        "images": images | {"synthetic": max(count for _, count in packed) - images["train"]},
        "classes": classes,
        "sizes": sorted({size for size, _ in packed}),
        "models": len({run["model"] for run in runs}),
        "threads": threads,
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
            "there": sum(path.stat().st_size for path in Path("state").rglob("*.safetensors")),
        },
        "runs": rows,
    }
    needs = [
        memory.of_packing(
            run["settings"]["size"], run["settings"]["synthetic_fraction"], cores, len(manifest)
        )
        for run in runs
    ]
    plan["packing_memory_bytes"] = round(1e6 * (max(needs) - memory.SNAKEMAKES))
    plan["warnings"] = warn_of(plan, psutil.virtual_memory().total)
    Path("results/plan.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    log.info("\n%s", describe(plan))
    for warning in plan["warnings"]:
        log.warning("WARNING: %s", warning)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    gpus = snakemake.resources.get("gpu", 0)
    main(snakemake.input.split, snakemake.threads, gpus, **snakemake.params)
