"""The optimizers of training runs: Adam as the step of today computes it, and as earlier versions did."""

import keras
import tensorflow as tf

LARGE = 100_000  # elements of a weight from which on its update is compiled: of smaller ones the call takes longer


class Adam(keras.optimizers.Adam):
    """Keras' Adam, with one operation per weight for the update, in which the gradient of the L2 penalty is included.

    Keras takes nine passes over each weight and its moments, and the penalty a few more in the loss and in its gradient: of
    a large dense layer, a third of a step. The formula is Keras': Kingma and Ba (2015), Adam, the variant before section
    2.1, in TensorFlow's ResourceApplyAdam.
    """

    def __init__(self, learning_rate: float, penalties: dict[str, float], compiled: bool):
        """penalties: the factor of the L2 penalty by a weight's path, none for 0.

        compiled: whether XLA compiles the update of LARGE weights, which then reads and writes each element once, in place,
        its gradient in 16 bits where that is computed so: a quarter of the time.
        """
        super().__init__(learning_rate, name="adam")
        self.penalties, self.compiled = penalties, compiled

    def build(self, variables):
        super().build(variables)
        self._factors = [self.penalties.get(variable.path, 0.0) for variable in variables]

    def apply(self, grads, trainable_variables=None):
        if self.compiled:
            grads = [before_cast(gradient) for gradient in grads]
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        """Update a weight (tf.Variable); of several devices, each has its own and gets the sum of the gradients."""
        place = self._get_variable_index(variable)
        factor, step = self._factors[place], tf.cast(self.iterations + 1, variable.dtype)
        first, second = self._momentums[place].value, self._velocities[place].value
        rate = tf.cast(learning_rate, variable.dtype)
        powers = [tf.pow(tf.cast(beta, variable.dtype), step) for beta in (self.beta_1, self.beta_2)]
        if self.compiled and variable.shape.num_elements() >= LARGE:
            rate *= tf.sqrt(1 - powers[1]) / (1 - powers[0])
            betas = self.beta_1, self.beta_2
            update_large(gradient, variable, first, second, rate, factor, *betas, self.epsilon)
            return
        gradient = tf.cast(gradient, variable.dtype)
        if factor:
            gradient += 2 * factor * variable
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@tf.function(jit_compile=True)
def update_large(gradient, weight, first, second, rate, factor, beta_1, beta_2, epsilon):
    """Update a weight and its moments (tf.Variable) by Adam, the penalty's gradient included; rate: already corrected."""
    gradient = tf.cast(gradient, weight.dtype) + 2 * factor * weight
    first.assign_add((gradient - first) * (1 - beta_1))
    second.assign_add((gradient * gradient - second) * (1 - beta_2))
    weight.assign_sub(rate * first / (tf.sqrt(second) + epsilon))


def before_cast(gradient):
    """Return a gradient in the 16 bits in which it was computed, where it was only cast since: half the bytes to read."""
    is_cast = tf.is_symbolic_tensor(gradient) and gradient.op.type == "Cast"
    return gradient.op.inputs[0] if is_cast else gradient


def make_optimizer(
    network, learning_rate: float, in_one_pass: bool, compiled: bool
) -> keras.optimizers.Optimizer:
    """Return the optimizer for the weights of a network, with loss scaling where it computes in float16.

    in_one_pass: False for Keras' own update, with which training runs of earlier versions began; the penalty of L2 is then
    to be part of the loss; compiled: see Adam.
    """
    rate = float(learning_rate)  # Keras takes no whole number
    optimizer = Adam(rate, find_penalties(network), compiled) if in_one_pass else keras.optimizers.Adam(rate)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


def find_penalties(network) -> dict[str, float]:
    """Return the factor of the L2 penalty by the path of each weight of a network that has one."""
    regularized = (layer for layer in network.layers if getattr(layer, "kernel_regularizer", None))
    return {layer.kernel.path: float(layer.kernel_regularizer.l2) for layer in regularized}
