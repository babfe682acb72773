"""What stands before a network in its file and after it: dtypes, layout, padding, rounding."""

import numpy as np

from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.sizes import Sizes
from kdgan_jax.onnx.wire import DTYPES

LAST = 0, 3, 1, 2  # from (B, H, W, C) to (B, C, H, W)
FIRST = 0, 2, 3, 1


def opened(graph: Graph, name: str, dtype: str) -> str:
    """Returns the network's image (1, 3, h, w), 1 for white, of the file's input.

    Args:
      graph: where nodes are added.
      name: of the input: float32 (1, 3, h, w), or integers (1, h, w, 3).
      dtype: of the input.
    """
    inside = "float16" if graph.half else "float32"
    if dtype == "float32":
        return graph.add("Cast", name, to=DTYPES[inside]) if graph.half else name
    name = graph.add("Cast", graph.add("Transpose", name, perm=LAST), to=DTYPES[inside])
    return graph.add("Div", name, graph.number(np.iinfo(dtype).max))


def closed(graph: Graph, name: str, dtype: str, pixels: bool) -> str:
    """Returns the file's output of the network's image.

    Args:
      graph: where nodes are added.
      name: of the network's image, (1, 3, H, W).
      dtype: of the output: float32, or uint8, which is clipped and rounded half up.
      pixels: whether it is (1, H, W, 3).
    """
    if dtype == "uint8":
        low, half, white = map(graph.number, (0, 0.5, 255))
        name = graph.add("Add", graph.add("Mul", name, white), half)
        # Whole parts are left, as the numbers are not negative.
        name = graph.add("Cast", graph.add("Clip", name, low, white), to=DTYPES[dtype])
    elif graph.half:
        name = graph.add("Cast", name, to=DTYPES[dtype])
    return graph.add("Transpose", name, perm=FIRST) if pixels else name


def completed(graph: Graph, name: str, sizes: Sizes, grid: int) -> str:
    """Returns an image (1, 3, h, w) with sides that are multiples of `grid`.

    The bottom and the right are padded by reflection, without repeating the edge.
    """
    missing = [sizes.tensor(f"mod(-{side}, {grid})") for side in ("height", "width")]
    none = graph.integers(0, 0, 0, 0, 0, 0)
    return graph.add("Pad", name, graph.add("Concat", none, *missing, axis=0), mode="reflect")


def cropped(graph: Graph, name: str, sizes: Sizes, scale: int) -> str:
    """Returns an image (1, 3, H, W) without what belongs to padding."""
    ends = graph.add("Concat", *(sizes.tensor(f"{scale}*{s}") for s in ("height", "width")), axis=0)
    return graph.add("Slice", name, graph.integers(0, 0), ends, graph.integers(2, 3))
