"""From a traced program to the nodes of a graph."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.sizes import Sizes
from kdgan_jax.onnx.values import Size, Value, arranged, standard
from kdgan_jax.runtime.errors import UserError


class Equation:
    """One line of a traced program.

    Attributes:
      primitive: the name of its operator.
      params: the operator's settings.
      shapes: of the arrays that it uses.
      shape: of its first result.
      dtypes: of the arrays that it uses.
      dtype: of its first result.
      called: the program that it calls, such as that of a function under jit.
    """

    def __init__(self, line: JaxprEqn) -> None:
        given: list[Any] = [variable.aval for variable in line.invars]
        made: list[Any] = [variable.aval for variable in line.outvars]
        self.line, self.primitive, self.params = line, line.primitive.name, line.params
        self.shapes: list[tuple[Size, ...]] = [one.shape for one in given]
        self.dtypes: list[np.dtype] = [one.dtype for one in given]
        self.shape: tuple[Size, ...] = made[0].shape
        self.dtype: np.dtype = made[0].dtype
        programs = [p for p in line.params.values() if isinstance(p, ClosedJaxpr)]
        self.called = programs[0] if len(programs) == 1 else None

    def evaluated(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns its results for constants."""
        results = self.line.primitive.bind(*arrays, **self.params)
        results = results if self.line.primitive.multiple_results else [results]
        return [np.asarray(result) for result in results]


class Translation:
    """A graph, and how the operators of a program become its nodes.

    Attributes:
      graph: where nodes are added.
      sizes: computes lengths of axes that differ from call to call.
      table: the functions that translate.
      smallest: the smallest side of an image for which the nodes are right.
    """

    def __init__(self, graph: Graph, sizes: Sizes, table: "Table") -> None:
        self.graph, self.sizes, self.table = graph, sizes, table
        self.smallest = 1

    def run(self, program: ClosedJaxpr, inputs: Sequence[Value]) -> list[Value]:
        """Adds the nodes of a program, and returns the values that it returns.

        Raises:
          UserError: the program has an operator that cannot be translated.
        """
        inner = program.jaxpr
        values: dict[Any, Value] = dict(zip(inner.invars, inputs, strict=True))
        values |= zip(inner.constvars, map(Value.of, program.consts), strict=True)

        def read(variable: Any) -> Value:
            if isinstance(variable, Literal):
                aval: Any = variable.aval
                return Value.of(np.asarray(variable.val, aval.dtype))
            return values[variable]

        rest = [Equation(line) for line in inner.eqns]
        while rest:
            result, length = self._pattern(rest, read)
            if result is None:
                results = self._equation(rest[0], [read(v) for v in rest[0].line.invars])
            else:
                results = [result]
            values.update(zip(rest[length - 1].line.outvars, results, strict=True))
            del rest[:length]
        return [read(variable) for variable in inner.outvars]

    def _pattern(
        self, equations: Sequence[Equation], read: Callable[[Any], Value]
    ) -> tuple[Value | None, int]:
        """Returns the result of the pattern with which the equations begin, and its length."""
        for names, pattern in self.table.patterns:
            row = equations[: len(names)]
            fits = tuple(equation.primitive for equation in row) == names
            if fits and (result := pattern(self, row, read)):
                return result, len(row)
        return None, 1

    def _equation(self, equation: Equation, values: list[Value]) -> Sequence[Value]:
        name, operators = equation.primitive, self.table.primitives
        if equation.called:
            name, operators = str(equation.params.get("name", name)), self.table.functions
        if operator := operators.get(name):
            result = operator(self, equation, *values)
            if result is not None:
                return (result,) if isinstance(result, Value) else result
        if equation.called:
            return self.run(equation.called, values)
        if all(value.known for value in values):
            arrays = map(self.array, values, equation.shapes)
            return [Value.of(array) for array in equation.evaluated(list(arrays))]
        raise UserError(
            f"the network cannot be written as ONNX: there is no translation of {name!r}, which"
            " its program has"
        )

    # What operators need of a value.

    def tensor(self, value: Value, order: Sequence[int], shape: Sequence[Size]) -> str:
        """Returns the name of a tensor with the axes of `order`, none of them left out.

        Args:
          value: an array.
          order: for each axis of the tensor the axis of the array.
          shape: of the array.
        """
        return self.name(arranged(self.graph, self.whole(value, shape), order))

    def whole(self, value: Value, shape: Sequence[Size]) -> Value:
        """Returns the value with all its numbers: axes that only repeat them are written out."""
        if all(a in value.axes or length == 1 for a, length in enumerate(shape)):
            return value
        order = standard(len(shape))
        value, lengths = arranged(self.graph, value, order), [shape[axis] for axis in order]
        if value.constant is not None and all(isinstance(n, int) for n in lengths):
            return Value(order, constant=np.broadcast_to(value.constant, lengths))
        return Value(order, self.graph.add("Expand", self.name(value), self.sizes.shape(lengths)))

    def array(self, value: Value, shape: Sequence[Size]) -> np.ndarray:
        """Returns the numbers of a constant of this shape."""
        full = arranged(self.graph, self.whole(value, shape), range(len(shape)))
        assert full.constant is not None
        return full.constant

    def name(self, value: Value) -> str:
        """Returns the name of the tensor of a value."""
        return value.name if value.constant is None else self.graph.constant(value.constant)


Result = Value | Sequence[Value] | None
Operator = Callable[..., Result]
Operators = dict[str, Operator]
Pattern = tuple[tuple[str, ...], Callable[..., Value | None]]


class Table(NamedTuple):
    """The functions that translate. What one of them cannot do, it returns None for.

    Attributes:
      primitives: by the names of JAX's operators. They get the translation, the equation and the
        values that it uses.
      functions: the same, by the names of functions that are translated as a whole.
      patterns: rows of primitives' names, each with its function, which gets the translation, the
        equations and what reads the value of a variable. Only the last result of such a row may be
        used elsewhere.
    """

    primitives: Operators
    functions: Operators
    patterns: Sequence[Pattern]
