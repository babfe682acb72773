"""Adversarial losses on logits; see `term.Game`.

Logits are (B,), or (B, h, w) of a discriminator that judges every place. `mean` averages over
devices: the relativistic losses compare each logit with the mean of the whole batch. The
generator's gradient flows through `fake` (and, for relativistic losses, its mean).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Game, Mean


def _is_real(logits: Array) -> Array:
    """Cross-entropy of "real", -log(sigmoid(logits))."""
    return jax.nn.softplus(-logits)


def _is_fake(logits: Array) -> Array:
    """Cross-entropy of "fake", -log(1 - sigmoid(logits))."""
    return jax.nn.softplus(logits)


@dataclass(frozen=True)
class CrossEntropy(Game):
    """The original game, non-saturating. Goodfellow et al. 2014."""

    def generator(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(fake), elementwise. Section 3."""
        return _is_real(fake)

    def opponent(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(real) - log(1 - D(fake)), elementwise. Equation 1."""
        return _is_real(real) + _is_fake(fake)


@dataclass(frozen=True)
class LeastSquares(Game):
    """Least squares GAN. Mao et al. 2017, equation 9."""

    def generator(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(fake) - 1)², elementwise."""
        return 0.5 * jnp.square(fake - 1)

    def opponent(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(real) - 1)² + ½ D(fake)², elementwise."""
        return 0.5 * jnp.square(real - 1) + 0.5 * jnp.square(fake)


@dataclass(frozen=True)
class Hinge(Game):
    """Hinge loss. Lim & Ye 2017."""

    def generator(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-D(fake), elementwise."""
        return -fake

    def opponent(self, real: Array, fake: Array, mean: Mean) -> Array:
        """max(0, 1 - D(real)) + max(0, 1 + D(fake)), elementwise."""
        return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


@dataclass(frozen=True)
class Relativistic(Game):
    """Relativistic average GAN (Jolicoeur-Martineau 2018, eq. 8), halved as in ESRGAN's code."""

    def opponent(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Cross-entropy of each logit minus the other side's mean, halved, elementwise."""
        real_mean, fake_mean = mean((real.mean(), fake.mean()))
        return 0.5 * (_is_real(real - fake_mean) + _is_fake(fake - real_mean))

    def generator(self, real: Array, fake: Array, mean: Mean) -> Array:
        """The same with the labels exchanged, elementwise."""
        return self.opponent(fake, real, mean)
