"""Adversarial losses of logits; see `term.Adversarial`.

Logits are (B,), or (B, h, w) from a discriminator that rates every location. `mean` averages over
devices, since the relativistic loss compares each logit with a mean over the whole batch. The
generator's gradient flows through `fake` and, in the relativistic loss, through its mean.

Losses with labels may smooth the discriminator's label of real images, and only that one
(Goodfellow 2016, "NIPS 2016 Tutorial", section 4.2; Salimans et al. 2016, section 3.4).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Adversarial
from kdgan_jax.models.types import Mean
from kdgan_jax.runtime.errors import UserError


def _label_real(logits: Array) -> Array:
    """Returns the cross-entropy with the label "real", -log(sigmoid(logits))."""
    return jax.nn.softplus(-logits)


def _label_fake(logits: Array) -> Array:
    """Returns the cross-entropy with the label "fake", -log(1 - sigmoid(logits))."""
    return jax.nn.softplus(logits)


@dataclass(frozen=True)
class Labelled(Adversarial):
    """A loss in which the discriminator has a label for real images, 1, and one for fake ones, 0.

    Attributes:
      smooth: what the discriminator's label of real images lacks to 1, from 0 and below 0.5.
    """

    smooth: float = 0.0

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless `smooth` is from 0 and below 0.5."""
        if not 0 <= self.smooth < 0.5:
            raise UserError(
                f"{field}: smooth={self.smooth} must be from 0 and below 0.5, such as 0.1 for the"
                " label 0.9"
            )


@dataclass(frozen=True)
class CrossEntropy(Labelled):
    """The original loss, non-saturating (Goodfellow et al. 2014)."""

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(fake), elementwise (section 3)."""
        return _label_real(fake)

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """-log D(real) - log(1 - D(fake)), elementwise (equation 1).

        A smooth label s adds s times the logit of `real`: -(1 - s) log D - s log(1 - D).
        """
        loss = _label_real(real) + _label_fake(fake)
        return loss + self.smooth * real if self.smooth else loss


@dataclass(frozen=True)
class LeastSquares(Labelled):
    """Least squares GAN (Mao et al. 2017, equation 9)."""

    def generator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(fake) - 1)², elementwise."""
        return 0.5 * jnp.square(fake - 1)

    def discriminator_loss(self, real: Array, fake: Array, mean: Mean) -> Array:
        """½ (D(real) - 1 + smooth)² + ½ D(fake)², elementwise."""
        return 0.5 * jnp.square(real - (1 - self.smooth)) + 0.5 * jnp.square(fake)


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
