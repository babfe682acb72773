"""What a network costs, counted from its traced program instead of a table kept by hand.

As papers count: multiply-accumulates of convolutions and matrix products for one 1280 x 720 output.
A product with an operand that depends on neither weights nor image (the fixed matrix of an
interpolation) is no work that a network's figure counts, and element-wise operations are not.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from kdgan_jax import models
from kdgan_jax.inference.model import Model

HEIGHT, WIDTH = 720, 1280


def multi_adds_720p(model: Model) -> int:
    """Returns the multiply-accumulates of one 1280 x 720 output of `model`.

    A scale that does not divide it is counted at the next larger size and reduced by the areas.
    """
    height, width = math.ceil(HEIGHT / model.scale), math.ceil(WIDTH / model.scale)
    counted = multi_adds(
        lambda params, lr: models.apply(model.module, {"params": params}, lr)[0],
        model.params,
        jax.ShapeDtypeStruct((1, height, width, 3), np.float32),
    )
    return round(counted * HEIGHT * WIDTH / (height * width * model.scale**2))


def multi_adds(function: Any, *arguments: Any) -> int:
    """Returns the multiply-accumulates of `function(*arguments)`, which is traced, not run.

    Args:
      function: of arrays.
      arguments: pytrees of arrays, or of `jax.ShapeDtypeStruct`.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return _count(jaxpr, [True] * len(jaxpr.invars))[0]


def _count(jaxpr: Jaxpr, live: Sequence[bool]) -> tuple[int, list[bool]]:
    """Returns the count, and for every output whether it depends on a live input."""
    depends = dict(zip(jaxpr.invars, live, strict=True))
    total = 0
    for equation in jaxpr.eqns:
        inputs = [not isinstance(v, Literal) and depends.get(v, False) for v in equation.invars]
        outputs = [any(inputs)] * len(equation.outvars)
        # What a program that bears a name does is told by the name, however it is done.
        name = equation.params.get("name", equation.primitive.name)
        if name in PRODUCTS:
            if all(inputs[:2]):
                total += PRODUCTS[name](equation)
        else:
            for inner, repeats in _inner(equation):
                # Of inner programs all but the last inputs may be constants of their own.
                known = inputs[-len(inner.invars) :] if inner.invars else []
                count, inner_outputs = _count(inner, known)
                while equation.primitive.name == "scan":  # a round takes what the last one made
                    later = _carried(equation, known, inner_outputs)
                    if later == known:
                        break
                    known = later
                    count, inner_outputs = _count(inner, known)
                total += count * repeats
                if len(inner_outputs) == len(outputs):
                    outputs = inner_outputs
        depends.update(zip(equation.outvars, outputs, strict=True))
    return total, [not isinstance(v, Literal) and depends.get(v, False) for v in jaxpr.outvars]


def _carried(equation: Any, known: list[bool], outputs: list[bool]) -> list[bool]:
    """Returns `known` for the later rounds of a scan, whose carry may come to depend on inputs."""
    constants, carried = equation.params["num_consts"], equation.params["num_carry"]
    live = [a or b for a, b in zip(known[constants:], outputs[:carried], strict=False)]
    return known[:constants] + live + known[constants + carried :]


def _inner(equation: Any) -> list[tuple[Jaxpr, int]]:
    """Returns the programs inside an equation (jit, scan, custom derivatives), and how often.

    Raises:
      NotImplementedError: a loop whose length the program does not tell.
    """
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            program = item.jaxpr if isinstance(item, ClosedJaxpr) else item
            if isinstance(program, Jaxpr):
                found.append((program, equation.params.get("length", 1)))
    if found and equation.primitive.name in ("while", "cond"):
        raise NotImplementedError(f"multi-adds inside {equation.primitive.name} are not counted")
    return found


def _convolution(equation: Any) -> int:
    """Output elements times what each sums over: kernel area times channels of its group."""
    kernel = equation.invars[1].aval.shape
    outputs = equation.params["dimension_numbers"].rhs_spec[0]
    dilated = math.prod(equation.params["lhs_dilation"])  # zeros put between inputs cost nothing
    per_output = math.prod(kernel) // kernel[outputs]
    return math.prod(equation.outvars[0].aval.shape) * per_output // dilated


def _product(equation: Any) -> int:
    """Output elements times the length of what is summed over."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    summed = math.prod(shape[axis] for axis in contracted)
    return math.prod(equation.outvars[0].aval.shape) * summed


def _grouped(equation: Any) -> int:
    """Output elements times the kernel's area times the channels of a group."""
    return math.prod(equation.outvars[0].aval.shape) * math.prod(equation.invars[1].aval.shape[:3])


PRODUCTS = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "grouped_convolution": _grouped,
}
