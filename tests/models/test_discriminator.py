import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.blocks.normalization import BatchNorm
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError

TINY = {"channels": (4, 8), "hidden": 16}


def test_origin_has_the_origins_parameters(key):
    shapes = jax.eval_shape(models.discriminator("origin", {}).init, key, jnp.zeros((1, 96, 96, 3)))
    assert models.parameters(shapes["params"]) == 635_009


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (40, 8)])
def test_origin_takes_any_size(key, size):
    module = models.discriminator("origin", TINY)
    variables = models.init(module, key, 16)
    logits = jax.jit(module.apply)(variables, jax.random.uniform(key, (3, *size, 3)))
    assert logits.shape == (3,)
    assert jnp.isfinite(logits).all()


def test_vgg_gives_one_logit_per_image(key):
    module = models.discriminator("vgg", TINY)
    variables = models.init(module, key, 16)
    logits = jax.jit(module.apply)(variables, jax.random.uniform(key, (3, 16, 16, 3)))
    assert logits.shape == (3,)
    assert jnp.isfinite(logits).all()


def test_vgg_refuses_another_size_than_its_own(key):
    module = models.discriminator("vgg", TINY)
    variables = models.init(module, key, 16)
    with pytest.raises(Exception, match="shape"):
        module.apply(variables, jnp.zeros((3, 24, 24, 3)))


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
    with pytest.raises(UserError, match=r"config.discriminator='origins'.*'origin'"):
        models.discriminator("origins", {})
    with pytest.raises(
        UserError, match=r"config.discriminator: 'origin' has no option 'hiden'.*'hidden'"
    ):
        models.discriminator("origin", {"hiden": 3})


SPECTRAL = TINY | {"spectral_norm": True}


def updated(name, rounds):
    """Returns (network, variables) after so many rounds of power iteration."""
    module = models.discriminator(name, SPECTRAL)
    variables = models.init(module, jax.random.key(5), 16)
    images = jax.random.uniform(jax.random.key(6), (4, 16, 16, 3))
    update = jax.jit(functools.partial(module.apply, update=True, mutable=["batch_stats"]))
    for _ in range(rounds):
        _, more = update(variables, images)
        variables = variables | more
    return module, variables


def kernels(params):
    """Returns the kernels by path, as matrices with a column for every output."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    found = {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in leaves}
    return {k: v.reshape(-1, v.shape[-1]) for k, v in found.items() if k.endswith("kernel")}


def largest(matrix):
    return np.linalg.svd(matrix, compute_uv=False)[0]


@pytest.mark.parametrize("name", models.DISCRIMINATORS)
def test_spectral_norm_makes_the_largest_singular_value_1(name):
    module, variables = updated(name, 40)
    stats = {k: v for each in variables["batch_stats"].values() for k, v in each.items()}
    found = kernels(variables["params"])
    assert stats.keys() == {f"{path}/{word}" for path in found for word in ("u", "sigma")}
    for path, matrix in found.items():
        # The error of the value falls as the fourth power of the ratio of the first two values in
        # each round: below 1e-3 after 40 unless they are within 4 % of each other.
        assert largest(matrix / stats[f"{path}/sigma"]) == pytest.approx(1, rel=1e-3), path
    # They are divided by it indeed: a network of such kernels and no normalisation is the same.
    divided = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf / stats.get("/".join(part.key for part in path) + "/sigma", 1),
        variables["params"],
    )
    images = jax.random.uniform(jax.random.key(7), (4, 16, 16, 3))
    plain = models.discriminator(name, TINY).apply({"params": divided}, images)
    np.testing.assert_allclose(module.apply(variables, images), plain, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", models.DISCRIMINATORS)
def test_spectral_norm_is_of_some_use_from_the_start(name):
    module, variables = updated(name, 0)
    images = jax.random.uniform(jax.random.key(7), (4, 16, 16, 3))
    logits, found = module.apply(variables, images, update=True, mutable=["batch_stats"])
    stats = {k: v for each in found["batch_stats"].values() for k, v in each.items()}
    for path, matrix in kernels(variables["params"]).items():
        assert 0.3 * largest(matrix) < stats[f"{path}/sigma"] <= 1.0001 * largest(matrix)
    np.testing.assert_allclose(module.apply(variables, images), logits, rtol=1e-6)


@pytest.mark.parametrize("name", models.DISCRIMINATORS)
def test_spectral_norm_alters_no_names_of_parameters(name, key):
    normal, plain = (
        jax.eval_shape(models.discriminator(name, options).init, key, jnp.zeros((1, 16, 16, 3)))
        for options in (SPECTRAL, TINY)
    )
    assert (set(normal), set(plain)) == ({"params", "batch_stats"}, {"params"})
    assert normal["params"] == plain["params"]


def test_spectral_norm_keeps_its_state_unless_told():
    module, variables = updated("origin", 1)
    images = jax.random.uniform(jax.random.key(7), (4, 16, 16, 3))
    _, kept = module.apply(variables, images, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])
    _, new = module.apply(variables, images, update=True, mutable=["batch_stats"])
    before, after = (v["batch_stats"]["SpectralNorm_0"] for v in (variables, new))
    assert not np.array_equal(before["Conv_0/conv/kernel/u"], after["Conv_0/conv/kernel/u"])


@pytest.mark.parametrize("name", models.DISCRIMINATORS)
def test_spectral_norm_is_the_same_on_4_devices_as_on_1(name):
    module, variables = updated(name, 1)
    images = jax.random.uniform(jax.random.key(7), (8, 16, 16, 3))
    logits, one = module.apply(variables, images, update=True, mutable=["batch_stats"])
    wide = models.discriminator(name, SPECTRAL, mean=devices.mean)
    spread = jax.pmap(
        lambda variables, x: wide.apply(variables, x, update=True, mutable=["batch_stats"]),
        axis_name=devices.AXIS,
        in_axes=(None, 0),
        out_axes=0,
    )
    found, each = spread(variables, images.reshape(4, 2, 16, 16, 3))
    np.testing.assert_allclose(found.reshape(8), logits, rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(each):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6), each, one)
