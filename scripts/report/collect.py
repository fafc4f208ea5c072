"""What the report is made from: the data, the finished runs and how far the others are, and the comparison of the models."""

import subprocess
from collections import Counter

import numpy as np

from baton.console import log
from baton.files import read_json
from baton.manifests import SPLITS, read_manifest
from baton.results import comparison, metrics
from baton.study.finished import is_trained
from baton.study.identity import (
    identify_wanted,
    ignored_when_finished,
    list_changes,
    stopped_early,
    training_of,
)
from baton.study.progress import read_progress
from report.quality import collect_copies, count_groups

FOR_BATON = ("identity", "study", "classes", "grey")  # of training.json, for Baton itself
DETAILED = 12  # models that the page shows in detail; of more, these are the most accurate


def count_classes(classes, labels, images, corrupt, packed, weights):
    """Return one row per class (in the order of `classes`) with its images at each stage, and a row of sums.

    labels, images, corrupt, packed: the manifests classes.csv, images.csv, corrupt.csv, packed/train.csv.
    """
    counts, damaged = Counter(labels["class"]), Counter(corrupt["class"])
    placed = Counter(zip(images["class"], images["split"], strict=True))
    synthetic = Counter(packed.loc[packed["parent"] != "", "class"])
    rows = [
        {
            "class": label,
            "labelled": counts[label],
            "damaged": damaged[label],
            **{split: placed[label, split] for split in SPLITS},
            "synthetic": synthetic[label],
            "weight": weight,
        }
        for label, weight in zip(classes, weights, strict=True)
    ]
    sums = {key: sum(row[key] for row in rows) for key in rows[0] if key not in ("class", "weight")}
    return rows, sums


def list_drawn(placed):
    """Return which splits were drawn and not given; placed: split and draw of split.csv."""
    drawn = set(placed.loc[placed["draw"] != "", "split"])
    return [split for split in SPLITS[1:] if split in drawn]


def collect_data(files):
    """Return what the report says of the data; files: the paths of the manifests, by name."""
    names = (
        "left_out",
        "notes",
        "classes",
        "images",
        "corrupt",
        "look_at",
        "train_manifest",
        "copies",
        "groups",
    )
    manifests = {name: read_manifest(files[name]) for name in names}
    mapping = read_json(files["weights"])
    rows, sums = count_classes(
        mapping["classes"],
        manifests["classes"],
        manifests["images"],
        manifests["corrupt"],
        manifests["train_manifest"],
        mapping["weights"],
    )
    return {
        "classes": rows,
        "sums": sums,
        **{name: manifests[name].astype({"count": int}).to_dict("records") for name in ("left_out", "notes")},
        **{name: manifests[name].to_dict("records") for name in ("corrupt", "look_at")},
        "agreement": read_json(files["agreement"]),
        "ceiling": read_json(files["ceiling"]),
        "drawn": list_drawn(read_manifest(files["split"], ["split", "draw"])),
        "copies": collect_copies(manifests["images"], manifests["copies"], read_json(files["copies_facts"])),
        "groups": count_groups(manifests["images"], manifests["groups"]),
        "grey": mapping.get("grey", {}),
    }


def collect_run(run, files, weights, test_images, seen=()):
    """Return what the report says of a Run: its training and test, or how far it is.

    files: the paths of its summary, metrics and predictions; weights: class_weights.json; test_images: the test images'
    manifest; seen: the test images that have a copy in another split. What is there of other settings, other images or other classes is no result of this study: the run is then
    unfinished, with the reason.
    """
    reason = None
    facts = {"name": run.name, "model": run.model, "seed": run.seed}
    try:
        test = read_json(files["metrics"])
        training = read_json(files["summary"])
        answers = read_manifest(files["predictions"], ["image", "class", "predicted"])
        columns = list(read_manifest(files["predictions"], rows=0))
    except OSError:
        pass
    else:
        reason = (
            misfit_of_training(training, run, weights)
            or misfit_of_test(test, training)
            or misfit_of_predictions(answers, columns, test_images, read_json(weights)["classes"])
        )
        if reason is None:
            training = {key: value for key, value in training.items() if key not in FOR_BATON}
            for key in ("diverged", "precision_reason", "device"):
                training.setdefault(key, None)  # of an earlier version
            test = {"against_answers": None} | {
                key: value for key, value in test.items() if key != "training"
            }
            correct = (answers["class"] == answers["predicted"]).to_numpy()
            unseen = correct[~answers["image"].isin(seen).to_numpy()]
            test["without_copies"] = (
                {
                    "images": len(unseen),
                    "accuracy": float(unseen.mean()),
                    "interval": metrics.wilson_interval(int(unseen.sum()), len(unseen)),
                }
                if seen and len(unseen)
                else None
            )
            return facts | {
                "status": "done",
                "training": without_nan(training),
                "test": test,
                "correct": correct,
            }
        log.warning("%s is not in the report: %s", run.name, reason)
    progress = read_progress(run.files.progress) if reason is None else {}
    trained = (
        {key: progress[key] for key in ("epoch", "epochs")}
        if {"epoch", "epochs"} <= set(progress)
        else {"epoch": 0, "epochs": run.settings["epochs"]}
    )
    return facts | {"status": "unfinished", "progress": trained, "reason": reason}


def misfit_of_training(training, run, weights):
    """Return why a training.json is none of this Run as it is asked for, or None."""
    settings, augmentation = run.settings, run.augmentation
    if "identity" in training:
        identity = identify_wanted(settings, augmentation, run.seed, data=run.digest(weights))
        changes = list_changes(training["identity"], identity, ignored_when_finished(settings))
    else:  # of an earlier version
        names = sorted(
            (set(settings) | set(training["settings"])) - {"name", "epochs", "precision", "synthetic_seed"}
        )
        changes = list_changes(
            *({name: part.get(name) for name in names} for part in (training["settings"], settings))
        )
        changes += list_changes(training["augmentation"], augmentation)
    if changes:
        return f"the existing model is another one: {'; '.join(changes)}"
    early = stopped_early(
        settings["patience"], training["epochs"], training["kept"]["epoch"], training.get("diverged")
    )
    if not is_trained({"epochs": training["epochs"], "stopped_early": early}, settings["epochs"]):
        return f"the existing model was trained for {training['epochs']} epochs of {settings['epochs']}"
    return None


def misfit_of_test(test, training):
    """Return why a metrics.json is not of the model of a training.json, or None."""
    if not {"guessing", "groups"} <= set(test):
        return "it was tested by an earlier version of Baton"
    return None if test["training"] == training_of(training) else "the model was trained since it was tested"


def misfit_of_predictions(answers, columns, test_images, classes):
    """Return why predictions are not of the study's test images and classes, or None; columns: of their table."""
    if not answers[["image", "class"]].equals(test_images[["image", "class"]]):
        return "its test images are not those of the study now"
    if [name for name in columns if name.startswith("probability ")] != [f"probability {c}" for c in classes]:
        return "its classes are not those of the study now"
    return None


def compare_models(done, groups=None):
    """Return the comparison of the finished runs' models on the test images (see baton.results.comparison.compare).

    groups: of test images that are not independent, None where each is its own.
    """
    correct, seeds = {}, {}
    for run in done:
        correct.setdefault(run["model"], []).append(run.pop("correct"))
        seeds.setdefault(run["model"], []).append(run["seed"])
    return comparison.compare({model: np.stack(rows) for model, rows in correct.items()}, seeds, groups)


def git_commit(folder):
    """Return the commit that the workflow in `folder` is at, with + where files were changed, or None."""
    try:
        commit, changed = (
            subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.strip() + ("+" if changed.strip() else "")


def arrange(done, runs, compared):
    """Return what the page shows of many models, beyond what it shows of a few, and in which order.

    many: whether the study has more models than the page shows in detail; place: of each model, from 1, by accuracy;
    done: the finished runs, of many the most accurate first; detailed: those that are shown in detail; pairs: of their
    models; apart: of each model but the most accurate, whether it differs from that one.
    """
    ranked = [row["model"] for row in compared["models"]]
    place = {model: number for number, model in enumerate(ranked, 1)}
    many = len({run.model for run in runs}) > DETAILED
    done = sorted(done, key=lambda run: place[run["model"]]) if many else done
    return {
        "many": many,
        "place": place,
        "done": done,
        "detailed": [run for run in done if place[run["model"]] <= DETAILED],
        "pairs": [
            pair for pair in compared["pairs"] if max(place[model] for model in pair["models"]) <= DETAILED
        ],
        "apart": {
            pair["models"][1]: pair["different"]
            for pair in compared["pairs"]
            if pair["models"][0] == ranked[0]
        },
    }


def without_nan(value):
    """Return `value` with None for what JSON has no number for: a diverged model's losses."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
