"""Functions that are translated as a whole, by the names under which they are compiled."""

import math
from typing import Any

import numpy as np

from kdgan_jax.onnx.products import grouped
from kdgan_jax.onnx.shaping import END
from kdgan_jax.onnx.translation import Equation, Operators, Result, Translation
from kdgan_jax.onnx.values import IMAGES, Value
from kdgan_jax.pictures import bicubic


def pixel_shuffle(translation: Translation, equation: Equation, x: Value) -> Result:
    """Makes squares of pixels of channels."""
    before, after = equation.shapes[0], equation.shape
    side = math.isqrt(before[3] // after[3])
    if side == 1:
        return x
    name = translation.tensor(x, IMAGES, before)
    return Value(IMAGES, translation.graph.add("DepthToSpace", name, blocksize=side, mode="CRD"))


def nearest(translation: Translation, equation: Equation, x: Value) -> Result:
    """Repeats pixels."""
    before, after = equation.shapes[0], equation.shape
    factor = after[1] // before[1]
    if factor == 1:
        return x
    scales = translation.graph.constant(np.array([1, 1, factor, factor], np.float32), exact=True)
    name = translation.graph.add(
        "Resize",
        translation.tensor(x, IMAGES, before),
        "",
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return Value(IMAGES, name)


def resized(translation: Translation, equation: Equation, x: Value) -> Result:
    """Resizes images bilinearly, without a filter, as networks do."""
    before, after = equation.shapes[0], equation.shape
    name = translation.tensor(x, IMAGES, before)
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if after[1] % before[1] == 0 and after[2] % before[2] == 0:
        factors = after[1] // before[1], after[2] // before[2]
        if all(isinstance(factor, int) for factor in factors):
            scales = translation.graph.constant(np.array([1, 1, *factors], np.float32), exact=True)
            return Value(IMAGES, translation.graph.add("Resize", name, "", scales, **how))
    sizes = translation.sizes.shape([after[axis] for axis in IMAGES])
    return Value(IMAGES, translation.graph.add("Resize", name, "", "", sizes, **how))


def deviation(translation: Translation, equation: Equation, x: Value, mean: Value) -> Result:
    """Returns the standard deviation of each channel."""
    graph = translation.graph
    name, middle = (
        translation.tensor(value, IMAGES, shape)
        for value, shape in zip((x, mean), equation.shapes, strict=True)
    )
    distance = graph.add("Sub", name, middle)
    variance = graph.add("ReduceMean", graph.add("Mul", distance, distance), axes=(2, 3))
    return Value(IMAGES, graph.add("Sqrt", variance))


def prelu(translation: Translation, equation: Equation, x: Value, slope: Value) -> Result:
    """Multiplies negative numbers by their channel's slope."""
    if slope.constant is None or not x.fits(IMAGES):
        return None
    slopes = translation.graph.constant(slope.constant.reshape(-1, 1, 1))
    return x.of_tensor(translation.graph.add("PRelu", x.name, slopes))


def leaky_relu(translation: Translation, equation: Equation, x: Value, slope: Value) -> Result:
    """Multiplies negative numbers by one slope."""
    if slope.number is None:
        return None
    if slope.number == 0:
        return x.of_tensor(translation.graph.add("Relu", x.name))
    name = translation.graph.add("LeakyRelu", x.name, alpha=float(slope.number))
    return x.of_tensor(name)


def bicubic_exact(translation: Translation, equation: Equation, x: Value) -> Result:
    """Enlarges by MATLAB's bicubic interpolation."""
    before, after = equation.shapes[0], equation.shape
    scale = after[1] // before[1]
    graph, taps = translation.graph, _taps(scale)
    name = _mirrored(translation, translation.tensor(x, IMAGES, before))
    kernel = np.einsum("iy,jx->ijyx", taps, taps).reshape(-1, 1, 5, 5)
    name = graph.add("Conv", name, graph.constant(np.tile(kernel, (3, 1, 1, 1))), group=3)
    return Value(IMAGES, graph.add("DepthToSpace", name, blocksize=scale, mode="CRD"))


def bicubic_rounded(translation: Translation, equation: Equation, x: Value) -> Result:
    """Enlarges by MATLAB's bicubic interpolation of 8-bit images, one axis after the other.

    Between the two, the rows of a square are channels.
    """
    before, after = equation.shapes[0], equation.shape
    scale = after[1] // before[1]
    graph, taps = translation.graph, _taps(scale)
    zero, half, white = map(graph.number, (0, 0.5, 255))
    name = _mirrored(translation, translation.tensor(x, IMAGES, before))
    name = graph.add("Round", graph.add("Mul", name, white))
    for groups, shape in (3, (-1, 1, 5, 1)), (3 * scale, (-1, 1, 1, 5)):
        kernel = graph.constant(np.tile(taps, (groups, 1)).reshape(shape))
        name = graph.add("Conv", name, kernel, group=groups)
        name = graph.add("Clip", graph.add("Floor", graph.add("Add", name, half)), zero, white)
    name = graph.add("DepthToSpace", name, blocksize=scale, mode="CRD")
    return Value(IMAGES, graph.add("Div", name, white))


def _taps(scale: int) -> np.ndarray:
    """Returns the weights (scale, 5) of a pixel and two on either side for each enlarged one."""
    return bicubic.matrix(5, scale)[2 * scale : 3 * scale]


def _mirrored(translation: Translation, name: str) -> str:
    """Returns images with two pixels added on every side, those of the edge in reverse order."""
    graph, translation.smallest = translation.graph, max(translation.smallest, 2)
    for axis in 2, 3:
        back, place = graph.integers(-1), graph.integers(axis)
        first = graph.add("Slice", name, graph.integers(1), graph.integers(-END), place, back)
        last = graph.add("Slice", name, graph.integers(-1), graph.integers(-3), place, back)
        name = graph.add("Concat", first, name, last, axis=axis)
    return name


NAMED: Operators = {
    "grouped_convolution": grouped,
    "pixel_shuffle": pixel_shuffle,
    "nearest": nearest,
    "_resize": resized,
    "deviation": deviation,
    "prelu": prelu,
    "leaky_relu": leaky_relu,
    "bicubic_exact": bicubic_exact,
    "bicubic_rounded": bicubic_rounded,
}
