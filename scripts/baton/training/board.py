"""The curves for TensorBoard."""

import shutil

import tensorflow as tf

from baton.console import log


class TensorBoard:
    """The curves for `tensorboard --logdir logs`: written again each session, all epochs in one."""

    def __init__(self, folder, history):
        shutil.rmtree(folder, ignore_errors=True)
        self.writers = {
            split: tf.summary.create_file_writer(f"{folder}/{split}") for split in ("train", "validation")
        }
        for row in history:
            self.add(row)

    def add(self, row):
        """Add an epoch; where they cannot be written, continue without: they follow from the history."""
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
