import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses import TERMS, Adversarial
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.runtime.errors import UserError

LOSSES = {name: term() for name, term in TERMS.items() if issubclass(term, Adversarial)}
every_kind = pytest.mark.parametrize("kind", LOSSES)
every_side = pytest.mark.parametrize("side", ["generator_loss", "discriminator_loss"])
REAL = np.array([0.3, -1.7, 2.5], np.float32)
FAKE = np.array([-0.4, 0.6, -3.0], np.float32)


def log_sigmoid(x):
    return -np.log(1 + np.exp(-x))


def relativistic(real, fake):
    return -(log_sigmoid(real - fake.mean()) + log_sigmoid(real.mean() - fake)) / 2


NUMPY = {
    ("bce", "generator_loss"): lambda r, f: -log_sigmoid(f),
    ("bce", "discriminator_loss"): lambda r, f: -log_sigmoid(r) - np.log(1 - 1 / (1 + np.exp(-f))),
    ("least_squares", "generator_loss"): lambda r, f: (f - 1) ** 2 / 2,
    ("least_squares", "discriminator_loss"): lambda r, f: ((r - 1) ** 2 + f**2) / 2,
    ("hinge", "generator_loss"): lambda r, f: -f,
    ("hinge", "discriminator_loss"): lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f),
    ("relativistic", "generator_loss"): lambda r, f: relativistic(f, r),
    ("relativistic", "discriminator_loss"): relativistic,
}


def loss(kind, side):
    return lambda real, fake: getattr(LOSSES[kind], side)(real, fake, identity)


@every_kind
@every_side
def test_values_are_those_of_numpy_for_one_logit_or_many_per_image(kind, side):
    expected = NUMPY[kind, side](REAL.astype(np.float64), FAKE.astype(np.float64))
    np.testing.assert_allclose(loss(kind, side)(REAL, FAKE), expected, rtol=1e-5)
    real, fake = (np.tile(logits.reshape(3, 1, 1), (1, 2, 2)) for logits in (REAL, FAKE))
    everywhere = np.broadcast_to(expected.reshape(3, 1, 1), (3, 2, 2))
    np.testing.assert_allclose(loss(kind, side)(real, fake), everywhere, rtol=1e-5)


@every_kind
@every_side
def test_gradients_are_the_numerical_ones_and_finite_at_extreme_logits(kind, side):
    def total(real, fake):
        return loss(kind, side)(real, fake).sum()

    check_grads(total, (REAL, FAKE), 1, ["rev"], atol=1e-2, rtol=1e-2)
    extreme = jnp.array([-1e4, 1e4, 0.0])
    for fake in extreme, -extreme:
        values = jax.value_and_grad(total, argnums=(0, 1))(extreme, fake)
        assert all(jnp.isfinite(value).all() for value in jax.tree.leaves(values))


@every_kind
@every_side
def test_a_logit_that_is_not_finite_shows_in_the_loss(kind, side):
    assert not np.isfinite(loss(kind, side)(REAL, np.array([0.1, np.nan, 0.2]))).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bce", lambda r, f: -0.9 * log_sigmoid(r) - 0.1 * log_sigmoid(-r) - log_sigmoid(-f)),
        ("least_squares", lambda r, f: ((r - 0.9) ** 2 + f**2) / 2),
    ],
)
def test_a_smooth_label_is_that_of_real_images_for_the_discriminator(kind, expected):
    smooth = TERMS[kind](smooth=0.1)
    values = smooth.discriminator_loss(REAL, FAKE, identity)
    np.testing.assert_allclose(values, expected(REAL.astype(np.float64), FAKE), rtol=1e-5)
    ours, plain = (x.generator_loss(REAL, FAKE, identity) for x in (smooth, LOSSES[kind]))
    np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("wrong", [-0.1, 0.5])
def test_a_label_is_smoothed_by_less_than_half(wrong):
    with pytest.raises(UserError, match=f"field: smooth={wrong}"):
        TERMS["bce"](smooth=wrong).check(96, "field")


def test_relativistic_losses_compare_with_the_mean_over_devices():
    def mean_over_devices(tree):
        return jax.tree.map(lambda x: x + 2, tree)

    values = LOSSES["relativistic"].discriminator_loss(REAL, FAKE, mean_over_devices)
    expected = log_sigmoid(REAL - FAKE.mean() - 2) + log_sigmoid(REAL.mean() + 2 - FAKE)
    np.testing.assert_allclose(values, -expected / 2, rtol=1e-5)
