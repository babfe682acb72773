import checks
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.generators import fast_srgan

TINY = {"channels": 8, "blocks": 1}


def test_parameter_count_is_the_published_one():
    assert checks.count("fast_srgan") == 925_646


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("fast_srgan", scale=scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_a_state_is_recognised_and_comes_back(scale):
    checks.assert_round_trip("fast_srgan", scale=scale, **TINY)
    checks.assert_round_trip("fast_srgan", scale=scale, channels=4, blocks=3)


def test_every_parameter_is_used():
    assert checks.assert_gradients("fast_srgan", **TINY) == []


def test_normalised_channels_have_mean_0_and_variance_1():
    x = fast_srgan._instance_norm(checks.image(9, 7) * jnp.asarray([1.0, 50.0, 3.0]) + 100)
    np.testing.assert_allclose(x.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(x.var(axis=(1, 2)), 1, rtol=1e-3)


def test_output_lies_between_0_and_1():
    _, variables, apply = checks.build("fast_srgan", **TINY)
    sr, _ = apply(variables, 30 * checks.image(9, 8))
    assert 0 <= sr.min() < sr.max() <= 1


def test_only_its_own_files_are_claimed(shared):
    assert checks.claimed(shared, "fast_srgan") == {"fast_srgan"}


def test_published_weights_give_published_outputs(shared):
    # The same network in float64 differs from the file's float32 outputs by up to 3e-6, in -1..1.
    error = checks.golden_error(
        shared, "fast_srgan.pt", to_ours=lambda x: (x + 1) / 2, to_theirs=lambda y: 2 * y - 1
    )
    assert error < 1e-5
