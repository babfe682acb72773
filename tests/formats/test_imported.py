import functools
import json
import logging
import re

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pickles
import pytest
import refusals
from safetensors.numpy import save_file

import kdgan_jax
from kdgan_jax import models
from kdgan_jax.data import photos, sources
from kdgan_jax.evaluation import metrics
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.files import sha256

refused = functools.partial(refusals.refused, imported.load)

# One of each format and colour space, with its Y-PSNR on "butterfly" of Set5; the files' golden
# outputs are in tests/models.
BUTTERFLY = {
    "carn_m.pth": 27.988,
    "espcn_x4.pb": 22.386,
    "fast_srgan.pt": 26.131,
    "imdn_x4.pth": 28.559,
    "srcnn_keras.h5": 22.478,
    "vdsr.pth": 27.121,
}
# Published students with their arguments and their figure on Set5 as `../shared` has it.
RIVALS = {
    "ABPN_M4C28_x4.pth": ("abpn", {}, 31.32),
    "ECBSR_M4C16_x4.pth": ("compact", {"channels": 16}, 30.89),
    "ECBSR_M4C32_x4.pth": ("compact", {"channels": 32}, 31.25),
    "ECBSR_M6C40_x4.pth": ("compact", {"channels": 40, "depth": 6}, 31.42),
    "PlainUSRS_x4.pth": ("plainusr", {"channels": (32, 16, 8), "depth": 2, "attention": 4}, 31.56),
    "PlainUSRU_x4.pth": ("plainusr", {"channels": (16, 8), "depth": 2, "attention": 0}, 30.77),
}


def figures(shared, file, names):
    model = kdgan_jax.load(shared / file, scale=4)
    found, _ = sources.folder(shared / "benchmark" / "Set5", 4)
    pairs = [photos.load_pair(photo, 4) for photo in found if not names or photo.name in names]
    return [metrics.psnr_y(model.upscale(lr), hr, 4) for hr, lr in pairs]


@pytest.mark.parametrize("file", BUTTERFLY)
def test_published_files_keep_their_figure_on_an_image(shared, file):
    (psnr,) = figures(shared, f"weights/{file}", ["butterfly"])
    assert psnr == pytest.approx(BUTTERFLY[file], abs=0.01)


@pytest.mark.long
@pytest.mark.parametrize("file", BUTTERFLY)
def test_published_files_have_their_measured_figure_on_set5(shared, file):
    measured = json.loads((shared / "weights" / "measured.json").read_text())
    values = figures(shared, f"weights/{file}", [])
    assert len(values) == 5
    assert np.mean(values) == pytest.approx(measured[file]["Set5"]["psnr_y"], abs=0.01)


@pytest.mark.parametrize("file", RIVALS)
def test_published_students_are_read_and_have_their_figure_on_set5(shared, file):
    name, arguments, psnr = RIVALS[file]
    network = imported.load(shared / "rivals" / file)
    assert network.module == models.generator(name, arguments, 4)
    assert network.about["title"].replace("-", "") == file.removesuffix("_x4.pth").replace("_", "")
    # Known to two decimals; ABPN's is its authors' own, by their program.
    assert np.mean(figures(shared, f"rivals/{file}", [])) == pytest.approx(psnr, abs=0.015)


def test_every_file_is_a_known_one(shared):
    # Each is detected and converted in tests/models.
    files = [*(shared / "weights").iterdir(), *(shared / "rivals").iterdir()]
    paths = [path for path in files if imported.is_model(path)]
    assert {sha256(path) for path in paths} == set(published.FILES)
    espcn = imported.load(shared / "weights" / "espcn_x4.pb")
    assert espcn.about["title"] == "ESPCN"
    assert espcn.about["sha256"] in published.FILES


def test_teachers_for_photos_are_known_with_their_licence(shared):
    teachers = [imported.load(path) for path in sorted((shared / "real_world").glob("*.param"))]
    assert {teacher.about["sha256"] for teacher in teachers} == set(published.FOR_PHOTOS)
    for teacher in teachers:
        assert "BSD-3-Clause" in teacher.about["licence"]
        assert teacher.about["title"].startswith("realesr-")


def zeros(name, kwargs, scale):
    shapes = foreign.shapes(models.generator(name, kwargs, scale))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    return Weights(name, kwargs, scale, params)


SMALL = {
    "imdn": {"channels": 8, "blocks": 1},
    "pan": {"blocks": 1},
    "rrdb": {"channels": 4, "blocks": 1, "growth": 2},
    "vdsr": {"channels": 4, "depth": 3},
}


@pytest.mark.parametrize(
    ("name", "scale", "asked", "loaded"),
    [
        # A file of one enlarging step is for x2, or for x3 if asked for.
        ("pan", 3, (None, 3, 4), (2, 3, 2)),
        ("rrdb", 3, (None, 3, 4), (2, 3, 2)),
        ("vdsr", 4, (2, 3, 4), (2, 3, 4)),  # one file for all scales
        ("imdn", 4, (None, 2, 4), (4, 4, 4)),  # others have their own
    ],
)
def test_a_scale_is_a_choice_where_a_file_serves_several(tmp_path, name, scale, asked, loaded):
    foreign.save(tmp_path / "a.safetensors", zeros(name, SMALL[name], scale))
    path = tmp_path / "a.safetensors"
    assert tuple(imported.load(path, scale=choice).scale for choice in asked) == loaded


def test_files_of_no_known_architecture_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a.weight": np.zeros((3, 2), np.float32)}, path)
    refused(path, "1 entries", "a.weight (3, 2)", "imdn")
    refusals.refused(functools.partial(imported.load, architecture="imdn"), path, "imdn")


def changed(name, change, **kwargs):
    """Returns the entries of a small network with some of them replaced, or left out if None."""
    state = networks.state(0, name, **kwargs)
    return {k: v for k, v in (state | change(state)).items() if v is not None}


def one_channel(state):
    return {
        "body.0.weight": state["body.0.weight"][:, :1],
        "body.4.weight": zeros_like(16, 2, 3, 3),
    }


def zeros_like(*shape):
    return np.zeros(shape, np.float32)


RRDB = {"channels": 4, "blocks": 1, "growth": 2, "unshuffle": 1}
BATCH_NORM = {f"body.0.bn.{kind}": zeros_like(2) for kind in ("weight", "bias", "running_mean")}
REFUSED = {
    "one channel": (
        lambda: changed("compact", one_channel) | {"body.4.bias": zeros_like(16)},
        ["compact, but takes 1 channel at body.0.weight, needed 3"],
    ),
    "four channels": (
        lambda: changed("rrdb", lambda s: {"conv_first.weight": zeros_like(4, 4, 3, 3)}, **RRDB),
        ["rrdb, but takes 4 channels at conv_first.weight, needed 3"],
    ),
    "one layer less": (
        lambda: changed("compact", lambda s: {"body.2.weight": None}),
        ["compact, but lacks body.2.weight"],
    ),
    "the first half": (
        lambda: changed("compact", lambda s: {"body.4.weight": None, "body.4.bias": None}),
        ["compact, but lacks body.4.bias, body.4.weight"],
    ),
    "one layer more": (
        lambda: networks.state() | {"body.9.weight": zeros_like(2)},
        ["compact, but body.4.bias is (48,), needed (2,)"],
    ),
    "other layers": (
        lambda: networks.state() | BATCH_NORM,
        ["compact, but has body.0.bn.", "which it lacks"],
    ),
    "the first half of another": (
        lambda: changed("rrdb", lambda s: {k: None for k in s if re.match("conv_[^f]", k)}, **RRDB),
        ["rrdb, but lacks conv_"],
    ),
    "whole numbers": (
        lambda: {k: v.astype(np.int8) for k, v in networks.state().items()},
        ["'net.body.0.bias'", "int8", "quantised"],
    ),
    "whole numbers of another network": (
        lambda: {f"layer{i}.qweight": np.zeros((2, 2), np.int32) for i in range(3)},
        ["'net.layer0.qweight'", "int32", "quantised"],
    ),
    "not a number": (
        lambda: changed("compact", lambda s: {"body.2.bias": np.float32([1, np.nan])}),
        ["'net.body.2.bias'", "1 of 2", "nan"],
    ),
    "infinite in float32": (
        lambda: changed("compact", lambda s: {"body.2.bias": np.float64([1e300, 1])}),
        ["'net.body.2.bias'", "1 of 2", "inf"],
    ),
    "a norm of nothing": (
        lambda: (
            networks.state()
            | {"body.4.weight_g": np.ones((48, 1, 1, 1), np.float32)}
            | {"body.4.weight_v": zeros_like(48, 2, 3, 3)}
        ),
        ["'body.4.weight'", "nan"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_first_difference_is_named(tmp_path, name):
    entries, facts = REFUSED[name]
    made = {k: v for k, v in entries().items() if f"{k}_g" not in entries()}
    save_file({f"net.{k}": np.ascontiguousarray(v) for k, v in made.items()}, tmp_path / "a")
    refused(tmp_path / "a", *facts)
    refusals.refused(kdgan_jax.load, tmp_path / "a", *facts)


def test_a_quantised_tensor_and_small_floats_are_refused(tmp_path):
    array = np.zeros((2, 2), np.int8)
    state = {"a.weight": pickles.tensor("0", array, kind="QInt8Storage")}
    pickles.write_zip(tmp_path / "a.pth", pickles.dictionary(state), {"0": array.tobytes()})
    refused(tmp_path / "a.pth", "'a.weight'", "int8", "quantised")
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    line = json.dumps(header).encode()
    (tmp_path / "b").write_bytes(len(line).to_bytes(8, "little") + line + bytes(2))
    refused(tmp_path / "b", "'a'", "F8_E4M3", "quantised")


def test_bfloat16_is_read_from_safetensors(tmp_path):
    state = {k: v.astype(jnp.bfloat16) for k, v in networks.state().items()}
    save_file(state, tmp_path / "a")
    model = imported.load(tmp_path / "a")
    for name, array in foreign.to_state(model.module, model.params).items():
        np.testing.assert_array_equal(array, state[name].astype(np.float32))


@pytest.mark.parametrize("kwargs", [{}, {"residual_scale": 0.1}, {"image_range": 255.0}])
def test_an_edsr_of_this_package_becomes_a_published_one(tmp_path, photo, kwargs):
    # A file says neither range nor residual scale: both must be in the weights.
    kwargs = {"channels": 8, "blocks": 1, **kwargs}
    module = models.generator("edsr", kwargs, 2)
    model = Model("edsr", kwargs, 2, models.init(module, jax.random.key(0), 16)["params"])
    foreign.save(tmp_path / "edsr.safetensors", model)
    back = kdgan_jax.load(tmp_path / "edsr.safetensors")
    assert (back.kwargs["image_range"], back.kwargs["residual_scale"]) == (255.0, 1.0)
    image = photo[:17, :21]
    np.testing.assert_allclose(back.predict(image), model.predict(image), atol=2e-6)


def test_a_network_with_more_parts_is_refused(tmp_path):
    model = zeros("imdn", SMALL["imdn"], 4)
    state = foreign.to_state(model.module, model.params)
    counter = {"norm.num_batches_tracked": np.zeros(1, np.float32)}
    save_file(state | counter, tmp_path / "counted.safetensors")
    assert imported.load(tmp_path / "counted.safetensors").name == "imdn"
    more = {f"gate{i}.weight": np.zeros(1, np.float32) for i in range(5)}
    save_file(state | more, tmp_path / "more.safetensors")
    facts = "imdn", f"5 of its {len(state) + 5}", "gate0.weight, gate1.weight, gate2.weight, ..."
    refused(tmp_path / "more.safetensors", *facts)


@pytest.mark.parametrize(
    ("name", "fact", "asked", "scale", "guess"),
    [
        ("a.pth", {}, None, 2, "x2; x3"),
        ("a.pth", {}, 3, 3, ""),
        ("3x_photo.pth", {}, None, 3, "x3; x2"),
        ("photo_X3.pth", {}, None, 3, "x3; x2"),
        ("a.pth", {"opt": {"scale": 3}}, None, 3, "x3; x2"),
        ("3x.pth", {"scale": 2}, 3, 3, ""),
    ],
)
def test_a_scale_that_a_file_leaves_open_is_guessed_aloud(
    tmp_path, caplog, name, fact, asked, scale, guess
):
    caplog.set_level(logging.INFO)
    state = networks.state(0, "rrdb", 2, **RRDB)
    pickles.write_tree(tmp_path / name, {"params": state} | fact)
    model = imported.load(tmp_path / name, scale=asked)
    assert (model.scale, model.about.get("guess", "")[:6]) == (scale, guess)
    assert (f"{name}: a guess: {guess}" in caplog.text) == bool(guess)


@pytest.mark.parametrize(
    ("name", "fact", "options", "slope", "guess"),
    [
        ("a.pth", {}, "", 0.0, "ReLU; LeakyReLU"),
        ("a_leakyrelu.pth", {}, "", 0.1, "LeakyReLU; ReLU"),
        ("a.pth", {"network": {"act_type": "leakyrelu"}}, "", 0.1, "LeakyReLU; ReLU"),
        ("a.pth", {}, ":slope=0.2", 0.2, ""),
    ],
)
def test_slopes_that_a_file_leaves_open_are_guessed_aloud(
    tmp_path, photo, name, fact, options, slope, guess
):
    state = networks.state(0, "compact", 4, **networks.TINY)
    plain = {k: v for k, v in state.items() if v.ndim == 4 or "bias" in k}
    pickles.write_tree(tmp_path / name, {"params": plain} | fact)
    model = Model.of(imported.load(tmp_path / name, f"compact{options}"))
    assert (model.kwargs["slope"], model.about.get("guess", "")[: len(guess)]) == (slope, guess)
    assert bool(guess) == ("guess" in model.about)
    slopes = {k: np.full_like(v, slope) for k, v in state.items() if k not in plain}
    pickles.write_tree(tmp_path / "same.pth", state | slopes)
    same = kdgan_jax.load(tmp_path / "same.pth")
    np.testing.assert_allclose(model.predict(photo[:9, :8]), same.predict(photo[:9, :8]), atol=1e-6)
    foreign.save(tmp_path / "again", model)
    assert imported.load(tmp_path / "again", "compact:slope=0.5").kwargs["slope"] == 0.5


def test_plain_colours_tell_what_a_trained_file_leaves_open(tmp_path):
    # To the enlarged picture, 0.1 is added, and one leaky slope of -1, which ReLU makes 0.
    state = networks.state(0, "compact", 2, channels=3, depth=0)
    state = {k: np.zeros_like(v) for k, v in state.items() if k != "body.1.weight"}
    state["body.0.bias"] -= 1
    state["body.2.weight"][:, 0, 1, 1] = 1
    state["body.2.bias"] += 0.1
    save_file(state, tmp_path / "a")
    model = imported.load(tmp_path / "a")
    assert (model.kwargs["slope"], model.about["guess"][:9]) == (0.1, "LeakyReLU")
