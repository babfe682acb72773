"""The bytes of an ONNX file.

ONNX files are messages of Protocol Buffers. These are the few of onnx.proto3 that a network of one
graph needs, so that no package has to be installed to write a file. A message is a row of fields,
and each has a number, which stands in onnx.proto3, and a value.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Attribute = int | float | str | Sequence[int]
# Numbers of TensorProto.DataType.
DTYPES = {
    "float32": 1,
    "uint8": 2,
    "uint16": 4,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
}


class Node(NamedTuple):
    """One operator.

    Attributes:
      kind: its name in ONNX, such as "Conv".
      inputs: names of tensors; "" for one that is left out.
      outputs: names of the tensors that it makes.
      attributes: its settings by name.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


class Port(NamedTuple):
    """An input or output of the graph.

    Attributes:
      name: of the tensor.
      dtype: a key of `DTYPES`.
      shape: lengths of its axes; a text names one that differs from call to call.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


def _varint(value: int) -> bytes:
    """Returns an integer in groups of seven bits, the lowest first; negative ones have 64 bits."""
    value &= 2**64 - 1
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes | str) -> bytes:
    """Returns a field with bytes, a text or another message."""
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _all(field: int, values: Iterable[bytes | str]) -> bytes:
    return b"".join(_bytes(field, value) for value in values)


def _tensor(name: str, array: np.ndarray) -> bytes:
    """Returns a TensorProto."""
    lengths = b"".join(_int(1, length) for length in array.shape)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    kind = _int(2, DTYPES[array.dtype.name])
    return lengths + kind + _bytes(8, name) + _bytes(9, little.tobytes())


def _attribute(name: str, value: Attribute) -> bytes:
    """Returns an AttributeProto; its last field is the number of its type."""
    if isinstance(value, int):
        return _bytes(1, name) + _int(3, value) + _int(20, 2)
    if isinstance(value, float):
        return _bytes(1, name) + _float(2, value) + _int(20, 1)
    if isinstance(value, str):
        return _bytes(1, name) + _bytes(4, value) + _int(20, 3)
    return _bytes(1, name) + b"".join(_int(8, item) for item in value) + _int(20, 7)


def _node(node: Node) -> bytes:
    """Returns a NodeProto, named after its first output."""
    attributes = (_attribute(name, value) for name, value in node.attributes.items())
    return b"".join(
        [
            _all(1, node.inputs),
            _all(2, node.outputs),
            _bytes(3, f"{node.kind}:{node.outputs[0]}"),
            _bytes(4, node.kind),
            _all(5, attributes),
        ]
    )


def _port(port: Port) -> bytes:
    """Returns a ValueInfoProto."""
    lengths = (_bytes(2, n) if isinstance(n, str) else _int(1, n) for n in port.shape)
    tensor = _int(1, DTYPES[port.dtype]) + _bytes(2, _all(1, lengths))
    return _bytes(1, port.name) + _bytes(2, _bytes(1, tensor))


def model(
    nodes: Iterable[Node],
    constants: Mapping[str, np.ndarray],
    given: Port,
    made: Port,
    facts: Mapping[str, str],
    *,
    name: str,
    producer: tuple[str, str],
    opset: int,
    version: int,
) -> bytes:
    """Returns a ModelProto, the bytes of a file.

    Args:
      nodes: in an order in which they can be computed.
      constants: tensors that the nodes use, by name.
      given: the input.
      made: the output.
      facts: what the file tells of itself.
      name: of the graph.
      producer: the program that writes the file, and its version.
      opset: version of ONNX's operators.
      version: of the format itself, `ir_version`.
    """
    graph = b"".join(
        [
            _all(1, map(_node, nodes)),
            _bytes(2, name),
            _all(5, (_tensor(key, array) for key, array in constants.items())),
            _bytes(11, _port(given)),
            _bytes(12, _port(made)),
        ]
    )
    return b"".join(
        [
            _int(1, version),
            _bytes(2, producer[0]),
            _bytes(3, producer[1]),
            _bytes(7, graph),
            _bytes(8, _bytes(1, "") + _int(2, opset)),
            _all(14, (_bytes(1, key) + _bytes(2, value) for key, value in facts.items())),
        ]
    )
