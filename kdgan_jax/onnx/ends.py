"""What stands before a network in its file and after it: dtypes, layout, padding, rounding."""

import numpy as np

from kdgan_jax.onnx.graph import Graph
from kdgan_jax.onnx.sizes import Sizes
from kdgan_jax.onnx.wire import DTYPES

SHUFFLE = "DepthToSpace"
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
    shuffle = None
    if pixels:
        name = _summed_before_shuffle(graph, name)
        last = graph.maker(name)
        if last is not None and last.kind == SHUFFLE:
            shuffle, (name,) = last, last.inputs  # bytes are moved four times as fast as floats
    if dtype == "uint8":
        low, half, white = map(graph.number, (0, 0.5, 255))
        name = graph.add("Add", graph.add("Mul", name, white), half)
        # Whole parts are left, as the numbers are not negative.
        name = graph.add("Cast", graph.add("Clip", name, low, white), to=DTYPES[dtype])
    elif graph.half:
        name = graph.add("Cast", name, to=DTYPES[dtype])
    if shuffle is not None:
        name = graph.add(SHUFFLE, name, **shuffle.attributes)
    return graph.add("Transpose", name, perm=FIRST) if pixels else name


def _summed_before_shuffle(graph: Graph, name: str) -> str:
    """Returns a sum of a pixel shuffle and of an enlarged image as the shuffle of a sum.

    Nearest neighbour is a convolution of 1x1 before a shuffle. ONNX Runtime adds its result to that
    of the network's last convolution as it makes this one. Other images are returned as they are.
    """
    total = graph.maker(name)
    makers = {} if total is None else {n: graph.maker(n) for n in total.inputs}
    by_kind = {maker.kind: maker for maker in makers.values() if maker is not None}
    if total is None or total.kind != "Add" or by_kind.keys() != {SHUFFLE, "Resize"}:
        return name
    shuffle, enlarged = by_kind[SHUFFLE], by_kind["Resize"]
    side = shuffle.attributes["blocksize"]
    assert isinstance(side, int)
    scales = graph.constants.get(enlarged.inputs[2], np.zeros(0))
    same = scales.tolist() == [1, 1, side, side] and shuffle.attributes["mode"] == "CRD"
    if enlarged.attributes.get("mode") != "nearest" or not same:
        return name
    weights = np.repeat(np.eye(3, dtype=np.float32), side**2, axis=0)[..., None, None]
    copies = graph.add("Conv", enlarged.inputs[0], graph.constant(weights))
    return graph.add(SHUFFLE, graph.add("Add", shuffle.inputs[0], copies), **shuffle.attributes)


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
