import functools

import jax
import jax.numpy as jnp
import luma_checks
import numpy as np
import pytest
import recorded
from conftest import OURS, TINY, TRIED

from kdgan_jax import bicubic, models
from kdgan_jax.errors import UserError
from kdgan_jax.models import layers
from kdgan_jax.zoo import foreign

every_network = pytest.mark.parametrize("name", models.GENERATORS)
every_scale = pytest.mark.parametrize("scale", models.SCALES)
every_network_and_scale = pytest.mark.parametrize(("name", "scale"), TRIED)
every_neighbourhood = pytest.mark.parametrize(
    ("name", "scale"),
    [(n, s) for n, s in TRIED if not getattr(models.GENERATORS[n], "whole_image", False)],
)


@functools.cache
def tiny(name, scale):
    """Returns (module, variables) of a small network; one scale's parameters are its own."""
    module = models.generator(name, TINY[name], scale)
    return module, {"params": models.init(module, jax.random.key(0), 8)}


@functools.cache
def image(height, width):
    return jax.random.uniform(jax.random.key(1), (2, height, width, 3))


@functools.cache
def applied(name, scale):
    """Returns (SR, features) of a small network on an odd-sized image."""
    module, variables = tiny(name, scale)
    return jax.jit(module.apply)(variables, image(17, 23))


def count(name, scale=4, **kwargs):
    module = models.generator(name, kwargs, scale)
    return models.parameters(jax.eval_shape(module.init, jax.random.key(0), image(8, 8))["params"])


@every_network_and_scale
def test_output_is_scale_times_an_odd_sized_input(name, scale):
    sr, _ = applied(name, scale)
    assert (sr.shape, sr.dtype) == ((2, 17 * scale, 23 * scale, 3), jnp.float32)
    assert jnp.isfinite(sr).all()


@every_network
def test_features_are_named_arrays_of_the_batch(name):
    _, features = applied(name, 4)
    assert features
    for array in features.values():
        assert array.ndim == 4
        assert len(array) == 2
        assert jnp.isfinite(array).all()


@pytest.mark.parametrize("name", OURS)
def test_jit_equals_eager(name):
    module, variables = tiny(name, 3)
    eager, jitted = (f(variables, image(17, 23)) for f in (module.apply, jax.jit(module.apply)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, jitted)


@every_neighbourhood
def test_no_pixel_beyond_the_receptive_radius_matters(name, scale):
    module, variables = tiny(name, scale)
    radius = module.receptive_radius
    before = image(2 * radius + 3, 2 * radius + 3)
    centre = radius + 1
    after = before.at[:, centre, centre].add(1.0)
    apply = jax.jit(module.apply)
    changed = (apply(variables, before)[0] != apply(variables, after)[0]).any(axis=(0, 3))
    rows, columns = np.nonzero(changed)
    for seen in rows // scale, columns // scale:
        assert seen.min() >= centre - radius
        assert seen.max() <= centre + radius


@pytest.mark.parametrize(
    ("name", "kwargs", "published"),
    [
        ("srcnn", {}, 57_281),  # Dong et al. 2016 give 57,184 weights; 97 biases
        ("srcnn", {"luma_only": False}, 69_251),
        ("srcnn", {"kernels": (9, 3, 5), "features": (128, 64)}, 85_889),  # the origin's teacher
        ("kdgan_student", {}, 36_483),  # the origin's student
        ("edsr", {"features": 64, "blocks": 16}, 1_517_571),  # 1518K in the literature
    ],
)
def test_parameter_count_is_the_published_one(name, kwargs, published):
    assert count(name, **kwargs) == published


def test_srresnet_has_the_papers_parameters_without_batch_norm():
    def conv(kernel, inputs, outputs):
        return kernel**2 * inputs * outputs + outputs

    slopes = 64  # of one PReLU
    head = conv(9, 3, 64) + slopes
    blocks = 16 * (2 * conv(3, 64, 64) + slopes)
    body = conv(3, 64, 64)
    upsampler = 2 * (conv(3, 64, 256) + slopes)
    tail = conv(9, 64, 3)
    assert count("srresnet") == head + blocks + body + upsampler + tail


def test_a_fresh_compact_starts_near_nearest_upsampling():
    module = models.generator("compact", {}, 4)
    lr = image(12, 12)
    sr, _ = module.apply({"params": models.init(module, jax.random.key(2), 8)}, lr)
    assert jnp.abs(sr - layers.nearest(lr, 4)).mean() < 0.1


def test_nearest_repeats_each_pixel():
    big = layers.nearest(image(5, 3), 3)
    np.testing.assert_array_equal(big[0], np.kron(image(5, 3)[0], np.ones((3, 3, 1))))


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
        ("edrs", {}, 4, "config.student.name='edrs'.*did you mean 'edsr'"),
        ("edsr", {"feature": 8}, 4, r"config.student.kwargs.feature.*did you mean 'features'"),
        ("edsr", {}, 5, r"scale=5.*\(2, 3, 4\)"),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(name, kwargs, scale, message):
    with pytest.raises(UserError, match=message):
        models.generator(name, kwargs, scale, "config.student")


def test_lists_out_of_json_build_the_same_network_as_tuples():
    kwargs = {"kernels": [9, 3, 5], "features": [8, 4]}
    tuples = {"kernels": (9, 3, 5), "features": (8, 4)}
    assert models.generator("srcnn", kwargs, 4) == models.generator("srcnn", tuples, 4)


@pytest.mark.parametrize(
    ("name", "scale", "kwargs"),
    [
        ("srcnn", 2, {"kernels": (9, 3, 5), "features": (8, 4)}),
        ("srcnn", 2, {"kernels": (5, 1, 3), "features": (4, 6), "luma_only": False}),
        ("compact", 4, {"features": 8, "depth": 3}),
        ("compact", 3, {"features": 4, "depth": 0}),
        ("compact", 2, {"features": 64, "depth": 16}),
        ("edsr", 4, {"features": 8, "blocks": 2}),
        ("edsr", 3, {"features": 4, "blocks": 1}),
        ("edsr", 2, {"features": 256, "blocks": 1, "residual_scale": 0.1}),
    ],
)
def test_weights_are_recognised_and_come_back(name, scale, kwargs):
    module = models.generator(name, kwargs, scale)
    params = models.init(module, jax.random.key(0), 16)
    state = foreign.to_state(module, params)
    found, arguments = foreign.detect(state)
    fixed = {
        "srcnn": {"keep_border": True, "rounded": True, "luma_only": True},
        "compact": {},
        "edsr": {"image_range": 255.0, "residual_scale": 1.0},
    }
    assert (found, arguments) == (name, {"scale": scale} | fixed[name] | kwargs)
    jax.tree.map(np.testing.assert_array_equal, foreign.to_params(module, state), params)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compact", {"scale": 4, "features": 8, "depth": 3}),
        (
            "edsr",
            {"scale": 4, "features": 8, "blocks": 2, "residual_scale": 1.0, "image_range": 255.0},
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
    assert count("compact", features=64, depth=depth) == published


def test_published_srcnn_gives_the_published_output(shared):
    path = shared / "weights" / "srcnn_keras.h5"
    name, module, _ = luma_checks.published(path)
    kwargs = {"kernels": (9, 3, 5), "features": (128, 64), "keep_border": True, "rounded": True}
    assert (name, module) == ("srcnn", models.generator("srcnn", kwargs, 2))
    assert luma_checks.golden_error(shared, path) < 1e-5


@pytest.mark.parametrize("name", ["compact", "edsr", "srcnn"])
def test_no_other_file_is_claimed(shared, name):
    published = {"srcnn": {"srcnn_keras"}}
    assert luma_checks.claimed(shared, name) == published.get(name, set())


def test_srcnn_keeps_the_enlarged_border():
    kwargs = {"kernels": (9, 3, 5), "features": (8, 4), "keep_border": True, "rounded": True}
    module = models.generator("srcnn", kwargs, 2)
    assert module.smallest == 7
    params = models.init(module, jax.random.key(0), 8)
    lr = np.random.default_rng(0).integers(0, 256, (1, 7, 11, 3), np.uint8)
    sr, _ = module.apply({"params": params}, jnp.asarray(lr, jnp.float32) / 255)
    kept = np.abs(sr[0] * 255 - bicubic.upscale(lr[0], 2)).max(axis=-1) < 1e-3
    assert kept[:6].all()
    assert kept[-6:].all()
    assert kept[:, :6].all()
    assert kept[:, -6:].all()
    assert not kept[6:-6, 6:-6].any()


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_of_srcnn_with_a_kept_border_give_the_whole(scale):
    kwargs = {"kernels": (9, 3, 5), "features": (8, 4), "keep_border": True, "rounded": True}
    luma_checks.assert_tiles("srcnn", kwargs, scale)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("srcnn", {"Conv_0": "conv", "Conv_1": "conv", "Conv_2": "conv"}),
        ("compact", {**{f"Conv_{i}": "conv" for i in range(4)}}),
        ("edsr", {**{f"Conv_{i}": "conv" for i in range(5)}}),
    ],
)
def test_trees_of_earlier_checkpoints_load(name, tree):
    params = tiny(name, 4)[1]["params"]
    assert {layer: next(iter(params[layer])) for layer in tree} == tree
    others = {"compact": {f"PReLU_{i}" for i in range(3)}, "edsr": {"ShuffleUpsampler_0"}}
    assert params.keys() - tree.keys() == others.get(name, set())


def test_every_network_is_tried():
    assert set(TINY) == set(models.GENERATORS)
