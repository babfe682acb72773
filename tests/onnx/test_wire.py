"""Bytes are what the package `onnx` reads."""

import numpy as np
import pytest

from kdgan_jax.onnx import wire

checker = pytest.importorskip("onnx.checker", reason="reads files back; pip install onnx")

CONSTANTS = {
    "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
    "halves": np.array([1.5], np.float16),
    "big": np.array([-(2**63), 2**63 - 1, -1], np.int64),
    "words": np.array([65535], np.uint16),
    "bytes": np.array([255], np.uint8),
    "bools": np.array([True, False]),
    "number": np.array(2.5, np.float32),
    "turned": np.arange(6, dtype=">f4").reshape(2, 3).T,
}


def written(nodes, constants, shape=(2, "width"), facts=None):
    import onnx

    given, made = (wire.Port(name, "float32", shape) for name in ("x", "y"))
    data = wire.model(
        nodes,
        constants,
        given,
        made,
        facts or {},
        name="graph",
        producer=("program", "1.2"),
        opset=17,
        version=8,
    )
    return onnx.load_from_string(data)


def test_constants_come_back():
    from onnx import numpy_helper

    model = written([], CONSTANTS)
    for tensor, (name, array) in zip(model.graph.initializer, CONSTANTS.items(), strict=True):
        back = numpy_helper.to_array(tensor)
        assert (tensor.name, back.dtype) == (name, array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(back, array)


def test_nodes_and_their_attributes_come_back():
    from onnx import helper

    attributes = {"alpha": 0.5, "axis": -1, "mode": "nearest", "pads": (0, 300, -2), "none": ()}
    node = wire.Node("Kind", ("x", "", "c"), ("y", "z"), attributes)
    (back,) = written([node], {}).graph.node
    assert (back.op_type, list(back.input), list(back.output)) == (
        "Kind",
        ["x", "", "c"],
        ["y", "z"],
    )
    read = {a.name: helper.get_attribute_value(a) for a in back.attribute}
    assert read == attributes | {"mode": b"nearest", "pads": [0, 300, -2], "none": []}


def test_the_file_says_what_it_is():
    model = written(
        [wire.Node("Relu", ("x",), ("y",), {})], {}, facts={"licence": "CC0", "name": "é"}
    )
    checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert (model.producer_name, model.producer_version) == ("program", "1.2")
    assert {p.key: p.value for p in model.metadata_props} == {"licence": "CC0", "name": "é"}
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_value, dims[1].dim_param) == (2, "width")


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 100_000])
def test_lengths_of_any_size_are_written(length):
    array = np.zeros(length, np.uint8)
    (tensor,) = written([], {"c": array}).graph.initializer
    assert (tensor.dims[0], len(tensor.raw_data)) == (length, length)
