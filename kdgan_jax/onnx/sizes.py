"""Lengths of axes that depend on the image, as nodes."""

import ast
from typing import Any

from kdgan_jax.onnx.graph import Graph

OPERATORS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
FUNCTIONS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}


class Sizes:
    """Makes nodes that compute an expression of JAX's symbolic shapes, such as "4*height - 1".

    Attributes:
      graph: where nodes are added.
      names: tensors, int64 with one number, by the symbols of expressions.
    """

    def __init__(self, graph: Graph, names: dict[str, str]) -> None:
        self.graph, self.names = graph, names

    def tensor(self, size: Any) -> str:
        """Returns the name of a tensor with one number, int64."""
        return self._node(ast.parse(str(size).replace("^", "**"), mode="eval").body)

    def shape(self, lengths: Any) -> str:
        """Returns the name of a tensor with the lengths of all axes."""
        if all(isinstance(length, int) for length in lengths):
            return self.graph.integers(*lengths)
        return self.graph.add("Concat", *map(self.tensor, lengths), axis=0)

    def _node(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            return self.graph.integers(node.value)
        if isinstance(node, ast.Name):
            return self.names[node.id]
        if isinstance(node, ast.UnaryOp):
            return self.graph.add("Neg", self._node(node.operand))
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Pow):  # with a whole number
                assert isinstance(node.right, ast.Constant)
                base, number = self._node(node.left), node.right.value
                assert isinstance(number, int)
                power = base
                for _ in range(number - 1):
                    power = self.graph.add("Mul", power, base)
                return power
            kind = OPERATORS[type(node.op)]
            return self.graph.add(kind, self._node(node.left), self._node(node.right))
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        first, second = map(self._node, node.args)
        return self.graph.add(FUNCTIONS[node.func.id], first, second)
