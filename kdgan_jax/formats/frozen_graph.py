"""Reader of TensorFlow's frozen graphs (`.pb`, a GraphDef with constants) without TensorFlow.

Constants keep their names (`f1`, `alpha1`) and are converted to PyTorch's layout: kernels are
(out, in, height, width), and channels before a depth_to_space are in the order that PyTorch's
PixelShuffle expects.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.formats.reading import unreadable
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.limits import most_bytes

MAX_BYTES = 2**31  # protobuf's own limit, applied to the file and to the sum of its constants
# By TensorFlow's number of a type: its NumPy type in `tensor_content`, and the field that holds the
# numbers otherwise.
DTYPES = {1: ("<f4", "float_val"), 2: ("<f8", "double_val"), 19: ("<f2", "half_val")}


def _array(tensor: Any, limit: int) -> np.ndarray:
    """Returns the array in a TensorProto; it may take at most `limit` bytes."""
    dtype, field = DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or size * np.dtype(dtype).itemsize > limit:
        raise ValueError(f"a constant has the impossible shape {shape}")
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, dtype)
    else:
        values = np.array(getattr(tensor, field))
        if field == "half_val":  # holds the bits of each number
            values = values.astype(np.uint16).view(np.float16)
        if 0 < len(values) < size:  # TensorFlow stores a repeated last number once
            values = np.pad(values, (0, size - len(values)), mode="edge")
    if len(values) != size:
        raise ValueError(f"a constant has {len(values)} of {size} numbers")
    return values.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


def _to_pytorch(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array


def _channels_before(node: Any, nodes: dict[str, Any]) -> set[str]:
    """Returns the constants that act on the channels of `node`'s input.

    These are the kernel of the convolution before it, and what is added or multiplied in between.
    """
    visited: set[str] = set()
    pending = [node.input[0]]
    while pending:
        name = pending.pop().removeprefix("^").partition(":")[0]
        if name in visited or name not in nodes:
            continue
        visited.add(name)
        is_convolution = nodes[name].op == "Conv2D"
        pending.extend(nodes[name].input[1:] if is_convolution else nodes[name].input)
    return {name for name in visited if nodes[name].op == "Const"}


def _collect(graph: Any, limit: int) -> dict[str, np.ndarray]:
    nodes = {node.name: node for node in graph.node}
    weights = {}
    for node in graph.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor is None or tensor.dtype not in DTYPES or not tensor.tensor_shape.dim:
            continue  # integers configure operations; scalars belong to formulas
        array = _array(tensor, limit)
        limit -= array.nbytes
        weights[node.name] = _to_pytorch(array)
    for node in graph.node:
        if node.op != "DepthToSpace":
            continue
        area = node.attr["block_size"].i ** 2
        for name in _channels_before(node, nodes) & set(weights):
            array = weights[name]
            if array.ndim in (1, 4) and area > 0 and array.shape[0] % area == 0:
                # From TensorFlow's (row, column, channel) to PyTorch's (channel, row, column).
                split = array.reshape(area, -1, *array.shape[1:])
                weights[name] = split.swapaxes(0, 1).reshape(array.shape)
    if not weights:
        raise ValueError("it holds no weights")
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the floating-point constants of a frozen graph by name, in PyTorch's layout.

    Raises:
      UserError: tensorboardX is missing, or the file is damaged or holds no weights.
    """
    try:
        from google.protobuf.message import DecodeError
        from tensorboardX.proto.graph_pb2 import GraphDef
    except ImportError:
        raise missing("tensorboardX", f"{path}: reading frozen graphs") from None

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        limit = min(MAX_BYTES, most_bytes(path))
        return _collect(GraphDef.FromString(path.read_bytes()), limit)
    except (DecodeError, ValueError, TypeError, OverflowError) as error:
        raise unreadable(path, "a frozen graph", error) from None
