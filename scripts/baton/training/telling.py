"""What a training run says of itself on the terminal."""

from baton.formatting import decimals, duration
from baton.training.training import has_numbers


def describe_epoch(training):
    """Return what is said of a Training's last epoch: where it is, how good, and how long it will still take."""
    row, epochs = training.history[-1], training.settings["epochs"]
    left = training.seconds / row["epoch"] * (epochs - row["epoch"])
    most = "at most " if training.settings["patience"] else ""
    time_left = "" if training.complete else f", {most}{duration(left)} left"
    others = ", ".join(f"{key} {decimals(row[key], 4)}" for key in ("loss", "l2", "accuracy", "val_loss"))
    return f"epoch {row['epoch']} of {epochs}: val_accuracy {decimals(row['val_accuracy'], 4)}{time_left} ({others})"


def describe_divergence(training):
    """Return in a sentence where the weights of a Training became no numbers, and which epoch is kept."""
    kept = f"epoch {training.best_epoch} is kept"
    if not has_numbers(training.history[training.best_epoch - 1]):
        kept = "no epoch before it can be kept, so the model predicts nothing"
    return (
        f"diverged in step {training.diverged['step']} of epoch {training.diverged['epoch']}: its weights are no numbers "
        f"any more. Training ends here; {kept}. A smaller learning_rate or stddev may help."
    )
