"""Distances between images, one value per image.

Arrays are (B, H, W, C) float32; every function takes two of one shape and returns (B,). They serve
for the truth (pixel loss) and for the teacher's output (output distillation) alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Context, Term
from kdgan_jax.runtime.errors import UserError

EPSILON = 1e-12  # inside square roots: their slope at 0 is infinite


def _mean(x: Array) -> Array:
    return x.mean(axis=tuple(range(1, x.ndim)))


def l1(a: Array, b: Array) -> Array:
    """Mean absolute difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return _mean(jnp.abs(a - b))


def l2(a: Array, b: Array) -> Array:
    """Mean squared difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return _mean(jnp.square(a - b))


def rmse(a: Array, b: Array) -> Array:
    """Root of the mean squared difference per image, (B,); sqrt(l2 + 1e-12).

    The origin takes the root over the whole batch, which couples images; this is per image.
    """
    return jnp.sqrt(l2(a, b) + EPSILON)


def charbonnier(a: Array, b: Array, *, epsilon: float = 1e-3) -> Array:
    """Mean of sqrt((a - b)² + epsilon²) per image, (B,).

    Charbonnier et al. 1994; epsilon = 1e-3 as in LapSRN (Lai et al. 2017), L2-like below it.
    """
    chex.assert_equal_shape([a, b])
    return _mean(jnp.sqrt(jnp.square(a - b) + epsilon**2))


@dataclass(frozen=True)
class Distance(Term):
    """`between` the image and the target."""

    between: ClassVar[Any] = staticmethod(l1)  # of two images, (B,)

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        return self.between(context.sr, context.images[self.target])


class L1(Distance):
    """`l1` to the target."""


class L2(Distance):
    """`l2` to the target."""

    between = staticmethod(l2)


class RMSE(Distance):
    """`rmse` to the target."""

    between = staticmethod(rmse)


@dataclass(frozen=True)
class Charbonnier(Term):
    """`charbonnier` distance to the target.

    Attributes:
      epsilon: below it the loss is like L2; above 0.
    """

    epsilon: float = 1e-3

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if epsilon is not above 0."""
        if not self.epsilon > 0:
            raise UserError(f"{field}: epsilon={self.epsilon} must be above 0")

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        return charbonnier(context.sr, context.images[self.target], epsilon=self.epsilon)
