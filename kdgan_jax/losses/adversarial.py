"""Adversarial losses of logits; see `term.Adversarial`.

Logits are (B,), or (B, h, w) from a discriminator that rates every location. `mean` averages over
devices, since the relativistic loss compares each logit with a mean over the whole batch. The
generator's gradient flows through `fake` and, in the relativistic loss, through its mean.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Adversarial
from kdgan_jax.models.types import Mean


def _label_real(logits: Array) -> Array:
    """Returns the cross-entropy with the label "real", -log(sigmoid(logits))."""
    return jax.nn.softplus(-logits)


def _label_fake(logits: Array) -> Array:
    """Returns the cross-entropy with the label "fake", -log(1 - sigmoid(logits))."""
    return jax.nn.softplus(logits)


@dataclass(frozen=True)
class CrossEntropy(Adversarial):
    """The original loss, non-saturating (Goodfellow et al. 2014)."""

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(fake), elementwise (section 3)."""
        return _label_real(fake)

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(real) - log(1 - D(fake)), elementwise (equation 1)."""
        return _label_real(real) + _label_fake(fake)


@dataclass(frozen=True)
class LeastSquares(Adversarial):
    """Least squares GAN (Mao et al. 2017, equation 9)."""

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(fake) - 1)², elementwise."""
        return 0.5 * jnp.square(fake - 1)

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(real) - 1)² + ½ D(fake)², elementwise."""
        return 0.5 * jnp.square(real - 1) + 0.5 * jnp.square(fake)


@dataclass(frozen=True)
class Hinge(Adversarial):
    """Hinge loss (Lim & Ye 2017)."""

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-D(fake), elementwise."""
        return -fake

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """max(0, 1 - D(real)) + max(0, 1 + D(fake)), elementwise."""
        return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


@dataclass(frozen=True)
class Relativistic(Adversarial):
    """Relativistic average GAN (Jolicoeur-Martineau 2018, eq. 8), halved as in ESRGAN's code."""

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """Half the cross-entropy of each logit minus the other side's mean, elementwise."""
        real_mean, fake_mean = mean((real.mean(), fake.mean()))
        return 0.5 * (_label_real(real - fake_mean) + _label_fake(fake - real_mean))

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """The discriminator's loss with the labels exchanged, elementwise."""
        return self.discriminator_loss(fake, real, mean)
