"""Networks whose convolutions compute in bfloat16."""

import checks
import jax
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.runtime.errors import UserError

ABLE = "compact", "edsr", "srresnet"


def kinds(function, *arguments):
    """Returns the dtypes that convolutions and matrix products of `function` compute in, in order.

    They stand in the text of the program, whose equations name their results.
    """
    found = []
    for line in str(jax.make_jaxpr(function)(*arguments)).splitlines():
        if "conv_general_dilated[" in line or "dot_general[" in line:
            found.append(line.split(":")[1].split("[")[0])
    return found


@pytest.mark.parametrize("name", ABLE)
def test_convolutions_of_generators_compute_in_bfloat16(name):
    plain, variables, apply = checks.build(name, 2, **TINY[name])
    module = models.generator(name, TINY[name], 2, dtype="bfloat16")
    assert module != plain
    fresh = jax.eval_shape(lambda: models.init(module, jax.random.key(0), 8))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {np.dtype("float32")}
    lr = checks.image()
    found = kinds(module.apply, variables, lr)
    assert len(found) >= 4
    assert set(found) == {"bf16"}
    sr, features = checks.compiled(module.apply)(variables, lr)
    assert sr.dtype == np.float32
    assert {feature.dtype for feature in features.values()} == {jax.numpy.bfloat16.dtype}
    wanted, _ = apply(variables, lr)
    error = np.abs(sr - wanted).max()
    assert 0 < error < 0.03 * np.abs(wanted).max()  # 8 bits in each of a few layers


def test_the_image_itself_is_not_rounded():
    # Of zeros in all but the last bias, the enlarged image comes out, which 8 bits do not hold.
    module = models.generator("compact", TINY["compact"], 2, dtype="bfloat16")
    _, variables, _ = checks.build("compact", 2, **TINY["compact"])
    lr = checks.image() * np.float32(0.9)
    sr, _ = module.apply(jax.tree.map(np.zeros_like, variables), lr)
    np.testing.assert_array_equal(sr, models.layers.nearest(lr, 2))


@pytest.mark.parametrize("name", sorted(set(models.GENERATORS) - set(ABLE)))
def test_other_generators_refuse_it(name):
    models.generator(name, TINY[name], 4, dtype="float32")
    with pytest.raises(UserError, match=r"config.student: '.*' computes in float32 only.*compact"):
        models.generator(name, TINY[name], 4, "config.student", "bfloat16")


def test_an_unknown_dtype_is_named():
    with pytest.raises(UserError, match=r"dtype='float16' is unknown.*bfloat16"):
        models.generator("compact", {}, 4, dtype="float16")
    with pytest.raises(UserError, match=r"dtype='float16' is unknown.*bfloat16"):
        models.discriminator("vgg", {}, dtype="float16")


@pytest.mark.parametrize(
    ("name", "spectral"), [("origin", False), ("vgg", False), ("origin", True)]
)
def test_discriminators_compute_in_bfloat16_but_for_the_last_layer(name, spectral):
    options = {"channels": (4, 8), "hidden": 16, "spectral_norm": spectral}
    plain = models.discriminator(name, options)
    module = models.discriminator(name, options, dtype="bfloat16")
    variables, images = models.init(module, jax.random.key(0), 16), checks.image(16, 16)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    if not spectral:  # whose own products are float32
        *inner, last = kinds(module.apply, variables, images)
        assert (set(inner), last) == ({"bf16"}, "f32")
    found, wanted = (
        checks.compiled(each.apply, checks.HASTE)(variables, images) for each in (module, plain)
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())
    assert not np.array_equal(found, wanted)
