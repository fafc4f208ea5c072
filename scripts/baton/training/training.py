"""Training one network: the epochs, which of them is kept, and all that a state must hold to resume at any step."""

import math
import time
from contextlib import contextmanager
from typing import Any

import numpy as np

from baton.console import show_progress
from baton.errors import UserError
from baton.study.identity import stopped_early
from baton.training.batches import VALIDATION_BATCH
from baton.training.splits import order_of_epoch


def has_numbers(row):
    """Whether the losses of an epoch, a row of the history, are numbers."""
    return math.isfinite(row["loss"]) and math.isfinite(row["val_loss"])


class Training:
    """One training run: where it is, what it has seen, and the best weights so far.

    `epoch` and `step` (from 0) are what comes next. After an epoch's last step, `step` is their
    number until the epoch is validated, so that a session can end between the two. `history` has one
    row per epoch, with loss and val_loss as cross-entropy and the L2 penalty apart; `best_epoch`
    counts from 1, as the history does. `diverged` is the epoch and step (from 1) in which the weights
    became NaN or infinite, and with which the training run ends; else None. `was_number` is whether the
    loss of the step before was a number, None before an epoch's first.
    """

    def __init__(self, trainer, train, validation, settings, seed):
        self.trainer, self.train, self.validation = trainer, train, validation
        self.settings, self.seed = settings, seed
        self.steps = math.ceil(len(train) / settings["batch_size"])
        self.epoch, self.step, self.history = 0, 0, []
        self.best_epoch, self.best_weights = None, []
        self.diverged = None
        self.was_number: Any = None
        self.precision_reason: str | None = None  # where it began, which may be other hardware
        self.device: str | None = None  # that computes it
        self.seconds, self.sessions = 0.0, []

    def to_state(self):
        """Return (arrays, values) for `save_state`."""
        arrays = {name: np.asarray(variable) for name, variable in self.trainer.variables().items()}
        arrays |= {f"best/{number:03}": weight for number, weight in enumerate(self.best_weights)}
        kept = (
            "epoch",
            "step",
            "history",
            "best_epoch",
            "diverged",
            "precision_reason",
            "device",
            "seconds",
            "sessions",
        )
        was_number = None if self.was_number is None else bool(self.was_number)
        return arrays, {name: getattr(self, name) for name in kept} | {"was_number": was_number}

    def state_bytes(self):
        """Return the size of a state in bytes, with the best weights that the first epoch adds."""
        variables = list(self.trainer.variables().values()) + list(self.trainer.weights)
        return sum(math.prod(variable.shape) * np.dtype(variable.dtype).itemsize for variable in variables)

    def restore(self, arrays, values):
        """Take everything from a state. Raises UserError when its arrays are not this network's."""
        variables = self.trainer.variables()
        if set(variables) != {name for name in arrays if not name.startswith("best/")}:
            raise UserError("the state's variables are not this network's: were packages updated since?")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.best_weights = [arrays[name] for name in sorted(arrays) if name.startswith("best/")]
        # Earlier versions did not note these.
        self.precision_reason = self.device = self.was_number = None
        for name, value in values.items():
            setattr(self, name, value)

    @property
    def complete(self):
        """Whether all epochs are trained, or more of them would change nothing."""
        return self.epoch >= self.settings["epochs"] or self.stopped_early

    @property
    def stopped_early(self):
        return stopped_early(self.settings["patience"], self.epoch, self.best_epoch, self.diverged)

    def run_epoch(self, pause):
        """Train what is left of the epoch, then validate it.

        pause() is called after every batch; it may save the state, and ends the session by raising.
        """
        start = time.monotonic()

        def turn():
            nonlocal start
            now = time.monotonic()
            self.seconds += now - start
            start = now
            pause()

        order = order_of_epoch(len(self.train), self.seed, self.epoch)
        batches = self.train.batches(self.settings["batch_size"], order, self.step)
        title = (
            f"{self.settings['name']} seed {self.seed}, epoch {self.epoch + 1} of {self.settings['epochs']}"
        )
        if self.step == 0:
            self.was_number = None
        for batch in show_progress(batches, title, self.steps, "step", initial=self.step):
            is_number = self.trainer.train_step(*batch)
            # Of the step before: its loss is there by now, and nothing waits for it.
            if self.was_number is not None and not self.was_number and self._diverges_at(self.step):
                self.step = self.steps  # the others would change nothing
                break
            self.was_number = is_number
            self.step += 1
            turn()
        if self.diverged is None and self.was_number is not None and not self.was_number:
            self._diverges_at(self.step)
        self.trainer.validation_metrics.reset()
        for batch in self.validation.batches(VALIDATION_BATCH):
            self.trainer.validation_step(*batch)
            turn()
        self._end_epoch()

    def _diverges_at(self, step):
        """Return whether the weights are no numbers any more, and note it; step: in which it showed first, from 1.

        A step whose loss is none may be one that float16's loss scaling leaves out, with all weights as they were.
        """
        if not self.trainer.weights_are_numbers():
            self.diverged = {"epoch": self.epoch + 1, "step": step}
        return self.diverged is not None

    def _end_epoch(self):
        loss, accuracy = self.trainer.training_metrics.results()
        val_loss, val_accuracy = self.trainer.validation_metrics.results()
        self.trainer.training_metrics.reset()
        if self.diverged is None:
            self._diverges_at(self.steps)
        self.epoch += 1
        self.step = 0
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": loss,
                "l2": float(self.trainer.l2_penalty()),
                "accuracy": accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
            }
        )
        none_is_left = self.best_epoch is None and self.complete
        if (self.diverged is None and self._is_better(self.history[-1])) or none_is_left:
            self.best_epoch = self.epoch
            self.best_weights = [weight.numpy() for weight in self.trainer.weights]

    def _is_better(self, row):
        """Whether an epoch is better than the best; one whose losses are no numbers never is, a tie is not better."""
        if not has_numbers(row):
            return False
        best = self.history[self.best_epoch - 1] if self.best_epoch else None
        if best is None or not has_numbers(best):
            return True
        monitor = self.settings["monitor"]
        value, best_value = row[monitor], best[monitor]
        return value > best_value if monitor == "val_accuracy" else value < best_value

    @contextmanager
    def network_kept(self):
        """Give the network with the weights of the epoch that is kept, until the `with` ends.

        Then it has those of the last epoch again: what is saved after this resumes from them.
        """
        last = [weight.numpy() for weight in self.trainer.weights]
        self._set_weights(self.best_weights)
        try:
            yield self.trainer.network
        finally:
            self._set_weights(last)

    def _set_weights(self, values):
        for variable, value in zip(self.trainer.weights, values, strict=True):
            variable.assign(value)
