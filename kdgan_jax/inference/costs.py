"""The costs of a network, counted from its traced program or measured.

Counts follow the papers: multiply-accumulates of convolutions and matrix products for one
1280 x 720 output. Element-wise operations do not count, nor do products with an operand that
depends on neither weights nor image, such as the fixed matrix of an interpolation.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from kdgan_jax import models
from kdgan_jax.inference.model import Model

HEIGHT, WIDTH = 720, 1280
RUNS = 5  # whose median is the measured time


def multi_adds_720p(model: Model) -> int:
    """Returns the multiply-accumulates of one 1280 x 720 output of `model`.

    If the scale does not divide that size, the next larger size is counted and scaled by area.
    """
    height, width = _input_size(model)
    counted = multi_adds(
        lambda params, lr: models.apply(model.module, {"params": params}, lr)[0],
        model.params,
        jax.ShapeDtypeStruct((1, height, width, 3), np.float32),
    )
    return round(counted * HEIGHT * WIDTH / (height * width * model.scale**2))


def seconds_720p(model: Model) -> float:
    """Returns the median seconds of one 1280 x 720 output of `model`, after a warm-up."""
    frame = np.random.default_rng(0).integers(0, 256, (*_input_size(model), 3), np.uint8)
    model.raw(frame)
    return median_seconds(lambda: model.raw(frame), RUNS)


def median_seconds(call: Callable[[], object], runs: int) -> float:
    """Returns the median seconds of so many runs of `call`."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def _input_size(model: Model) -> tuple[int, int]:
    return math.ceil(HEIGHT / model.scale), math.ceil(WIDTH / model.scale)


def multi_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """Returns the multiply-accumulates of `function(*arguments)`, which is traced, not run.

    Args:
      function: of arrays.
      arguments: pytrees of arrays or `jax.ShapeDtypeStruct`.

    Raises:
      NotImplementedError: it contains a loop whose length the program does not state.
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
        # A named program counts by its name, however it is computed.
        name = equation.params.get("name", equation.primitive.name)
        if name in PRODUCTS:
            if all(inputs[:2]):
                total += PRODUCTS[name](equation)
        else:
            for inner, repeats in _inner(equation):
                # The first inputs of an equation may be constants that the inner program lacks.
                inner_live = inputs[-len(inner.invars) :] if inner.invars else []
                count, inner_outputs = _count(inner, inner_live)
                while equation.primitive.name == "scan":  # until dependence is stable over rounds
                    next_live = _carried(equation, inner_live, inner_outputs)
                    if next_live == inner_live:
                        break
                    inner_live = next_live
                    count, inner_outputs = _count(inner, inner_live)
                total += count * repeats
                if len(inner_outputs) == len(outputs):
                    outputs = inner_outputs
        depends.update(zip(equation.outvars, outputs, strict=True))
    return total, [not isinstance(v, Literal) and depends.get(v, False) for v in jaxpr.outvars]


def _carried(equation: JaxprEqn, live: list[bool], outputs: list[bool]) -> list[bool]:
    """Returns which inputs of a scan's next round are live, given those of this round."""
    constants, carried = equation.params["num_consts"], equation.params["num_carry"]
    carry = [a or b for a, b in zip(live[constants:], outputs[:carried], strict=False)]
    return live[:constants] + carry + live[constants + carried :]


def _inner(equation: JaxprEqn) -> list[tuple[Jaxpr, int]]:
    """Returns the programs inside an equation (jit, scan, custom derivatives), and their repeats.

    Raises:
      NotImplementedError: a loop whose length the program does not state.
    """
    programs = []
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            program = item.jaxpr if isinstance(item, ClosedJaxpr) else item
            if isinstance(program, Jaxpr):
                programs.append((program, equation.params.get("length", 1)))
    if programs and equation.primitive.name in ("while", "cond"):
        raise NotImplementedError(f"multi-adds inside {equation.primitive.name} are not counted")
    return programs


def _shapes(equation: JaxprEqn) -> tuple[tuple[int, ...], ...]:
    """Returns the shapes of the first two inputs and the first output."""
    variables: tuple[Any, ...] = (*equation.invars[:2], equation.outvars[0])
    first, second, output = (variable.aval.shape for variable in variables)
    return first, second, output


def _convolution(equation: JaxprEqn) -> int:
    """Output elements times the terms of each sum: kernel area times channels of a group."""
    _, kernel, output = _shapes(equation)
    output_axis = equation.params["dimension_numbers"].rhs_spec[0]
    terms = math.prod(kernel) // kernel[output_axis]
    # Zeros that dilation puts between inputs cost nothing.
    return math.prod(output) * terms // math.prod(equation.params["lhs_dilation"])


def _product(equation: JaxprEqn) -> int:
    """Output elements times the terms of each sum."""
    first, _, output = _shapes(equation)
    (contracted, _), _ = equation.params["dimension_numbers"]
    return math.prod(output) * math.prod(first[axis] for axis in contracted)


def _grouped(equation: JaxprEqn) -> int:
    """Output elements times kernel area times channels of a group."""
    _, kernel, output = _shapes(equation)
    return math.prod(output) * math.prod(kernel[:3])


PRODUCTS: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "grouped_convolution": _grouped,
}
