"""Operators that move numbers: axes are added, split, joined, cut and put together."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kdgan_jax.onnx.translation import Equation, Operators, Result, Translation
from kdgan_jax.onnx.values import Size, Value, arranged, standard

END = 2**31 - 1  # of a cut that goes to the end of an axis


def broadcast(translation: Translation, equation: Equation, x: Value, *_: Value) -> Result:
    """Repeats an array along new axes and along those of length 1; tensors stay as they are."""
    before, after = equation.shapes[0], equation.shape
    places = equation.params["broadcast_dimensions"]
    return x.renumbered({i: a for i, a in enumerate(places) if before[i] == after[a]})


def reshaped(translation: Translation, equation: Equation, x: Value, *_: Value) -> Result:
    """Splits and joins axes."""
    before, after = equation.shapes[0], equation.shape
    old, new = ([i for i, n in enumerate(shape) if n != 1] for shape in (before, after))
    if [before[i] for i in old] == [after[i] for i in new]:
        return x.renumbered(dict(zip(old, new, strict=True)))
    order = list(range(len(before)))
    if x.known:
        return Value.of(translation.array(x, before).reshape(after))
    name = translation.tensor(x, order, before)
    name = translation.graph.add("Reshape", name, translation.sizes.shape(after))
    return Value(tuple(range(len(after))), name)


def transposed(translation: Translation, equation: Equation, x: Value) -> Result:
    """Changes the order of axes; tensors stay as they are."""
    return x.renumbered({old: new for new, old in enumerate(equation.params["permutation"])})


def _cut(
    translation: Translation,
    x: Value,
    shape: Sequence[Size],
    starts: Sequence[Size],
    ends: Sequence[Size],
    steps: Sequence[int] | None = None,
) -> Value:
    """Returns a part of an array along all axes that are really cut."""
    steps = steps or [1] * len(shape)
    cuts = []
    for axis, (length, start, end, step) in enumerate(zip(shape, starts, ends, steps, strict=True)):
        place = x.position(axis)
        if place is not None and (start, end, step) != (0, length, 1):
            end = END if end == length else _from_end(end, length)
            cuts.append((_from_end(start, length), end, place, step))
    if not cuts:
        return x
    columns = [translation.sizes.shape(column) for column in zip(*cuts, strict=True)]
    return x.of_tensor(translation.graph.add("Slice", x.name, *columns))


def _from_end(place: Size, length: Size) -> Size:
    """Returns a place on an axis, counted from the end if only that is a plain number."""
    if not isinstance(place, int) and isinstance(place - length, int):
        return place - length
    return place


def sliced(translation: Translation, equation: Equation, x: Value) -> Result:
    """Takes a part of an array."""
    if x.known:
        return None
    before = equation.shapes[0]
    params = equation.params
    return _cut(
        translation, x, before, params["start_indices"], params["limit_indices"], params["strides"]
    )


def reversed_(translation: Translation, equation: Equation, x: Value) -> Result:
    """Turns axes round."""
    if x.known:
        return None
    places = [x.position(axis) for axis in equation.params["dimensions"]]
    integers = translation.graph.integers
    found = [place for place in places if place is not None]
    if not found:
        return x
    ends = integers(*[-END] * len(found))
    starts, steps = (integers(*[-1] * len(found)) for _ in range(2))
    name = translation.graph.add("Slice", x.name, starts, ends, integers(*found), steps)
    return x.of_tensor(name)


def gathered(translation: Translation, equation: Equation, x: Value, index: Value) -> Result:
    """Takes a part of an array that begins at an index, or entries along one axis."""
    numbers = equation.params["dimension_numbers"]
    lengths = equation.params["slice_sizes"]
    before, after = equation.shapes[0], equation.shape
    if x.known or not index.known or numbers.operand_batching_dims:
        return None
    at = translation.array(index, equation.shapes[1])
    if not numbers.collapsed_slice_dims and at.ndim == 1:
        starts = [0] * len(before)
        for axis, start in zip(numbers.start_index_map, at.tolist(), strict=True):
            starts[axis] = start
        ends = [start + n for start, n in zip(starts, lengths, strict=True)]
        return _cut(translation, x, before, starts, ends)
    (axis,) = numbers.collapsed_slice_dims
    if numbers.start_index_map != (axis,) or any(
        n != before[a] for a, n in enumerate(lengths) if a != axis
    ):
        return None
    # The axes of the index come in place of the one that it goes along.
    wide = translation.whole(x, before)
    place = wide.position(axis)
    added = [a for a in range(len(after)) if a not in numbers.offset_dims]
    rest = dict(zip([a for a in range(len(before)) if a != axis], numbers.offset_dims, strict=True))
    if place is None:
        return wide.renumbered(rest)
    entries = translation.graph.constant(at[..., 0].astype("int64"))
    name = translation.graph.add("Gather", wide.name, entries, axis=place)
    axes = wide.renumbered(rest).axes
    return Value((*axes[:place], *added, *axes[place + 1 :]), name)


def part(translation: Translation, equation: Equation, x: Value, *starts: Value) -> Result:
    """Takes a part of an array that begins at given numbers."""
    if x.known or any(start.number is None for start in starts):
        return None
    before = equation.shapes[0]
    lengths = equation.params["slice_sizes"]
    first = [min(s.number, b - n) for s, b, n in zip(starts, before, lengths, strict=True)]
    ends = [start + n for start, n in zip(first, lengths, strict=True)]
    return _cut(translation, x, before, first, ends)


def parts(translation: Translation, equation: Equation, x: Value) -> Result:
    """Cuts an array along one axis."""
    if x.known:
        return None
    before = equation.shapes[0]
    lengths, whole = equation.params["sizes"], translation.whole(x, before)
    place = whole.position(equation.params["axis"])
    assert place is not None
    names = translation.graph.split(
        "Split", len(lengths), whole.name, translation.graph.integers(*lengths), axis=place
    )
    return [whole.of_tensor(name) for name in names]


def joined(translation: Translation, equation: Equation, *values: Value) -> Result:
    """Puts arrays one after the other along an axis."""
    if all(value.known for value in values):
        return None
    order = standard(len(equation.shape))
    held = [value.axes for value in values if not value.known and None not in value.axes]
    if len(set(held)) == 1 and len(held[0]) == len(order):
        order = held[0]  # type: ignore[assignment]
    pairs = zip(values, equation.shapes, strict=True)
    names = [translation.tensor(value, order, shape) for value, shape in pairs]
    axis = order.index(equation.params["dimension"])
    return Value(order, translation.graph.add("Concat", *names, axis=axis))


def tiled(translation: Translation, equation: Equation, x: Value) -> Result:
    """Repeats an array several times along its axes."""
    if x.known:
        return None
    before = equation.shapes[0]
    whole = translation.whole(x, before)
    repeats = equation.params["reps"]
    numbers = [1 if axis is None else repeats[axis] for axis in whole.axes]
    name = translation.graph.add("Tile", whole.name, translation.graph.integers(*numbers))
    return whole.of_tensor(name)


def inserted(
    translation: Translation, equation: Equation, x: Value, index: Value, new: Value
) -> Result:
    """Puts an array in place of a part of another."""
    numbers, before = equation.params["dimension_numbers"], equation.shapes[0]
    if x.known or not index.known or numbers.inserted_window_dims:
        return None
    starts = translation.array(index, equation.shapes[1]).tolist()
    order, shape = standard(len(before)), equation.shapes[2]

    def inset(x: Value, held: tuple[Size, ...], axes: Sequence[tuple[int, int]]) -> str:
        """Returns the tensor of `x`, of shape `held`, with `new` inside it along these axes."""
        if not axes:
            return translation.tensor(new, order, shape)
        (axis, start), *rest = axes
        length, none = held[axis], [0] * len(held)

        def between(first: Size, end: Size) -> Value:
            firsts, ends = list(none), list(held)
            firsts[axis], ends[axis] = first, end
            return _cut(translation, x, held, firsts, ends)

        end = start + shape[axis]
        inner = (*held[:axis], shape[axis], *held[axis + 1 :])
        middle = inset(between(start, end), inner, rest)
        sides = between(0, start), between(end, length)
        first, last = (arranged(translation.graph, side, order).name for side in sides)
        place = order.index(axis)
        return translation.graph.add("Concat", first, middle, last, axis=place)

    axes = list(zip(numbers.scatter_dims_to_operand_dims, starts, strict=True))
    return Value(order, inset(translation.whole(x, before), before, axes))


def padded(translation: Translation, equation: Equation, x: Value, filler: Value) -> Result:
    """Adds numbers of one value around an array, or removes its edges."""
    before = equation.shapes[0]
    config = equation.params["padding_config"]
    if x.known or any(between for _, _, between in config):
        return None
    starts = [max(0, -low) for low, _, _ in config]
    ends = [length - max(0, -high) for length, (_, high, _) in zip(before, config, strict=True)]
    x = _cut(translation, translation.whole(x, before), before, starts, ends)
    if not any(low > 0 or high > 0 for low, high, _ in config):
        return x
    order = standard(len(before))
    x = arranged(translation.graph, x, order)
    pads = [max(0, config[axis][side]) for side in (0, 1) for axis in order]
    amounts = translation.graph.integers(*pads)
    name = translation.graph.add("Pad", x.name, amounts, translation.name(filler))
    return Value(order, name)


def _reduced(kind: str) -> Any:
    """Returns the translation of an operator that combines all numbers along some axes."""

    def translate(translation: Translation, equation: Equation, x: Value) -> Result:
        if x.known:
            return None
        before = equation.shapes[0]
        reduced = equation.params["axes"]
        x = translation.whole(x, before)
        places = [place for a in reduced if (place := x.position(a)) is not None]
        kept = {a: i for i, a in enumerate(a for a in range(len(before)) if a not in reduced)}
        if not places:
            return x.renumbered(kept)
        graph, terms = translation.graph, None
        if kind == "Sum":
            name = graph.add("ReduceSum", x.name, graph.integers(*places))
            # Computed where it is used.
            mean = graph.add("ReduceMean", x.name, axes=places)
            terms = math.prod(before[a] for a in reduced), mean
        else:
            name = graph.add(f"Reduce{kind}", x.name, axes=places)
        return replace(x.renumbered(kept), name=name, terms=terms)

    return translate


SHAPING: Operators = {
    "broadcast_in_dim": broadcast,
    "reshape": reshaped,
    "squeeze": reshaped,
    "expand_dims": reshaped,
    "transpose": transposed,
    "slice": sliced,
    "dynamic_slice": part,
    "gather": gathered,
    "split": parts,
    "concatenate": joined,
    "rev": reversed_,
    "tile": tiled,
    "scatter": inserted,
    "pad": padded,
    "reduce_sum": _reduced("Sum"),
    "reduce_max": _reduced("Max"),
    "reduce_min": _reduced("Min"),
}
