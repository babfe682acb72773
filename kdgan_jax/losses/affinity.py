"""Spatial affinity of features (He et al., "FAKD", ICIP 2020)."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pairs import Paired
from kdgan_jax.losses.pixel import EPSILON, l1
from kdgan_jax.losses.term import Context
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError


def affinity(feature: Array) -> Array:
    """Returns the cosine between each two places of a feature (B, H, W, C), (B, HW, HW)."""
    places = feature.reshape(feature.shape[0], -1, feature.shape[-1])
    places = places / jnp.sqrt(jnp.square(places).sum(axis=-1, keepdims=True) + EPSILON)
    return jnp.einsum("bic,bjc->bij", places, places)


def pooled(feature: Array, side: int) -> Array:
    """Returns the means over squares of a feature (B, H, W, C), (B, H / side, W / side, C)."""
    batch, height, width, channels = feature.shape
    squares = feature.reshape(batch, height // side, side, width // side, side, channels)
    return squares.mean((2, 4))


@dataclass(frozen=True)
class Affinity(Paired):
    """The mean absolute difference of `affinity` matrices, averaged over pairs.

    The paper's spatial affinity. Numbers of channels may differ. A matrix has (H W)² / pool⁴
    numbers per image, in float32 1.3 MB at 24x24 and 21 MB at 48x48 without pooling. A pair has
    two, and their gradient as many again.

    Attributes:
      pool: side of squares over which features are averaged first; divides H and W.
    """

    pool: int = 1

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless there are pairs and `pool` is at least 1."""
        super().check(hr_patch, field)
        if self.pool < 1:
            raise UserError(f"{field}: pool={self.pool} must be at least 1")

    def features(self, pair: tuple[str, str], context: Context) -> tuple[Array, Array]:
        """Returns the pooled features of a pair.

        Raises:
          UserError: one of them does not exist, or their sizes differ or cannot be pooled.
        """
        student, teacher = super().features(pair, context)
        height, width = student.shape[1:3]
        if height % self.pool or width % self.pool:
            raise UserError(
                f"affinity: pool={self.pool} must divide the sides of the features {pair[0]!r} and"
                f" {pair[1]!r}, {height}x{width}"
            )
        return pooled(student, self.pool), pooled(teacher, self.pool)

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the loss per image, (B,)."""
        return self.mean(
            context, lambda _, student, teacher: l1(affinity(student), affinity(teacher))
        )
