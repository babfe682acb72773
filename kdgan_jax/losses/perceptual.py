"""Perceptual loss (Johnson et al. 2016), on features before ReLU as in ESRGAN."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l1
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.extractors.vgg import LAYERS
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError, pick


def feature_distance(a: Sequence[Array], b: Sequence[Array]) -> Array:
    """Returns the mean absolute difference per image, averaged over layers, (B,).

    Args:
      a: one (B, h, w, C) array per layer.
      b: the same layers of the other images.
    """
    return jnp.mean(jnp.stack([l1(x, y) for x, y in zip(a, b, strict=True)]), axis=0)


def check_layers(layers: tuple[str, ...], hr_patch: int, field: str) -> None:
    """Raises a UserError if a layer is unknown, or pooling leaves nothing of a patch there."""
    for layer in layers:
        pick(dict.fromkeys(LAYERS), layer, f"{field}: layers")
    deepest = max((int(layer[4]) for layer in layers), default=0)
    if not deepest or hr_patch < 2 ** (deepest - 1):
        raise UserError(
            f"{field}: layers={layers} must name at least one layer, and none that lies"
            f" behind too much pooling for a patch of {hr_patch}"
        )


@dataclass(frozen=True)
class Perceptual(Term):
    """`feature_distance` to the target in features of VGG16, before ReLU.

    Attributes:
      layers: names from `kdgan_jax.models.extractors.vgg.LAYERS`.
    """

    needs: ClassVar[tuple[str, ...]] = ("vgg",)

    layers: tuple[str, ...] = ("conv3_3",)

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if a layer is unknown, or pooling leaves nothing of a patch there."""
        check_layers(self.layers, hr_patch, field)

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the distance per image, (B,)."""
        extract = context.extractors["vgg"]
        target = context.images[self.target]
        return feature_distance(extract(context.sr, self.layers), extract(target, self.layers))
