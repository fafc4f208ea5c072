"""What the tests share: images made here, a study that runs `snakemake` itself, what came of a training run.

A study is a temporary folder with a config.yaml of its own; nothing here reads images or labels from
anywhere else, and nothing needs a network.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest
import yaml
from forked import SnakemakeProcess, run_snakemake
from PIL import Image

from baton.training.state import NEWEST, load_state

# A shell has what it runs in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
ENDLESS = 1_000_000  # epochs: however late it is stopped, a training run is not over before
PATIENCE = 600  # seconds until a process counts as hung; nothing here waits for them to pass
EVERY_AUGMENTATION = {
    "flip": "horizontal_and_vertical",
    "rotation": 0.1,
    "zoom": 0.1,
    "brightness": 0.1,
    "contrast": 0.1,
}


class Outcome:
    """How a command ended: its exit code, and all it printed."""

    def __init__(self, code, output):
        self.code, self.output = code, output

    def trained_together(self):
        """Return, for each training run that was started, the models that were in training then, itself the last of them."""
        training, together = [], []
        for started, ended in re.findall(
            r"^ *(?:local)?rule train_(\w+):$|\(Rule: train_(\w+)\)$", self.output, re.MULTILINE
        ):
            if ended:
                training.remove(ended)
            else:
                training.append(started)
                together.append(tuple(training))
        return together

    def jobs(self):
        """Return the jobs of the first table "Job stats", by rule; empty where there is nothing to do."""
        _, _, table = self.output.partition("Job stats:\n")
        rows = [line.split() for line in table.partition("\n\n")[0].splitlines()[2:]]
        return {rule: int(count) for rule, count in rows if rule != "total"}


def run_forked(arguments, folder, environment=None):
    """Run snakemake in `folder`, with its imports made already, and return its Outcome; see forked.py."""
    with tempfile.TemporaryDirectory() as place:
        output = Path(place, "output")
        code = run_snakemake([str(word) for word in arguments], folder, output, environment, PATIENCE)
        return Outcome(code, output.read_text(encoding="utf-8"))


class Study:
    """A study in a folder of its own, run with the workflow of this repository."""

    def __init__(self, folder, config):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configure(config)

    def __truediv__(self, path):
        return self.folder / path

    def configure(self, config):
        """Write config.yaml; `config` is what differs from the repository's, or the text of the file."""
        self.config = config
        text = (
            config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        )
        (self / "config.yaml").write_text(text, encoding="utf-8")

    def arguments(self, *arguments, cores=2):
        """Return snakemake's arguments; targets and flags go before --configfile, which takes several files."""
        fixed = ["--snakefile", REPOSITORY / "Snakefile", "--directory", self.folder, "--cores", cores]
        return [str(part) for part in [*fixed, *arguments, "--configfile", self / "config.yaml"]]

    def command(self, *arguments, cores=2, python=()):
        """Return the command line; python: flags of it."""
        return [sys.executable, *python, "-m", "snakemake", *self.arguments(*arguments, cores=cores)]

    def try_run(self, *arguments, cores=2, environment=None):
        """Run snakemake in this study and return its Outcome; environment: None for this process's."""
        return run_forked(self.arguments(*arguments, cores=cores), self.folder, environment)

    def run(self, *arguments, **options):
        """Run snakemake in this study, which must succeed; return its Outcome."""
        outcome = self.try_run(*arguments, **options)
        assert outcome.code == 0, outcome.output
        return outcome

    def rows(self, path):
        """Return the rows of a CSV below results/, as dictionaries of text."""
        with open(self / "results" / path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def json(self, path):
        """Return what a JSON file below results/ holds."""
        return json.loads((self / "results" / path).read_text(encoding="utf-8"))

    def read(self, path):
        """Return the bytes of a file below the study's folder."""
        return (self / path).read_bytes()

    def log(self, rule):
        """Return the text of logs/RULE.log."""
        return (self / f"logs/{rule}.log").read_text(encoding="utf-8")

    def counts(self):
        """Return how many images of images.csv each (class, split) has."""
        return Counter((row["class"], row["split"]) for row in self.rows("data/images.csv"))

    def links(self, folder):
        """Return what each link below the folder `folder` leads to, by its path relative to `folder`."""
        return {
            path.relative_to(self / folder).as_posix(): os.readlink(path)
            for path in (self / folder).rglob("*")
            if path.is_symlink()
        }


def copy_study(study, folder, config):
    """Return another study with all that `study` has so far, and a config of its own: to pack the same images once."""
    shutil.copytree(study.folder, folder, symlinks=True, dirs_exist_ok=True)
    return Study(folder, config)


class Call:
    """A call of snakemake in the background, in a process group of its own; what it started is dead after `with`.

    Set `orphan` where what it started may outlive it.
    """

    def __init__(self, study, *arguments, cores=1, environment=None):
        self.study, self.orphan = study, False
        self.output = open(study / "output.txt", "ab+")  # noqa: SIM115
        self.start = self.output.seek(0, os.SEEK_END)
        arguments = study.arguments(*arguments, cores=cores)
        self.process = SnakemakeProcess(arguments, study.folder, self.output, environment)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        if not self.orphan:
            self.kill_group()
        self.process.wait()
        self.output.close()

    def training(self):
        """Return the training run that runs, or None."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                command = child.cmdline()
                if command and "python" in command[0] and command[-1].endswith(".train.py"):
                    return child
        return None

    def text(self):
        """Return what this call has printed."""
        self.output.seek(self.start)
        return self.output.read().decode()

    def end(self):
        """Wait for the end and return the Outcome."""
        return Outcome(self.process.wait(PATIENCE), self.text())

    def kill_group(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def newest_states(folder, run):
    """Return the newest state's file of each training run that a run (MODEL/seed_N) has begun below `folder`."""
    return list(Path(folder).glob(f"{run}/*/{NEWEST}"))


def saved_at(folder, run):
    """Return when a state of a run was last saved, in nanoseconds; 0 where none was."""
    try:
        return max((path.stat().st_mtime_ns for path in newest_states(folder, run)), default=0)
    except FileNotFoundError:  # between two renames
        return saved_at(folder, run)


def result_of(study, run):
    """Return all that came of a finished training (MODEL/seed_N) in a study or its folder, to be compared."""
    (newest,) = newest_states(study / "state", run)
    models, predictions = f"results/models/{run}", study / f"results/evaluation/{run}/predictions.csv"
    return SimpleNamespace(
        state=load_state(newest.parent),
        history=(study / models / "history.csv").read_bytes(),
        weights=read_weights(study / models / "model.keras"),
        summary=json.loads((study / models / "training.json").read_text(encoding="utf-8")),
        predictions=predictions.read_bytes() if predictions.exists() else None,
    )


def packed_for_training(study, images):
    """Return the paths of a study's packed images as train.main wants them; images: the name of their folder."""
    return {
        f"{split}{what}": str(study / f"results/data/packed/{images}/{split}{end}")
        for split in ("train", "validation")
        for what, end in (("", ".npy"), ("_manifest", ".csv"))
    }


def run_script(script, arguments, *words):
    """Run a Python program, given as text, in a process of its own and return its Outcome.

    Its sys.argv is "-c", the search path for modules as JSON, then `words`; `arguments` are JSON on its standard input.
    """
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sys.path), *words],
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return Outcome(done.returncode, done.stdout)


def save_image(path, colour, number=0, **how):
    """Save a 16 x 16 image of noise round a colour to `path`; the same number gives the same image."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([number, *COLOURS[colour]]).integers(-40, 41, (16, 16, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, **how)


def save_images(folder, colour, count):
    """Save `count` images of a colour to `folder` as 1.png, 2.png, ..."""
    for number in range(1, count + 1):
        save_image(Path(folder) / f"{number}.png", colour, number)


def write_csv(path, rows, separator=",", line_end="\n", encoding="utf-8"):
    """Write rows of text to a CSV file."""
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator=line_end).writerows(rows)


def take_stock(folder):
    """Return all there is below `folder`: time of change of everything, target of links, content of files."""
    stock = {}
    for path in [Path(folder), *Path(folder).rglob("*")]:
        if path.is_symlink():
            content = os.readlink(path)
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        stock[path.relative_to(folder).as_posix()] = (path.lstat().st_mtime_ns, content)
    return stock


def read_weights(model):
    """Return the arrays of a .keras file by name, without TensorFlow."""
    arrays = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(note)
    return arrays


def same_arrays(one, other):
    """Return whether two dictionaries hold the same arrays, to the last bit, and hold any."""
    return (
        bool(one) and set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)
    )


def wait_until(condition, what, pause=0.05):
    """Return the first true value of condition(), asked every `pause` seconds; fail when PATIENCE is over.

    To look through all processes takes a hundredth of a second of the processor that they need.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(pause)
    pytest.fail(f"waited {PATIENCE} s for {what}")


@pytest.fixture(scope="module", autouse=True)
def one_thread_of_tensorflow():
    """TensorFlow keeps the threads that it began with: where a file gave it more than 1, fail there, not in the next."""
    yield
    if tensorflow := sys.modules.get("tensorflow"):
        # As `networks.set_up` would next; refused where there are others already.
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)


@pytest.fixture
def no_warning(monkeypatch):
    """A warning is an error."""
    # statsmodels' multipletests collects garbage at every call: a tenth of a second, times 2000 draws.
    monkeypatch.setattr("gc.collect", lambda: 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
