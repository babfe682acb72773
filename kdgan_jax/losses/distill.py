"""The origin's blend of ground truth and teacher."""

from dataclasses import dataclass
from typing import ClassVar

from jax import Array

from kdgan_jax.losses.pixel import rmse
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError


def blend(sr: Array, hr: Array, teacher_sr: Array, *, alpha: float) -> Array:
    """Returns (1 - alpha) * RMSE(sr, hr) + alpha * RMSE(sr, teacher_sr) of (B, H, W, C), (B,).

    From Ghaayathri Devi K., Distilled_GAN.ipynb, cell 12, which gives no value for alpha. The
    gradient of an RMSE is divided by that RMSE, so the nearer target, mostly the teacher, counts
    for more than alpha suggests.
    """
    return (1 - alpha) * rmse(sr, hr) + alpha * rmse(sr, teacher_sr)


@dataclass(frozen=True)
class Blend(Term):
    """`blend` of HR and a teacher, which is the target.

    Attributes:
      alpha: weight of the teacher, from 0 to 1.
    """

    of_teacher: ClassVar[bool] = True
    of_hr: ClassVar[bool] = True

    alpha: float = 0.5

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless alpha is from 0 to 1."""
        if not 0 <= self.alpha <= 1:
            raise UserError(f"{field}: alpha={self.alpha} must be from 0 to 1")

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the blend per image, (B,)."""
        images = context.images
        return blend(context.sr, images["hr"], images[self.target], alpha=self.alpha)
