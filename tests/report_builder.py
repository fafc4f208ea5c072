"""Studies made by hand, of which only what the report reads is there, and what is read of the report.

Nothing trains here: the predictions of the models are made up, and what evaluate.measure makes of them, with made-up
training runs, is written where the report looks for it.
"""

import base64
import contextlib
import csv
import gc
import hashlib
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import jinja2
import jsonschema
import numpy as np
import pandas
import pytest
import yaml
from conftest import REPOSITORY
from html_page import Page

import write_report
from baton.manifests import read_manifest, write_manifest
from baton.results import figures, metrics
from baton.results.clusters import number_groups
from baton.study.identity import digest_data, identify
from baton.study.runs import Run
from evaluate import measure

SCHEMA = json.loads((REPOSITORY / "rules/schemas/report.schema.json").read_text(encoding="utf-8"))
REPORT_PARTS = [str(REPOSITORY / "scripts/report/page.html.j2")]  # beside it, the others
DEFAULTS = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
VEGETABLES = ["Bean", "Carrot", "Potato", "Tomato"]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}{% raw %}",
    "$x^2$ $",
    "مرحبا\u202eabc",
    "</td></table></main><h1>&lt;&amp;",
]


COMPILED = jinja2.FileSystemBytecodeCache(tempfile.mkdtemp(prefix="templates"))


# --- Studies made by hand


def answers(labels, classes, wrong=(), sure=0.8):
    """Return probabilities that are right but for the images in `wrong`, where the next class is said."""
    said = np.array(labels)
    said[list(wrong)] = (said[list(wrong)] + 1) % classes
    return saying(said, classes, sure)


def saying(said, classes, sure=0.8):
    """Return probabilities whose highest is, for each image, the class that `said` gives, by `sure`."""
    probabilities = np.full((len(said), classes), (1 - sure) / (classes - 1))
    probabilities[np.arange(len(said)), said] = sure
    return probabilities


def run(name, probabilities, model=None, seed=1, **more):
    """Return a run of a made-up study; probabilities None: it is not finished."""
    return {"name": name, "model": model or name, "seed": seed, "probabilities": probabilities, **more}


_curves: dict[tuple, tuple] = {}  # the files of curves that were drawn before


def leave_blank(_figure, svg):
    """Stand for figures.save_figure where nobody looks at figures."""
    blank = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 810 306"/>'
    Path(svg).write_text(blank, encoding="utf-8")
    Path(svg).with_suffix(".png").write_bytes(b"")


def draw_curves(history, epochs, name, svg):
    """Draw the curves of a history (JSON) to `svg` and the PNG beside it; the same ones once."""
    files = (svg, svg.with_suffix(".png"))
    if (history, epochs, name) not in _curves:
        figures.save_figure(figures.draw_curves(json.loads(history), epochs, [1.5], name), svg)
        _curves[history, epochs, name] = tuple(file.read_bytes() for file in files)
    for file, content in zip(files, _curves[history, epochs, name], strict=True):
        file.write_bytes(content)


NO_AGREEMENT = {"images": 9, "answers": 9, "several": 0, "reason": "Each image has one answer.", "kind": None}
NO_CEILING = {"kind": None, "reason": "Each image has one answer.", "images": 0, "annotators": None}
NO_CEILING |= {"measures": {}, "twice": None, "bracket": None}
NO_AGREEMENT |= {"per_image": None, "figures": None, "repeats": None, "annotators": []}


class Made:
    """A study of which only what the report reads is there.

    classes: names; labels: the class indices of the test images; runs: of run(); files: names of the test
    images; copies: rows of copies.csv; groups: pairs of image and group; answered: shares and means of the test images' answers; drawn: the splits that were; corrupt: rows of corrupt.csv; left_out, notes: rows of left_out.csv, notes.csv; train: images per class for training;
    size: of the images; asked: what differs from the config, section by section; curves: whether figures are
    drawn (slow) or a line stands for them.
    """

    def __init__(
        self,
        folder,
        classes,
        labels,
        runs,
        files=None,
        corrupt=(),
        left_out=(),
        notes=(),
        look_at=(),
        copies=(),
        groups=(),
        drawn=("validation", "test"),
        agreement=None,
        ceiling=None,
        answered=None,
        train=40,
        synthetic=0,
        size=16,
        asked=None,
        ordered=None,
        curves=False,
    ):
        self.folder, self.classes, self.labels, self.runs = Path(folder), classes, np.array(labels), runs
        self.files = files or [f"test {number}.png" for number in range(len(labels))]
        self.config = {
            key: value
            for key, value in DEFAULTS.items()
            if key not in ("session_minutes", "scan_images", "verify")
        }
        self.config["data"] = DEFAULTS["data"] | {
            "source": "annotations",
            "images": "photos",
            "annotations": "answers.csv",
        }
        for section, values in (asked or {}).items():
            self.config[section] = self.config[section] | values
        self.ordered, self.curves = ordered, curves
        self.groups, self.agreement = dict(groups), agreement
        self.ceiling, self.answered = ceiling, answered
        self._write_data(corrupt, left_out, notes, look_at, train, synthetic, size)
        self._write_quality(copies, drawn)
        for one in runs:
            self._write_run(one)

    def __truediv__(self, path):
        return self.folder / path

    def _path(self, path):
        (self / path).parent.mkdir(parents=True, exist_ok=True)
        return self / path

    def _json(self, path, value):
        self._path(path).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def _csv(self, path, columns, rows):
        write_manifest(pandas.DataFrame(list(rows), columns=columns, dtype=str), self._path(path))

    def _write_data(self, corrupt, left_out, notes, look_at, train, synthetic, size):
        rows = [
            (f"{split} {label} {number}.png", label, split)
            for label in self.classes
            for split, count in (("train", train), ("validation", 5))
            for number in range(count)
        ]
        rows += [
            (file, self.classes[label], "test") for file, label in zip(self.files, self.labels, strict=True)
        ]
        rows = [(*row, hashlib.sha256(row[0].encode("utf-8", "replace")).hexdigest()) for row in rows]
        self._csv("results/data/images.csv", ["image", "class", "split", "sha256"], rows)
        labelled = [row[:2] for row in rows] + [row[:2] for row in corrupt]
        self._csv("results/data/classes.csv", ["image", "class"], labelled)
        self._csv("results/data/left_out.csv", ["reason", "unit", "count"], left_out)
        self._csv("results/data/look_at.csv", ["file", "class", "split", "reason"], look_at)
        self._csv("results/data/notes.csv", ["note", "unit", "count"], notes)
        self._csv("results/data/corrupt.csv", ["file", "class", "split", "reason"], corrupt)
        for split in ("train", "validation", "test"):
            packed = [
                (image, label, self.classes.index(label), digest, "")
                for image, label, place, digest in rows
                if place == split
            ]
            if split == "train":
                packed += [
                    (f"synthetic {number}", label, index, "", f"train {label} {number}.png")
                    for index, label in enumerate(self.classes)
                    for number in range(synthetic)
                ]
            columns = ["image", "class", "label", "sha256", "parent"]
            self._csv(f"results/data/packed/{split}.csv", columns, packed)
        weights = {"classes": self.classes, "weights": [1.0] * len(self.classes)}
        self._json("results/data/class_weights.json", weights)
        draw = np.random.default_rng(1)
        self.pixels = draw.integers(0, 256, (len(self.labels), size, size, 3), np.uint8)
        np.save(self._path("results/data/packed/test.npy"), self.pixels)

    def _write_quality(self, copies, drawn):
        data = "results/data"
        images = read_manifest(self / f"{data}/images.csv")
        places = ["0" if split in drawn else "" for split in images["split"]]
        self._csv(f"{data}/split.csv", ["split", "draw"], zip(images["split"], places, strict=True))
        self._csv(f"{data}/copies.csv", ["image", "twin", "kind", "likeness"], copies)
        self._csv(f"{data}/groups.csv", ["image", "group"], self.groups.items())
        self._json(f"{data}/agreement.json", self.agreement or NO_AGREEMENT)
        self._json(f"{data}/ceiling.json", self.ceiling or NO_CEILING)
        facts = {"compared": len(images), "least": 0.93, "split_chains": 0}
        self._json(f"{data}/copies.json", facts | {"keep_together": self.config["holdout"]["keep_together"]})
        for split in ("train", "validation"):
            count = (images["split"] == split).sum()
            np.save(self / f"{data}/packed/{split}.npy", np.zeros((count, 2, 2, 3), np.uint8))

    def settings(self, one):
        """Return the settings that the config gives a run of run()."""
        settings = {
            key: value for key, value in DEFAULTS["training"].items() if key not in ("seeds", "targets")
        }
        shape = {
            "name": one["model"],
            "size": one.get("size", 16),
            "synthetic_fraction": one.get("synthetic_fraction", 0),
            "kernels": 8,
            "kernel_size": 3,
            "dense": 16,
            "layers": 2,
            "epochs": one.get("epochs", 4),
            "precision": one.get("precision", settings["precision"]),
        }
        return dict(sorted((settings | shape).items()))

    def run_of(self, one):
        """Return the Run of a run of run()."""
        return Run(one["name"], one["model"], one["seed"], self.settings(one), self.config["augmentation"])

    def identity(self, one):
        """Return what train.py notes a run's training to follow from."""
        data = [self / f"results/data/{name}" for name in ("packed/train.csv", "packed/validation.csv")]
        return identify(
            self.settings(one),
            self.config["augmentation"],
            one["seed"],
            precision="float32",
            threads=2,
            devices=one.get("devices", 1),
            data=digest_data(*data, self / "results/data/class_weights.json"),
        )

    def _write_run(self, one):
        folder = f"{one['model']}/seed_{one['seed']}"
        packed = self / self.run_of(one).packed.folder
        packed.mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation"):
            shutil.copy(self / f"results/data/packed/{split}.csv", packed)
        if one["probabilities"] is None:
            if "progress" in one:
                self._json(f"state/{folder}/progress.json", one["progress"])
            return
        groups = number_groups([self.groups.get(file, file) for file in self.files])
        test = measure(self.labels, one["probabilities"], self.classes, self.ordered, groups, self.answered)
        test |= {"milliseconds": {"1": 2.5, "32": 0.25}, "model_bytes": one.get("parameters", 12345) * 4}
        epochs = one.get("epochs", 4)
        test["training"] = {"identity": self.identity(one), "epochs": epochs, "kept": epochs}
        self._json(f"results/evaluation/{folder}/metrics.json", test)
        names = [*self.classes, ""]
        said = [names[index] for index in metrics.predicted_classes(one["probabilities"])]
        true = (self.classes[label] for label in self.labels)
        rows = [
            (*row, *one["probabilities"][n]) for n, row in enumerate(zip(self.files, true, said, strict=True))
        ]
        columns = ["image", "class", "predicted", *(f"probability {label}" for label in self.classes)]
        self._csv(f"results/evaluation/{folder}/predictions.csv", columns, rows)
        self._write_training(one, folder)

    def _write_training(self, one, folder):
        epochs = one.get("epochs", 4)
        loss = one.get("loss", 1.0)
        history = [
            {
                "epoch": epoch,
                "loss": loss / epoch,
                "l2": 0.1,
                "accuracy": 1 - 0.5 / epoch,
                "val_loss": 1.2 * loss / epoch,
                "val_accuracy": one.get("val_accuracy", 0.9) - 0.3 / epoch,
            }
            for epoch in range(1, epochs + 1)
        ]
        session = {"started": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:14:05+00:00"}
        sessions = [session | {"reason": "all done", "from": [0, 0], "to": [epochs, 0]}]
        training = {
            "model": one["model"],
            "seed": one["seed"],
            "settings": self.settings(one),
            "identity": self.identity(one),
            "study": {},
            "classes": self.classes,
            "augmentation": self.config["augmentation"],
            "parameters": one.get("parameters", 12345),
            "training_images": 40 * len(self.classes),
            "precision": "float32",
            "threads": 2,
            "devices": one.get("devices", 1),
            "versions": {"python": "3.11.9", "tensorflow": "2.20.0", "keras": "3.11.0"},
            "epochs": epochs,
            "kept": history[-1],
            "last": history[-1],
            "seconds": one.get("seconds", 42.0),
            "sessions": one.get("sessions", sessions),
        }
        training |= {key: one[key] for key in ("precision_reason", "device") if key in one}
        self._json(f"results/models/{folder}/training.json", training)
        curves = self._path(f"results/models/{folder}/curves.svg")
        if self.curves:
            draw_curves(json.dumps(history), epochs, one["name"], curves)
        else:
            leave_blank(None, curves)

    @contextlib.contextmanager
    def quickly(self):
        """Have the templates compiled once, and no figure drawn where nobody looks: most of a report's time."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jinja2, "Environment", partial(jinja2.Environment, bytecode_cache=COMPILED))
            # statsmodels' multipletests collects garbage at every call.
            patch.setattr(gc, "collect", lambda: 0)
            if not self.curves:
                patch.setattr(figures, "save_figure", leave_blank)
                patch.setattr(figures, "place_labels", lambda *_arguments: None)
            yield

    def write(self, base="results/report", whole=False, read=True):
        """Have the report written, and read it: page, text, numbers, models and pairs."""
        data = "results/data"
        files = {
            name: f"{data}/{name}.csv"
            for name in (
                "left_out",
                "notes",
                "classes",
                "images",
                "corrupt",
                "look_at",
                "split",
                "copies",
                "groups",
            )
        } | {
            "agreement": f"{data}/agreement.json",
            "ceiling": f"{data}/ceiling.json",
            "copies_facts": f"{data}/copies.json",
            "pictures": [f"{data}/packed/{split}.npy" for split in ("train", "validation", "test")],
            "picture_manifests": [f"{data}/packed/{split}.csv" for split in ("train", "validation", "test")],
            "parts": REPORT_PARTS,
            "weights": f"{data}/class_weights.json",
            "train_manifest": f"{data}/packed/train.csv",
            "test_manifest": f"{data}/packed/test.csv",
            "test": f"{data}/packed/test.npy",
        }
        runs = [self.run_of(one) for one in self.runs]
        results = {kind: [getattr(run.files, kind) for run in runs] for kind in write_report.RESULTS}
        with contextlib.chdir(self.folder), self.quickly():
            write_report.main(files, results, base, runs, self.config, str(self.folder), whole)
        if not read:
            return self
        self.html = (self / f"{base}.html").read_text(encoding="utf-8")
        self.page = Page(self.html)
        self.text = self.page.text
        self.numbers = strict_json((self / f"{base}.json").read_text(encoding="utf-8"))
        self.models, self.pairs = (read_csv(self / f"{base}/{name}.csv") for name in ("models", "pairs"))
        return self


def strict_json(text):
    """Return what a JSON text holds; NaN and Infinity, which Python reads and JSON has not, are an error."""

    def refuse(name):
        raise ValueError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def embedded(page, kind):
    """Return the content of the page's images of a kind (svg+xml, jpeg)."""
    start = f"data:image/{kind};base64,"
    sources = page.attributes("img", "src")
    return [base64.b64decode(source.removeprefix(start)) for source in sources if source.startswith(start)]


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def problems(numbers):
    """Return what the schema finds wrong with a report, one text each."""
    errors = jsonschema.Draft202012Validator(SCHEMA).iter_errors(numbers)
    return [
        f"{error.json_path}: {error.message[:300]} {[c.message[:200] for c in error.context]}"
        for error in errors
    ]


LABELS = np.repeat(np.arange(4), 25)  # of the vegetables
GOOD = answers(LABELS, 4, wrong=range(0, 100, 20))  # 5 wrong
WORSE = answers(LABELS, 4, wrong=range(0, 100, 2))  # 50 wrong, those 5 among them


def make_rich(folder, **how):
    """Return a made-up study that has everything: seeds, a scale, damaged files, an unfinished run, ..."""
    scale = ["1", "2", "3", "4", "5", "10"]
    labels = np.repeat(np.arange(6), 30)
    draw = np.random.default_rng(3)
    runs = []
    for model, share, parameters in (
        ("small", 0.3, 1234),
        ("middle", 0.28, 98765),
        ("large", 0.05, 23456789),
    ):
        for seed in (1, 2):
            wrong = draw.choice(180, int(180 * share) + seed, replace=False)
            sure = 0.5 + 0.1 * seed
            seconds = 59.0 if model == "small" else 185.0 if model == "middle" else 7800.0
            more = {"parameters": parameters, "seconds": seconds + seed, "epochs": 12}
            more |= {"synthetic_fraction": 0.2} if model == "large" else {}
            probabilities = answers(labels, 6, wrong, sure)
            runs.append(run(f"{model}_seed_{seed}", probabilities, model, seed, **more))
    stuck = saying(np.zeros(180, int), 6, 0.3)
    runs += [run("stuck", stuck, parameters=345678), run("broken", np.full((180, 6), np.nan), loss=np.nan)]
    runs.append(run("late", None, epochs=9, progress={"epoch": 3, "step": 0, "epochs": 9}))
    corrupt = [(f"folder/{n}.jpg", "2", "train", "the end of the JPEG file is missing") for n in range(3)]
    left_out = [("not what data.where asks for", "rows", "12345"), ("no answer", "images", "7")]
    asked = {"data": {"where": {"question": "beauty"}, "combine": "median"}}
    more = {
        "train": 1200,
        "synthetic": 240,
        "curves": True,
        "corrupt": corrupt,
        "left_out": left_out,
        "notes": [("a comma is read as a decimal point: 4,5", "answers", "678")],
        "asked": asked,
    }
    return Made(folder, scale, labels, runs, **(more | how))


def name_everything(folder, names):
    """Return a report on a study in which everything that a user may name is named by six `names`."""
    classes, labels = list(names), np.repeat(np.arange(6), 3)
    files = [f"{name} {number}.jpg" for name in names for number in range(3)]
    corrupt = [(f"{name} damaged.jpg", name, "train", f"broken: {name}") for name in names]
    left_out = [(f"because of {name}", "rows", "3") for name in names]
    runs = [run("one", answers(labels, 6, range(12))), run("two", saying([0] * 18, 6))]
    where = {name: name for name in names}
    asked = {"data": {"where": where, "annotations": names[0], "label_column": names[1], "classes": classes}}
    made = Made(
        folder,
        classes,
        labels,
        runs,
        files=files,
        corrupt=corrupt,
        left_out=left_out,
        notes=[(f"read as {name}: {name}", "answers", "3") for name in names],
        asked=asked,
        curves=True,
    )
    return made.write()
