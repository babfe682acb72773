import numpy as np
import pytest

from kdgan_jax.onnx.graph import Graph
from kdgan_jax.runtime.errors import UserError


def test_nothing_is_added_twice():
    graph = Graph()
    first, again = (graph.constant(np.array([[1.0, 2.0]])) for _ in range(2))
    other = graph.constant(np.array([1.0, 2.0]))
    assert first == again != other
    assert (
        graph.add("Add", "x", first) == graph.add("Add", "x", again) != graph.add("Add", first, "x")
    )
    assert graph.add("Pad", "x", a=[1]) != graph.add("Pad", "x", a=[2])
    assert len(graph.nodes) == 4
    assert graph.maker(graph.add("Add", "x", first)) is graph.nodes[0]
    assert graph.maker("x") is None


def test_several_outputs_have_names_of_their_own():
    graph = Graph()
    names = [*graph.split("Split", 3, "x"), graph.add("Relu", "x")]
    assert len(set(names)) == 4


def test_half_graphs_have_half_numbers():
    graph = Graph(half=True)
    for array in np.float32([1e-30, -1e-30, 0]), np.int64([1]):
        graph.constant(array)
    graph.constant(np.float32([4]), exact=True)
    small, whole, exact = graph.constants.values()
    assert (small.dtype, whole.dtype, exact.dtype) == (np.float16, np.int64, np.float32)
    assert (np.sign(small) == [1, -1, 0]).all()
    with pytest.raises(UserError, match="70,000"):
        graph.constant(np.float32([1, -7e4]))
