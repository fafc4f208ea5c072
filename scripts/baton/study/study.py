"""The study as the rules see it: STUDY, made once from the config. They read from it and from no other global."""

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from baton.errors import ConfigError
from baton.files import read_json
from baton.study import memory, scan
from baton.study.config import BATON, Config, Validate, check_data, read_config, read_given
from baton.study.labels import are_splits_given, has_answers, merges_ranges
from baton.study.models import check_reserved, make_models, why_left_out
from baton.study.runs import ANSWERS, CLASSES, IMAGES, WEIGHTS, Packed, Run, list_runs


@dataclass(frozen=True)
class Study:
    """A study: its config, its models and runs, what its call names, and the memory that its jobs ask for.

    notes: for the user, which models of the config are not made, or are the same; named: model, images and annotations
    that `--config model=NAME images=FOLDER annotations=CSV` names, None where not given; made_before: whether rules of another workflow may
    make the data; is_call: whether this process is the call of snakemake, and none of its jobs.
    """

    config: dict[str, Any]
    models: list[dict[str, Any]]
    notes: list[str]
    runs: list[Run]
    named: dict[str, Any]
    made_before: bool = False
    is_call: bool = True

    # --- What the rules take from the config

    @cached_property
    def data(self) -> dict[str, Any]:
        """The settings that the images and labels of a training run follow from."""
        return {key: self.config[key] for key in ("data", "holdout")}

    @property
    def splits_are_given(self) -> bool:
        """Whether the data say which image is for training, which for test, and perhaps which for validation."""
        return are_splits_given(self.config["data"])

    @property
    def ordered(self) -> bool | None:
        """Whether the classes are places on a scale; None: if every class is a number, which the evaluation sees."""
        data = self.config["data"]
        if data["ordered"] is None and merges_ranges(data["classes"]):
            return True
        return data["ordered"]

    @property
    def has_answers(self) -> bool:
        """Whether labels are made of several answers, which models may learn and are tested against."""
        return has_answers(self.config["data"])

    @cached_property
    def images_are_made(self) -> bool:
        """Whether a rule makes the folder of images, so that the rule that reads it first waits for that one."""
        data = self.config["data"]
        if data["source"] == "demo" or os.path.exists(f"{data['images']}/.snakemake_timestamp"):
            return True  # that is Snakemake's mark in what a rule made
        return self.made_before and not os.path.exists(data["images"])

    @cached_property
    def images_seen(self) -> str:
        """A text that changes when an image is added, removed or changed; see baton.study.scan."""
        if self.images_are_made:
            return scan.MADE
        return scan.see_images(self.config["data"]["images"], self.is_call, self.config["scan_images"])

    @property
    def reported_config(self):
        """What the report is about: without the clock and what is tried beside it."""
        return {
            key: self.config[key]
            for key in sorted(self.config)
            if key not in ("session_minutes", "scan_images", "verify")
        }

    # --- Models and runs

    @cached_property
    def runs_by_model(self) -> dict[str, list[Run]]:
        """{model: its runs}, in the order of the config."""
        runs: dict[str, list[Run]] = {model["name"]: [] for model in self.models}
        for run in self.runs:
            runs[run.model].append(run)
        return runs

    @property
    def models_of_several_seeds(self):
        return {model: runs for model, runs in self.runs_by_model.items() if len(runs) > 1}

    @property
    def run_fields(self):
        """Every run as a dictionary, from which a script makes a Run again."""
        return [asdict(run) for run in self.runs]

    def files(self, kind):
        """Return the path of a kind of file (see RunFiles) of every run."""
        return [getattr(run.files, kind) for run in self.runs]

    @cached_property
    def smallest(self) -> Run:
        return min(self.runs, key=lambda run: run.weights)

    @cached_property
    def largest(self) -> Run:
        return max(self.runs, key=lambda run: run.memory)

    @property
    def verified(self) -> Run:
        """The run that verify_resume interrupts: of the model that the config names, else of the smallest."""
        return self.runs_by_model[self.config["verify"] or self.smallest.model][0]

    @property
    def predicting(self) -> Run | None:
        """The run that predicts, which is the first seed of the model that is named; None where none is."""
        return self.runs_by_model[self.named["model"]][0] if self.named["model"] else None

    def script(self, path):
        """Return the path of a file below scripts/, wherever the workflow is used from."""
        return str(BATON / "scripts" / path)

    def check_names(self, rules):
        """Refuse models that would share files or jobs with a rule; rules: their names. Raises ConfigError."""
        check_reserved(self.runs_by_model, rules)

    # --- Packed images

    @cached_property
    def packed(self) -> dict[str, Packed]:
        """{name: Packed} of every folder of packed images that runs read."""
        return {run.packed.name: run.packed for run in self.runs}

    @property
    def pictures(self) -> Packed:
        """The largest images there are: of them the report takes the pictures of mistakes."""
        return max(self.packed.values(), key=lambda packed: packed.size)

    @property
    def most_synthetic(self) -> Packed:
        return max(self.packed.values(), key=lambda packed: packed.synthetic_fraction)

    def augmentation_of(self, images):
        """Return what the synthetic images of a folder of packed images are made with, None where it has none."""
        return self.config["augmentation"] if self.packed[images].synthetic_fraction else None

    # --- Memory, for `resources: mem_mb`

    def memory_of_decoding(self, wildcards, attempt, threads):
        return memory.doubled(memory.of_decoding(threads, count_rows(CLASSES)), attempt - 1)

    def memory_of_copies(self, wildcards, attempt):
        return memory.doubled(memory.of_copies(count_rows(CLASSES)), attempt - 1)

    def memory_of_agreement(self, wildcards, attempt):
        return memory.doubled(memory.of_agreement(count_rows(ANSWERS)), attempt - 1)

    def memory_of_ceiling(self, wildcards, attempt):
        return memory.doubled(memory.of_ceiling(count_rows(ANSWERS)), attempt - 1)

    def memory_of_packing(self, wildcards, attempt, threads):
        packed = self.packed[wildcards.images]
        needed = memory.of_packing(packed.size, packed.synthetic_fraction, threads, count_rows(IMAGES))
        return memory.doubled(needed, attempt - 1)

    def memory_of_plan(self, wildcards, attempt):
        # Of the hardware's number formats two, on few machines three, are tried beside each other.
        return memory.doubled(self.largest.memory, attempt)

    def memory_of_report(self, wildcards, attempt):
        try:
            classes = len(read_json(WEIGHTS)["classes"])
        except (OSError, ValueError):
            classes = 0
        rows = (count_rows(path) for path in (IMAGES, self.pictures.manifest("test")))
        needed = memory.of_report(len(self.runs), len(self.models), classes, *rows)
        return memory.doubled(needed, attempt - 1)


def make_study(
    given: Config, validate: Validate, settings: Any = None, made_before: bool = False, is_call: bool = True
) -> Study:
    """Return the Study of a config. Raises ConfigError.

    given: what differs from the defaults, as values; validate: snakemake.utils.validate; settings: Snakemake's
    ConfigSettings, by which the config is read as it is spelled, None where there are only values, as for a module;
    made_before, is_call: see Study.
    """
    given, named = read_given(given, settings)
    config = read_config(given, validate)
    check_data(config["data"], made_before)
    models, notes = make_models(config, validate)
    runs = list_runs(models, config)
    study = Study(config, models, notes, runs, named, made_before, is_call)
    _ = study.images_seen  # what cannot be read is told here, in a sentence
    model = named["model"]
    if model is not None and model not in study.runs_by_model:
        raise ConfigError(
            f"--config model={model}: there is no such model.{why_left_out(model, notes)} "
            f"There are: {', '.join(study.runs_by_model)}."
        )
    return study


def count_rows(path: str) -> int:
    """Return the rows of a manifest, 0 where it is not made yet."""
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return 0
