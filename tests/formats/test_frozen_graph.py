import functools

import jax.numpy as jnp
import numpy as np
import pytest
import refusals
from tensorboardX.proto.graph_pb2 import GraphDef

from kdgan_jax.formats import frozen_graph
from kdgan_jax.models.blocks import layers

refused = functools.partial(refusals.refused, frozen_graph.read)


def constant(graph, name, array, dtype=1, field=None):
    node = graph.node.add(name=name, op="Const")
    node_tensor = node.attr["value"].tensor
    node_tensor.dtype = dtype
    for side in array.shape:
        node_tensor.tensor_shape.dim.add(size=side)
    if field:
        getattr(node_tensor, field).extend(array.ravel().tolist())
    else:
        node_tensor.tensor_content = array.tobytes()
    return node_tensor


def numbers(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def save(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def test_constants_come_in_pytorchs_layout(tmp_path):
    graph, kernel = GraphDef(), numbers(5, 3, 2, 4)
    constant(graph, "kernel", kernel)
    constant(graph, "dense", numbers(6, 2))
    constant(graph, "bias", numbers(4), field="float_val")
    constant(graph, "half", numbers(3).astype(np.float16), dtype=19)
    constant(graph, "bits", np.array([0x3C00, 0xC000]), dtype=19, field="half_val")
    repeated = constant(graph, "repeated", np.zeros(3), field="float_val")
    del repeated.float_val[:]
    repeated.float_val.append(0.25)
    constant(graph, "factor", numbers())
    constant(graph, "perm", np.arange(4, dtype=np.int32), dtype=3)
    weights = frozen_graph.read(save(tmp_path / "a.pb", graph))
    assert weights.keys() == {"kernel", "dense", "bias", "half", "bits", "repeated"}
    for o, i, y, x in np.ndindex(4, 2, 5, 3):
        assert weights["kernel"][o, i, y, x] == kernel[y, x, i, o]
    np.testing.assert_array_equal(weights["dense"], numbers(6, 2).T)
    np.testing.assert_array_equal(weights["bias"], numbers(4))
    np.testing.assert_array_equal(weights["half"], numbers(3).astype(np.float16))
    np.testing.assert_array_equal(weights["bits"], [1, -2])
    np.testing.assert_array_equal(weights["repeated"], [0.25] * 3)


@pytest.mark.parametrize(("block", "channels"), [(2, 3), (3, 1)])
def test_channels_before_depth_to_space_are_in_pytorchs_order(tmp_path, block, channels):
    graph = GraphDef()
    x = numbers(1, 4, 5, 6)
    kernel = numbers(1, 1, 6, channels * block**2)
    bias, slope = numbers(channels * block**2), numbers(channels * block**2) - 0.5
    hidden = numbers(channels * block**2)  # before the convolution, so it must not change
    for name, array in ("kernel", kernel), ("bias", bias), ("slope", slope), ("hidden", hidden):
        constant(graph, name, array)
    graph.node.add(name="x", op="Placeholder")
    graph.node.add(name="start", op="Add", input=["x", "hidden"])
    graph.node.add(name="kernel/read", op="Identity", input=["kernel"])
    graph.node.add(name="conv", op="Conv2D", input=["start", "kernel/read"])
    graph.node.add(name="add", op="BiasAdd", input=["conv:0", "bias"])
    graph.node.add(name="scaled", op="Mul", input=["slope", "add"])
    last = graph.node.add(name="last", op="DepthToSpace", input=["scaled"])
    last.attr["block_size"].i = block
    weights = frozen_graph.read(save(tmp_path / "a.pb", graph))

    expected = ((x @ kernel[0, 0] + bias) * slope).reshape(1, 4, 5, block, block, channels)
    expected = expected.transpose(0, 1, 3, 2, 4, 5).reshape(1, 4 * block, 5 * block, channels)
    y = (x @ weights["kernel"][:, :, 0, 0].T + weights["bias"]) * weights["slope"]
    np.testing.assert_allclose(layers.pixel_shuffle(jnp.asarray(y), block), expected, atol=1e-5)
    np.testing.assert_array_equal(weights["hidden"], hidden)


def test_a_damaged_file_is_refused(tmp_path):
    graph = GraphDef()
    constant(graph, "kernel", numbers(3, 3, 2, 4))
    data = save(tmp_path / "a.pb", graph).read_bytes()
    (tmp_path / "a.pb").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "a.pb", "frozen graph")
    refused(tmp_path / "missing.pb")
    refused(save(tmp_path / "c.pb", GraphDef()), "no weights")


@pytest.mark.parametrize("shape", [(5,), (3,), (-4,), (2**40,), (2**33, 2**33)])
def test_a_constant_that_lies_about_its_shape_is_refused(tmp_path, shape):
    graph = GraphDef()
    bias = constant(graph, "bias", numbers(4))
    del bias.tensor_shape.dim[:]
    for side in shape:
        bias.tensor_shape.dim.add(size=side)
    refused(save(tmp_path / "a.pb", graph), "constant", str(shape[0]))
