import checks
import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.models.generators.carn import MEAN

TINY = {"channels": 8, "blocks": 2, "groups": 2}


def test_parameter_count_is_the_published_one():
    one, two, three = (checks.count("carn_m", scale=scale) for scale in models.SCALES)
    assert three == 294_171
    upsampler = 9 * 16 * 256 + 256  # of x2; of groups of 16 channels
    everything_else = one - upsampler
    assert one + (two - everything_else) + (three - everything_else) == 414_811  # of the file


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("carn_m", scale=scale, **TINY)


@pytest.mark.parametrize(
    ("kwargs", "scale"), [(TINY, 4), (TINY, 2), ({"blocks": 1, "groups": 1}, 3)]
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("carn_m", scale=scale, **kwargs)


def test_every_parameter_but_the_mean_has_a_finite_gradient():
    still = checks.assert_gradients("carn_m", **TINY)
    shifts = "add_mean.shifter", "sub_mean.shifter"
    assert sorted(still) == [f"{shift}/{part}" for shift in shifts for part in ("bias", "kernel")]


def test_the_mean_is_taken_away_and_added():
    module, _, apply = checks.build("carn_m", 2, **TINY)
    variables = models.init(module, jax.random.key(0), 9)
    # What is left of a mean image is the biases, which are 0 at first.
    sr, taps = apply(variables, np.full_like(checks.image(), MEAN))
    np.testing.assert_allclose(sr, np.broadcast_to(MEAN, sr.shape), atol=1e-6)
    np.testing.assert_allclose(taps["head"], 0, atol=1e-6)


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_are_the_whole(scale):
    checks.assert_tiles("carn_m", scale, **TINY)


def test_of_a_file_for_several_scales_the_largest_is_taken(shared):
    arguments = {"scale": 4, "channels": 64, "blocks": 3, "groups": 4}
    state = checks.read(shared / "weights" / "carn_m.pth")
    assert foreign.detect(state) == ("carn_m", arguments)


@pytest.mark.parametrize("scale", models.SCALES)
def test_published_weights_give_the_published_output(shared, scale):
    name, module, _ = checks.published(shared, "carn_m.pth", scale)
    assert (name, module) == ("carn_m", models.generator("carn_m", {}, scale))
    assert checks.golden_error(shared, "carn_m.pth", scale) < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "carn_m") == {"carn_m"}
