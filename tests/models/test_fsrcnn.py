import checks
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.blocks import layers
from kdgan_jax.models.generators import fsrcnn
from kdgan_jax.pictures import bicubic

SMALL = {"channels": 32, "narrow": 5, "depth": 1}  # FSRCNN-small
TINY = {"channels": 8, "narrow": 4, "depth": 2}
FILES = {f"fsrcnn_x{scale}": (scale, {}) for scale in (2, 3, 4)}
FILES |= {f"fsrcnn_small_x{scale}": (scale, SMALL) for scale in (2, 3, 4)}


@pytest.mark.parametrize(("kwargs", "published"), [({}, 9_169), (SMALL, 2_006)])
def test_parameter_count_is_the_published_one(kwargs, published):
    assert checks.count("fsrcnn", **kwargs) == published


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_sized_input(scale):
    checks.assert_enlarges("fsrcnn", scale, **TINY)


@pytest.mark.parametrize(("kwargs", "scale"), [({}, 4), (SMALL, 3), (TINY, 2)])
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("fsrcnn", scale, **kwargs)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("fsrcnn", 2, **TINY) == []


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_give_the_whole(scale):
    checks.assert_tiles("fsrcnn", scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_rounded_bicubic_has_matlabs_levels(scale):
    lr = np.random.default_rng(0).integers(0, 256, (1, 61, 47, 3), np.uint8)
    lr[0, :20] = np.where(lr[0, :20] > 127, 255, 0)  # overshoots, which are clipped
    ours = layers.bicubic_upsample(jnp.asarray(lr, jnp.float32) / 255, scale, rounded=True)
    np.testing.assert_allclose(ours[0] * 255, bicubic.upscale(lr[0], scale), atol=1e-4)


@pytest.mark.parametrize("scale", [2, 4])
def test_rounded_bicubic_rounds_halves_up(scale):
    # Ramps of two rows meet every multiple of 1/2: half to even would differ by a level.
    values = np.arange(256, dtype=np.uint8)
    lr = np.stack([values, values[::-1], np.roll(values, 1)])[None, ..., None].repeat(3, -1)
    ours = layers.bicubic_upsample(jnp.asarray(lr, jnp.float32) / 255, scale, rounded=True)
    np.testing.assert_allclose(ours[0] * 255, bicubic.upscale(lr[0], scale), atol=1e-4)


def test_colour_differences_are_those_of_the_enlarged_image():
    lr = np.random.default_rng(0).integers(0, 256, (1, 9, 8, 3), np.uint8)
    y = np.random.default_rng(1).random((1, 18, 16, 1), np.float32)
    rgb, _ = fsrcnn.on_luma(lambda _: (y, {}), jnp.asarray(lr, jnp.float32) / 255, 2)
    enlarged = bicubic.upscale(lr[0], 2) / 255
    before = enlarged @ [0.299, 0.587, 0.114]
    red, blue = enlarged[..., 0] - before, enlarged[..., 2] - before
    np.testing.assert_allclose(fsrcnn.luma(rgb), y, atol=1e-6)
    np.testing.assert_allclose(rgb[0, ..., 0], y[0, ..., 0] + red, atol=1e-6)
    np.testing.assert_allclose(rgb[0, ..., 2], y[0, ..., 0] + blue, atol=1e-6)


@pytest.mark.parametrize("stem", FILES)
def test_published_weights_give_the_published_output(shared, stem):
    scale, kwargs = FILES[stem]
    name, module, _ = checks.published(shared, f"{stem}.pb")
    assert (name, module) == ("fsrcnn", models.generator("fsrcnn", kwargs, scale))
    assert checks.golden_error(shared, f"{stem}.pb") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "fsrcnn") == set(FILES)
