"""R1 against values made by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from kdgan_jax.losses.gradient_penalty import R1

REAL, FAKE = np.random.default_rng(0).random((2, 3, 4, 4, 3), np.float32)
WEIGHTS = np.random.default_rng(1).random((4, 4, 3), np.float32)


def penalty(judge, real=REAL):
    return R1()(judge, real, FAKE, None)


def test_of_a_linear_discriminator_it_is_half_the_square_of_its_weights():
    found = penalty(lambda x: (x * WEIGHTS[None]).sum((1, 2, 3)))
    np.testing.assert_allclose(found, np.full(3, 0.5 * (WEIGHTS**2).sum()), rtol=1e-5)


def test_of_a_quadratic_discriminator_it_is_each_images_own():
    found = penalty(lambda x: (x**2).sum((1, 2, 3)))
    np.testing.assert_allclose(found, 0.5 * ((2 * REAL) ** 2).sum((1, 2, 3)), rtol=1e-5)


def test_logits_of_every_place_are_summed():
    found = penalty(lambda x: (x * WEIGHTS[None]).sum(3))
    np.testing.assert_allclose(found, np.full(3, 0.5 * (WEIGHTS**2).sum()), rtol=1e-5)


def test_its_gradient_reaches_the_discriminators_weights():
    def total(weights):
        return penalty(lambda x: (x * weights).sum((1, 2, 3))).sum()

    weights = jnp.asarray(WEIGHTS)[None]
    np.testing.assert_allclose(jax.grad(total)(weights), 3 * weights, rtol=1e-5)
