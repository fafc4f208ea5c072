"""Train one CNN with one seed, from wherever the last session left it."""

import csv
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from baton import logs, networks  # networks first: it sets TensorFlow up to be quiet
from baton.logs import SessionEnded, UserError, log
from baton.session import Session
from baton.state import load_state, save_state
from baton.training import Split, Trainer, Training

# isort: split
import tensorflow as tf
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SAVING_SHARE = 0.01  # of the time, at most
SHORTEST_BETWEEN_SAVES = 30  # seconds
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "snakemake")


class States:
    """The states of one run, in state/MODEL/SEED/FINGERPRINT/, and progress.json beside them.

    The fingerprint is of all that the training follows from: change one thing and the training is
    another one, with a folder of its own. Change it back, and the first goes on.
    """

    def __init__(self, folder, identity):
        """folder: state/MODEL/SEED; identity: what the training follows from, by name."""
        self.folder, self.identity = Path(folder), identity
        text = json.dumps(identity, sort_keys=True)
        self.current = self.folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        self.cost, self.saved = 0.0, None

    def load(self):
        """Return the state to go on from, or None; say so where there is one of another training."""
        progress = self.folder / "progress.json"
        before = json.loads(progress.read_text()) if progress.exists() else None
        if before and before["state"] != self.current.name:
            names = sorted(set(self.identity) | set(before["identity"]))
            changes = [
                f"{name} was {before['identity'].get(name)} and is {self.identity.get(name)}"
                for name in names
                if before["identity"].get(name) != self.identity.get(name)
            ]
            log.warning(
                "the last session trained something else: %s. Its state stays in %s.",
                "; ".join(changes),
                self.folder / before["state"],
            )
        return load_state(self.current)

    def save(self, training):
        """Save the state of `training`, and how far it is for people to read."""
        start = time.monotonic()
        save_state(self.current, *training.to_state())
        self.saved = time.monotonic()
        self.cost = self.saved - start
        progress = {
            "epoch": training.epoch,
            "epochs": training.settings["epochs"],
            "complete": training.complete,
            "state": self.current.name,
            "identity": self.identity,
        }
        aside = self.folder / "progress.tmp"
        aside.write_text(json.dumps(progress, indent=2) + "\n")
        os.replace(aside, self.folder / "progress.json")

    @property
    def due(self):
        """Whether saving now keeps to SAVING_SHARE of the time."""
        between = max(SHORTEST_BETWEEN_SAVES, self.cost / SAVING_SHARE)
        return time.monotonic() - self.saved >= between


class TensorBoard:
    """The curves for `tensorboard --logdir logs`: written anew each session, all epochs in one."""

    def __init__(self, folder, history):
        shutil.rmtree(folder, ignore_errors=True)
        self.writers = {
            split: tf.summary.create_file_writer(f"{folder}/{split}") for split in ("train", "validation")
        }
        for row in history:
            self.add(row)

    def add(self, row):
        with self.writers["train"].as_default(step=row["epoch"]):
            for name in ("loss", "accuracy", "l2"):
                tf.summary.scalar(name, row[name])
        with self.writers["validation"].as_default(step=row["epoch"]):
            for name in ("loss", "accuracy"):
                tf.summary.scalar(name, row[f"val_{name}"])
        for writer in self.writers.values():
            writer.flush()


def train(training, states, session, board):
    """Train to the end, or until the session says stop: then save and raise SessionEnded."""
    this = {"started": now(), "ended": None, "reason": None, "from_epoch": training.epoch, "to_epoch": None}
    training.sessions.append(this)
    states.save(training)  # learns what a save costs, and that there is room for one
    slowest, before = 0.0, time.monotonic()

    def leave(reason):
        this.update(ended=now(), reason=reason, to_epoch=training.epoch)
        states.save(training)

    def pause():
        nonlocal slowest, before
        slowest, before = max(slowest, time.monotonic() - before), time.monotonic()
        if reason := session.reason_to_stop(slowest + 2 * states.cost):
            leave(reason)
            raise SessionEnded(
                f"stopped at step {training.step} of {training.steps} in epoch {training.epoch + 1} of "
                f"{training.settings['epochs']}: {reason}. All is saved: the same command goes on from here."
            )
        if states.due:
            states.save(training)
            before = time.monotonic()

    while not training.complete:
        training.run_epoch(pause)
        row = training.history[-1]
        log.info(
            "epoch %(epoch)d: loss %(loss).4f, accuracy %(accuracy).4f, "
            "val_loss %(val_loss).4f, val_accuracy %(val_accuracy).4f, l2 %(l2).4f",
            row,
        )
        board.add(row)
    leave("all done")


def now():
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest_data(*paths):
    """Return a SHA-256 over the files that say which images and labels a training sees."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def draw_curves(history, best_epoch, title, path):
    """Draw loss and accuracy of each epoch (training red, validation blue, the kept epoch marked) as SVG."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses = [row[name] for row in history for name in ("loss", "val_loss") if row[name] > 0]
    # Weights as large as the study's start at a loss that would flatten all that follows.
    scale = "log" if losses and max(losses) > 20 * min(losses) else "linear"
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(
            epochs, [row[name] for row in history], "o-", color="tab:red", markersize=3, label="training"
        )
        axes.plot(
            epochs,
            [row[f"val_{name}"] for row in history],
            "o-",
            color="tab:blue",
            markersize=3,
            label="validation",
        )
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name == "accuracy":
            axes.set_ylim(0, 1.02)
        else:
            axes.set(yscale=scale, title=f"loss (cross-entropy{', log scale' if scale == 'log' else ''})")
        axes.legend()
    figure.suptitle(title)
    rcParams["svg.hashsalt"] = "baton"  # the same bytes from the same history
    figure.savefig(path, format="svg", metadata={"Date": None})


def write_outputs(training, facts, model, history, curves, summary):
    """Write what the rule promises; the model last, aside and renamed."""
    with open(history, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, training.history[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(training.history)
    settings = training.settings
    draw_curves(training.history, training.best_epoch, f"{settings['name']}, seed {training.seed}", curves)
    best = training.history[training.best_epoch - 1]
    summary_values = facts | {
        "epochs": training.epoch,
        "kept": best,
        "last": training.history[-1],
        "seconds": training.seconds,
        "sessions": training.sessions,
    }
    with open(summary, "w", encoding="utf-8") as file:
        json.dump(summary_values, file, indent=2)
        file.write("\n")
    aside = Path(model).with_name("aside.keras")
    training.best_network().save(aside)
    os.replace(aside, model)


def main(packed, weights, outputs, state, board, threads, runtime, settings, augmentation, size, seed):
    """Train, and write model, history, curves and summary.

    packed: arrays and manifests of train and validation (train, train_manifest, ...); weights:
    class_weights.json; outputs: model, history, curves and summary; state and board: folders;
    runtime: minutes, or None; settings: the model's architecture and training settings.
    """
    session = Session(runtime)
    session.catch_signals()
    precision = networks.set_up(threads, settings["precision"], seed)
    with open(weights, encoding="utf-8") as file:
        classes = json.load(file)
    balanced = settings["class_weights"] == "balanced"
    train_split = Split(packed["train"], packed["train_manifest"], classes["weights"] if balanced else None)
    validation_split = Split(packed["validation"], packed["validation_manifest"])
    network = networks.build_network(settings, augmentation, size, len(classes["classes"]), seed)
    training = Training(
        Trainer(network, settings["learning_rate"]), train_split, validation_split, settings, seed
    )

    identity = {key: value for key, value in settings.items() if key not in ("name", "epochs", "precision")}
    identity |= {f"augmentation.{key}": value for key, value in augmentation.items()}
    identity |= {"size": size, "seed": seed, "precision": precision, "threads": threads}
    identity["data"] = digest_data(packed["train_manifest"], packed["validation_manifest"], weights)
    states = States(state, identity)
    if found := states.load():
        training.restore(*found)
        if training.epoch > settings["epochs"]:
            raise UserError(
                f"{training.epoch} epochs are trained already and the config asks for {settings['epochs']}: "
                f"a training cannot be shortened. Set epochs to {training.epoch} or more, or move "
                f"{states.current} away to train anew."
            )
        log.info("going on from epoch %d, step %d", training.epoch, training.step)
    parameters = network.count_params()
    log.info("%d parameters, %s, %d threads, %d images", parameters, precision, threads, len(train_split))
    if training.complete:
        log.info("all %d epochs are trained already", training.epoch)
    else:
        train(training, states, session, TensorBoard(board, training.history))

    facts = {
        "model": settings["name"],
        "seed": seed,
        "settings": settings,
        "augmentation": augmentation,
        "parameters": parameters,
        "training_images": len(train_split),
        "precision": precision,
        "threads": threads,
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    write_outputs(training, facts, **outputs)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(
        dict(snakemake.input.items()),
        snakemake.input.weights,
        dict(snakemake.output.items()),
        threads=snakemake.threads,
        runtime=snakemake.resources.get("runtime"),
        **snakemake.params,
    )
