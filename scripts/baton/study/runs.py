"""The runs of a study: a run is one training run, of a model with one of its seeds."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, cast

from baton.errors import ConfigError
from baton.study import cost, memory
from baton.study.finished import FILES, model_of
from baton.study.identity import (
    DEVICE,
    GPU,
    PRECISIONS,
    Settings,
    digest_data,
    fingerprint,
    identify_wanted,
    learns_answers,
    list_ways,
)
from baton.study.labels import are_splits_given, has_answers
from baton.study.models import find_twice, halves_to_nothing, merge_settings
from baton.study.progress import NEWEST, PREVIOUS, PROGRESS, read_progress

ANSWERS = "results/data/answers.csv"
ANSWERS_LEARNED = "results/data/answers_learned.csv"
CLASSES = "results/data/classes.csv"
IMAGES = "results/data/images.csv"
WEIGHTS = "results/data/class_weights.json"


@dataclass(frozen=True)
class RunFiles:
    """The paths of a run, relative to the study's folder. What is in a folder has a name that starts with it."""

    models: str  # the folder of what training makes
    evaluation: str  # of what the evaluation makes
    exports: str  # of the exports
    state: str  # of the states, and what says how far they are
    board: str  # of the curves for TensorBoard

    @property
    def model(self):
        return f"{self.models}/{FILES['model']}"

    @property
    def history(self):
        return f"{self.models}/{FILES['history']}"

    @property
    def curves(self):
        return f"{self.models}/{FILES['curves']}"

    @property
    def curves_png(self):
        return f"{self.models}/{FILES['curves_png']}"

    @property
    def summary(self):
        return f"{self.models}/{FILES['summary']}"

    @property
    def card(self):
        """The model card, which lies beside the model and is made by its evaluation."""
        return f"{self.models}/model_card.md"

    @property
    def metrics(self):
        return f"{self.evaluation}/metrics.json"

    @property
    def predictions(self):
        return f"{self.evaluation}/predictions.csv"

    @property
    def prediction(self):
        """Of the test images, made by training for the evaluation, which can do without it."""
        return f"{self.state}/test_prediction.safetensors"

    @property
    def progress(self):
        return f"{self.state}/{PROGRESS}"


@dataclass(frozen=True)
class Packed:
    """A folder of packed images: those of one size and one share of synthetic ones."""

    name: str
    size: int
    synthetic_fraction: float

    @property
    def folder(self):
        return f"results/data/packed/{self.name}"

    def images(self, split):
        return f"{self.folder}/{split}.npy"

    def manifest(self, split):
        return f"{self.folder}/{split}.csv"


@dataclass(frozen=True)
class Run:
    """One training run. name: in rules; settings: architecture, images and training, without the seeds."""

    name: str
    model: str
    seed: int
    settings: Settings
    augmentation: dict[str, Any]

    @property
    def folder(self) -> str:
        """MODEL/seed_N, which is its place in every folder of results, states and logs."""
        return f"{self.model}/seed_{self.seed}"

    @cached_property
    def files(self) -> RunFiles:
        return RunFiles(
            models=f"results/models/{self.folder}",
            evaluation=f"results/evaluation/{self.folder}",
            exports=f"results/exports/{self.folder}",
            state=f"state/{self.folder}",
            board=f"logs/tensorboard/{self.folder}",
        )

    @property
    def packed(self) -> Packed:
        """The packed images that it is trained and tested on."""
        size, synthetic = self.settings["size"], self.settings["synthetic_fraction"]
        return Packed(f"{size}px_synthetic_{synthetic}" if synthetic else f"{size}px", size, synthetic)

    @property
    def answers(self) -> str | None:
        """The answers that it learns; None where it learns labels."""
        return ANSWERS_LEARNED if learns_answers(self.settings) else None

    def digest(self, weights) -> str:
        """Return `digest_data` of what training sees; weights: class_weights.json. Raises OSError where it is not made."""
        answers = [self.answers] if self.answers else []
        return digest_data(
            self.packed.manifest("train"), self.packed.manifest("validation"), weights, *answers
        )

    @property
    def digest_of_packed(self) -> str | None:
        """The digest of the data as they are packed; None where they are not."""
        try:
            return self.digest(WEIGHTS)
        except OSError:
            return None

    @property
    def weights(self) -> int:
        """About how many weights the network has: without its last layer, which depends on the data."""
        return cost.measure(self.settings).weights

    @property
    def priority(self) -> int:
        """A number that is larger the longer it trains: where the longest start first, least time passes with idle cores."""
        return round(cost.measure(self.settings).multiplications * self.settings["epochs"] / 1e6)

    @property
    def memory(self) -> float:
        """About what training and evaluating it take, in MB."""
        return cost.memory_of_training(self.settings)

    @cached_property
    def threads(self) -> int:
        """With how many threads it trains: the usual number, or what it was begun with, which is a training run of its own."""
        begun = (threads for threads, _ in self.find_states(of_any_data=True))
        return next(begun, cost.threads_of_training(self.settings))

    def find_states(self, threads: int | None = None, of_any_data: bool = False) -> Iterator[tuple[int, str]]:
        """Yield threads and folder of the states from which training would resume: those of the usual number of threads first.

        threads: with so many only; of_any_data: of the last session's data too, to which they may be packed back. Where none are
        packed, those are believed to be what is trained on.
        """
        try:
            there = set(os.listdir(self.files.state)) - {PROGRESS, "lock"}
        except OSError:
            return
        if not there:
            return
        last = read_progress(self.files.progress).get("identity") or {}
        # Earlier versions trained with 2 threads always.
        counts = (
            [threads] if threads else [cost.threads_of_training(self.settings), last.get("threads"), 2, 1]
        )
        packed = self.digest_of_packed
        data = [packed] if packed and not of_any_data else [packed, last.get("data")]
        places = product(_whole(counts), data, _whole([last.get("devices"), 1]), ({}, {DEVICE: GPU}))
        for count, digest, devices, device in places:
            facts = {"threads": count, "data": digest, "devices": devices}
            wanted = identify_wanted(self.settings, self.augmentation, self.seed, **facts) | device
            precisions = [wanted["precision"]] if "precision" in wanted else PRECISIONS
            for name in map(fingerprint, list_ways(wanted, precisions)):
                folder = f"{self.files.state}/{name}"
                if name in there and any(os.path.exists(f"{folder}/{file}") for file in (NEWEST, PREVIOUS)):
                    yield count, folder

    def threads_of(self, cores: int | None) -> int | None:
        """Return its threads where there are so many cores, None where that is not known."""
        return cores and min(self.threads, cores)

    def ask_memory(self, wildcards, attempt: int) -> int:
        """Return, for `resources: mem_mb`, what to ask for: more after it was killed without a warning."""
        # One that has not saved once left no trace of a kill: there every attempt counts.
        killed = read_progress(self.files.progress).get("unended_sessions", attempt - 1)
        return memory.doubled(self.memory, killed)

    @cached_property
    def existing_model(self) -> str | None:
        """The model that is there already, which is used as it is; None where it is to be made first."""
        place = model_of(self.files.models)
        return place and f"{place}/{FILES['model']}"

    @property
    def digest_of_model(self) -> str | None:
        """A text that changes when the existing model is another one; None where there is none."""
        if self.existing_model is None:
            return None
        try:
            summary = Path(self.existing_model).with_name(FILES["summary"])
            return hashlib.sha256(summary.read_bytes()).hexdigest()[:12]
        except OSError:
            return None


def _whole(numbers):
    """Return the whole numbers among these, each once: progress.json may hold anything."""
    return list(dict.fromkeys(number for number in numbers if isinstance(number, int)))


def list_runs(models: list[dict[str, Any]], config: dict[str, Any]) -> list[Run]:
    """Return the runs of the models, in their order and that of their seeds. Raises ConfigError."""
    runs = []
    for model in models:
        settings = dict(sorted(merge_settings(model, config).items()))
        check_model(settings, config)
        if settings["synthetic_fraction"] and are_splits_given(config["data"]):
            # Which they are drawn with; where the holdout is drawn with it too, the manifests follow from it.
            settings["synthetic_seed"] = config["holdout"]["seed"]
        if settings["targets"] == "label":
            del settings[
                "targets"
            ]  # as before there was a choice: Snakemake runs a job again whose params change
        seeds = settings.pop("seeds")
        for seed in seeds:
            name = model["name"] if len(seeds) == 1 else f"{model['name']}_seed_{seed}"
            runs.append(Run(name, model["name"], seed, cast(Settings, settings), config["augmentation"]))
    if twice := find_twice(run.name for run in runs):
        raise ConfigError(f"config: models: two training runs would be called {twice}.")
    return runs


def check_model(settings: dict[str, Any], config: dict[str, Any]) -> None:
    """Refuse a model that cannot be built, or whose synthetic images would be copies; settings: all of a model's."""
    size, layers, name = (settings[key] for key in ("size", "layers", "name"))
    if halves_to_nothing(settings, config):
        raise ConfigError(
            f"config: models: {name} halves {size} px {layers} times, to nothing. "
            "Give it fewer layers, or larger images (size)."
        )
    if settings["targets"] != "label" and not has_answers(config["data"]):
        raise ConfigError(
            f"config: training.targets: {name} is to learn the answers of several people to each image, and these labels are "
            "of one answer each (data.combine is null), or of one annotator (data.where). Set data.combine, or targets: label."
        )
    if settings["synthetic_fraction"] and not any(config["augmentation"].values()):
        raise ConfigError(
            "config: augmentation: all are off, and the images that synthetic_fraction adds for "
            f"{name} would be copies. Turn one on, or set synthetic_fraction to 0."
        )
