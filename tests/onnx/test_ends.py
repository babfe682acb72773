"""What stands after a network in its file."""

import numpy as np
import pytest

from kdgan_jax.onnx import ends
from kdgan_jax.onnx.graph import Graph


def image(graph, factor, mode="nearest"):
    """Returns two shuffles of 2 and an image that is enlarged by `factor`, added."""
    scales = graph.constant(np.array([1, 1, factor, factor], np.float32), exact=True)
    once = graph.add("DepthToSpace", "x", blocksize=2, mode="CRD")
    twice = graph.add("DepthToSpace", once, blocksize=2, mode="CRD")
    enlarged = graph.add("Resize", "lr", "", scales, mode=mode)
    return graph.add("Add", enlarged, twice if factor == 4 else once)


@pytest.mark.parametrize(
    ("factor", "mode", "before"), [(2, "nearest", True), (4, "nearest", False), (2, "cubic", False)]
)
def test_only_an_image_enlarged_like_the_shuffle_is_added_before_it(factor, mode, before):
    graph = Graph()
    ends.closed(graph, image(graph, factor, mode), "uint8", pixels=True)
    *_, shuffle, last = graph.nodes
    assert last.kind == "Transpose"
    assert (shuffle.kind == "DepthToSpace") == before
    assert any(node.kind == "Conv" for node in graph.nodes) == before
