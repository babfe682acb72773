import functools

import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recorded
from conftest import OURS, TINY, TRIED

from kdgan_jax import models
from kdgan_jax.models.blocks import layers
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

every_scale = pytest.mark.parametrize("scale", models.SCALES)
every_network_and_scale = pytest.mark.parametrize(("name", "scale"), TRIED)
every_neighbourhood = pytest.mark.parametrize(
    ("name", "scale"),
    [(n, s) for n, s in TRIED if not getattr(models.GENERATORS[n], "whole_image", False)],
)


@functools.cache
def fresh(name, scale):
    """Returns the variables of a small network as training starts with them."""
    module = checks.build(name, scale, **TINY[name]).module
    init = checks.compiled(lambda key: models.init(module, key, 8), checks.HASTE)
    return init(jax.random.key(0))


@every_network_and_scale
def test_output_is_scale_times_an_odd_sized_input(name, scale):
    checks.assert_enlarges(name, scale, **TINY[name])


@every_network_and_scale
def test_fresh_variables_are_like_others_and_give_finite_numbers(name, scale):
    _, drawn, apply = checks.build(name, scale, **TINY[name])
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), fresh(name, scale), drawn)
    for array in jax.tree.leaves(apply(fresh(name, scale), checks.image())):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("name", models.GENERATORS)
def test_variables_are_parameters_alone(name):
    # What runs trained networks reads nothing else.
    assert set(fresh(name, 4)) == {"params"}


@pytest.mark.parametrize("name", OURS)
def test_jit_equals_eager(name):
    module, variables, _ = checks.build(name, 3, **TINY[name])
    eager, jitted = (f(variables, checks.image()) for f in (module.apply, jax.jit(module.apply)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, jitted)


@every_neighbourhood
def test_no_pixel_beyond_the_receptive_radius_matters(name, scale):
    checks.assert_radius(name, scale, **TINY[name])


@pytest.mark.parametrize(
    ("name", "kwargs", "published"),
    [
        ("srcnn", {}, 57_281),  # Dong et al. 2016 give 57,184 weights; 97 biases
        ("srcnn", {"luma_only": False}, 69_251),
        ("srcnn", {"kernels": (9, 3, 5), "channels": (128, 64)}, 85_889),  # the origin's teacher
        ("kdgan_student", {}, 36_483),  # the origin's student
        ("edsr", {"channels": 64, "blocks": 16}, 1_517_571),  # 1518K in the literature
    ],
)
def test_parameter_count_is_the_published_one(name, kwargs, published):
    assert checks.count(name, **kwargs) == published


def test_srresnet_has_the_papers_parameters_without_batch_norm():
    def conv(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + outputs

    slopes = 64  # of one PReLU
    head = conv(9, 3, 64) + slopes
    blocks = 16 * (2 * conv(3, 64, 64) + slopes)
    body = conv(3, 64, 64)
    upsampler = 2 * (conv(3, 64, 256) + slopes)
    tail = conv(9, 64, 3)
    assert checks.count("srresnet") == head + blocks + body + upsampler + tail


def test_a_fresh_compact_starts_near_nearest_upsampling():
    module = models.generator("compact", {}, 4)
    lr = checks.image(12, 12)
    sr, _ = module.apply(models.init(module, jax.random.key(2), 8), lr)
    assert jnp.abs(sr - layers.nearest(lr, 4)).mean() < 0.1


def test_nearest_repeats_each_pixel():
    small = checks.image(5, 3)
    big = layers.nearest(small, 3)
    np.testing.assert_array_equal(big[0], np.kron(small[0], np.ones((3, 3, 1))))


@every_scale
def test_pixel_shuffle_is_pytorchs(scale):
    # PixelShuffle: output[c, h * r + i, w * r + j] = input[c * r² + i * r + j, h, w]
    x = np.random.default_rng(0).random((2, 3, 4, 5 * scale**2), np.float32)
    expected = np.empty((2, 3 * scale, 4 * scale, 5), np.float32)
    for h, w, c, i, j in np.ndindex(3, 4, 5, scale, scale):
        source = x[:, h, w, c * scale**2 + i * scale + j]
        expected[:, h * scale + i, w * scale + j, c] = source
    np.testing.assert_array_equal(layers.pixel_shuffle(jnp.asarray(x), scale), expected)


@every_scale
@pytest.mark.parametrize("axis", [0, 1])
def test_bicubic_upsample_is_matlabs_before_rounding(scale, axis):
    # Waves along one axis: MATLAB's rounding after the other axis then changes nothing.
    wave = np.round(127.5 + 100 * np.sin(np.arange(13) / 2)).astype(np.uint8)
    lr = np.broadcast_to(np.expand_dims(wave, (1 - axis, 2)), (13, 13, 3))
    ours = layers.bicubic_upsample(jnp.asarray(lr / 255, jnp.float32)[None], scale)[0] * 255
    assert np.abs(ours - bicubic.upscale(lr, scale)).max() < 0.5 + 1e-3


@pytest.mark.parametrize(
    ("name", "kwargs", "scale", "message"),
    [
        ("edrs", {}, 4, "config.student='edrs'.*did you mean 'edsr'"),
        (
            "edsr",
            {"chanels": 8},
            4,
            r"config.student: 'edsr' has no option 'chanels'; did you mean 'channels'",
        ),
        ("edsr", {"scale": 4}, 4, "config.student: 'edsr' has no option 'scale'"),
        ("edsr", {"dtype": "bfloat16"}, 4, "config.student: 'edsr' has no option 'dtype'"),
        ("edsr", {}, 5, r"scale=5.*\(2, 3, 4\)"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(name, kwargs, scale, message):
    with pytest.raises(UserError, match=message):
        models.generator(name, kwargs, scale, "config.student")


def test_lists_out_of_json_build_the_same_network_as_tuples():
    kwargs = {"kernels": [9, 3, 5], "channels": [8, 4]}
    tuples = {"kernels": (9, 3, 5), "channels": (8, 4)}
    assert models.generator("srcnn", kwargs, 4) == models.generator("srcnn", tuples, 4)


@pytest.mark.parametrize(
    ("name", "scale", "kwargs"),
    [
        ("compact", 4, {"channels": 8, "depth": 3}),
        ("compact", 3, {"channels": 4, "depth": 0}),
        ("compact", 2, {"channels": 64, "depth": 16}),
        ("edsr", 4, {"channels": 8, "blocks": 2, "image_range": 255.0}),
        ("edsr", 3, {"channels": 4, "blocks": 1, "image_range": 255.0}),
        (
            "edsr",
            2,
            {"channels": 256, "blocks": 1, "residual_scale": 0.1, "image_range": 255.0},
        ),
    ],
)
def test_weights_are_recognised_and_come_back(name, scale, kwargs):
    checks.assert_round_trip(name, scale, unsaid=["branches"], **kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"kernels": (9, 3, 5), "channels": (8, 4)},
        {"kernels": (5, 1, 3), "channels": (4, 6), "luma_only": False},
    ],
)
def test_weights_of_srcnn_are_taken_for_the_published_kind(kwargs):
    kwargs = kwargs | {"keep_border": True, "rounded": True}
    checks.assert_round_trip("srcnn", 2, unsaid=["residual"], **kwargs)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compact", {"scale": 4, "channels": 8, "depth": 3}),
        (
            "edsr",
            {"scale": 4, "channels": 8, "blocks": 2, "residual_scale": 1.0, "image_range": 255.0},
        ),
    ],
)
def test_random_weights_give_what_pytorch_gives(name, arguments):
    found, kwargs, error, top = recorded.compare(f"{name}_x4")
    assert (found, kwargs) == (name, arguments)
    assert error < 1e-5 * max(top, 1)


@pytest.mark.parametrize(
    ("depth", "published"), [(16, 621_424), (32, 1_213_296)]
)  # realesr-animevideov3 and realesr-general-x4v3
def test_compact_has_as_many_parameters_as_real_esrgans(depth, published):
    assert checks.count("compact", channels=64, depth=depth) == published


def test_published_srcnn_gives_the_published_output(shared):
    name, module, _ = checks.published(shared, "srcnn_keras.h5")
    kwargs = {"kernels": (9, 3, 5), "channels": (128, 64), "keep_border": True, "rounded": True}
    assert (name, module) == ("srcnn", models.generator("srcnn", kwargs, 2))
    assert checks.golden_error(shared, "srcnn_keras.h5", border=6) < 1e-5


@pytest.mark.parametrize("name", ["compact", "edsr", "srcnn"])
def test_no_other_file_is_claimed(shared, name):
    published = {"srcnn": {"srcnn_keras"}}
    assert checks.claimed(shared, name) == published.get(name, set())


def test_srcnn_keeps_the_enlarged_border():
    kwargs = {"kernels": (9, 3, 5), "channels": (8, 4), "keep_border": True, "rounded": True}
    module = models.generator("srcnn", kwargs, 2)
    assert module.smallest == 7
    variables = models.init(module, jax.random.key(0), 8)
    lr = np.random.default_rng(0).integers(0, 256, (1, 7, 11, 3), np.uint8)
    sr, _ = module.apply(variables, jnp.asarray(lr, jnp.float32) / 255)
    kept = np.abs(sr[0] * 255 - bicubic.upscale(lr[0], 2)).max(axis=-1) < 1e-3
    assert kept[:6].all()
    assert kept[-6:].all()
    assert kept[:, :6].all()
    assert kept[:, -6:].all()
    assert not kept[6:-6, 6:-6].any()


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_of_srcnn_with_a_kept_border_give_the_whole(scale):
    kwargs = {"kernels": (9, 3, 5), "channels": (8, 4), "keep_border": True, "rounded": True}
    checks.assert_tiles("srcnn", scale, **kwargs)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("srcnn", {"Conv_0": "conv", "Conv_1": "conv", "Conv_2": "conv"}),
        ("compact", {**{f"Conv_{i}": "conv" for i in range(4)}}),
        ("edsr", {**{f"Conv_{i}": "conv" for i in range(5)}}),
    ],
)
def test_trees_of_earlier_checkpoints_load(name, tree):
    params = fresh(name, 4)["params"]
    assert {layer: next(iter(params[layer])) for layer in tree} == tree
    others = {"compact": {f"PReLU_{i}" for i in range(3)}, "edsr": {"ShuffleUpsampler_0"}}
    assert params.keys() - tree.keys() == others.get(name, set())


def test_every_network_is_tried():
    assert set(TINY) == set(models.GENERATORS)
