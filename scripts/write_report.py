"""Write the report: one page for people, the same numbers as JSON and CSV for programs, and the figures."""

import base64
import csv
import io
import json
import os
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import jinja2
import numpy as np
import yaml
from markupsafe import Markup, escape
from PIL import Image

from baton import comparison, figures, logs, statistics
from baton.console import MOST_NUMBERED, decimals, p_value, percent
from baton.finished import is_trained
from baton.identity import (
    digest_data,
    identify,
    ignored_when_finished,
    list_changes,
    stopped_early,
    training_of,
)
from baton.logs import UserError, log
from baton.manifests import read_json, read_manifest
from baton.progress import read_progress

SPLITS = ("train", "validation", "test")
THUMBNAIL = 96  # pixels
RECORDED = ("identity", "study", "classes")  # of training.json, for Baton itself
SHOWN = 12  # models that the page tells in detail; of more, these are the most accurate
# In report.json: counts of all confusion matrices (15 MB) and pairs (6 MB). More are in each metrics.json, in pairs.csv.
MOST_COUNTS, MOST_PAIRS = 1_000_000, 10_000


# --- What there is to tell


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


def collect_data(files):
    """Return what the report tells of the data; files: the paths of the manifests, by name."""
    names = ("left_out", "classes", "images", "corrupt", "train_manifest")
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
    left_out = manifests["left_out"].astype({"count": int})
    return {
        "classes": rows,
        "sums": sums,
        "left_out": left_out.to_dict("records"),
        "corrupt": manifests["corrupt"].to_dict("records"),
        "copies": count_copies(manifests["images"]),
    }


def metrics_of(run):
    return f"results/evaluation/{run['model']}/seed_{run['seed']}/metrics.json"


def collect_run(run, augmentation, weights, tested):
    """Return what the report tells of a run: its training and test, or how far it is.

    run: name, model, seed, folder, packed and settings; weights: class_weights.json; tested: the test images' manifest.
    What is there of other settings, other images or other classes is no result of this study: the run is then
    unfinished, with the reason.
    """
    folder, reason = run["folder"], None
    facts = {"name": run["name"], "model": run["model"], "seed": run["seed"]}
    try:
        test = read_json(metrics_of(run))
        training = read_json(f"results/models/{folder}/training.json")
        predictions = f"results/evaluation/{folder}/predictions.csv"
        answers = read_manifest(predictions, ["image", "class", "predicted"])
        columns = list(read_manifest(predictions, rows=0))
    except OSError:
        pass
    else:
        reason = (
            misfit_of_training(training, run, augmentation, weights)
            or misfit_of_test(test, training)
            or misfit_of_predictions(answers, columns, tested, read_json(weights)["classes"])
        )
        if reason is None:
            training = {key: value for key, value in training.items() if key not in RECORDED}
            test = {key: value for key, value in test.items() if key != "training"}
            correct = (answers["class"] == answers["predicted"]).to_numpy()
            return facts | {
                "status": "done",
                "training": without_nan(training),
                "test": test,
                "correct": correct,
            }
        log.warning("%s is not in the report: %s", run["name"], reason)
    epochs = run["settings"]["epochs"]
    at = read_progress(folder) if reason is None else {}
    trained = {key: at[key] for key in ("epoch", "epochs")} if at else {"epoch": 0, "epochs": epochs}
    return facts | {"status": "unfinished", "progress": trained, "reason": reason}


def misfit_of_training(training, run, augmentation, weights):
    """Return why a training.json is none of this run as it is asked for, or None."""
    asked = run["settings"]
    if "identity" in training:
        packed = run["packed"]
        data = digest_data(f"{packed}/train.csv", f"{packed}/validation.csv", weights)
        identity = identify(asked, augmentation, run["seed"], data=data)
        if asked["precision"] != "auto":
            identity["precision"] = asked["precision"]
        changes = list_changes(training["identity"], identity, ignored_when_finished(asked))
    else:  # of an earlier version
        names = sorted(
            (set(asked) | set(training["settings"])) - {"name", "epochs", "precision", "synthetic_seed"}
        )
        changes = list_changes(
            *({name: part.get(name) for name in names} for part in (training["settings"], asked))
        )
        changes += list_changes(training["augmentation"], augmentation)
    if changes:
        return f"the model that is there is another one: {'; '.join(changes)}"
    early = stopped_early(asked["patience"], training["epochs"], training["kept"]["epoch"])
    if not is_trained({"epochs": training["epochs"], "stopped_early": early}, asked["epochs"]):
        return f"the model that is there was trained for {training['epochs']} epochs of {asked['epochs']}"
    return None


def misfit_of_test(test, training):
    """Return why a metrics.json is not of the model of a training.json, or None."""
    if "guessing" not in test:
        return "it was tested by an earlier version of Baton"
    return None if test["training"] == training_of(training) else "the model was trained since it was tested"


def misfit_of_predictions(answers, columns, tested, classes):
    """Return why predictions are not of the study's test images and classes, or None; columns: of their table."""
    if not answers[["image", "class"]].equals(tested[["image", "class"]]):
        return "its test images are not those of the study now"
    if [name for name in columns if name.startswith("probability ")] != [f"probability {c}" for c in classes]:
        return "its classes are not those of the study now"
    return None


def compare_models(done):
    """Return the comparison of the finished runs' models on the test images (see baton.comparison.compare)."""
    correct, seeds = {}, {}
    for run in done:
        correct.setdefault(run["model"], []).append(run.pop("correct"))
        seeds.setdefault(run["model"], []).append(run["seed"])
    return comparison.compare({model: np.stack(rows) for model, rows in correct.items()}, seeds)


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
    """Return what the page tells of many models, beyond what it tells of a few, and in which order.

    many: whether the study has more models than the page tells in detail; place: of each model, from 1, by accuracy;
    done: the finished runs, of many the most accurate first; shown: those that are told in detail; pairs: of their
    models; apart: of each model but the most accurate, whether it can be told from that one.
    """
    ranked = [row["model"] for row in compared["models"]]
    place = {model: number for number, model in enumerate(ranked, 1)}
    many = len({run["model"] for run in runs}) > SHOWN
    done = sorted(done, key=lambda run: place[run["model"]]) if many else done
    return {
        "many": many,
        "place": place,
        "done": done,
        "shown": [run for run in done if place[run["model"]] <= SHOWN],
        "pairs": [
            pair for pair in compared["pairs"] if max(place[model] for model in pair["models"]) <= SHOWN
        ],
        "apart": {
            pair["models"][1]: pair["different"]
            for pair in compared["pairs"]
            if pair["models"][0] == ranked[0]
        },
    }


# --- Pictures


def draw_figures(done, shown, labels, confusion, classes, folder):
    """Draw the figures of the finished runs into `folder`, all in one, and of each that the page shows its own.

    labels: see figures.draw_cost; confusion: the matrix of each run that is shown, by name.
    """
    (folder / "confusion").mkdir(parents=True, exist_ok=True)
    figures.save_figure(
        figures.draw_cost(
            [
                {
                    "name": run["model"],
                    "parameters": run["training"]["parameters"],
                    "accuracy": run["test"]["accuracy"],
                    "low": run["test"]["interval"][0],
                    "high": run["test"]["interval"][1],
                }
                for run in done
            ],
            labels,
        ),
        folder / "accuracy_parameters.svg",
    )
    bins = [run["test"]["calibration"]["bins"] for run in shown]
    names = [run["name"] for run in shown]
    figures.save_figure(figures.draw_reliability(bins, names), folder / "reliability.svg")
    for run in shown:
        figure = figures.draw_confusion(confusion[run["name"]], classes, run["name"])
        figures.save_figure(figure, folder / f"confusion/{run['name']}.svg")


def as_data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def embed_svg(path):
    """Return an SVG file as a data URI: an image of its own, whose ids and styles meet no other's."""
    return as_data_uri("image/svg+xml", Path(path).read_bytes())


def thumbnail(pixels):
    """Return a (size, size, 3) uint8 array as a small JPEG in a data URI."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return as_data_uri("image/jpeg", content.getvalue())


def list_mistakes(run, images, pixels, classes):
    """Return the run's most confident mistakes: file, true and predicted class, confidence, thumbnail or None.

    images: the test images' names; pixels: their (n, size, size, 3) array, None for no pictures.
    """
    return [
        {
            "file": images[mistake["index"]],
            "true": classes[mistake["true"]],
            "predicted": classes[mistake["predicted"]],
            "confidence": mistake["confidence"],
            "picture": None if pixels is None else thumbnail(pixels[mistake["index"]]),
        }
        for mistake in run["test"]["mistakes"]
    ]


# --- Writing


def duration(seconds):
    """Return seconds as text: 42 s, 3 min 5 s, 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def number(value):
    """Return a count with its thousands set apart (by a narrow space, which no language reads as a point)."""
    return f"{value:,}".replace(",", "\u202f")


def roughly(count):
    """Return a count to two significant digits: more would claim to know."""
    return int(float(f"{count:.1e}"))


def megabytes(count):
    """Return bytes as text in megabytes, in kilobytes where these would be none."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def breakable(name):
    """Return a long name as HTML that may go on in a new line after each of its words."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def shares(confusion):
    """Return the confusion matrix as rows of (count, share of the row's images)."""
    return [[(count, count / max(sum(row), 1)) for count in row] for row in confusion]


FILTERS = {
    "duration": duration,
    "number": number,
    "roughly": roughly,
    "decimals": decimals,
    "percent": percent,
    "p_value": p_value,
    "megabytes": megabytes,
    "shares": shares,
    "breakable": breakable,
    "embed_svg": embed_svg,
}


def write_csv(path, rows):
    """Write dictionaries of the same keys as CSV; no rows, an empty file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


SETTINGS = (
    "size",
    "synthetic_fraction",
    "kernels",
    "kernel_size",
    "layers",
    "dense",
    "batch_size",
    "learning_rate",
    "l2",
    "dropout",
    "initializer",
    "stddev",
    "class_weights",
    "monitor",
    "patience",
)


def table_of_models(done):
    """Return a row a finished run for models.csv."""
    rows = []
    for run in done:
        training, test, ordered = run["training"], run["test"], run["test"]["ordered"]
        settings = training["settings"]
        row = {key: run[key] for key in ("name", "model", "seed")}
        row |= {key: settings[key] for key in SETTINGS}
        row |= {"parameters": training["parameters"], "model_bytes": test["model_bytes"]}
        row |= {"epochs": training["epochs"], "kept_epoch": training["kept"]["epoch"]}
        row |= {"validation_accuracy": training["kept"]["val_accuracy"], "test_images": test["images"]}
        row |= {
            "accuracy": test["accuracy"],
            "accuracy_low": test["interval"][0],
            "accuracy_high": test["interval"][1],
        }
        row |= {key: test[key] for key in ("balanced_accuracy", "macro_f1", "log_loss", "top_2_accuracy")}
        row["expected_calibration_error"] = test["calibration"]["expected_calibration_error"]
        row["verdict"] = test["answers"]["verdict"]
        for key in ("mean_absolute_error", "within_one", "quadratic_kappa", "spearman"):
            row[key] = ordered[key]["value"] if ordered else None
        row |= {"training_seconds": training["seconds"], "sessions": len(training["sessions"])}
        row |= {f"milliseconds_batch_{size}": value for size, value in test["milliseconds"].items()}
        rows.append(row)
    return rows


def table_of_pairs(compared):
    """Return a row a pair of models for pairs.csv."""
    return [
        {"first": pair["models"][0], "second": pair["models"][1]}
        | {key: pair[key] for key in ("difference", "standard_error", "p", "p_holm", "different")}
        for pair in compared["pairs"]
    ]


def main(files, base, runs, config, workflow, whole=False):
    """Write base.html, base.json and, in the folder `base`, models.csv, pairs.csv and the figures.

    files: the paths of template, test images, weights and the data manifests, by name; runs: name, model,
    seed, folder, packed and settings of each, finished or not; workflow: the folder it lies in; whole: refuse (UserError)
    where one is not finished.
    """
    data = collect_data(files)
    classes = [row["class"] for row in data["classes"]]
    tested = read_manifest(files["test_manifest"])
    few_counts = len(runs) * len(classes) ** 2 <= MOST_COUNTS
    found, confused = [], {}
    for run in runs:
        found.append(collect_run(run, config["augmentation"], files["weights"], tested))
        if test := found[-1].get("test"):
            confused[run["name"]] = statistics.most_confused(test["confusion"], classes)
            if not few_counts:  # 1,000 models of 500 classes: 2 GB
                test["confusion"] = None
    done = [run for run in found if run["status"] == "done"]
    if whole and len(done) < len(found):
        run = next(run for run in found if run["status"] == "unfinished")
        raise UserError(
            f"{run['name']}: {run['reason'] or 'it is not trained and tested'}. `snakemake evaluate --forcerun "
            f"train_{run['name']}` makes it anew; `snakemake report_now` tells of the others."
        )
    compared = compare_models(done)
    for run, verdict in zip(done, comparison.judge([run["test"] for run in done]), strict=True):
        run["test"]["answers"]["verdict"] = verdict
    report = {
        "format": 1,
        "config": config,
        "data": data,
        "runs": found,
        "comparison": compared,
        "confused": confused,
        "commit": git_commit(workflow),
    }
    told = arrange(done, runs, compared)
    labels = (
        {run["model"]: str(told["place"][run["model"]]) for run in told["shown"]} if told["many"] else None
    )
    confusion = {
        run["name"]: run["test"]["confusion"] or read_json(metrics_of(run))["confusion"]
        for run in told["shown"]
    }
    folder = Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    if done:
        draw_figures(done, told["shown"], labels, confusion, classes, folder)
    write_csv(folder / "models.csv", table_of_models(done))
    write_csv(folder / "pairs.csv", table_of_pairs(compared))
    few_pairs = len(compared["pairs"]) <= MOST_PAIRS
    numbers = report if few_pairs else report | {"comparison": compared | {"pairs": None}}
    with aside(f"{base}.json") as file:  # piece by piece: the text of a thousand models is large
        json.dump(numbers, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")

    pixels = np.load(files["test"], mmap_mode="r") if config["report"]["images"] else None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    template = environment.from_string(Path(files["template"]).read_text(encoding="utf-8"))
    page = template.render(
        **report,
        **told,
        unfinished=[run for run in found if run["status"] == "unfinished"],
        config_text=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        largest_in_test=max(row["test"] for row in data["classes"]),
        mistakes={
            run["name"]: list_mistakes(run, list(tested["image"]), pixels, classes) for run in told["shown"]
        },
        confusion=confusion,
        numbered=len(classes) <= MOST_NUMBERED,
        few_counts=few_counts,
        curves={run["name"]: f"results/models/{run['folder']}/curves.svg" for run in runs},
        folder=folder,
    )
    with aside(f"{base}.html") as file:
        file.write(page)
    log.info("written to %s.html", base)


def without_nan(value):
    """Return `value` with None for what JSON has no number for: a diverged model's losses."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@contextmanager
def aside(path):
    """Open a text file that is `path` once it is written; a file name that is not UTF-8 loses what cannot be shown."""
    with open(f"{path}.tmp", "w", encoding="utf-8", errors="replace") as file:
        yield file
    os.replace(f"{path}.tmp", path)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    # report_now promises no file: it may be asked again, and again finds something else.
    page = snakemake.output.get("page") or snakemake.params.page
    main(
        snakemake.input,
        page.removesuffix(".html"),
        snakemake.params.runs,
        snakemake.params.config,
        snakemake.scriptdir,
        whole="page" in snakemake.output.keys(),  # noqa: SIM118
    )
