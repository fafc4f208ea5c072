"""Train one CNN with one seed, from wherever the last session left it."""

import csv
import importlib.metadata
import os
import sys
import time
from collections import deque
from pathlib import Path

from baton import console
from baton.console import log
from baton.data.answers import read_shares
from baton.errors import SessionEnded, UserError
from baton.files import read_json, write_json, written_aside
from baton.manifests import read_manifest
from baton.study import finished
from baton.study.identity import COMPILED, UPDATE, digest_data, identify, learns_answers
from baton.study.session import Session, find_snakemake, process_age, session_end
from baton.training import kernels, networks, prediction
from baton.training.device import name_device, take_device
from baton.training.gpus import take_gpus
from baton.training.keeper import SAVING_SHARE, Keeper, now, take_way
from baton.training.splits import Split
from baton.training.telling import describe_divergence, describe_epoch
from baton.training.trainer import Trainer
from baton.training.training import Training

# isort: split
from baton.results.figures import draw_curves, save_figure
from baton.training.board import TensorBoard

PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "snakemake")
MARGIN = 2  # seconds kept for leaving


class TrainingSession:
    """Trains to the end, or until the Session says stop: then it saves and raises SessionEnded."""

    def __init__(self, training, keeper, session, board):
        self.training, self.keeper, self.session, self.board = training, keeper, session, board
        self.record = {
            "started": now(),
            "ended": None,
            "reason": None,
            "from": [training.epoch, training.step],
            "to": None,
        }
        training.sessions.append(self.record)
        # Seconds of the last steps; the very first one compiles and is no measure.
        self.recent = deque(maxlen=20)
        self.step_began = 0.0

    def train(self):
        """Train what is left of the epochs."""
        training, keeper = self.training, self.keeper
        keeper.first_save(training)
        left = self.session.seconds_left()
        if left < self.seconds_needed():
            self.save("too short")
            raise SessionEnded(
                f"not trained: the {max(left, 0):.0f} s left of {self.session.limit} are too short for one step and one "
                "save of this model. Give it more time and run the same command again."
            )
        self.step_began = time.monotonic()
        while not training.complete:
            training.run_epoch(self.after_batch)
            log.info("%s", describe_epoch(training))
            self.board.add(training.history[-1])
        if training.diverged:
            log.warning("%s", describe_divergence(training))
        self.save("all done")

    def seconds_needed(self):
        """Return what another step and a save may take, so that both still fit."""
        return max(self.recent, default=0.0) + 2 * self.keeper.cost + MARGIN

    def after_batch(self):
        """Stop or save, where it is time to."""
        self.recent.append(time.monotonic() - self.step_began)
        if reason := self.session.reason_to_stop(self.seconds_needed()):
            self.stop(reason)
        if self.keeper.due:
            self.save()
        self.step_began = time.monotonic()

    def save(self, reason=None):
        """Save the state and note when, where and, at the end, why; return whether it could be saved."""
        self.record.update(ended=now(), reason=reason, to=[self.training.epoch, self.training.step])
        return self.keeper.save(self.training)

    def stop(self, reason):
        """Save and raise SessionEnded, which says where it resumes."""
        training, epochs = self.training, self.training.settings["epochs"]
        place = f"step {training.step} of {training.steps} in epoch {training.epoch + 1} of {epochs}"
        if self.save(reason):
            raise SessionEnded(
                f"stopped at {place}: {reason}. The state is saved: run the same command again to resume here."
            )
        epoch, step = self.keeper.saved_at
        raise SessionEnded(
            f"stopped at {place}: {reason}, and the state cannot be saved ({self.keeper.trouble}). Once it can be, run "
            f"the same command again: it resumes at step {step} in epoch {epoch + 1}."
        )


def prepare(packed, weights, threads, settings, augmentation, seed, precision, gpus=0, update=COMPILED):
    """Return the Training at its start, and what it was set up with: precision, threads, devices, ...

    packed: arrays and manifests of train and validation (train, train_manifest, ...), and the answers where it learns them
    (answers_learned.csv); weights: class_weights.json; settings: the model's architecture and training settings; precision:
    in force; gpus: of this job, more than one train together; update: see Trainer.
    """
    networks.set_up(threads, precision, seed)
    classes = read_json(weights)
    balanced = settings["class_weights"] == "balanced"
    class_weights = classes["weights"] if balanced else None

    def make_split(name, class_weights=None):
        manifest, answers = packed[f"{name}_manifest"], None
        if learns_answers(settings):
            answers, _ = read_shares(packed["answers"], read_manifest(manifest), len(classes["classes"]))
        return Split(packed[name], manifest, class_weights, answers)

    train_split, validation_split = make_split("train", class_weights), make_split("validation")
    strategy = networks.distribute(gpus)
    with strategy.scope():
        network = networks.build_network(settings, augmentation, len(classes["classes"]), seed)
    trainer = Trainer(
        network, settings["learning_rate"], strategy, update, learns_answers=learns_answers(settings)
    )
    training = Training(trainer, train_split, validation_split, settings, seed)
    return training, {
        "augmentation": augmentation,
        "classes": classes["classes"],
        "grey": classes.get("grey", {}),
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
    starts = [epoch + step / training.steps for epoch, step in (row["from"] for row in training.sessions[1:])]
    title = f"{training.settings['name']}, seed {training.seed}"
    save_figure(draw_curves(training.history, training.best_epoch, starts, title), curves)
    values = {
        "model": training.settings["name"],
        "seed": training.seed,
        "settings": training.settings,
        **set_up,
        "precision_reason": training.precision_reason,
        "device": training.device,
        "parameters": training.trainer.network.count_params(),
        "training_images": len(training.train),
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "epochs": training.epoch,
        "kept": training.history[training.best_epoch - 1],
        "last": training.history[-1],
        "diverged": training.diverged,
        "seconds": training.seconds,
        "sessions": training.sessions,
    }
    write_json(summary, values)
    with training.network_kept() as network, written_aside(model, flushed=True) as aside:
        network.save(aside)


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
    test=None,
):
    """Train, and write model, history, curves and summary; where that was done already, put them back.

    outputs: model, history, curves and summary, in one folder; state and board: folders; saving_share: of the time,
    at most; study: the settings that the data follow from, to be noted; test: images, manifest and where the
    prediction of them is kept, None for none; the others as for `prepare`.
    """
    session.catch_signals()
    answers = [packed["answers"]] if learns_answers(settings) else []
    data = digest_data(packed["train_manifest"], packed["validation_manifest"], weights, *answers)
    identity = identify(settings, augmentation, seed, threads=threads, devices=max(gpus, 1), data=data)
    identity = take_device(state, identity, gpus, settings["precision"])
    choice = networks.choose_precision(settings["precision"])
    identity = take_way(state, identity, settings["precision"], choice)
    precision, update = identity["precision"], identity.get(UPDATE)
    if update != COMPILED:
        if reason := session.reason_to_stop(0):  # a signal that was noted would be lost
            raise SessionEnded(f"not trained: {reason}.")
        kernels.start_anew_with_earlier()
        log.info("begun by an earlier version of Baton: it resumes with the steps of that version")
    folder = Path(outputs["model"]).parent
    keeper = Keeper(state, identity, saving_share, study)
    with keeper.only_writer(lambda: is_job_lost(session)):
        if place := finished.find(folder, identity, settings):
            finished.give_back(place, folder)
            log.info("trained already: the finished model is restored from %s", place)
            return
        training, set_up = prepare(
            packed, weights, threads, settings, augmentation, seed, precision, gpus, update
        )
        training.precision_reason, training.device = choice.reason, name_device()
        resume(training, keeper)
        if not training.complete:
            training.device = training.device or name_device()  # an earlier version did not note it
        log.info(
            "%d parameters, %s (%s), %d threads, %d images",
            training.trainer.network.count_params(),
            precision,
            training.precision_reason or "as an earlier version began it",
            threads,
            len(training.train),
        )
        if training.complete:
            log.info("all epochs are trained already")
        else:
            TrainingSession(training, keeper, session, TensorBoard(board, training.history)).train()
        # Still the only writer: an orphan and its successor must not write one model at a time.
        write_outputs(training, set_up | {"identity": identity, "study": study}, **outputs)
        record = {"identity": identity, "study": study, "epochs": training.epoch}
        try:
            finished.keep(folder, record | {"stopped_early": training.stopped_early})
        except OSError as trouble:  # the model is there; what is lost is a precaution
            log.warning("the finished model is not kept a second time: %s", trouble.strerror or trouble)
        if keeper.trouble:  # the last state could not be saved; the disk that took the model may have it now
            keeper.save(training)
    if test is not None:
        del training
        prediction.predict_and_keep(outputs["model"], weights, session, **test)


def refuse_to_wait(session):
    """Raise SessionEnded where a session has no more time to wait for a GPU."""
    if reason := session.reason_to_stop(MARGIN):
        raise SessionEnded(f"not trained, other training runs use every GPU: {reason}.")


def is_job_lost(session):
    """Whether another process that trains this may be a job that its cluster lost sight of, and will end by itself.

    So it is when a node's daemon died or Snakemake was killed: the job continues, and another is submitted.
    Raises SessionEnded where this one has no more time to wait for it.
    """
    if reason := session.reason_to_stop(MARGIN):
        raise SessionEnded(f"not trained, another process still trains it: {reason}.")
    return "SLURM_JOB_ID" in os.environ


def resume(training, keeper):
    """Give `training` what the last session left. Raises UserError where the config wants fewer epochs than are trained."""
    state = keeper.load()
    if state is None:
        return
    training.restore(*state)
    epochs = training.settings["epochs"]
    if training.epoch > epochs:
        raise UserError(
            f"{training.epoch} epochs are trained and the config asks for {epochs}: training cannot be shortened. "
            f"Set epochs to {training.epoch} or more, or move {keeper.current} away to train from the start."
        )
    log.info("resuming from epoch %d, step %d", training.epoch + 1, training.step)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    session = Session(snakemake.resources.get("runtime"), session_end(), find_snakemake(), age=process_age())
    session.catch_signals()
    gpus = snakemake.resources.get("gpu")
    with take_gpus(gpus, lambda: refuse_to_wait(session)):
        main(
            dict(snakemake.input.items()),
            snakemake.input.weights,
            {name: snakemake.output[name] for name in ("model", "history", "curves", "summary")},
            threads=snakemake.threads,
            gpus=gpus or 0,
            session=session,
            study={key: snakemake.config[key] for key in ("data", "holdout")},
            **snakemake.params,
        )
