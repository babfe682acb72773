"""Means of large maps do not overflow in float16."""

import exported
import numpy as np
import pytest

from kdgan_jax.onnx.means import widened
from kdgan_jax.onnx.wire import Node

reference = pytest.importorskip("onnx.reference", reason="evaluates float16; pip install onnx")


def test_variances_beyond_float16_are_right():
    import onnx

    weights = exported.network("fast_srgan")
    kernel = weights.params["neck.0"]["kernel"]
    kernel *= 300  # squares of features are beyond 65,504
    pixels = exported.image(16, 17)
    lr = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    half = onnx.load_from_string(exported.file(weights, half=True))
    (sr,) = reference.ReferenceEvaluator(half).run(None, {"input": lr})
    assert np.abs(sr.transpose(0, 2, 3, 1) - exported.by_jax(weights, pixels)).max() < 0.2


def test_other_nodes_stay_as_they_are():
    nodes = [
        Node("Mul", ("x", "x"), ("a",), {}),
        Node("ReduceMean", ("a",), ("b",), {"axes": (1,)}),  # of channels: few numbers
        Node("Mul", ("x", "b"), ("c",), {}),
        Node("ReduceMean", ("a",), ("d",), {"axes": (2, 3)}),
    ]
    result = widened(nodes)
    assert result[:3] == nodes[:3]
    assert [node.kind for node in result[3:]] == ["Cast", "ReduceMean", "Cast"]
