"""A graph that grows node by node."""

import hashlib

import numpy as np

from kdgan_jax.onnx.wire import Attribute, Node
from kdgan_jax.runtime.errors import UserError

HALF = np.float16


class Graph:
    """Nodes and constants of a graph.

    A node that is there already, or a constant, is not added twice.

    Attributes:
      half: whether numbers are float16 instead of float32.
      nodes: in the order in which they are computed.
      constants: arrays by the names of their tensors.
    """

    def __init__(self, half: bool = False) -> None:
        self.half = half
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self._known: dict[object, tuple[str, ...]] = {}
        self._makers: dict[str, Node] = {}

    def constant(self, array: np.ndarray, exact: bool = False) -> str:
        """Returns the name of a tensor with this content.

        Args:
          array: the numbers.
          exact: keep float32 in a graph of float16.

        Raises:
          UserError: float16 cannot hold a number.
        """
        if self.half and array.dtype == np.float32 and not exact:
            array = _halved(array)
        array = np.asarray(array, order="C")
        key = (array.shape, array.dtype.str, hashlib.sha256(array.data).digest())
        if key not in self._known:
            name = f"c{len(self.constants)}"
            self._known[key] = (name,)
            self.constants[name] = array
        return self._known[key][0]

    def number(self, value: float) -> str:
        """Returns the name of a tensor with one number, which is float16 if the graph is."""
        return self.constant(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Returns the name of a tensor with these numbers, int64."""
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, **attributes: Attribute) -> str:
        """Adds a node with one output, and returns the output's name."""
        return self.split(kind, 1, *inputs, **attributes)[0]

    def split(
        self, kind: str, number: int, *inputs: str, **attributes: Attribute
    ) -> tuple[str, ...]:
        """Adds a node with so many outputs, and returns their names."""
        attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()}
        key = (kind, inputs, tuple(attributes.items()))
        if key not in self._known:
            start = len(self.nodes)
            names = tuple(f"t{start}" if i == 0 else f"t{start}_{i}" for i in range(number))
            node = Node(kind, inputs, names, attributes)
            self.nodes.append(node)
            self._makers |= dict.fromkeys(names, node)
            self._known[key] = names
        return self._known[key]

    def maker(self, name: str) -> Node | None:
        """Returns the node that makes a tensor; None for inputs and constants."""
        return self._makers.get(name)


def _halved(array: np.ndarray) -> np.ndarray:
    """Returns numbers as float16; what would become 0 becomes the smallest number."""
    largest = np.abs(array).max(initial=0)
    if np.isfinite(largest) and largest > np.finfo(HALF).max:
        raise UserError(
            f"a weight is {largest:,.0f}, and float16 ends at {np.finfo(HALF).max:,.0f}; write"
            " float32"
        )
    least = np.finfo(HALF).smallest_subnormal
    vanished = (array != 0) & (np.abs(array) < least)
    return np.where(vanished, np.copysign(least, array), array).astype(HALF)
