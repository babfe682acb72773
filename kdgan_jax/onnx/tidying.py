"""Passes over a finished graph that leave fewer nodes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.wire import Node

# Operators that move numbers: factors can be applied before them.
NOTHING = np.zeros((), np.float32)
MOVES = "DepthToSpace", "Resize", "Transpose", "Slice"


def tidied(graph: Graph, last: str, output: str) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Returns the nodes and constants that a graph's result needs, with fewer nodes.

    Args:
      graph: the graph.
      last: the tensor that is the result.
      output: the name that it gets.
    """
    tidy = _Tidy(_used(graph.nodes, last), dict(graph.constants), last)
    names = {tidy.run(): output}
    nodes = [_renamed(node, names) for node in _used(tidy.nodes, *names)]
    needed = {name for node in nodes for name in node.inputs}
    return nodes, {name: array for name, array in tidy.constants.items() if name in needed}


def _renamed(node: Node, names: dict[str, str]) -> Node:
    inputs, outputs = (tuple(names.get(n, n) for n in row) for row in (node.inputs, node.outputs))
    return node._replace(inputs=inputs, outputs=outputs)


def _used(nodes: Sequence[Node], last: str) -> list[Node]:
    """Returns the nodes on which a tensor depends."""
    needed, kept = {last}, []
    for node in reversed(nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


class _Tidy:
    """Copies a graph and lets convolutions absorb the constants that follow them.

    A convolution takes in what is added to its channels and what its result is multiplied with,
    also where a pixel shuffle or a sum stands between.

    Attributes:
      nodes: the copy.
      constants: arrays by name.
    """

    def __init__(self, nodes: Sequence[Node], constants: dict[str, np.ndarray], last: str) -> None:
        self.nodes: list[Node] = []
        self.constants = constants
        self._before, self._last = nodes, last
        self._uses = Counter([last, *(name for node in nodes for name in node.inputs)])
        self._makers: dict[str, Node] = {}
        self._names: dict[str, str] = {}  # of tensors that others replace

    def run(self) -> str:
        """Copies all nodes; returns the name of the result."""
        for old in self._before:
            node = _renamed(old, self._names)
            replaced = self._absorbed(node)
            if replaced is None:
                self._append(node)
            else:
                self._names[node.outputs[0]] = replaced
                self._uses[replaced] = self._uses[node.outputs[0]]
        return self._names.get(self._last, self._last)

    def _append(self, node: Node) -> str:
        self.nodes.append(node)
        self._makers |= dict.fromkeys(node.outputs, node)
        return node.outputs[0]

    def _again(self, node: Node, *inputs: str) -> str:
        """Appends a node once more, with other inputs; returns its output, which is used once."""
        name = f"{node.outputs[0]}+"
        self._uses[name] = 1
        return self._append(node._replace(inputs=inputs, outputs=(name,)))

    def _absorbed(self, node: Node) -> str | None:
        """Returns the tensor that makes a node superfluous, if there is one."""
        if node.kind == "Add":
            for x, added in (node.inputs, node.inputs[::-1]):
                if added in self.constants and x not in self.constants:
                    return self._with(x, 1.0, self.constants[added])
        elif node.kind in ("Mul", "Div"):
            factor = self._factor(node)
            if factor is not None:
                return self._with(node.inputs[0], factor, NOTHING)
        return None

    def _factor(self, node: Node) -> float | None:
        """Returns the one number by which a node multiplies its first input."""
        array = self.constants.get(node.inputs[1])
        if array is None or array.size != 1 or node.inputs[0] in self.constants:
            return None
        number = float(array.reshape(()))
        return number if node.kind == "Mul" else 1 / number

    def _with(self, name: str, factor: float, shift: np.ndarray) -> str | None:
        """Returns the tensor `name * factor + shift` if no node is needed more for it."""
        node = self._makers.get(name)
        if node is None:
            return None
        if node.kind in ("Mul", "Div") and not shift.any():
            before = self._factor(node)
            return node.inputs[0] if before is not None and np.isclose(before * factor, 1) else None
        if self._uses[name] != 1:
            return None
        if node.kind == "Conv":
            return self._convolution(node, factor, shift)
        if node.kind in MOVES and shift.size == 1:
            inner = self._with(node.inputs[0], factor, shift)
            return None if inner is None else self._again(node, inner, *node.inputs[1:])
        if node.kind == "Add" and shift.size == 1:
            return self._sum(node, factor, shift)
        return None

    def _sum(self, node: Node, factor: float, shift: np.ndarray) -> str | None:
        """Returns a sum that is multiplied and shifted; one of its two terms takes the shift."""
        for shifts in (shift, NOTHING), (NOTHING, shift):
            terms = [
                self._with(name, factor, part) if factor != 1 or part.any() else name
                for name, part in zip(node.inputs, shifts, strict=True)
            ]
            if terms[0] is not None and terms[1] is not None:
                return self._again(node, terms[0], terms[1])
        return None

    def _convolution(self, node: Node, factor: float, shift: np.ndarray) -> str | None:
        """Returns the result of a convolution whose weights are multiplied and shifted."""
        weight, *bias = (self.constants.get(name) for name in node.inputs[1:])
        if weight is None or (shift.size > 1 and shift.shape[-3:] != (len(weight), 1, 1)):
            return None
        wide = np.zeros(len(weight)) if not bias or bias[0] is None else bias[0].astype(np.float64)
        wide = wide * factor + shift.reshape(-1)
        names = [node.inputs[0], node.inputs[1]]
        if factor != 1:
            names[1] = f"{node.outputs[0]}*"
            self.constants[names[1]] = (weight * factor).astype(weight.dtype)
        names.append(f"{node.outputs[0]}+b")
        self.constants[names[2]] = wide.astype(weight.dtype)
        return self._again(node, *names)
