"""A float16 file as CPUs can try it: float32 that is rounded to float16 after every node.

ONNX Runtime and OpenVINO compute float16 files in float32 on CPUs, so running such a file there
says nothing about the float16 of a GPU, where numbers overflow at 65,504.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kdgan_jax.onnx.wire import DTYPES, Node

SINGLE, HALF = DTYPES["float32"], DTYPES["float16"]
BOOLS = "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Not"


def simulated(
    nodes: Sequence[Node], constants: Mapping[str, np.ndarray]
) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Returns the nodes and constants of a float16 graph as float32, rounded at every node.

    The input and the output of the graph are float32 already.
    """
    halves = {name for name, array in constants.items() if array.dtype == np.float16}
    wide = {k: a.astype(np.float32) if k in halves else a for k, a in constants.items()}
    result: list[Node] = []
    for node in nodes:
        if not _is_half(node, halves):
            result.append(node)
            continue
        inner = tuple(f"{name}:exact" for name in node.outputs)
        result.append(_in_single(node)._replace(outputs=inner))
        halves |= set(node.outputs)
        for exact, name in zip(inner, node.outputs, strict=True):
            small, shape, held = (f"{name}:{part}" for part in ("half", "shape", "held"))
            result += [
                Node("Cast", (exact,), (small,), {"to": HALF}),
                # Two casts in a row would be removed; a reshape to the same shape stays.
                Node("Shape", (small,), (shape,), {}),
                Node("Reshape", (small, shape), (held,), {}),
                Node("Cast", (held,), (name,), {"to": SINGLE}),
            ]
    return result, wide


def _is_half(node: Node, halves: set[str]) -> bool:
    """Returns whether the results of a node are float16."""
    if node.kind == "Cast":
        return node.attributes["to"] == HALF
    if node.kind in (*BOOLS, "Shape"):
        return False
    return node.inputs[node.kind == "Where"] in halves


def _in_single(node: Node) -> Node:
    """Returns a node with float32 in place of float16."""
    if node.kind == "Cast":
        return node._replace(attributes={"to": SINGLE})
    return node
