"""The origin's blend of truth and teacher; images (B, H, W, C) to (B,)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jax import Array

from kdgan_jax.losses.pixel import rmse
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.runtime.errors import UserError


def blend(sr: Array, hr: Array, teacher_sr: Array, *, alpha: float) -> Array:
    """The origin's (1 - alpha) * RMSE(truth) + alpha * RMSE(teacher) per image, (B,).

    Ghaayathri Devi K., Distilled_GAN.ipynb, cell 12, which gives no alpha. Each term's gradient is
    divided by its own RMSE, so the nearer target (mostly the teacher) weighs more than alpha says.
    """
    return (1 - alpha) * rmse(sr, hr) + alpha * rmse(sr, teacher_sr)


@dataclass(frozen=True)
class Blend(Term):
    """`blend` of HR and the target, a teacher.

    Attributes:
      alpha: the teacher's share, from 0 to 1.
    """

    of_teacher: ClassVar[bool] = True

    alpha: float = 0.5

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if alpha is no share."""
        if not 0 <= self.alpha <= 1:
            raise UserError(f"{field}: alpha={self.alpha} must be from 0 to 1")

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the blend per image, (B,)."""
        images = context.images
        return blend(context.sr, images["hr"], images[self.target], alpha=self.alpha)
