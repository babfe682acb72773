"""TensorFlow's frozen graphs (`.pb`, a GraphDef with its weights in it) without TensorFlow.

Constants keep their names (`f1`, `alpha1`) and come in PyTorch's layout: kernels (out, in, h, w),
and in front of a depth_to_space, channels in the order that PyTorch's PixelShuffle wants.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.limits import most_bytes

MAX_BYTES = 2**31  # protobuf's own limit, here of the file and of all constants
# Types by TensorFlow's number: how `tensor_content` holds them, and the field that may instead.
DTYPES = {1: ("<f4", "float_val"), 2: ("<f8", "double_val"), 19: ("<f2", "half_val")}


def _array(tensor: Any, most: int) -> np.ndarray:
    """Returns the numbers of a TensorProto of at most so many bytes; its sizes are checked."""
    dtype, field = DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    size = int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or size * np.dtype(dtype).itemsize > most:
        raise ValueError(f"a constant of shape {shape}")
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, dtype)
    else:
        values = np.array(getattr(tensor, field))
        if field == "half_val":  # bits of each number
            values = values.astype(np.uint16).view(np.float16)
        if 0 < len(values) < size:  # TensorFlow repeats the last one
            values = np.pad(values, (0, size - len(values)), mode="edge")
    if len(values) != size:
        raise ValueError(f"a constant has {len(values)} of {size} numbers")
    return values.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


def _to_pytorch(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array


def _channels_before(node: Any, nodes: dict[str, Any]) -> set[str]:
    """Returns the constants that the channels of `node`'s input come from: one convolution's
    kernel, and whatever is added or multiplied between it and `node`.
    """
    met: set[str] = set()
    waiting = [node.input[0]]
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in met or name not in nodes:
            continue
        met.add(name)
        convolves = nodes[name].op == "Conv2D"
        waiting.extend(nodes[name].input[1:] if convolves else nodes[name].input)
    return {name for name in met if nodes[name].op == "Const"}


def _collect(graph: Any, most: int) -> dict[str, np.ndarray]:
    nodes = {node.name: node for node in graph.node}
    found, left = {}, most
    for node in graph.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor is None or tensor.dtype not in DTYPES or not tensor.tensor_shape.dim:
            continue  # integers are settings of operations, numbers without axes part of formulas
        array = _array(tensor, left)
        left -= array.nbytes
        found[node.name] = _to_pytorch(array)
    for node in graph.node:
        if node.op != "DepthToSpace":
            continue
        area = node.attr["block_size"].i ** 2
        for name in _channels_before(node, nodes) & set(found):
            array = found[name]
            if array.ndim in (1, 4) and area > 0 and array.shape[0] % area == 0:
                # (row, column, channel) there, (channel, row, column) in PyTorch.
                split = array.reshape(area, -1, *array.shape[1:])
                found[name] = split.swapaxes(0, 1).reshape(array.shape)
    if not found:
        raise ValueError("it holds no weights")
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the floating-point constants of a frozen graph by their names, in PyTorch's layout.

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
        most = min(MAX_BYTES, most_bytes(path))
        return _collect(GraphDef.FromString(path.read_bytes()), most)
    except (DecodeError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: is no frozen graph that can be used ({error})") from None
