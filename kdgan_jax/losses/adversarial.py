"""Adversarial losses on logits (B,), one value per image.

Every kind is a pair of functions of (real logits, fake logits, mean). `mean` averages over
devices: the relativistic losses compare each image with the mean of the whole batch. The
generator's gradient flows through `fake` (and, for relativistic losses, its mean).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Mean = Callable[[Any], Any]


class Adversarial(NamedTuple):
    """The two sides of one kind of game."""

    generator: Callable[[Array, Array, Mean], Array]
    discriminator: Callable[[Array, Array, Mean], Array]


def _is_real(logits: Array) -> Array:
    """Cross-entropy of "real", -log(sigmoid(logits))."""
    return jax.nn.softplus(-logits)


def _is_fake(logits: Array) -> Array:
    """Cross-entropy of "fake", -log(1 - sigmoid(logits))."""
    return jax.nn.softplus(logits)


def bce_generator(real: Array, fake: Array, mean: Mean) -> Array:
    """Non-saturating -log D(fake), (B,). Goodfellow et al. 2014, section 3."""
    return _is_real(fake)


def bce_discriminator(real: Array, fake: Array, mean: Mean) -> Array:
    """-log D(real) - log(1 - D(fake)), (B,). Goodfellow et al. 2014, eq. 1."""
    return _is_real(real) + _is_fake(fake)


def least_squares_generator(real: Array, fake: Array, mean: Mean) -> Array:
    """½ (D(fake) - 1)², (B,). Mao et al. 2017, eq. 9."""
    return 0.5 * jnp.square(fake - 1)


def least_squares_discriminator(real: Array, fake: Array, mean: Mean) -> Array:
    """½ (D(real) - 1)² + ½ D(fake)², (B,). Mao et al. 2017, eq. 9."""
    return 0.5 * jnp.square(real - 1) + 0.5 * jnp.square(fake)


def hinge_generator(real: Array, fake: Array, mean: Mean) -> Array:
    """-D(fake), (B,). Lim & Ye 2017."""
    return -fake


def hinge_discriminator(real: Array, fake: Array, mean: Mean) -> Array:
    """max(0, 1 - D(real)) + max(0, 1 + D(fake)), (B,). Lim & Ye 2017."""
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


def relativistic_discriminator(real: Array, fake: Array, mean: Mean) -> Array:
    """Cross-entropy of each logit minus the other side's mean, halved, (B,).

    RaGAN (Jolicoeur-Martineau 2018, eq. 8), halved as in ESRGAN's code.
    """
    real_mean, fake_mean = mean((real.mean(), fake.mean()))
    return 0.5 * (_is_real(real - fake_mean) + _is_fake(fake - real_mean))


def relativistic_generator(real: Array, fake: Array, mean: Mean) -> Array:
    """The relativistic game with the labels exchanged, (B,)."""
    return relativistic_discriminator(fake, real, mean)


ADVERSARIAL = {
    "bce": Adversarial(bce_generator, bce_discriminator),
    "least_squares": Adversarial(least_squares_generator, least_squares_discriminator),
    "hinge": Adversarial(hinge_generator, hinge_discriminator),
    "relativistic": Adversarial(relativistic_generator, relativistic_discriminator),
}
