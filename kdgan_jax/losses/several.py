"""Output distillation from several teachers at once."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l1
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError, pick

CHOICES = "mean", "best"


def nearest(images: Array, hr: Array) -> Array:
    """Returns, for every pixel, the one out of (N, B, H, W, C) that is nearest to HR (L1)."""
    distances = jnp.abs(images - hr).sum(axis=-1, keepdims=True)
    return jnp.take_along_axis(images, distances.argmin(axis=0)[None], axis=0)[0]


@dataclass(frozen=True)
class Several(Term):
    """L1 to one image that is made of those of several teachers.

    Their mean is the ensemble of Hinton et al. 2015 ("Distilling the Knowledge in a Neural
    Network"). The best has each pixel from the teacher that is nearest to HR there; it follows
    HR as far as some teacher does.

    Attributes:
      others: teachers besides the target, at least one.
      choose: "mean" or "best".
    """

    of_teacher: ClassVar[bool] = True

    others: tuple[str, ...] = ()
    choose: str = "mean"

    @property
    def targets(self) -> tuple[str, ...]:
        """The teachers, and HR if it tells which is best."""
        return (self.target, *self.others, *["hr"] * (self.choose == "best"))

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless there are other teachers, and a known way to choose."""
        pick(dict.fromkeys(CHOICES), self.choose, f"{field}: choose")
        if not self.others or self.target in self.others:
            raise UserError(
                f"{field}: others={self.others} must name teachers besides the target"
                f" {self.target!r}, such as others=(second,)"
            )

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        images = jnp.stack([context.images[name] for name in (self.target, *self.others)])
        if self.choose == "mean":
            return l1(context.sr, images.mean(axis=0))
        return l1(context.sr, nearest(images, context.images["hr"]))
