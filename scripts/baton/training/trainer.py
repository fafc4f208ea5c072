"""A network in training: the compiled steps on a batch, and the metrics that they add up."""

import keras
import tensorflow as tf

from baton.study.identity import COMPILED
from baton.training.augmentation import logits_in_training
from baton.training.networks import sees_gpu, to_logits
from baton.training.optimizers import make_optimizer


class Trainer:
    """A network, its optimizer and metrics, and the compiled steps on a batch."""

    def __init__(self, network, learning_rate, strategy=None, update=COMPILED, learns_answers=False):
        """strategy: the `tf.distribute` strategy that the network was built under; None for one device.

        update: COMPILED, IN_ONE_PASS, or None for the step of the earliest versions: see `make_optimizer` and
        `logits_in_training`; learns_answers: whether batches have the shares of the answers, which the cross-entropy is
        taken against instead of the labels.
        """
        self.network, self.in_one_pass = network, update is not None
        self.strategy = strategy or tf.distribute.get_strategy()
        # On a GPU, or several devices, it was not measured.
        compiled = update == COMPILED and self.strategy.num_replicas_in_sync == 1 and not sees_gpu()
        with self.strategy.scope():
            self.logits = to_logits(network)
            self.logits_in_training = logits_in_training(network, self.in_one_pass, compiled)
            self.weights = self.logits.trainable_variables
            self.optimizer = make_optimizer(self.logits, learning_rate, self.in_one_pass, compiled)
        self.training_metrics = Metrics()
        self.validation_metrics = Metrics()
        size = network.input.shape[1]
        batch = [
            tf.TensorSpec((None, size, size, 3), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((None,), tf.float32),
        ]
        if learns_answers:
            batch.append(tf.TensorSpec((None, network.output.shape[1]), tf.float32))
        self.train_step = tf.function(self._train_step, input_signature=batch)
        self.validation_step = tf.function(self._validation_step, input_signature=batch)
        self.l2_penalty = tf.function(self._l2_penalty)
        self.weights_are_numbers = tf.function(self._weights_are_numbers)

    def _train_step(self, images, labels, weights, answers=None):
        """One step; return whether its loss is a number. It is the mean of weight x cross-entropy, plus the L2 penalty.

        Of several devices each takes a share of the images; its loss is their part of the mean. The gradients are added up.
        """
        devices = self.strategy.num_replicas_in_sync
        count = tf.shape(labels)[0]

        def train_on_share():
            if devices == 1:
                return self._train_on(images, labels, weights, answers, count, devices)
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = tf.range(number, tf.maximum(count, devices), devices)
            # A last batch may have fewer images than there are devices, and a network needs one: it counts for nothing.
            real = rows < count
            rows = tf.minimum(rows, count - 1)
            share = tf.gather(images, rows), tf.gather(labels, rows)
            weight = tf.gather(weights, rows) * tf.cast(real, tf.float32)
            answered = None if answers is None else tf.gather(answers, rows)
            results = self._train_on(*share, weight, answered, count, devices)
            return [tf.boolean_mask(result, real) for result in results]

        results = self.strategy.run(train_on_share)
        entropy, labels, logits = (
            tf.concat(self.strategy.experimental_local_results(result), 0) for result in results
        )
        self.training_metrics.update(entropy, labels, logits)
        return tf.math.is_finite(tf.reduce_sum(entropy))

    def _train_on(self, images, labels, weights, answers, count, devices):
        with tf.GradientTape() as tape:
            logits = self.logits_in_training(images)
            entropy = weights * cross_entropy(labels, answers, logits)
            loss = tf.reduce_sum(entropy) / tf.cast(count, tf.float32)
            if not self.in_one_pass:  # else its gradient is part of the update
                loss += self._l2_penalty() / devices
            loss = self.optimizer.scale_loss(loss)
        self.optimizer.apply(tape.gradient(loss, self.weights), self.weights)
        return entropy, labels, logits

    def _validation_step(self, images, labels, weights, answers=None):
        logits = self.logits(images, training=False)
        entropy = cross_entropy(labels, answers, logits)
        self.validation_metrics.update(entropy, labels, logits)

    def _l2_penalty(self):
        return tf.add_n([tf.cast(loss, tf.float32) for loss in self.logits.losses] or [tf.zeros(())])

    def _weights_are_numbers(self):
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight)) for weight in self.weights])

    def variables(self):
        """Return every variable of the training run by a name that says where it belongs.

        The generators of dropout and augmentation are among the network's; the metrics' hold the
        sums of the unfinished epoch.
        """
        groups = {
            "network": self.network.variables,
            "optimizer": self.optimizer.variables,
            "metrics": self.training_metrics.variables,
        }
        return {
            f"{group}/{number:03}/{variable.path}": variable
            for group, variables in groups.items()
            for number, variable in enumerate(variables)
        }


def cross_entropy(labels, answers, logits):
    """Return the cross-entropy of each image, (n,), against its label, or against the shares of its answers where given."""
    if answers is None:
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return keras.losses.categorical_crossentropy(answers, logits, from_logits=True)


class Metrics:
    """Mean loss and accuracy over the batches since the last reset."""

    def __init__(self):
        self.loss = keras.metrics.Mean("loss")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy("accuracy")
        self.variables = self.loss.variables + self.accuracy.variables

    def update(self, losses, labels, logits):
        self.loss.update_state(losses)
        self.accuracy.update_state(labels, logits)

    def results(self):
        return float(self.loss.result()), float(self.accuracy.result())

    def reset(self):
        self.loss.reset_state()
        self.accuracy.reset_state()
