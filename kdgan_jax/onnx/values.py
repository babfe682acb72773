"""What a variable of the traced program is in the graph.

A program in JAX has images as (B, H, W, C), and ONNX as (B, C, H, W). So a value knows which axis
of its array each axis of its tensor is. Most operators keep the order of axes, whatever it is, and
transposing an array only changes these numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from kdgan_jax.onnx.graph import Graph

Size = Any  # the length of an axis: an integer, or an expression of JAX's symbolic shapes
IMAGES = 0, 3, 1, 2  # the order of the axes of (B, H, W, C) in a tensor


def standard(rank: int) -> tuple[int, ...]:
    """Returns the order of axes in which tensors of so many axes are kept."""
    return IMAGES if rank == 4 else tuple(range(rank))


@dataclass(frozen=True)
class Value:
    """An array of the traced program.

    Attributes:
      axes: for each axis of the tensor the axis of the array, or None for one of length 1 that the
        array need not have. Axes that are missing have length 1, or repeat what is there.
      name: of the tensor; "" for constants.
      constant: the numbers of a constant, with the axes of the tensor.
      terms: of a sum over axes: how many numbers each is the sum of, and the name of the tensor
        that holds their mean.
      size: of a number that depends on the lengths of axes: the expression.
    """

    axes: tuple[int | None, ...]
    name: str = ""
    constant: np.ndarray | None = None
    terms: tuple[Size, str] | None = None
    size: Size = None

    @classmethod
    def of(cls, array: Any) -> Self:
        """Returns the value of a constant."""
        array = np.asarray(array)
        return cls(tuple(range(array.ndim)), constant=array)

    @property
    def known(self) -> bool:
        """Whether it is a constant."""
        return self.constant is not None

    @property
    def number(self) -> Any:
        """The number that a constant holds everywhere; None if there is no such number."""
        if self.constant is None or not self.constant.size:
            return None
        first = self.constant.flat[0]
        return first.item() if (self.constant == first).all() else None

    def of_tensor(self, name: str) -> Self:
        """Returns the value of another tensor with the same axes."""
        return replace(self, name=name, constant=None, terms=None)

    def renumbered(self, axes: Mapping[int, int]) -> Self:
        """Returns the value with other numbers for its axes; those not in `axes` are left out."""
        return replace(self, axes=tuple(None if a is None else axes.get(a) for a in self.axes))

    def position(self, axis: int) -> int | None:
        """Returns the place of an axis of the array in the tensor."""
        return self.axes.index(axis) if axis in self.axes else None

    def fits(self, order: Sequence[int | None]) -> bool:
        """Returns whether the tensor has the axes of `order`, or length 1, at every place."""
        pairs = zip(self.axes, order, strict=False)
        return len(self.axes) == len(order) and all(a is None or a == b for a, b in pairs)


def arranged(graph: Graph, value: Value, order: Sequence[int]) -> Value:
    """Returns the value with a tensor whose axes are those of `order`.

    Axes that the value lacks have length 1.
    """
    if value.fits(order):
        return value
    kept = [axis for axis in value.axes if axis is not None]
    wanted = [axis for axis in order if axis in kept]
    found = tuple(axis if axis in kept else None for axis in order)
    extra = [i for i, axis in enumerate(value.axes) if axis is None]
    lacking = [i for i, axis in enumerate(order) if axis not in kept]
    turned = [kept.index(axis) for axis in wanted]
    if value.constant is not None:
        array = value.constant.squeeze(tuple(extra)).transpose(turned)
        return replace(value, axes=found, constant=np.expand_dims(array, lacking))
    name = value.name
    if extra:
        name = graph.add("Squeeze", name, graph.integers(*extra))
    if kept != wanted:
        name = graph.add("Transpose", name, perm=turned)
    if lacking:
        name = graph.add("Unsqueeze", name, graph.integers(*lacking))
    return replace(value, axes=found, name=name, terms=None)


def together(graph: Graph, values: Sequence[Value], rank: int) -> tuple[Sequence[Value], Any]:
    """Returns values whose tensors can be combined element by element, and the result's axes."""
    tensors = [value for value in values if not value.known] or values
    longest = max(tensors, key=lambda value: sum(axis is not None for axis in value.axes))
    axes: list[int | None] = list(longest.axes)
    for value in values:
        if len(value.axes) == len(axes):
            free = [a is None and b not in axes for a, b in zip(axes, value.axes, strict=True)]
            axes = [b if f else a for a, b, f in zip(axes, value.axes, free, strict=True)]
    if any(axis not in (*axes, None) for value in values for axis in value.axes):
        axes = list(standard(rank))
    order = [axis if axis is not None else rank + i for i, axis in enumerate(axes)]
    fitted = [arranged(graph, value, order) if value.axes else value for value in values]
    held = {axis for value in fitted for axis in value.axes}
    return fitted, tuple(axis if axis in held else None for axis in axes)
