"""Short rows of equations that are one operator of ONNX.

The rows are code outside the models' blocks, where the equations have no name of their own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdgan_jax.onnx.products import pointwise
from kdgan_jax.onnx.translation import Equation, Pattern, Translation
from kdgan_jax.onnx.values import IMAGES, Value

Read = Callable[[Any], Value]


def mixed(translation: Translation, rows: Sequence[Equation], read: Read) -> Value | None:
    """Mixes channels, (x[..., None, :] * matrix).sum(-1), as `pictures.colour` does."""
    x, matrix = (read(row.line.invars[0]) for row in rows[:2])
    spread, across = (row.params["broadcast_dimensions"] for row in rows[:2])
    fits = (spread, across, rows[3].params["axes"]) == ((0, 1, 2, 4), (3, 4), (4,))
    if not fits or not matrix.known or x.known:
        return None
    numbers = translation.array(matrix, rows[1].shapes[0])
    return pointwise(translation, x, rows[0].shapes[0], numbers)


def unshuffled(translation: Translation, rows: Sequence[Equation], read: Read) -> Value | None:
    """Makes channels of squares of pixels, the inverse of a pixel shuffle.

    ONNX's SpaceToDepth has another order of channels, so this is a convolution with ones.
    """
    before, split, after = rows[0].shapes[0], rows[0].shape, rows[2].shape
    if len(split) != 6 or rows[1].params["permutation"] != (0, 1, 3, 5, 2, 4):
        return None
    _, _, side, _, across, channels = split
    if side != across or after[3:] != (channels * side**2,) or before[3:] != (channels,):
        return None
    x = read(rows[0].line.invars[0])
    if side == 1:
        return x
    # One input channel and place in the square for each output channel.
    place = np.eye(side**2, dtype=np.float32).reshape(-1, 1, side, side)
    kernel = translation.graph.constant(np.tile(place, (channels, 1, 1, 1)))
    tensor = translation.tensor(x, IMAGES, before)
    name = translation.graph.add("Conv", tensor, kernel, strides=(side, side), group=channels)
    return Value(IMAGES, name)


PATTERNS: tuple[Pattern, ...] = (
    (("broadcast_in_dim", "broadcast_in_dim", "mul", "reduce_sum"), mixed),
    (("reshape", "transpose", "reshape"), unshuffled),
)
