import checks
import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.pictures import bicubic

TINY = {"channels": 8, "depth": 3}


def test_parameter_count_is_the_published_one():
    assert checks.count("vdsr") == 664_704


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_sized_input(scale):
    checks.assert_enlarges("vdsr", scale, **TINY)


@pytest.mark.parametrize("kwargs", [{}, TINY, {"channels": 4, "depth": 2}])
def test_weights_are_recognised_and_come_back(kwargs):
    checks.assert_round_trip("vdsr", **kwargs)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("vdsr", 2, **TINY) == []


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_give_the_whole(scale):
    checks.assert_tiles("vdsr", scale, **TINY)


def test_a_network_of_zeros_is_bicubic_of_8_bits():
    _, variables, apply = checks.build("vdsr", **TINY)
    lr = np.random.default_rng(0).integers(0, 256, (1, 9, 8, 3), np.uint8)
    sr, _ = apply(jax.tree.map(np.zeros_like, variables), lr.astype(np.float32) / 255)
    np.testing.assert_allclose(sr[0] * 255, bicubic.upscale(lr[0], 4), atol=1e-3)


def test_published_weights_give_the_published_output(shared):
    name, module, _ = checks.published(shared, "vdsr.pth")
    assert (name, module) == ("vdsr", models.generator("vdsr", {}, 4))
    assert checks.golden_error(shared, "vdsr.pth") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "vdsr") == {"vdsr"}
