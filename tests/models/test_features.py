"""A network that goes on from one of its features."""

import functools

import checks
import jax
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.runtime.errors import UserError

SIZE = 15, 16  # the smallest that all take


@functools.cache
def started(name):
    """Returns (apply, what it gives for the image) of a small network."""
    module, variables, _ = checks.build(name, 2, **TINY[name])
    apply = checks.compiled(functools.partial(models.apply, module, variables), checks.HASTE)
    return apply, apply(checks.image(*SIZE))


@pytest.mark.parametrize("name", models.GENERATORS)
def test_a_feature_of_its_own_changes_nothing_and_another_one_does(name):
    apply, (sr, features) = started(name)
    for feature, array in features.items():
        again, found = apply(checks.image(*SIZE), {feature: array})
        np.testing.assert_allclose(again, sr, atol=1e-5)
        assert found.keys() == features.keys()
        other = array + np.random.default_rng(0).normal(size=array.shape).astype(np.float32)
        changed, found = apply(checks.image(*SIZE), {feature: other})
        assert np.abs(changed - sr).max() > 1e-4, feature
        np.testing.assert_array_equal(found[feature], other)


@pytest.mark.parametrize("name", models.GENERATORS)
def test_a_feature_lies_in_the_middle(name):
    _, (_, features) = started(name)
    assert set(features) - {"head", "body"}


def test_what_comes_before_a_feature_is_not_computed():
    module, variables, _ = checks.build("compact", 2, **TINY["compact"])
    lr = checks.image()
    _, features = models.apply(module, variables, lr)

    def flops(given):
        run = jax.jit(lambda lr, given: models.apply(module, variables, lr, given)[0])
        return run.lower(lr, given).compile().cost_analysis()["flops"]

    whole, late = flops({}), flops({"conv3": features["conv3"]})
    pixels = lr[..., 0].size
    first_three = 2 * 9 * (3 * 8 + 8 * 8 + 8 * 8) * pixels
    assert whole - late == pytest.approx(first_three, rel=0.1)


def test_a_feature_that_it_does_not_have_is_refused():
    module, variables, _ = checks.build("compact", 2, **TINY["compact"])
    lr = checks.image()
    with pytest.raises(UserError, match=r"no feature 'conv9'.*known: conv1, conv2, conv3"):
        models.apply(module, variables, lr, {"conv9": lr})
    with pytest.raises(ValueError, match=r"'conv2' is \(2, 17, 23, 8\), but \(2, 17, 23, 3\)"):
        models.apply(module, variables, lr, {"conv2": lr})
