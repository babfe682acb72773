"""A network as the bytes of an ONNX file."""

from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.extend.core import ClosedJaxpr

from kdgan_jax import models
from kdgan_jax.formats.weights import Weights
from kdgan_jax.onnx import ends, means, simulation, wire
from kdgan_jax.onnx.facts import facts
from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.operators import TABLE
from kdgan_jax.onnx.sizes import Sizes
from kdgan_jax.onnx.tidying import tidied
from kdgan_jax.onnx.translation import Translation
from kdgan_jax.onnx.values import IMAGES, Size, Value
from kdgan_jax.runtime.errors import UserError

REVISION = 2  # of the files: raised when others come out for the same network
OPSET, VERSION = 17, 8  # of 2022: operators and format that all of today's programs read
INPUT, OUTPUT = "input", "output"
# Networks with operators whose number or shape depends on the size of the image.
FIXED = {
    "hit_srf": "it cuts the image into windows",
    "smfanet": "it pools the image in cells whose number depends on the size",
}


class Form(NamedTuple):
    """How a file is written.

    Attributes:
      tile: the side of the square images that it takes; None for images of any size.
      half: compute in float16. The input and the output stay as they are.
      given: dtype of the input: "float32" is (1, 3, h, w) with 1 for white; "uint8" and "uint16"
        are pixels, (1, h, w, 3).
      made: dtype of the output, of the input's layout: "float32", 1 for white and not clipped, or
        "uint8", clipped and rounded.
      simulated: of `half`: compute in float32 and round every result to float16, to try on a CPU
        what a GPU would make of the file.
    """

    tile: int | None = None
    half: bool = False
    given: str = "float32"
    made: str = "float32"
    simulated: bool = False


def check(weights: Weights, form: Form) -> None:
    """Checks that a network can be written in a form.

    Raises:
      UserError: it needs a tile, or the tile is of a wrong size.
    """
    module, tile = weights.module, form.tile
    smallest, grid = getattr(module, "smallest", 1), getattr(module, "grid", 1)
    if tile is None:
        if weights.name in FIXED:
            raise UserError(
                f"{weights.name} only has a file for images of one size, as {FIXED[weights.name]};"
                " give its side, such as --tile=128"
            )
    elif tile < smallest or tile % grid:
        needed = f"at least {smallest}" + (f" and a multiple of {grid}" if grid > 1 else "")
        raise UserError(f"--tile={tile}: {weights.name} takes sides of {needed} pixels")


def to_bytes(weights: Weights, name: str = "", form: Form | None = None) -> bytes:
    """Returns the bytes of an ONNX file.

    Args:
      weights: the network.
      name: what the user calls it, for the file's metadata.
      form: how the file is written.

    Raises:
      UserError: the network cannot be written in this form.
    """
    form = form or Form()
    check(weights, form)
    weights = weights.folded()
    graph, module = Graph(form.half), weights.module
    grid = getattr(module, "grid", 1) if form.tile is None else 1
    pixels = form.given != "float32"
    image = ends.opened(graph, INPUT, form.given)
    sizes = _sizes(graph, 1 if pixels else 2, grid)
    if grid > 1:
        image = ends.completed(graph, image, sizes, grid)
    program = _traced(weights, form.tile, grid)
    translation = Translation(graph, sizes, TABLE)
    leaves = [Value.of(leaf) for leaf in jax.tree.leaves(weights.params)]
    (sr,) = translation.run(program, [*leaves, Value(IMAGES, image)])
    last: Any = program.jaxpr.outvars[0]
    result = translation.tensor(sr, IMAGES, last.aval.shape)
    if grid > 1:
        result = ends.cropped(graph, result, sizes, weights.scale)
    result = ends.closed(graph, result, form.made, pixels)
    nodes, constants = tidied(graph, result, OUTPUT)
    if form.half:
        nodes = means.widened(nodes)
    if form.simulated:
        nodes, constants = simulation.simulated(nodes, constants)
    producer = "kdgan_jax", metadata.version("kdgan_jax")
    smallest = max(translation.smallest, getattr(module, "smallest", 1))
    return wire.model(
        nodes,
        constants,
        wire.Port(INPUT, form.given, _shape(form.tile, 1, pixels)),
        wire.Port(OUTPUT, form.made, _shape(form.tile, weights.scale, pixels)),
        facts(weights, name or weights.name, smallest, producer),
        name=weights.name,
        producer=producer,
        opset=OPSET,
        version=VERSION,
    )


def _sizes(graph: Graph, axis: int, grid: int) -> Sizes:
    """Returns the sizes of the input, "height" and "width", and their numbers of squares."""
    sizes, shape = Sizes(graph, {}), graph.add("Shape", INPUT)
    for place, (side, squares) in enumerate({"height": "rows", "width": "columns"}.items(), axis):
        sizes.names[side] = graph.add(
            "Slice", shape, graph.integers(place), graph.integers(place + 1)
        )
        number = side if grid == 1 else f"floordiv({side} + {grid - 1}, {grid})"
        sizes.names[squares] = sizes.tensor(number)
    return sizes


def _shape(tile: int | None, scale: int, pixels: bool) -> tuple[int | str, ...]:
    """Returns the shape of the input, or of the output with its scale."""
    sides: tuple[int | str, int | str] = ("height", "width")
    if tile is not None:
        sides = tile * scale, tile * scale
    elif scale > 1:
        sides = f"height*{scale}", f"width*{scale}"
    return (1, *sides, 3) if pixels else (1, 3, *sides)


def _traced(weights: Weights, tile: int | None, grid: int) -> ClosedJaxpr:
    """Returns the program of the network: weights and LR (1, h, w, 3) to SR."""
    module = weights.module

    def network(params: Any, lr: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return models.apply(module, {"params": params}, lr)[0]

    sides: Sequence[Size] = tile, tile
    if tile is None:
        # The least is that of bicubic interpolation.
        least = max(2, getattr(module, "smallest", 1)) if grid == 1 else 1
        limits = [f"{number} >= {least}" for number in ("rows", "columns")]
        sides = export.symbolic_shape(f"{grid}*rows, {grid}*columns", constraints=limits)
    image = jax.ShapeDtypeStruct((1, *sides, 3), jnp.float32)
    return jax.make_jaxpr(network)(weights.params, image)
