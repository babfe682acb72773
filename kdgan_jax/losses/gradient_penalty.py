"""Regularisation of a discriminator by its gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class R1:
    """½ |∇D(x)|² at real images, summed over pixels (Mescheder et al. 2018, equation 9).

    The weight is the paper's γ. The gradient is of the sum of an image's logits; with batch
    statistics in the discriminator it includes what an image does to the others' logits.
    """

    def __call__(
        self, judge: Callable[[Array], Array], real: Array, fake: Array, keys: Array
    ) -> Array:
        """Returns the penalty per image, (B,)."""
        gradient = jax.grad(lambda images: judge(images).sum())(real)
        return 0.5 * jnp.square(gradient).sum(axis=(1, 2, 3))
