import functools

import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HASTE

from kdgan_jax import models
from kdgan_jax.models.blocks.normalization import BatchNorm
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError

SMALL = {
    name: {"channels": (4, 8), **({} if name == "patch" else {"hidden": 16})}
    for name in models.DISCRIMINATORS
}
SPECTRAL = {name: options | {"spectral_norm": True} for name, options in SMALL.items()}
every_discriminator = pytest.mark.parametrize("name", models.DISCRIMINATORS)


def shapes(name, options, size=96):
    """Returns a discriminator's variables as shapes and dtypes."""
    init = functools.partial(models.init, models.discriminator(name, options), size=size)
    return jax.eval_shape(init, jax.random.key(0))


def images(count=4):
    return np.random.default_rng(7).random((count, 16, 16, 3), np.float32)


@functools.cache
def apply(name, spectral=True):
    """Returns a function from (variables, images, update) to (logits, updated statistics)."""
    module = models.discriminator(name, (SPECTRAL if spectral else SMALL)[name])
    function = functools.partial(module.apply, mutable=["batch_stats"])
    compiled = {u: checks.compiled(functools.partial(function, update=u), HASTE) for u in (0, 1)}
    return lambda variables, x, update=False: compiled[update](variables, x)


@functools.cache
def trained(name, rounds):
    """Returns variables after so many rounds of power iteration."""
    variables = checks.fresh(models.discriminator(name, SPECTRAL[name]))
    for _ in range(rounds):
        variables = variables | apply(name)(variables, images(), True)[1]
    return variables


def on_four(function, variables, x):
    """Returns `function(variables, x)` as each of four devices that share the batch `x` has it."""
    each = jax.vmap(function, in_axes=(None, 0), axis_size=4, axis_name=devices.AXIS)
    return checks.compiled(each, HASTE)(variables, x.reshape(4, -1, *x.shape[1:]))


def kernels(params):
    """Returns the kernels by path, as matrices with one column per output."""
    arrays = checks.paths(params)
    return {k: v.reshape(-1, v.shape[-1]) for k, v in arrays.items() if k.endswith("kernel")}


def spectral_stats(variables):
    """Returns the statistics of spectral normalization by the path of kernel and statistic."""
    return {k: v for each in variables["batch_stats"].values() for k, v in each.items()}


def test_origin_has_the_parameters_of_the_original():
    assert models.parameters(shapes("origin", {})["params"]) == 635_009


def test_vgg_has_srgans_layers():
    kernels = [leaf.shape for leaf in jax.tree.leaves(shapes("vgg", {})) if leaf.ndim > 1]
    channels = sorted(shape[-1] for shape in kernels if len(shape) == 4)
    assert channels == [64, 64, 128, 128, 256, 256, 512, 512]
    assert sorted(shape for shape in kernels if len(shape) == 2) == [(1024, 1), (18432, 1024)]


def test_patch_rates_every_part_of_an_image_by_itself():
    module = models.discriminator("patch", {})
    assert models.parameters(shapes("patch", {})["params"]) == 94_401
    variables, image = checks.fresh(module), checks.image(24, 36)
    logits = module.apply(variables, image)
    assert logits.shape == (2, 6, 9)
    other = module.apply(
        variables, np.concatenate([image[:, :, :20], 0 * image[:, :, 20:]], axis=2)
    )
    np.testing.assert_allclose(other[:, :, :3], logits[:, :, :3], atol=1e-6)
    assert np.abs(other - logits).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "size"), [("origin", (16, 16)), ("origin", (17, 23)), ("vgg", (16, 16))]
)
def test_each_image_has_one_logit(name, size):
    module = models.discriminator(name, SMALL[name])
    logits = checks.compiled(module.apply, HASTE)(checks.fresh(module), checks.image(*size))
    assert logits.shape == (2,)
    assert np.isfinite(logits).all()


def test_vgg_refuses_another_size_than_its_own():
    module, variables = models.discriminator("vgg", SMALL["vgg"]), shapes("vgg", SMALL["vgg"], 16)
    with pytest.raises(Exception, match="shape"):
        jax.eval_shape(module.apply, variables, np.zeros((3, 24, 24, 3)))


def test_batch_norm_gives_mean_0_and_variance_1(key):
    x = 3 + 2 * jax.random.normal(key, (8, 5, 6, 4))
    y, _ = BatchNorm().init_with_output(key, x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-4)


def test_batch_norm_is_the_same_on_4_devices_as_on_1(key):
    x = jax.random.normal(key, (8, 5, 6, 4)) + jnp.arange(8.0).reshape(8, 1, 1, 1)
    variables = BatchNorm().init(key, x)
    y = on_four(BatchNorm(devices.mean).apply, variables, x).reshape(x.shape)
    # The mean of four means is rounded differently from the mean of all.
    np.testing.assert_allclose(y, BatchNorm().apply(variables, x), rtol=1e-5, atol=1e-5)


def test_batch_norm_of_a_constant_is_finite(key):
    # E[x²] - E[x]² rounds below 0 for some of these; the root would be NaN.
    apply = jax.jit(lambda x: BatchNorm().init_with_output(key, x)[0])
    for constant in 3.3, 10.1, 77.7, 123.4, 333.3:
        assert jnp.isfinite(apply(jnp.full((8, 5, 6, 4), constant))).all()


def test_an_unknown_discriminator_or_argument_is_named():
    with pytest.raises(UserError, match=r"config.discriminator.*'origins'.*'origin'"):
        models.discriminator("origins", {})
    with pytest.raises(UserError, match=r"config.discriminator.*'origin'.*'hiden'.*'hidden'"):
        models.discriminator("origin", {"hiden": 3})


@every_discriminator
def test_spectral_norm_makes_the_largest_singular_value_1(name):
    variables = trained(name, 120)
    stats, matrices = spectral_stats(variables), kernels(variables["params"])
    assert stats.keys() == {f"{path}/{word}" for path in matrices for word in ("u", "sigma")}
    for path, matrix in matrices.items():
        # Each round reduces the error by the fourth power of the ratio of the two largest values:
        # below 1e-3 after 120 rounds unless they are within 2 % of each other.
        assert np.linalg.norm(matrix / stats[f"{path}/sigma"], 2) == pytest.approx(1, rel=1e-3)
    # A network with these kernels and without normalization is the same.
    divided = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf / stats.get("/".join(part.key for part in path) + "/sigma", 1),
        variables["params"],
    )
    plain, _ = apply(name, spectral=False)({"params": divided}, images())
    logits, _ = apply(name)(variables, images())
    np.testing.assert_allclose(logits, plain, rtol=2e-3, atol=1e-5)


@every_discriminator
def test_spectral_norm_is_of_use_from_the_first_update(name):
    variables = trained(name, 0)
    logits, updated = apply(name)(variables, images(), True)
    stats = spectral_stats(updated)
    for path, matrix in kernels(variables["params"]).items():
        assert 0.3 < stats[f"{path}/sigma"] / np.linalg.norm(matrix, 2) <= 1.0001
    np.testing.assert_allclose(apply(name)(variables, images())[0], logits, rtol=1e-6)


@every_discriminator
def test_spectral_norm_changes_no_names_of_parameters(name):
    spectral, plain = shapes(name, SPECTRAL[name], 16), shapes(name, SMALL[name], 16)
    assert (set(spectral), set(plain)) == ({"params", "batch_stats"}, {"params"})
    assert spectral["params"] == plain["params"]


def test_spectral_norm_only_updates_its_state_when_told():
    variables = trained("origin", 1)
    before = spectral_stats(variables)
    for update in False, True:
        _, after = apply("origin")(variables, images(), update)
        name = "Conv_0/conv/kernel/u"
        assert np.array_equal(spectral_stats(after)[name], before[name]) == (not update)


@every_discriminator
def test_spectral_norm_is_the_same_on_4_devices_as_on_1(name):
    variables = trained(name, 1)
    logits, one = apply(name)(variables, images(8), True)
    wide = models.discriminator(name, SPECTRAL[name], mean=devices.mean)
    update = functools.partial(wide.apply, update=True, mutable=["batch_stats"])
    each, four = on_four(update, variables, images(8))
    np.testing.assert_allclose(each.reshape(logits.shape), logits, rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(four):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6), four, one)
