import checks
import pytest

from kdgan_jax import models

TINY = {"channels": 8, "blocks": 1, "attention": 12}
SMALL = {"channels": 32, "blocks": 11, "groups": 2}  # VapSR-S


def test_parameter_counts_are_the_published_ones():
    assert checks.count("vapsr") == 342_220
    assert checks.count("vapsr", **SMALL) == 154_956
    assert checks.count("vapsr", scale=2, blocks=20) == 329_236
    assert checks.count("vapsr", scale=3, blocks=20) == 336_811


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("vapsr", scale=scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_a_state_is_recognised_and_comes_back(scale):
    checks.assert_round_trip("vapsr", scale=scale, **TINY)
    checks.assert_round_trip("vapsr", scale=scale, channels=6, blocks=2, attention=4, groups=2)


def test_every_parameter_is_used():
    assert checks.assert_gradients("vapsr", **TINY) == []


def test_tiles_are_the_whole():
    checks.assert_tiles("vapsr", **TINY)


def test_no_pixel_beyond_the_receptive_radius_matters_and_the_last_one_does():
    radius = checks.build("vapsr", **TINY).module.receptive_radius
    assert checks.assert_radius("vapsr", **TINY) in (radius - 1, radius)


def test_only_its_own_files_are_claimed(shared):
    assert checks.claimed(shared, "vapsr") == {"vapsr_x4", "vapsr_s_x4"}


# The same networks in float64 differ from the files' float32 outputs by up to 3e-6.
@pytest.mark.parametrize("file", ["vapsr_x4.pth", "vapsr_s_x4.pth"])
def test_published_weights_give_published_outputs(shared, file):
    assert checks.golden_error(shared, file) < 1e-5
