"""verify_resume: what it calls a difference. The rule itself is run by the tests of interruptions."""

import numpy as np
import pytest

from verify_resume import first_difference


def state(**changes):
    """Return (arrays, values) of a state; changes: arrays or values by name."""
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.zeros(2, np.float32)}
    values = {"epoch": 2, "step": 0, "best_epoch": 1, "seconds": 1.5}
    values["history"] = [{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "loss": 0.5}]
    for name, value in changes.items():
        (arrays if isinstance(value, np.ndarray) else values)[name] = value
    return arrays, values


def test_equal_states_have_none_nan_and_seconds_aside():
    assert first_difference(state(), state(seconds=9.0)) is None


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"b": np.array([0, -0.0], np.float32)}, "b"),  # a bit is a bit
        ({"a": np.arange(3, dtype=np.float32) + 1e-7}, "a"),
        ({"c": np.zeros(1)}, "c"),
        (
            {"history": [{"epoch": 1, "loss": float("nan")}, {"epoch": 2, "loss": 0.25}]},
            "the history of epoch 2",
        ),
        ({"epoch": 3}, "epoch"),
        ({"step": 1}, "step"),
        ({"best_epoch": 2}, "best_epoch"),
    ],
)
def test_every_difference_is_named(changes, name):
    assert first_difference(state(), state(**changes)) == name
    assert first_difference(state(**changes), state()) == name
