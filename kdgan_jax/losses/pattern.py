"""Distance of the pattern that repeats with a pixel shuffle's blocks.

Every place in a block of pixels has its own filter. Where these disagree, an image carries a mesh,
which neither features nor a discriminator tell from texture.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError


def pattern(image: Array, period: int) -> Array:
    """Returns the means at each place of blocks, less their mean: (B, period, period, C).

    Args:
      image: (B, H, W, C); sides are multiples of `period`.
      period: side of a block.
    """
    batch, height, width, channels = image.shape
    blocks = image.reshape(batch, height // period, period, width // period, period, channels)
    means = blocks.mean((1, 3))
    return means - means.mean((1, 2), keepdims=True)


@dataclass(frozen=True)
class Pattern(Term):
    """The sum of absolute differences of the `pattern` to the target's.

    Attributes:
      period: side of a block in pixels; the scale of a network with one pixel shuffle.
      window: side of the squares that have a pattern each; 0 for one pattern of the whole patch.
    """

    period: int = 4
    window: int = 0

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if blocks do not fill windows, or windows the patch."""
        window = self.window or hr_patch
        if self.period < 2 or window < self.period or window % self.period or hr_patch % window:
            raise UserError(
                f"{field}: period={self.period} must divide window={self.window}, and that the HR"
                f" patch {hr_patch}; 0 stands for the whole patch"
            )

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the sum per image, averaged over windows, (B,)."""
        difference = context.sr - context.images[self.target]
        batch, height, width, channels = difference.shape
        side = self.window or height
        across = self.window or width
        windows = difference.reshape(batch, height // side, side, width // across, across, channels)
        windows = windows.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side, across, channels)
        sums = jnp.abs(pattern(windows, self.period)).sum((1, 2, 3))
        return sums.reshape(batch, -1).mean(axis=1)
