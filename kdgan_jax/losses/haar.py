"""Distance of detail at several sizes: the bands of Haar's wavelet transform."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l1
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError


def haar(image: Array) -> tuple[Array, Array]:
    """Returns one level of the orthonormal transform of (B, H, W, C), H and W even.

    The low band is (B, H/2, W/2, C); the high ones, of horizontal, vertical and diagonal detail,
    are (B, H/2, W/2, 3 C) (Mallat 1989).
    """
    batch, height, width, channels = image.shape
    blocks = image.reshape(batch, height // 2, 2, width // 2, 2, channels)
    a, b, c, d = (blocks[:, :, y, :, x] for y in (0, 1) for x in (0, 1))
    high = [a - b + c - d, a + b - c - d, a - b - c + d]
    return (a + b + c + d) / 2, jnp.concatenate(high, axis=-1) / 2


@dataclass(frozen=True)
class Haar(Term):
    """L1 distance of the high bands to those of the target, averaged over levels.

    The high bands alone are what Zhang et al. distil ("Wavelet Knowledge Distillation", CVPR 2022).
    Those of 4 levels and the last low band are the loss of MTKD (Jiang et al., ECCV 2024), there a
    sum.

    Attributes:
      levels: of the transform, at least 1; each halves the resolution.
      low: whether the last low band is compared, too; it counts as one more level.
    """

    levels: int = 1
    low: bool = False

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if a patch cannot be halved so often."""
        if self.levels < 1 or hr_patch % 2**self.levels:
            raise UserError(
                f"{field}: levels={self.levels} must be at least 1, and the HR patch {hr_patch} a"
                " multiple of two to their power"
            )

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        sr, target = context.sr, context.images[self.target]
        distances = []
        for _ in range(self.levels):
            (sr, ours), (target, theirs) = haar(sr), haar(target)
            distances.append(l1(ours, theirs))
        if self.low:
            distances.append(l1(sr, target))
        return jnp.mean(jnp.stack(distances), axis=0)
