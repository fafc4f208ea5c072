"""The ops of a training step, held against what TensorFlow says of their determinism on GPUs: docs/gpus.md has the sources."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import EVERY_AUGMENTATION, REPOSITORY

from baton.training import networks, trainer
from baton.training.trainer import Trainer

SETTINGS = {
    **{"size": 16, "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2, "l2": 0.01, "dropout": 0.5},
    **{"initializer": "normal", "stddev": 0.1},
}
# Named as nondeterministic on GPUs in TensorFlow's RFC on determinism, or as ops without a deterministic kernel since.
REFUSED = {
    *("AdjustContrastv2", "AdjustHue", "AdjustSaturation", "Bincount", "CropAndResizeGradBoxes"),
    *("CropAndResizeGradImage", "DepthwiseConv2dNativeBackpropFilter", "FusedBatchNormGradV3"),
    *("ResizeNearestNeighborGrad", "ScatterNd", "SparseTensorDenseMatMul"),
}
# What of a step is named there, or adds up in an order of its own, and has a deterministic kernel by now.
NAMED = {
    *("UnsortedSegmentSum", "BiasAddGrad", "MaxPoolGrad"),
    *("Conv2DBackpropFilter", "Conv2DBackpropInput"),
}


def ops_of_a_step(precision, learns_answers):
    """Return the kinds of ops in the graph of a training step as it is on a GPU, with those of the functions that it calls."""
    networks.set_up(1, precision, 1)
    network = networks.build_network(SETTINGS, EVERY_AUGMENTATION, 3, seed=1)
    steps = Trainer(network, 0.001, learns_answers=learns_answers)
    batch = [np.zeros((4, 16, 16, 3), np.uint8), tf.zeros(4, tf.int32), tf.ones(4, tf.float32)]
    answers = [tf.ones((4, 3), tf.float32)] if learns_answers else []
    step = steps.train_step.get_concrete_function(*batch, *answers).graph.as_graph_def()
    return {node.op for function in step.library.function for node in function.node_def} | {
        node.op for node in step.node
    }


@pytest.mark.parametrize("learns_answers", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_none_is_among_those_without_a_deterministic_kernel(monkeypatch, precision, learns_answers):
    monkeypatch.setattr(trainer, "sees_gpu", lambda: True)  # there XLA compiles nothing
    ops = ops_of_a_step(precision, learns_answers)
    assert ops & REFUSED == set()
    assert NAMED - ops == ({"UnsortedSegmentSum"} if learns_answers else set())
    assert {"ImageProjectiveTransformV3", "ResourceApplyAdam", "StatelessRandomUniformV2"} <= ops
    assert not [op for op in ops if op.startswith("Xla")]


def test_the_page_tells_of_them():
    page = (REPOSITORY / "docs/gpus.md").read_text(encoding="utf-8")
    assert [
        op
        for op in sorted(NAMED | {"ImageProjectiveTransformV3", "ResourceApplyAdam"})
        if f"`{op}`" not in page
    ] == []
