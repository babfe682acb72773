"""R1 of discriminators whose gradients are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.losses.gradient_penalty import R1

REAL, FAKE = np.random.default_rng(0).random((2, 3, 4, 4, 3), np.float32)
WEIGHTS = np.random.default_rng(1).random((1, 4, 4, 3), np.float32)


@pytest.mark.parametrize(
    ("discriminator", "gradient"),
    [
        (lambda x: (x * WEIGHTS).sum((1, 2, 3)), np.broadcast_to(WEIGHTS, REAL.shape)),
        (lambda x: (x**2).sum((1, 2, 3)), 2 * REAL),
        (lambda x: (x**2).sum(3), 2 * REAL),  # a logit for every location
    ],
)
def test_it_is_half_the_squared_norm_of_the_gradient_at_each_real_image(discriminator, gradient):
    penalty = R1()(discriminator, REAL, FAKE, None)
    np.testing.assert_allclose(penalty, 0.5 * (gradient**2).sum((1, 2, 3)), rtol=1e-5)


def test_its_gradient_reaches_the_discriminators_weights():
    def total(weights):
        return R1()(lambda x: (x * weights).sum((1, 2, 3)), REAL, FAKE, None).sum()

    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(WEIGHTS)), 3 * WEIGHTS, rtol=1e-5)
