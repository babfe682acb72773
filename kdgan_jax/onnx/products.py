"""Convolutions, matrix products and pooling."""

import math
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr

from kdgan_jax.onnx.translation import Equation, Operators, Result, Translation
from kdgan_jax.onnx.values import IMAGES, Size, Value, arranged, standard


def convolved(translation: Translation, equation: Equation, x: Value, kernel: Value) -> Result:
    """Convolves images."""
    params, numbers = equation.params, equation.params["dimension_numbers"]
    if x.known or params["batch_group_count"] != 1 or set(params["lhs_dilation"]) != {1}:
        return None
    name = translation.graph.add(
        "Conv",
        translation.tensor(x, numbers.lhs_spec, equation.shapes[0]),
        translation.tensor(kernel, numbers.rhs_spec, equation.shapes[1]),
        **_window(params["window_strides"], params["padding"], params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return Value(tuple(numbers.out_spec), name)


def _window(
    strides: Sequence[int], padding: Sequence[tuple[int, int]], dilation: Sequence[int]
) -> dict[str, Any]:
    """Returns the attributes that place windows; those that change nothing are left out."""
    pads = [pair[side] for side in (0, 1) for pair in padding]
    named = {"strides": strides, "pads": pads, "dilations": dilation}
    neutral = {"strides": 1, "pads": 0, "dilations": 1}
    return {k: tuple(v) for k, v in named.items() if set(v) != {neutral[k]}}


def grouped(translation: Translation, equation: Equation, x: Value, kernel: Value) -> Result:
    """Convolves groups of channels, as `models.blocks.grouped` does in one of several ways.

    One of them is a single convolution, which has the settings.
    """
    for inner in _inside(equation.params):
        if inner.primitive == "conv_general_dilated" and inner.params["feature_group_count"] > 1:
            return convolved(translation, inner, x, kernel)
    return None


def _inside(params: Mapping[str, Any]) -> Iterator[Equation]:
    """Yields the equations of all programs among an operator's settings."""
    for value in params.values():
        for program in value if isinstance(value, tuple | list) else (value,):
            for line in program.eqns if isinstance(program, ClosedJaxpr) else ():
                yield Equation(line)
                yield from _inside(line.params)


def product(translation: Translation, equation: Equation, a: Value, b: Value) -> Result:
    """Multiplies matrices; that of each pixel's channels is a 1x1 convolution."""
    if a.known and b.known:
        return None
    contracted, batched = equation.params["dimension_numbers"]
    shapes = equation.shapes
    ranks = len(shapes[0]), len(shapes[1])
    if ranks == (4, 2) and b.known and contracted[0] == (3,) and a.fits(IMAGES):
        across = contracted[1][0]
        matrix = translation.array(b, shapes[1])
        return pointwise(translation, a, shapes[0], matrix if across == 1 else matrix.T)
    return _einsum(translation, [a, b], shapes, contracted, batched)


def pointwise(
    translation: Translation, x: Value, shape: Sequence[Size], matrix: np.ndarray
) -> Value:
    """Returns images with a matrix (outputs, inputs) applied to each pixel's channels."""
    kernel = translation.graph.constant(matrix[:, :, None, None])
    name = translation.graph.add("Conv", translation.tensor(x, IMAGES, shape), kernel)
    return Value(IMAGES, name)


def _einsum(
    translation: Translation,
    values: Sequence[Value],
    shapes: Sequence[Sequence[Any]],
    contracted: Sequence[Sequence[int]],
    batched: Sequence[Sequence[int]],
) -> Value:
    """Returns the sum of products, with a letter for each axis."""
    letters = iter(string.ascii_lowercase)
    names: list[dict[int, str]] = [{}, {}]
    for pairs in batched, contracted:
        for i, j in zip(*pairs, strict=True):
            names[0][i] = names[1][j] = next(letters)
    out = [names[0][i] for i in batched[0]]
    for side, shape in enumerate(shapes):
        for axis in range(len(shape)):
            if axis not in names[side]:
                names[side][axis] = next(letters)
                out.append(names[side][axis])
    terms, tensors = [], []
    for value, shape, named in zip(values, shapes, names, strict=True):
        whole = translation.whole(value, shape)
        order = [axis for axis in whole.axes if axis is not None]
        order += [axis for axis in range(len(shape)) if axis not in order]
        tensors.append(translation.name(arranged(translation.graph, whole, order)))
        terms.append("".join(named[axis] for axis in order))
    rule = f"{','.join(terms)}->{''.join(out)}"
    name = translation.graph.add("Einsum", *tensors, equation=rule)
    return Value(tuple(range(len(out))), name)


def _pooled(kind: str) -> Any:
    """Returns the translation of an operator over windows."""

    def translate(translation: Translation, equation: Equation, x: Value) -> Result:
        params, rank = equation.params, len(equation.shape)
        order = standard(rank)
        sides = [params["window_dimensions"][axis] for axis in order]
        if x.known or rank != 4 or sides[:2] != [1, 1] or set(params["base_dilation"]) != {1}:
            return None
        window = _window(
            [params["window_strides"][axis] for axis in order[2:]],
            [params["padding"][axis] for axis in order[2:]],
            [params["window_dilation"][axis] for axis in order[2:]],
        )
        name = translation.tensor(x, order, equation.shapes[0])
        if kind == "MaxPool":
            return Value(order, translation.graph.add(kind, name, kernel_shape=sides[2:], **window))
        if "dilations" in window or "pads" in window:
            return None
        mean = translation.graph.add("AveragePool", name, kernel_shape=sides[2:], **window)
        number = math.prod(sides)
        total = translation.graph.add("Mul", mean, translation.graph.number(number))
        return replace(Value(order, total), terms=(number, mean))

    return translate


PRODUCTS: Operators = {
    "conv_general_dilated": convolved,
    "dot_general": product,
    "reduce_window_max": _pooled("MaxPool"),
    "reduce_window_sum": _pooled("AveragePool"),
}
