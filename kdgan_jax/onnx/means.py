"""Means over whole maps are computed in float32, in float16 graphs, too.

Some runtimes add up in the dtype of the numbers, so a mean over a large map would overflow, and so
would squares of which a variance is the mean.
"""

from collections import Counter
from collections.abc import Sequence

from kdgan_jax.onnx.wire import DTYPES, Node


def widened(nodes: Sequence[Node]) -> list[Node]:
    """Returns the nodes of a float16 graph with means over several axes in float32."""
    makers = {name: node for node in nodes for name in node.outputs}
    uses = Counter(name for node in nodes for name in node.inputs)
    squares = {
        node.inputs[0]: makers[node.inputs[0]].inputs[0]
        for node in nodes
        if _is_mean(node) and _is_square(makers.get(node.inputs[0])) and uses[node.inputs[0]] == 1
    }
    result: list[Node] = []
    for node in nodes:
        if node.outputs[0] in squares:
            continue  # computed where the mean is
        if not _is_mean(node):
            result.append(node)
            continue
        name, out = node.inputs[0], node.outputs[0]
        wide = f"{out}:wide"
        result.append(_cast(squares.get(name, name), wide, "float32"))
        if name in squares:
            result.append(Node("Mul", (wide, wide), (f"{out}:square",), {}))
            wide = f"{out}:square"
        result.append(node._replace(inputs=(wide, *node.inputs[1:]), outputs=(f"{out}:mean",)))
        result.append(_cast(f"{out}:mean", out, "float16"))
    return result


def _is_mean(node: Node) -> bool:
    axes = node.attributes.get("axes", ())
    return node.kind == "ReduceMean" and isinstance(axes, tuple) and len(axes) > 1


def _is_square(node: Node | None) -> bool:
    return node is not None and node.kind == "Mul" and node.inputs[0] == node.inputs[1]


def _cast(name: str, result: str, dtype: str) -> Node:
    return Node("Cast", (name,), (result,), {"to": DTYPES[dtype]})
