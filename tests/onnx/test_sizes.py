"""Expressions of JAX's symbolic shapes become nodes that give the same numbers."""

import exported
import numpy as np
import pytest
from jax import export

from kdgan_jax.onnx import wire
from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.program import _sizes
from kdgan_jax.onnx.sizes import Sizes
from kdgan_jax.onnx.tidying import tidied

EXPRESSIONS = {
    "sums": lambda h, w: 4 * h - w + 3,
    "products": lambda h, w: h * w + h**3,
    "quotients": lambda h, w: (h - 3) // 2 + w % 5,
    "negative": lambda h, w: -h % 4 + 2 * h,
}


def evaluated(size, shape):
    graph = Graph()
    sizes = _sizes(graph, 2, 1)
    sizes.names |= {"h": sizes.names["height"], "w": sizes.names["width"]}
    nodes, constants = tidied(graph, sizes.shape([size, 6]), "output")
    ports = wire.Port("input", "float32", (1, 3, "h", "w")), wire.Port("output", "int64", (2,))
    how = {"name": "sizes", "producer": ("test", "0"), "opset": 17, "version": 8}
    data = wire.model(nodes, constants, *ports, {}, **how)
    image = np.zeros((1, 3, *shape), np.float32)
    return exported.session(data).run(None, {"input": image})[0].tolist()


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("shape", [(9, 12), (16, 3)])
def test_expressions_are_computed(name, shape):
    h, w = export.symbolic_shape("h, w")
    expected = EXPRESSIONS[name](*shape)
    assert evaluated(EXPRESSIONS[name](h, w), shape) == [expected, 6]


def test_maxima_are_computed():
    h, w = export.symbolic_shape("h, w")
    text = f"max({h}, {w}) - min({h}, 7)"
    assert evaluated(text, (9, 12)) == [12 - 7, 6]


def test_plain_numbers_need_no_nodes():
    graph = Graph()
    name = Sizes(graph, {}).shape([3, 4])
    assert (graph.nodes, graph.constants[name].tolist()) == ([], [3, 4])
