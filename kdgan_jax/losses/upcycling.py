"""Data upcycling (DUKD): more inputs for teacher and student out of the same photos.

Zhang et al., "Data Upcycling Knowledge Distillation for Image Super-Resolution", 2023.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l1
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError

# Changes that undo themselves; a sequence of them is undone in reverse order.
CHANGES = (
    lambda images: 1 - images,
    lambda images: images[:, :, ::-1],
    lambda images: images[:, ::-1],
    lambda images: images.transpose(0, 2, 1, 3),
)


def draw(keys: Array, probability: float) -> Array:
    """Returns which of `CHANGES` to make with each of (B,) images, (4, B) bool."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability, (len(CHANGES),)))(keys).T


def changed(images: Array, drawn: Array) -> Array:
    """Returns square images (B, H, H, C), inverted in colour, mirrored and transposed as drawn."""
    for which, change in zip(drawn, CHANGES, strict=True):
        images = jnp.where(which.reshape(-1, 1, 1, 1), change(images), images)
    return images


def restored(images: Array, drawn: Array) -> Array:
    """Returns the inverse of `changed`.

    The authors repeat the changes in the same order, which is not the inverse where a transpose
    meets one flip.
    """
    for which, change in zip(drawn[::-1], CHANGES[::-1], strict=True):
        images = jnp.where(which.reshape(-1, 1, 1, 1), change(images), images)
    return images


@dataclass(frozen=True)
class Consistency(Term):
    """L1 of the target to SR of a changed LR image, after the change is undone.

    The paper's label consistency. LR is inverted in colour, mirrored, turned upside down and
    transposed, each with the same probability. The target's image belongs to LR as it is.

    Attributes:
      probability: of each change, above 0 and at most 1.
    """

    probability: float = 0.3

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless the probability is above 0 and at most 1."""
        if not 0 < self.probability <= 1:
            raise UserError(
                f"{field}: probability={self.probability} must be above 0 and at most 1"
            )

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        drawn = draw(context.keys, self.probability)
        sr, _ = context.generator.apply(changed(context.lr, drawn))
        return l1(restored(sr, drawn), context.images[self.target])


@dataclass(frozen=True)
class ZoomIn(Term):
    """L1 to the teacher on a part of HR that is taken as LR.

    The part is one of the scale² tiles of the patch's LR size, drawn afresh in every step. There is
    no truth for it, so the teacher runs in every step.

    Attributes:
      probability: with which the student's tile is changed, as in `Consistency`; 0 leaves it.
    """

    of_image: ClassVar[bool] = False
    of_teacher: ClassVar[bool] = True
    of_hr: ClassVar[bool] = True

    probability: float = 0.3

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless the probability is from 0 to 1."""
        if not 0 <= self.probability <= 1:
            raise UserError(f"{field}: probability={self.probability} must be from 0 to 1")

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        hr, (side, channels) = context.images["hr"], context.lr.shape[2:]

        def tile(image: Array, key: Array) -> Array:
            row, column = jax.random.randint(key, (2,), 0, image.shape[0] // side)
            begin = row * side, column * side, 0
            return jax.lax.dynamic_slice(image, begin, (side, side, channels))

        keys = jax.vmap(jax.random.split)(context.keys)
        tiles = jax.vmap(tile)(hr, keys[:, 0])
        drawn = draw(keys[:, 1], self.probability)
        target, _ = context.teachers[self.target].apply(tiles)
        sr, _ = context.generator.apply(changed(tiles, drawn))
        return l1(restored(sr, drawn), jax.lax.stop_gradient(target))
