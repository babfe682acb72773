import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.graph_pb2 import GraphDef

from kdgan_jax.formats import frozen_graph
from kdgan_jax.models.blocks import layers
from kdgan_jax.runtime.errors import UserError


def constant(graph, name, array, dtype=1, field=None):
    node = graph.node.add(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for side in array.shape:
        tensor.tensor_shape.dim.add(size=side)
    if field:
        getattr(tensor, field).extend(array.ravel().tolist())
    else:
        tensor.tensor_content = array.tobytes()
    return node


def numbers(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def save(path, graph):
    path.write_bytes(graph.SerializeToString())
    return path


def test_kernels_come_in_pytorchs_layout(tmp_path):
    graph, kernel = GraphDef(), numbers(5, 3, 2, 4)
    constant(graph, "kernel", kernel)
    constant(graph, "dense", numbers(6, 2))
    constant(graph, "bias", numbers(4), field="float_val")
    constant(graph, "half", numbers(3).astype(np.float16), dtype=19)
    constant(graph, "bits", np.array([0x3C00, 0xC000]), dtype=19, field="half_val")
    constant(graph, "factor", numbers())
    constant(graph, "perm", np.arange(4, dtype=np.int32), dtype=3)
    found = frozen_graph.read(save(tmp_path / "a.pb", graph))
    assert found.keys() == {"kernel", "dense", "bias", "half", "bits"}
    for o, i, y, x in np.ndindex(4, 2, 5, 3):
        assert found["kernel"][o, i, y, x] == kernel[y, x, i, o]
    np.testing.assert_array_equal(found["dense"], numbers(6, 2).T)
    np.testing.assert_array_equal(found["bias"], numbers(4))
    np.testing.assert_array_equal(found["half"], numbers(3).astype(np.float16))
    np.testing.assert_array_equal(found["bits"], [1, -2])


def test_one_number_for_all_is_repeated(tmp_path):
    graph = GraphDef()
    node = constant(graph, "alpha", np.zeros(3), field="float_val")
    del node.attr["value"].tensor.float_val[:]
    node.attr["value"].tensor.float_val.append(0.25)
    found = frozen_graph.read(save(tmp_path / "a.pb", graph))
    np.testing.assert_array_equal(found["alpha"], [0.25] * 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("block", [2, 3])
def test_channels_before_depth_to_space_are_in_pytorchs_order(tmp_path, block, channels):
    graph = GraphDef()
    x = numbers(1, 4, 5, 6)
    kernel = numbers(1, 1, 6, channels * block**2)
    bias, slope = numbers(channels * block**2), numbers(channels * block**2) - 0.5
    hidden = numbers(channels * block**2)  # before the convolution: not to be touched
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
    found = frozen_graph.read(save(tmp_path / "a.pb", graph))

    theirs = ((x @ kernel[0, 0] + bias) * slope).reshape(1, 4, 5, block, block, channels)
    theirs = theirs.transpose(0, 1, 3, 2, 4, 5).reshape(1, 4 * block, 5 * block, channels)
    ours = x @ found["kernel"][:, :, 0, 0].T
    ours = layers.pixel_shuffle(jnp.asarray((ours + found["bias"]) * found["slope"]), block)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_array_equal(found["hidden"], hidden)


def test_the_published_fsrcnn_small(shared):
    found = frozen_graph.read(shared / "weights" / "fsrcnn_small_x4.pb")
    shapes = {key: array.shape for key, array in found.items()}
    assert shapes == {
        "f1": (32, 1, 5, 5),
        "f2": (5, 32, 1, 1),
        "f3": (5, 5, 3, 3),
        "f4": (32, 5, 1, 1),
        "f5": (16, 32, 1, 1),
        **{"b1": (32,), "b2": (5,), "b3": (5,), "b4": (32,), "b5": (1,)},
        **{"alpha1": (32,), "alpha2": (5,), "alpha3": (5,), "alpha4": (32,)},
    }


def refused(path, message):
    with pytest.raises(UserError, match=message) as error:
        frozen_graph.read(path)
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_refused_in_one_sentence(tmp_path):
    graph = GraphDef()
    constant(graph, "kernel", numbers(3, 3, 2, 4))
    data = save(tmp_path / "a.pb", graph).read_bytes()
    (tmp_path / "a.pb").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "a.pb", r"a\.pb: is no frozen graph")
    refused(tmp_path / "b.pb", r"b\.pb: no such file")
    refused(save(tmp_path / "c.pb", GraphDef()), "holds no weights")


@pytest.mark.parametrize("shape", [(5,), (3,), (-4,), (2**40,), (2**33, 2**33)])
def test_a_constant_that_lies_about_its_shape_is_refused(tmp_path, shape):
    graph = GraphDef()
    tensor = constant(graph, "bias", numbers(4)).attr["value"].tensor
    del tensor.tensor_shape.dim[:]
    for side in shape:
        tensor.tensor_shape.dim.add(size=side)
    refused(save(tmp_path / "a.pb", graph), "a constant (of shape|has 4 of)")
