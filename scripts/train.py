"""Train one CNN with one seed, from wherever the last session left it."""

import csv
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections import deque
from pathlib import Path

from baton import finished, logs, networks  # networks first: it sets TensorFlow up to be quiet
from baton.console import decimals
from baton.identity import PRECISIONS, digest_data, identify
from baton.keeper import SAVING_SHARE, Keeper, now
from baton.logs import SessionEnded, UserError, log
from baton.manifests import read_json
from baton.session import Session, find_snakemake, session_end
from baton.state import flush
from baton.training import Split, Trainer, Training

# isort: split
import tensorflow as tf

from baton.figures import draw_curves, save_figure

PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "snakemake")
MARGIN = 2  # seconds kept for leaving


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
        """Add an epoch; where they cannot be written, go on without: they follow from the history."""
        try:
            self._write(row)
        except tf.errors.OpError as trouble:
            log.warning("the curves for TensorBoard cannot be written: %s", trouble.message)
            self.writers = {}

    def _write(self, row):
        if not self.writers:
            return
        with self.writers["train"].as_default(step=row["epoch"]):
            for name in ("loss", "accuracy", "l2"):
                tf.summary.scalar(name, row[name])
        with self.writers["validation"].as_default(step=row["epoch"]):
            for name in ("loss", "accuracy"):
                tf.summary.scalar(name, row[f"val_{name}"])
        for writer in self.writers.values():
            writer.flush()


def train(training, keeper, session, board):
    """Train to the end, or until the session says stop: then save and raise SessionEnded."""
    this = {
        "started": now(),
        "ended": None,
        "reason": None,
        "from": [training.epoch, training.step],
        "to": None,
    }
    training.sessions.append(this)
    epochs = training.settings["epochs"]
    recent = deque(maxlen=20)  # seconds of the last steps; the very first one compiles and is no measure
    before = 0.0

    def save(reason=None):
        this.update(ended=now(), reason=reason, to=[training.epoch, training.step])
        return keeper.save(training)

    def needed():
        return max(recent, default=0.0) + 2 * keeper.cost + MARGIN

    def pause():
        nonlocal before
        recent.append(time.monotonic() - before)
        if reason := session.reason_to_stop(needed()):
            leave(reason)
        if keeper.due:
            save()
        before = time.monotonic()

    def leave(reason):
        place = f"step {training.step} of {training.steps} in epoch {training.epoch + 1} of {epochs}"
        if save(reason):
            raise SessionEnded(
                f"stopped at {place}: {reason}. All is saved: the same command goes on from here."
            )
        epoch, step = keeper.saved_at
        raise SessionEnded(
            f"stopped at {place}: {reason}, and the state cannot be saved ({keeper.trouble}). Once it can be, the "
            f"same command goes on from step {step} in epoch {epoch + 1}."
        )

    keeper.first_save(training)
    if session.seconds_left() < needed():
        save("too short")
        raise SessionEnded(
            f"not trained: the {max(session.seconds_left(), 0):.0f} s left of {session.limit} are too short for one "
            f"step and one save of this model. Give it more time and run the same command again."
        )
    before = time.monotonic()
    while not training.complete:
        training.run_epoch(pause)
        row = training.history[-1]
        shown = {name: decimals(value, 4) for name, value in row.items() if name != "epoch"}
        log.info("epoch %d: %s", row["epoch"], ", ".join(f"{name} {value}" for name, value in shown.items()))
        board.add(row)
    save("all done")


def prepare(packed, weights, threads, settings, augmentation, seed, precision, gpus=0):
    """Return the Training at its start, and what it was set up with: precision, threads, devices, ...

    packed: arrays and manifests of train and validation (train, train_manifest, ...); weights:
    class_weights.json; settings: the model's architecture and training settings; precision: in force; gpus: of
    this job, more than one train together.
    """
    networks.set_up(threads, precision, seed)
    classes = read_json(weights)
    balanced = settings["class_weights"] == "balanced"
    train_split = Split(packed["train"], packed["train_manifest"], classes["weights"] if balanced else None)
    validation_split = Split(packed["validation"], packed["validation_manifest"])
    strategy = networks.distribute(gpus)
    with strategy.scope():
        network = networks.build_network(settings, augmentation, len(classes["classes"]), seed)
    trainer = Trainer(network, settings["learning_rate"], strategy)
    training = Training(trainer, train_split, validation_split, settings, seed)
    return training, {
        "augmentation": augmentation,
        "classes": classes["classes"],
        "precision": precision,
        "threads": threads,
        "devices": strategy.num_replicas_in_sync,
    }


def write_outputs(training, set_up, model, history, curves, summary):
    """Write what the rule promises; the model last, aside and renamed."""
    finished.clear(Path(model).parent)
    with open(history, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, training.history[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(training.history)
    begun = [epoch + step / training.steps for epoch, step in (row["from"] for row in training.sessions[1:])]
    title = f"{training.settings['name']}, seed {training.seed}"
    save_figure(draw_curves(training.history, training.best_epoch, begun, title), curves)
    values = {
        "model": training.settings["name"],
        "seed": training.seed,
        "settings": training.settings,
        **set_up,
        "parameters": training.trainer.network.count_params(),
        "training_images": len(training.train),
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "epochs": training.epoch,
        "kept": training.history[training.best_epoch - 1],
        "last": training.history[-1],
        "seconds": training.seconds,
        "sessions": training.sessions,
    }
    with open(summary, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
    aside = Path(model).with_name("aside.keras")
    with training.network_kept() as network:
        network.save(aside)
    flush(aside)
    os.replace(aside, model)


def main(
    packed,
    weights,
    outputs,
    state,
    board,
    threads,
    session,
    settings,
    augmentation,
    seed,
    gpus=0,
    saving_share=SAVING_SHARE,
    study=None,
):
    """Train, and write model, history, curves and summary; where that was done already, put them back.

    outputs: model, history, curves and summary, in one folder; state and board: folders; saving_share: of the time,
    at most; study: the settings that the data follow from, to be noted; the others as for `prepare`.
    """
    session.catch_signals()
    data = digest_data(packed["train_manifest"], packed["validation_manifest"], weights)
    identity = identify(settings, augmentation, seed, threads=threads, devices=max(gpus, 1), data=data)
    precision = take_precision(state, identity, settings["precision"])
    identity |= {"precision": precision}
    folder = Path(outputs["model"]).parent
    keeper = Keeper(state, identity, saving_share, study)
    with keeper.only_writer(lambda: is_job_lost(session)):
        if place := finished.find(folder, identity, settings):
            finished.give_back(place, folder)
            log.info("trained already: the finished model is taken from %s", place)
            return
        training, set_up = prepare(packed, weights, threads, settings, augmentation, seed, precision, gpus)
        go_on(training, keeper)
        log.info(
            "%d parameters, %s, %d threads, %d images",
            training.trainer.network.count_params(),
            set_up["precision"],
            threads,
            len(training.train),
        )
        if training.complete:
            log.info("all epochs are trained already")
        else:
            train(training, keeper, session, TensorBoard(board, training.history))
        # Still the only writer: an orphan and its successor must not write one model at a time.
        write_outputs(training, set_up | {"identity": identity, "study": study}, **outputs)
        record = {"identity": identity, "study": study, "epochs": training.epoch}
        try:
            finished.keep(folder, record | {"stopped_early": training.stopped_early})
        except OSError as trouble:  # the model is there; what is lost is a precaution
            log.warning("the finished model is not kept a second time: %s", trouble.strerror or trouble)
        if keeper.trouble:  # the last state could not be saved; the disk that took the model may have it now
            keeper.save(training)


def take_precision(state, identity, asked):
    """Return the precision to train in; what `auto` chose for a training that is begun stays its own.

    identity: the training's, but for its precision.
    """
    chosen = networks.choose_precision(asked)
    if asked == "auto" and not Keeper(state, identity | {"precision": chosen}).begun:
        for other in PRECISIONS:
            if Keeper(state, identity | {"precision": other}).begun:
                log.info("begun in %s where that was the faster one: it goes on in it", other)
                return other
    return chosen


def is_job_lost(session):
    """Whether another process that trains this may be a job that its cluster lost sight of, and will end by itself.

    So it is when a node's daemon died or Snakemake was killed: the job goes on, and another is sent after it.
    Raises SessionEnded where this one has no more time to wait for it.
    """
    if reason := session.reason_to_stop(MARGIN):
        raise SessionEnded(f"not trained, another process trains it still: {reason}.")
    return "SLURM_JOB_ID" in os.environ


def go_on(training, keeper):
    """Give `training` what the last session left. Raises UserError where fewer epochs are asked than are trained."""
    found = keeper.load()
    if found is None:
        return
    training.restore(*found)
    asked = training.settings["epochs"]
    if training.epoch > asked:
        raise UserError(
            f"{training.epoch} epochs are trained and the config asks for {asked}: a training cannot be shortened. "
            f"Set epochs to {training.epoch} or more, or move {keeper.current} away to train anew."
        )
    log.info("going on from epoch %d, step %d", training.epoch + 1, training.step)


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(
        dict(snakemake.input.items()),
        snakemake.input.weights,
        {name: snakemake.output[name] for name in ("model", "history", "curves", "summary")},
        threads=snakemake.threads,
        gpus=snakemake.resources.get("gpu", 0),
        session=Session(snakemake.resources.get("runtime"), session_end(), find_snakemake()),
        study={key: snakemake.config[key] for key in ("data", "holdout")},
        **snakemake.params,
    )
