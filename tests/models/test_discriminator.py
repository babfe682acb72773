import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import devices, models
from kdgan_jax.errors import UserError
from kdgan_jax.models.discriminator import BatchNorm

TINY = {"features": (4, 8), "hidden": 16}


def test_origin_has_the_origins_parameters(key):
    shapes = jax.eval_shape(models.discriminator("origin", {}).init, key, jnp.zeros((1, 96, 96, 3)))
    assert models.parameters(shapes["params"]) == 635_009


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (40, 8)])
def test_origin_takes_any_size(key, size):
    module = models.discriminator("origin", TINY)
    params = models.init(module, key, 16)
    logits = jax.jit(module.apply)({"params": params}, jax.random.uniform(key, (3, *size, 3)))
    assert logits.shape == (3,)
    assert jnp.isfinite(logits).all()


def test_vgg_gives_one_logit_per_image(key):
    module = models.discriminator("vgg", TINY)
    params = models.init(module, key, 16)
    logits = jax.jit(module.apply)({"params": params}, jax.random.uniform(key, (3, 16, 16, 3)))
    assert logits.shape == (3,)
    assert jnp.isfinite(logits).all()


def test_vgg_refuses_another_size_than_its_own(key):
    module = models.discriminator("vgg", TINY)
    params = models.init(module, key, 16)
    with pytest.raises(Exception, match="shape"):
        module.apply({"params": params}, jnp.zeros((3, 24, 24, 3)))


def test_vgg_has_srgans_layers(key):
    shapes = jax.eval_shape(models.discriminator("vgg", {}).init, key, jnp.zeros((1, 96, 96, 3)))
    kernels = [leaf.shape for leaf in jax.tree.leaves(shapes["params"]) if leaf.ndim > 1]
    channels = sorted(shape[-1] for shape in kernels if len(shape) == 4)
    assert channels == [64, 64, 128, 128, 256, 256, 512, 512]
    assert sorted(shape for shape in kernels if len(shape) == 2) == [(1024, 1), (18432, 1024)]


def test_batch_norm_leaves_mean_0_and_variance_1(key):
    x = 3 + 2 * jax.random.normal(key, (8, 5, 6, 4))
    y, _ = BatchNorm().init_with_output(key, x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-4)


def test_batch_norm_is_the_same_on_4_devices_as_on_1(key):
    x = jax.random.normal(key, (8, 5, 6, 4)) + jnp.arange(8.0).reshape(8, 1, 1, 1)
    variables = BatchNorm().init(key, x)
    spread = jax.pmap(
        BatchNorm(devices.mean).apply, axis_name=devices.AXIS, in_axes=(None, 0), out_axes=0
    )
    y = spread(variables, x.reshape(4, 2, 5, 6, 4)).reshape(x.shape)
    # The mean of four means is summed in another order than the mean of all.
    np.testing.assert_allclose(y, BatchNorm().apply(variables, x), rtol=1e-5, atol=1e-5)


def test_batch_norm_of_a_constant_is_finite(key):
    # E[x²] - E[x]² rounds below 0 at some of these; the root would be NaN.
    apply = jax.jit(lambda x: BatchNorm().init_with_output(key, x)[0])
    for constant in 3.3, 10.1, 77.7, 123.4, 333.3:
        assert jnp.isfinite(apply(jnp.full((8, 5, 6, 4), constant))).all()


def test_an_unknown_discriminator_or_argument_is_named():
    with pytest.raises(UserError, match=r"config.discriminator.name='origins'.*'origin'"):
        models.discriminator("origins", {})
    with pytest.raises(UserError, match=r"config.discriminator.kwargs.hiden.*'hidden'"):
        models.discriminator("origin", {"hiden": 3})
