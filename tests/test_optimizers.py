"""Adam in one pass, compiled and not: against NumPy in float64, in each precision, and the same bits each time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_training import OFF, SETTINGS

from baton.training import networks, optimizers
from baton.training.optimizers import before_cast, find_penalties, make_optimizer
from baton.training.trainer import Trainer

NETWORK = SETTINGS | {"size": 16, "kernels": 8, "layers": 3, "dense": 64, "dropout": 0.5}
RATE, STEPS = 0.01, 20


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(params=[True, False], ids=["compiled", "not compiled"], autouse=True)
def compiled(request, monkeypatch):
    """Whether updates are compiled; if so all are, that of a bias of five too."""
    monkeypatch.setattr(optimizers, "LARGE", 1)
    return request.param


def make(precision, compiled, l2=0.3, in_one_pass=True):
    keras.utils.clear_session()
    networks.set_up(1, precision, 1)
    network = networks.build_network(NETWORK | {"l2": l2}, OFF, 5, 1)
    return network, make_optimizer(network, RATE, in_one_pass, compiled)


def draw_gradients(network):
    draw = np.random.default_rng(7)
    return [
        [
            draw.normal(0, 10 ** draw.uniform(-3, 1), weight.shape).astype(np.float32)
            for weight in network.trainable_variables
        ]
        for _ in range(STEPS)
    ]


def numpy_adam(weight, gradients, l2):
    """Return a weight (float64) after steps of Adam with these gradients (Kingma and Ba 2015, before section 2.1)."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        gradient = gradient.astype(np.float64) + 2 * l2 * weight
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - rate * m / (np.sqrt(v) + 1e-7)
    return weight


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("l2", [0, 0.3])
def test_twenty_steps_of_each_shape_are_those_of_numpy(precision, l2, compiled):
    network, optimizer = make(precision, compiled, l2)
    scaled = precision == "mixed_float16"
    before = [weight.numpy().astype(np.float64) for weight in network.trainable_variables]
    gradients = draw_gradients(network)
    apply = tf.function(lambda values: optimizer.apply(values, network.trainable_variables))
    for values in gradients:
        scale = float(optimizer.dynamic_scale.numpy()) if scaled else 1
        apply([tf.constant(value * np.float32(scale)) for value in values])
    assert len(before) == 10 and {weight.ndim for weight in before} == {1, 2, 4}
    for number, weight in enumerate(network.trainable_variables):
        penalized = weight.path.endswith("kernel")
        expected = numpy_adam(
            before[number], [values[number] for values in gradients], l2 if penalized else 0
        )
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5, rtol=0, err_msg=weight.path)
        assert np.abs(expected - before[number]).max() > 0.01


def test_it_is_the_same_bits_each_time(compiled):
    results = []
    for _ in range(2):
        network, optimizer = make("float32", compiled)
        for values in draw_gradients(network):
            optimizer.apply([tf.constant(value) for value in values], network.trainable_variables)
        results.append(
            [variable.numpy() for variable in (*network.trainable_variables, *optimizer.variables)]
        )
    assert len(results[0]) == 10 + 2 + 20
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))


def test_a_step_that_float16_leaves_out_changes_no_weight(compiled):
    network, optimizer = make("mixed_float16", compiled)
    before = [weight.numpy() for weight in network.trainable_variables]
    values = [tf.fill(weight.shape, np.float32(np.inf)) for weight in network.trainable_variables]
    optimizer.apply(values, network.trainable_variables)
    assert all(
        np.array_equal(weight.numpy(), old)
        for weight, old in zip(network.trainable_variables, before, strict=True)
    )
    assert int(optimizer.inner_optimizer.iterations) == 0


def test_the_variables_are_those_that_keras_has(compiled):
    _, ours = make("float32", compiled)
    names = [variable.path for variable in ours.variables]
    _, keras_own = make("float32", compiled, in_one_pass=False)
    assert type(keras_own) is keras.optimizers.Adam
    assert names == [variable.path for variable in keras_own.variables]


def test_kernels_are_penalized_and_nothing_else(compiled):
    network, _ = make("float32", compiled)
    found = find_penalties(network)
    assert sorted(found) == sorted(
        weight.path for weight in network.trainable_variables if "kernel" in weight.path
    )
    assert list(found.values()) == [pytest.approx(0.3)] * 5
    assert find_penalties(make("float32", compiled, l2=0)[0]) == {}


@pytest.mark.parametrize("compiled", [True], indirect=True)  # alone reads them so
def test_a_gradient_is_read_before_it_was_cast_with_the_same_bits(compiled, monkeypatch):
    """In a step of bfloat16, compiled: from 16 bits of each element, and from 32."""
    results, kinds = [], []
    for reads in (before_cast, lambda gradient: gradient):

        def note(gradient, reads=reads):
            kinds.append(reads(gradient).dtype.name)
            return reads(gradient)

        monkeypatch.setattr(optimizers, "before_cast", note)
        keras.utils.clear_session()
        networks.set_up(1, "mixed_bfloat16", 1)
        network = networks.build_network(NETWORK | {"l2": 0.3}, OFF, 5, 1)
        trainer = Trainer(network, RATE)
        images = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 3), np.uint8)
        for _ in range(3):
            trainer.train_step(images, np.arange(4, dtype=np.int32), np.ones(4, np.float32))
        results.append({name: variable.numpy() for name, variable in trainer.variables().items()})
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])
    # The logits' are computed in float32.
    half = len(kinds) // 2
    assert kinds[:half] == ["bfloat16"] * 8 + ["float32"] * 2 and kinds[half:] == ["float32"] * 10
