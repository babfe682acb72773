"""Operators that combine arrays number by number."""

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from jax import lax

from kdgan_jax.onnx.translation import Equation, Operator, Operators, Result, Translation
from kdgan_jax.onnx.values import Value, together
from kdgan_jax.onnx.wire import DTYPES


def combined(translation: Translation, kind: str, rank: int, *values: Value) -> Value:
    """Returns the value of a node that combines tensors number by number."""
    fitted, axes = together(translation.graph, values, rank)
    return Value(axes, translation.graph.add(kind, *map(translation.name, fitted)))


def _plain(kind: str) -> Operator:
    """Returns the translation of a primitive that is one operator of ONNX."""

    def translate(translation: Translation, equation: Equation, *values: Value) -> Result:
        if all(value.known for value in values):
            return _constant(translation, equation, values)
        return combined(translation, kind, len(equation.shape), *values)

    return translate


def _constant(translation: Translation, equation: Equation, values: Any) -> Value:
    """Returns the result for constants, without the axes along which all of them repeat."""
    fitted, axes = together(translation.graph, values, len(equation.shape))
    arrays = np.broadcast_arrays(*(v.constant for v in fitted if v.constant is not None))
    (result,) = equation.evaluated(arrays)
    return Value(axes, constant=result)


def _arithmetic(kind: str, python: Callable[[Any, Any], Any], neutral: float | None) -> Operator:
    """Returns the translation of a binary operator.

    Args:
      kind: its name in ONNX.
      python: the same for lengths of axes.
      neutral: the second operand that changes nothing.
    """
    plain = _plain(kind)

    def translate(translation: Translation, equation: Equation, *values: Value) -> Result:
        a, b = values
        if a.size is not None or b.size is not None:
            return _of_sizes(python, a, b)
        if neutral is not None and b.known and b.number == neutral:
            return a
        return plain(translation, equation, a, b)

    return translate


def _of_sizes(python: Callable[[Any, Any], Any], a: Value, b: Value) -> Value | None:
    """Returns the result for a number that depends on lengths of axes, and another number."""
    operands = [value.number if value.size is None else value.size for value in (a, b)]
    operands = [int(o) if isinstance(o, float) and o.is_integer() else o for o in operands]
    if any(operand is None or isinstance(operand, float) for operand in operands):
        return None
    result = python(*operands)
    return Value.of(result) if isinstance(result, bool) else Value((), size=result)


def quotient(translation: Translation, equation: Equation, a: Value, b: Value) -> Result:
    """Divides; a sum divided by how many numbers it is of becomes a mean, which cannot overflow."""
    divisor = b.number if b.size is None else b.size
    if a.terms is None or divisor is None:
        return None if b.size is not None else _plain("Div")(translation, equation, a, b)
    terms, name = a.terms
    mean = a.of_tensor(name)
    if divisor == terms:
        return mean
    rank = len(equation.shape)
    factor = Value.of(np.float32(terms / divisor))
    return combined(translation, "Mul", rank, mean, factor)


def larger(translation: Translation, equation: Equation, *values: Value) -> Result:
    """Returns maxima; those with 0 are Relu."""
    for a, b in values, values[::-1]:
        if not a.known and b.known and b.number == 0:
            return a.of_tensor(translation.graph.add("Relu", a.name))
    return _plain("Max")(translation, equation, *values)


def clamped(
    translation: Translation, equation: Equation, low: Value, x: Value, high: Value
) -> Result:
    """Limits numbers to a range."""
    if x.known or low.number is None or high.number is None:
        return None
    limits = (translation.graph.number(value.number) for value in (low, high))
    return x.of_tensor(translation.graph.add("Clip", x.name, *limits))


def chosen(translation: Translation, equation: Equation, which: Value, *cases: Value) -> Result:
    """Takes numbers from the second case where `which` is true, from the first elsewhere."""
    if which.number is not None:
        return cases[int(which.number)]
    if which.known and all(case.known for case in cases):
        return None
    first, second = cases
    return combined(translation, "Where", len(equation.shape), which, second, first)


def power(translation: Translation, equation: Equation, x: Value) -> Result:
    """Multiplies numbers with themselves."""
    number = equation.params.get("y", 2)
    if x.known:
        return _constant(translation, equation, [x])
    if number == 2:
        return x.of_tensor(translation.graph.add("Mul", x.name, x.name))
    exponent = translation.graph.number(number)
    return x.of_tensor(translation.graph.add("Pow", x.name, exponent))


def inverse_root(translation: Translation, equation: Equation, x: Value) -> Result:
    """Returns 1 / √x."""
    if x.known:
        return None
    root = translation.graph.add("Sqrt", x.name)
    return x.of_tensor(translation.graph.add("Reciprocal", root))


def complement(translation: Translation, equation: Equation, x: Value) -> Result:
    """Returns 1 - erf(x).

    JAX computes GELU with that of -x / √2. It becomes 1 + erf(x / √2), as ONNX Runtime knows GELU.
    """
    if x.known:
        return None
    graph = translation.graph
    one, product = graph.number(1), graph.maker(x.name)
    if product and product.kind == "Mul":
        negative, factor = graph.maker(product.inputs[0]), graph.constants.get(product.inputs[1])
        usual = factor is not None and factor.size == 1 and np.isclose(factor, 0.5**0.5, rtol=1e-3)
        if usual and negative and negative.kind == "Neg":
            share = graph.add("Div", negative.inputs[0], graph.number(math.sqrt(2)))
            return x.of_tensor(graph.add("Add", graph.add("Erf", share), one))
    return x.of_tensor(graph.add("Sub", one, graph.add("Erf", x.name)))


def converted(translation: Translation, equation: Equation, x: Value) -> Result:
    """Changes the dtype."""
    before, after = equation.dtypes[0], equation.params["new_dtype"]
    if x.size is not None or (before == after and not x.known):
        return x
    if x.constant is not None:
        return replace(x, constant=x.constant.astype(after))
    name = translation.graph.add("Cast", x.name, to=DTYPES[np.dtype(after).name])
    return x.of_tensor(name)


def rounded(translation: Translation, equation: Equation, x: Value) -> Result:
    """Rounds to the nearest whole number, halves to even ones."""
    if equation.params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        return None
    return _plain("Round")(translation, equation, x)


def same(translation: Translation, equation: Equation, x: Value) -> Result:
    """Returns what it gets."""
    return x


def number_of(translation: Translation, equation: Equation) -> Result:
    """Returns a length of an axis as a number."""
    return Value((), size=equation.params["dim"])


ELEMENTWISE: Operators = {
    "add": _arithmetic("Add", operator.add, 0),
    "sub": _arithmetic("Sub", operator.sub, 0),
    "mul": _arithmetic("Mul", operator.mul, 1),
    "div": quotient,
    "gt": _arithmetic("Greater", operator.gt, None),
    "ge": _arithmetic("GreaterOrEqual", operator.ge, None),
    "lt": _arithmetic("Less", operator.lt, None),
    "le": _arithmetic("LessOrEqual", operator.le, None),
    "eq": _plain("Equal"),
    "and": _plain("And"),
    "or": _plain("Or"),
    "not": _plain("Not"),
    "max": larger,
    "min": _plain("Min"),
    "clamp": clamped,
    "select_n": chosen,
    "integer_pow": power,
    "square": power,
    "rsqrt": inverse_root,
    "sqrt": _plain("Sqrt"),
    "exp": _plain("Exp"),
    "log": _plain("Log"),
    "tanh": _plain("Tanh"),
    "logistic": _plain("Sigmoid"),
    "erf": _plain("Erf"),
    "erfc": complement,
    "abs": _plain("Abs"),
    "neg": _plain("Neg"),
    "sign": _plain("Sign"),
    "floor": _plain("Floor"),
    "ceil": _plain("Ceil"),
    "round": rounded,
    "convert_element_type": converted,
    "copy": same,
    "stop_gradient": same,
    "dim_as_value": number_of,
}
