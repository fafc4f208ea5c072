"""The optimizers of training runs: Adam as the step of today computes it, and as earlier versions did."""

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras' Adam, with one operation per weight for the update, in which the gradient of the L2 penalty is included.

    Keras takes nine passes over each weight and its moments, and the penalty a few more in the loss and in its gradient: of
    a large dense layer, a third of a step. The formula is Keras': Kingma and Ba (2015), Adam, the variant before section
    2.1, in TensorFlow's ResourceApplyAdam.
    """

    def __init__(self, learning_rate: float, penalties: dict[str, float]):
        """penalties: the factor of the L2 penalty by a weight's path, none for 0."""
        super().__init__(learning_rate, name="adam")
        self.penalties = penalties

    def build(self, variables):
        super().build(variables)
        self._factors = [self.penalties.get(variable.path, 0.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Update a weight (tf.Variable); of several devices, each has its own and gets the sum of the gradients."""
        place = self._get_variable_index(variable)
        if factor := self._factors[place]:
            gradient += 2 * factor * variable
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def make_optimizer(network, learning_rate: float, in_one_pass: bool) -> keras.optimizers.Optimizer:
    """Return the optimizer for the weights of a network, with loss scaling where it computes in float16.

    in_one_pass: False for Keras' own update, with which training runs of earlier versions began; the penalty of L2 is then
    to be part of the loss.
    """
    rate = float(learning_rate)  # Keras takes no whole number
    optimizer = Adam(rate, find_penalties(network)) if in_one_pass else keras.optimizers.Adam(rate)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


def find_penalties(network) -> dict[str, float]:
    """Return the factor of the L2 penalty by the path of each weight of a network that has one."""
    regularized = (layer for layer in network.layers if getattr(layer, "kernel_regularizer", None))
    return {layer.kernel.path: float(layer.kernel_regularizer.l2) for layer in regularized}
