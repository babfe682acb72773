"""Networks whose convolutions compute in bfloat16."""

import checks
import jax
import numpy as np
import pytest
from conftest import TINY
from jax.numpy import bfloat16

from kdgan_jax import models
from kdgan_jax.runtime.errors import UserError

SUPPORTED = "compact", "edsr", "srresnet"


def dtypes(tree):
    """Returns the dtypes of a tree of arrays."""
    return {np.dtype(leaf.dtype) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("name", SUPPORTED)
def test_generators_compute_in_bfloat16(name):
    _, variables, apply = checks.build(name, 2)
    module = models.generator(name, TINY[name], 2, dtype="bfloat16")
    fresh = jax.eval_shape(lambda: models.init(module, jax.random.key(0), 8))
    assert dtypes(fresh) == {np.dtype(np.float32)}
    lr = checks.image()
    sr, features = checks.compiled(module.apply)(variables, lr)
    assert sr.dtype == np.float32
    assert dtypes(features) == {np.dtype(bfloat16)}
    expected, _ = apply(variables, lr)
    error = np.abs(sr - expected).max()
    assert 0 < error < 0.03 * np.abs(expected).max()  # 8 bits in each of a few layers


def test_the_image_itself_is_not_rounded():
    # A compact of zeros returns the enlarged image; bfloat16 could not hold its values.
    module = models.generator("compact", TINY["compact"], 2, dtype="bfloat16")
    _, variables, _ = checks.build("compact", 2)
    lr = checks.image() * np.float32(0.9)
    sr, _ = module.apply(jax.tree.map(np.zeros_like, variables), lr)
    np.testing.assert_array_equal(sr, lr.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("name", sorted(set(models.GENERATORS) - set(SUPPORTED)))
def test_other_generators_refuse_bfloat16(name):
    models.generator(name, TINY[name], 4, dtype="float32")
    with pytest.raises(UserError, match=rf"config.student: '{name}'.*bfloat16.*compact"):
        models.generator(name, TINY[name], 4, "config.student", "bfloat16")


@pytest.mark.parametrize("make", [models.generator, models.discriminator])
def test_an_unknown_dtype_is_named(make):
    name, scale = ("compact", {"scale": 4}) if make == models.generator else ("vgg", {})
    with pytest.raises(UserError, match=r"dtype='float16'.*bfloat16"):
        make(name, {}, dtype="float16", **scale)


@pytest.mark.parametrize(
    ("name", "spectral"), [("origin", False), ("vgg", False), ("origin", True)]
)
def test_discriminators_compute_in_bfloat16_except_for_the_last_layer(name, spectral):
    options = {"channels": (4, 8), "hidden": 16, "spectral_norm": spectral}
    plain = models.discriminator(name, options)
    module = models.discriminator(name, options, dtype="bfloat16")
    variables, images = checks.fresh(module), checks.image(16, 16)
    assert dtypes(variables) == {np.dtype(np.float32)}
    logits, expected = (
        checks.compiled(each.apply, checks.HASTE)(variables, images) for each in (module, plain)
    )
    assert logits.dtype == np.float32
    assert not np.array_equal(logits, logits.astype(bfloat16))
    np.testing.assert_allclose(logits, expected, atol=0.05 * np.abs(expected).max())
    assert not np.array_equal(logits, expected)
