"""Files of every network do what the network does."""

import exported
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.onnx import program
from kdgan_jax.runtime.errors import UserError

onnx = pytest.importorskip("onnx.checker", reason="reads files back; pip install onnx")

SIZE = 19, 26  # of images, which no network is traced with
WHITE = 255
# What these networks may differ by, relative to the largest number.
EXACT = {"compact": 1e-6, "imdn": 1e-6, "rrdb": 1e-6}


def parsed(data):
    import onnx as package

    loaded = package.load_from_string(data)
    onnx.check_model(loaded, full_check=True)
    return loaded


def kinds(data):
    return [node.op_type for node in parsed(data).graph.node]


def form(name):
    return {"tile": 24} if name in program.FIXED else {}


def compare(weights, data, size, limit=1e-4):
    pixels = exported.image(*size)
    expected = exported.by_jax(weights, pixels)
    result = exported.by_file(data, pixels)
    assert result.shape == (1, weights.scale * size[0], weights.scale * size[1], 3)
    np.testing.assert_allclose(result, expected, rtol=0, atol=limit * np.abs(expected).max())


@pytest.mark.parametrize("name", models.GENERATORS)
def test_every_network_has_a_file(name):
    weights = exported.network(name)
    data = exported.file(weights, **form(name))
    compare(weights, data, (24, 24) if form(name) else SIZE, EXACT.get(name, 1e-5))
    assert name in ("hit_srf",) or "Transpose" not in kinds(data)  # windows move pixels


@pytest.mark.parametrize(
    ("name", "scale", "kwargs", "size"),
    [
        ("rrdb", 2, {"unshuffle": 0}, (13, 18)),
        ("rrdb", 1, {"unshuffle": 0}, (13, 18)),
        ("compact", 2, {"branches": True}, SIZE),
        ("compact", 1, {"slope": 0.1}, SIZE),
        ("compact", 3, {"slope": 0.0}, SIZE),
        ("srcnn", 2, {"kernels": (9, 3, 5), "keep_border": True, "rounded": True}, SIZE),
        ("srcnn", 3, {"luma_only": False, "residual": True}, SIZE),
        ("bsrn", 3, {"small": True}, SIZE),
        ("vapsr", 2, {"groups": 2}, SIZE),
        ("rcan", 3, {"mean_shift": False}, SIZE),
        ("edsr", 2, {"residual_scale": 0.1, "image_range": 255.0}, SIZE),
    ],
)
def test_other_arguments_and_scales(name, scale, kwargs, size):
    weights = exported.network(name, scale, **kwargs)
    compare(weights, exported.file(weights), size, 1e-5)


def test_compact_is_nothing_but_its_layers():
    assert kinds(exported.file(exported.network("compact"))) == [
        *["Conv", "PRelu"] * 3,
        *["Conv", "DepthToSpace", "Resize", "Add"],
    ]


def test_sizes_have_names_or_are_fixed():
    def shapes(**form):
        graph = parsed(exported.file(exported.network("compact"), **form)).graph
        ports = (graph.input[0].type.tensor_type, graph.output[0].type.tensor_type)
        return [[d.dim_param or d.dim_value for d in port.shape.dim] for port in ports]

    assert shapes() == [[1, 3, "height", "width"], [1, 3, "height*4", "width*4"]]
    assert shapes(tile=16) == [[1, 3, 16, 16], [1, 3, 64, 64]]
    assert shapes(given="uint8", made="uint8")[1] == [1, "height*4", "width*4", 3]


@pytest.mark.parametrize("name", ["compact", "rlfn", "rrdb"])
def test_pixels_in_and_out_are_rounded_half_up(name):
    weights = exported.network(name)
    data = exported.file(weights, given="uint8", made="uint8")
    pixels = exported.image(*SIZE)
    exact = np.clip(exported.by_jax(weights, pixels), 0, 1) * WHITE + 0.5
    result = exported.session(data).run(None, {"input": pixels})[0]
    assert result.dtype == np.uint8
    clear = np.abs(exact - np.round(exact)) > 1e-2  # elsewhere, rounding may go either way
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(result[clear], np.floor(exact)[clear].astype(np.uint8))


def test_a_file_of_pixels_shuffles_bytes_after_the_sum():
    data = exported.file(exported.network("compact"), given="uint8", made="uint8")
    last = ["Conv", "Conv", "Add", "Clip", "Cast", "DepthToSpace", "Transpose"]
    assert kinds(data)[-7:] == last
    (shuffle,) = [node for node in parsed(data).graph.node if node.op_type == "DepthToSpace"]
    (cast,) = [node for node in parsed(data).graph.node if shuffle.input[0] in node.output]
    assert cast.op_type == "Cast"


def test_16_bits_in_give_floats():
    weights = exported.network("compact")
    pixels = exported.image(*SIZE)
    data = exported.file(weights, given="uint16")
    result = exported.session(data).run(None, {"input": pixels.astype(np.uint16) * 257})[0]
    np.testing.assert_allclose(result, exported.by_jax(weights, pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["compact", "imdn", "pan", "vapsr"])
def test_float16_halves_the_file_and_stays_close(name):
    weights = exported.network(name)
    data, whole = exported.file(weights, half=True), exported.file(weights)
    numbers = 2 * weights.parameters  # bytes that are saved
    assert len(whole) - len(data) == pytest.approx(numbers, abs=1500)
    pixels = exported.image(*SIZE)
    expected, result = exported.by_jax(weights, pixels), exported.by_file(data, pixels)
    assert result.dtype == np.float32
    assert 0 < np.abs(result - expected).max() / max(1, np.abs(expected).max()) < 4e-3


def test_a_weight_beyond_float16_is_refused():
    weights = exported.network("compact")
    weights.params["Conv_0"]["conv"]["bias"][0] = 1e5
    with pytest.raises(UserError, match="100,000"):
        exported.file(weights, half=True)


def test_metadata_say_what_the_network_is():
    weights = exported.network("rrdb", 2, unshuffle=0).with_about(licence="CC0", source="here")
    facts = {p.key: p.value for p in parsed(exported.file(weights)).metadata_props}
    expected = {"name": "a name", "architecture": "rrdb", "scale": "2", "grid": "2"}
    expected |= {"licence": "CC0", "source": "here", "digest": weights.digest}
    assert expected.items() <= facts.items()
    assert facts["receptive_radius"] == str(weights.module.receptive_radius)
    assert "RGB" in facts["colour"]
    assert "kdgan_jax" in facts["program"]


def test_the_smallest_side_is_that_of_the_nodes():
    for name, smallest in ("srcnn", 2), ("bsrn", TINY and 15), ("compact", 1):
        weights = exported.network(name)
        data = exported.file(weights)
        facts = {p.key: p.value for p in parsed(data).metadata_props}
        assert facts["smallest"] == str(smallest)
        compare(weights, data, (smallest, smallest), 1e-5)


@pytest.mark.parametrize(
    ("name", "tile", "fact"),
    [
        ("bsrn", 14, "at least 15"),
        ("rrdb", 18, "multiple of 4"),
        ("compact", 0, "--tile=0"),
        ("hit_srf", None, "windows"),
        ("smfanet", None, "cells"),
    ],
)
def test_what_a_network_does_not_take_is_refused(name, tile, fact):
    weights = exported.network(name, **({"unshuffle": 4} if name == "rrdb" else {}))
    with pytest.raises(UserError, match=fact):
        exported.file(weights, tile=tile)


def test_a_tile_is_taken():
    weights = exported.network("bsrn")
    compare(weights, exported.file(weights, tile=17), (17, 17), 1e-5)
