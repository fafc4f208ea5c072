"""Print what saving costs, as a share of the training time.

    PYTHONPATH=scripts .venv/bin/python tests/benchmark_saving.py

First the largest of the six models at 150 px: seconds of a step, seconds and bytes of a save, and how
often the keeper would save. Then a real training of model_6 at 32 px for a while, with the time it
spent in saving measured. Each in a process of its own; under five minutes in all.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from baton.manifests import write_manifest
from baton.study.cost import measure, threads_of_training
from baton.training import networks
from baton.training.keeper import Keeper
from baton.training.splits import Split
from baton.training.state import NEWEST
from baton.training.trainer import Trainer
from baton.training.training import Training

# isort: split
import pandas as pd

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
CLASSES, BATCH = 9, 32


def make_training(folder, name, size, images):
    """Return a training run of a model of config.yaml on `images` random images, half as many for validation."""
    model = next(model for model in CONFIG["models"] if model["name"] == name)
    settings = {**CONFIG["training"], **model, "size": size, "epochs": 10_000}
    precision = networks.choose_precision(settings["precision"]).precision
    networks.set_up(threads_of_training(settings), precision, seed=1)
    draw, splits = np.random.default_rng(1), []
    for split, count in (("train", images), ("validation", images // 2)):
        pixels = draw.integers(0, 256, (count, size, size, 3), np.uint8)
        np.save(folder / f"{split}.npy", pixels)
        write_manifest(pd.DataFrame({"label": draw.integers(0, CLASSES, count)}), folder / f"{split}.csv")
        splits.append(Split(folder / f"{split}.npy", folder / f"{split}.csv"))
    network = networks.build_network(settings, CONFIG["augmentation"], CLASSES, seed=1)
    training = Training(Trainer(network, settings["learning_rate"]), *splits, settings, seed=1)
    print(
        f"{name} at {size} px, {precision}: {network.count_params() / 1e6:.1f} million parameters", flush=True
    )
    return training


def make_keeper(folder):
    keeper = Keeper(folder / "state", {})
    keeper.current.mkdir(parents=True)
    return keeper


def largest(size, steps, saves):
    """Print the cost of a step and of a save, with the best weights that a state has after its first epoch."""
    name = max(CONFIG["models"], key=lambda model: measure(model | {"size": size}).weights)["name"]
    with tempfile.TemporaryDirectory() as folder:
        training = make_training(Path(folder), name, size, BATCH)
        batch = next(iter(training.train.batches(BATCH)))
        times = []
        for _ in range(steps):
            start = time.monotonic()
            training.trainer.train_step(*batch)
            times.append(time.monotonic() - start)
        training.best_epoch, training.best_weights = 1, [w.numpy() for w in training.trainer.weights]
        keeper, costs = make_keeper(Path(folder)), []
        for _ in range(saves):
            assert keeper.save(training), keeper.trouble
            costs.append(keeper.cost)
        size_of = (keeper.current / NEWEST).stat().st_size
        step, cost = statistics.median(times[1:]), statistics.median(costs)
        interval = cost / keeper.saving_share
        print(
            f"  a step of {BATCH} images: {step:.2f} s (the first, which compiles: {times[0]:.1f} s)\n"
            f"  a save: {cost:.2f} s ({', '.join(f'{one:.2f}' for one in costs)}), {size_of / 1e6:.0f} MB, "
            f"{size_of / 1e6 / cost:.0f} MB/s\n"
            f"  the next save is due {interval:.0f} s later, after {interval / step:.0f} steps: "
            f"{100 * cost / (cost + interval):.2f} % of the time",
            flush=True,
        )


class Over(Exception):
    """The time of the measurement is over."""


def real(name, size, seconds):
    """Train for a while as train.py does, and print what share of it went into saving."""
    with tempfile.TemporaryDirectory() as folder:
        training, keeper = make_training(Path(folder), name, size, 1600), make_keeper(Path(folder))
        spent = []

        def save():
            start = time.monotonic()
            assert keeper.save(training), keeper.trouble
            spent.append(time.monotonic() - start)

        def pause():
            if keeper.due:
                save()
            if time.monotonic() > end:
                raise Over

        training.run_epoch(lambda: None)  # compiles
        begin = time.monotonic()
        end = begin + seconds
        save()  # the one before a session's first step
        try:
            while True:
                training.run_epoch(pause)
        except Over:
            save()  # and the one at its end
        total = time.monotonic() - begin
        steps = training.epoch * training.steps + training.step
        size_of = (keeper.current / NEWEST).stat().st_size
        print(
            f"  {total:.0f} s, {steps} steps, {len(spent)} saves of {size_of / 1e6:.0f} MB, "
            f"{statistics.median(spent):.3f} s each: {100 * sum(spent) / total:.2f} % of the time; "
            f"without the session's first and last: {100 * sum(spent[1:-1]) / total:.2f} %",
            flush=True,
        )


def main():
    if sys.argv[1:] == ["largest"]:
        largest(150, steps=8, saves=5)
    elif sys.argv[1:] == ["real"]:
        real("model_6", 32, seconds=120)
    else:
        for part in ("largest", "real"):
            subprocess.run([sys.executable, __file__, part], check=True)


if __name__ == "__main__":
    main()
