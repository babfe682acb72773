"""Distances between images, one value per image.

Every function takes two (B, H, W, C) float32 arrays of the same shape and returns (B,). The target
is the ground truth (pixel loss) or a teacher's output (output distillation).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import chex
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Context, Term, per_image
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError

EPSILON = 1e-12  # added inside a square root, whose slope at 0 is infinite


def l1(a: Array, b: Array) -> Array:
    """Mean absolute difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return per_image(jnp.abs(a - b))


def l2(a: Array, b: Array) -> Array:
    """Mean squared difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return per_image(jnp.square(a - b))


def rmse(a: Array, b: Array) -> Array:
    """Root mean squared difference per image, sqrt(l2 + 1e-12), (B,).

    The origin takes the root over the whole batch, which couples its images.
    """
    return jnp.sqrt(l2(a, b) + EPSILON)


def charbonnier(a: Array, b: Array, *, epsilon: float = 1e-3) -> Array:
    """Mean of sqrt((a - b)² + epsilon²) per image, (B,).

    From Charbonnier et al. 1994; epsilon = 1e-3 as in LapSRN (Lai et al. 2017). Differences below
    epsilon are weighted as in L2, others as in L1.
    """
    chex.assert_equal_shape([a, b])
    return per_image(jnp.sqrt(jnp.square(a - b) + epsilon**2))


@dataclass(frozen=True)
class Distance(Term):
    """The distance `between` the generator's image and the target."""

    between: ClassVar[Any] = staticmethod(l1)  # of two images, (B,)

    def __call__(self, params: Params, context: Context) -> Array:
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
    """`charbonnier` to the target.

    Attributes:
      epsilon: above 0; smaller differences are weighted as in L2.
    """

    epsilon: float = 1e-3

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless epsilon is above 0."""
        if not self.epsilon > 0:
            raise UserError(f"{field}: epsilon={self.epsilon} must be above 0")

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        return charbonnier(context.sr, context.images[self.target], epsilon=self.epsilon)
