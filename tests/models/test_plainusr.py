import checks
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.generators import plainusr

TINY = {"channels": (8, 6, 4), "depth": 2, "attention": 3}


def test_parameter_counts_are_the_published_ones():
    assert checks.count("plainusr") == 734_004
    assert checks.count("plainusr", channels=(64, 48, 32), depth=2) == 333_108


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("plainusr", scale=scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_a_state_is_recognised_and_comes_back(scale):
    checks.assert_round_trip("plainusr", scale=scale, **TINY)
    checks.assert_round_trip("plainusr", scale=scale, channels=(5, 4, 4), depth=3, attention=2)


def test_every_parameter_is_used():
    assert checks.assert_gradients("plainusr", **TINY) == []


def test_soft_pooling_weighs_by_exponentials():
    x = np.random.default_rng(0).normal(0, 2, (1, 12, 17, 2)).astype(np.float32)
    found = plainusr._soft_pool(jnp.asarray(x))
    assert found.shape == (1, 2, 4, 2)
    part = x[0, 3:10, 6:13, 1].astype(np.float64)
    expected = (part * np.exp(part)).sum() / np.exp(part).sum()
    np.testing.assert_allclose(found[0, 1, 2, 1], expected, rtol=1e-5)


def test_the_smallest_image_is_possible():
    module, variables, apply = checks.build("plainusr", **TINY)
    sr, _ = apply(variables, checks.image(module.smallest, module.smallest))
    assert np.isfinite(sr).all()


def test_only_its_own_files_are_claimed(shared):
    assert checks.claimed(shared, "plainusr") == {"plainusr_l_x4"}


def test_published_weights_give_published_outputs(shared):
    # The same network in float64 differs from the file's float32 outputs by up to 6e-6.
    assert checks.golden_error(shared, "plainusr_l_x4.pth") < 3e-5
