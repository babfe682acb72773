import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses import TERMS, Game
from kdgan_jax.models.blocks.normalization import identity

GAMES = {name: term() for name, term in TERMS.items() if issubclass(term, Game)}
every_kind = pytest.mark.parametrize("kind", GAMES)
every_side = pytest.mark.parametrize("side", ["generator", "opponent"])
REAL = np.array([0.3, -1.7, 2.5], np.float32)
FAKE = np.array([-0.4, 0.6, -3.0], np.float32)


def log_sigmoid(x):
    return -np.log(1 + np.exp(-x))


def relativistic(real, fake):
    return -(log_sigmoid(real - fake.mean()) + log_sigmoid(real.mean() - fake)) / 2


NUMPY = {
    ("bce", "generator"): lambda r, f: -log_sigmoid(f),
    ("bce", "opponent"): lambda r, f: -log_sigmoid(r) - np.log(1 - 1 / (1 + np.exp(-f))),
    ("least_squares", "generator"): lambda r, f: (f - 1) ** 2 / 2,
    ("least_squares", "opponent"): lambda r, f: ((r - 1) ** 2 + f**2) / 2,
    ("hinge", "generator"): lambda r, f: -f,
    ("hinge", "opponent"): lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f),
    ("relativistic", "generator"): lambda r, f: relativistic(f, r),
    ("relativistic", "opponent"): relativistic,
}


def loss(kind, side):
    return lambda real, fake: getattr(GAMES[kind], side)(real, fake, identity)


@every_kind
@every_side
def test_value_per_image_is_numpys(kind, side):
    values = jax.jit(loss(kind, side))(REAL, FAKE)
    assert values.shape == (3,)
    expected = NUMPY[kind, side](REAL.astype(np.float64), FAKE.astype(np.float64))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@every_kind
@every_side
def test_gradient_is_the_numerical_one(kind, side):
    function = lambda real, fake: loss(kind, side)(real, fake).sum()  # noqa: E731
    check_grads(function, (REAL, FAKE), 1, ["rev"], atol=1e-2, rtol=1e-2)


@every_kind
@every_side
def test_extreme_logits_give_finite_values_and_gradients(kind, side):
    extreme = jnp.array([-1e4, 1e4, 0.0])

    def total(real, fake):
        return loss(kind, side)(real, fake).sum()

    for real, fake in (extreme, extreme), (extreme, -extreme):
        values = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(real, fake)
        assert all(jnp.isfinite(value).all() for value in jax.tree.leaves(values))


@every_kind
def test_the_generator_wants_its_logits_higher(kind):
    slope = jax.grad(lambda fake: loss(kind, "generator")(REAL, fake).mean())(FAKE)
    assert (slope < 0).all()


@every_kind
def test_the_discriminator_wants_real_higher_and_fake_lower(kind):
    total = lambda real, fake: loss(kind, "opponent")(real, fake).mean()  # noqa: E731
    undecided = jnp.full(3, 0.5)
    real, fake = jax.grad(total, argnums=(0, 1))(undecided, undecided)
    assert (real < 0).all()
    assert (fake > 0).all()


def test_the_relativistic_generator_plays_the_discriminators_game_with_sides_swapped():
    np.testing.assert_array_equal(
        loss("relativistic", "generator")(REAL, FAKE),
        loss("relativistic", "opponent")(FAKE, REAL),
    )


def test_relativistic_losses_compare_with_the_mean_over_devices():
    across = lambda tree: jax.tree.map(lambda x: x + 2, tree)  # noqa: E731
    shifted = GAMES["relativistic"].opponent(REAL, FAKE, across)
    expected = log_sigmoid(REAL - FAKE.mean() - 2) + log_sigmoid(REAL.mean() + 2 - FAKE)
    np.testing.assert_allclose(shifted, -expected / 2, rtol=1e-5)


@every_kind
def test_logits_of_every_place_are_judged_one_by_one(kind):
    # A discriminator that gives (B, h, w): the same game, elementwise.
    shape = (3, 2, 2)
    real, fake = (np.tile(x.reshape(3, 1, 1), (1, 2, 2)) for x in (REAL, FAKE))
    for side in "generator", "opponent":
        values = loss(kind, side)(real, fake)
        assert values.shape == shape
        expected = np.broadcast_to(loss(kind, side)(REAL, FAKE).reshape(3, 1, 1), shape)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
