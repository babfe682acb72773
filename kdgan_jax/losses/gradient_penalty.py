"""Gradient penalties, which regularise a discriminator."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Discriminator


@dataclass(frozen=True)
class R1:
    """½ |∇D(x)|² at real images, summed over pixels (Mescheder et al. 2018, equation 9).

    The loss's weight is the paper's γ. The gradient is that of the sum of all logits. In a
    discriminator with batch statistics an image also changes the logits of the others, and the
    gradient includes that.
    """

    def __call__(
        self, discriminator: Discriminator, real: Array, fake: Array, keys: Array
    ) -> Array:
        """Returns the penalty per image, (B,)."""
        gradient = jax.grad(lambda images: discriminator(images).sum())(real)
        return 0.5 * jnp.square(gradient).sum(axis=(1, 2, 3))
