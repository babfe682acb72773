import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import bicubic, models
from kdgan_jax.errors import UserError
from kdgan_jax.models import layers

every_network = pytest.mark.parametrize("name", models.GENERATORS)
every_scale = pytest.mark.parametrize("scale", models.SCALES)


@functools.cache
def tiny(name, scale):
    """Returns (module, variables) of a small network; one scale's parameters are its own."""
    module = models.generator(name, TINY[name], scale)
    return module, {"params": models.init(module, jax.random.key(0), 8)}


@functools.cache
def image(height, width):
    return jax.random.uniform(jax.random.key(1), (2, height, width, 3))


def count(name, scale=4, **kwargs):
    module = models.generator(name, kwargs, scale)
    return models.parameters(jax.eval_shape(module.init, jax.random.key(0), image(8, 8))["params"])


@every_network
@every_scale
def test_output_is_scale_times_an_odd_sized_input(name, scale):
    module, variables = tiny(name, scale)
    sr, _ = jax.jit(module.apply)(variables, image(7, 11))
    assert (sr.shape, sr.dtype) == ((2, 7 * scale, 11 * scale, 3), jnp.float32)
    assert jnp.isfinite(sr).all()


@every_network
def test_features_are_named_arrays_of_the_batch(name):
    module, variables = tiny(name, 4)
    _, features = jax.jit(module.apply)(variables, image(7, 11))
    assert features
    for array in features.values():
        assert array.ndim == 4
        assert len(array) == 2
        assert jnp.isfinite(array).all()


@every_network
def test_jit_equals_eager(name):
    module, variables = tiny(name, 3)
    eager, jitted = (f(variables, image(7, 11)) for f in (module.apply, jax.jit(module.apply)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, jitted)


@every_network
@every_scale
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
