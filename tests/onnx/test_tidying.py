"""Convolutions absorb constants, and results stay the same."""

import exported
import numpy as np
import pytest

from kdgan_jax.onnx import wire
from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.tidying import tidied

WEIGHTS = np.random.default_rng(0).standard_normal((12, 3, 3, 3)).astype(np.float32)
BIAS = np.arange(12, dtype=np.float32).reshape(12, 1, 1)


def conv(graph, name="input"):
    return graph.add("Conv", name, graph.constant(WEIGHTS), pads=(1, 1, 1, 1))


def shuffled(graph, name):
    return graph.add("DepthToSpace", name, blocksize=2, mode="CRD")


def biased(graph):
    return graph.add("Add", conv(graph), graph.constant(BIAS))


def scaled(graph):
    name = graph.add("Mul", biased(graph), graph.number(0.2))
    return graph.add("Add", graph.add("Div", name, graph.number(3)), graph.constant(BIAS))


def rounded(graph):
    """The end of a network whose pixels come from 0 to 255."""
    image = graph.add("Div", "input", graph.number(255))
    scales = graph.constant(np.float32([1, 1, 2, 2]))
    residual = graph.add("Resize", image, "", scales, mode="nearest")
    name = graph.add("Add", residual, shuffled(graph, conv(graph, image)))
    return graph.add("Add", graph.add("Mul", name, graph.number(255)), graph.number(0.5))


def used_twice(graph):
    name = conv(graph)
    scaled = graph.add("Mul", name, graph.number(2))
    return graph.add("Concat", name, scaled, axis=1)


def by_channel(graph):
    """A bias after the shuffle is no single number of a channel before it."""
    return graph.add("Add", shuffled(graph, conv(graph)), graph.constant(BIAS[:3]))


CASES = {
    biased: ["Conv"],
    scaled: ["Conv"],
    rounded: ["Div", "Conv", "DepthToSpace", "Resize", "Add"],
    used_twice: ["Conv", "Mul", "Concat"],
    by_channel: ["Conv", "DepthToSpace", "Add"],
}


def run(nodes, constants):
    given, made = (
        wire.Port(name, "float32", (1, *(f"{name}{i}" for i in range(3))))
        for name in ("input", "output")
    )
    how = {"name": "g", "producer": ("test", "0"), "opset": 17, "version": 8}
    data = wire.model(nodes, constants, given, made, {}, **how)
    image = exported.image(5, 7).transpose(0, 3, 1, 2).astype(np.float32)
    return exported.session(data).run(None, {"input": image})[0]


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_fewer_nodes_give_the_same(build):
    graph = Graph()
    last = build(graph)
    nodes, constants = tidied(graph, last, "output")
    assert sorted(node.kind for node in nodes) == sorted(CASES[build])
    assert set(constants) <= {name for node in nodes for name in node.inputs}
    plain = [
        node._replace(outputs=("output",)) if last in node.outputs else node for node in graph.nodes
    ]
    expected = run(plain, graph.constants)
    np.testing.assert_allclose(run(nodes, constants), expected, rtol=1e-5, atol=1e-4)


def test_what_nothing_needs_is_left_out():
    graph = Graph()
    graph.add("Exp", conv(graph))
    nodes, constants = tidied(graph, graph.add("Relu", "input"), "output")
    assert ([node.kind for node in nodes], constants) == (["Relu"], {})
