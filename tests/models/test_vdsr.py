import jax.numpy as jnp
import luma_checks as checks
import numpy as np
import pytest

from kdgan_jax import bicubic, models

TINY = {"features": 8, "depth": 3}


def test_parameter_count_is_the_published_one():
    assert checks.parameters("vdsr", {}) == 664_704


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_sized_input(scale):
    checks.assert_enlarges("vdsr", TINY, scale)


@pytest.mark.parametrize("kwargs", [{}, TINY, {"features": 4, "depth": 2}])
def test_weights_are_recognised_and_come_back(kwargs):
    checks.assert_round_trip("vdsr", kwargs, 4)


def test_every_parameter_has_a_finite_gradient():
    checks.assert_learns_everywhere("vdsr", TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_give_the_whole(scale):
    checks.assert_tiles("vdsr", TINY, scale)


def test_a_network_of_zeros_is_bicubic_of_8_bits():
    module = models.generator("vdsr", TINY, 4)
    params = {name: {"kernel": leaf["kernel"] * 0} for name, leaf in checks.noise(module).items()}
    lr = np.random.default_rng(0).integers(0, 256, (1, 9, 8, 3), np.uint8)
    sr, _ = module.apply({"params": params}, jnp.asarray(lr, jnp.float32) / 255)
    np.testing.assert_allclose(sr[0] * 255, bicubic.upscale(lr[0], 4), atol=1e-3)


def test_published_weights_give_the_published_output(shared):
    path = shared / "weights" / "vdsr.pth"
    name, module, _ = checks.published(path)
    assert (name, module) == ("vdsr", models.generator("vdsr", {}, 4))
    assert checks.golden_error(shared, path) < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "vdsr") == {"vdsr"}
