"""Contrastive distillation (CSD).

Wang et al., "Towards Compact Single Image Super-Resolution via Contrastive Self-distillation",
IJCAI 2021.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.perceptual import check_layers
from kdgan_jax.losses.pixel import l1
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError

SMALLEST = 1e-7  # added to the distance to the negatives, as in the authors' code


@dataclass(frozen=True)
class Contrastive(Term):
    """How near SR is to the target, relative to enlarged LR: a weighted sum over layers of VGG16.

    sum_i w_i |f_i(target) - f_i(SR)| / (mean_k |f_i(n_k) - f_i(SR)| + 1e-7), where f_i are features
    after ReLU and n_k enlarged LR images (bicubic), the image's own first. A mean over k in place
    of the authors' sum keeps the weight independent of their number. VGG16 stands for VGG19, with
    its usual normalisation of images, which the authors' code leaves out.

    Attributes:
      layers: names from `kdgan_jax.models.extractors.vgg.LAYERS`.
      weights: w_i, one for each layer.
      negatives: number of LR images that SR should differ from, which follow in the device's share
        of the batch. They cost little: features of each image are computed once.
    """

    needs: ClassVar[tuple[str, ...]] = ("vgg",)

    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    weights: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    negatives: int = 1

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if layers, their weights or the number of negatives are invalid."""
        check_layers(self.layers, hr_patch, field)
        if len(self.weights) != len(self.layers) or min(self.weights) < 0:
            raise UserError(
                f"{field}: weights={self.weights} must be a number, 0 or more, for each of the"
                f" {len(self.layers)} layers"
            )
        if self.negatives < 1:
            raise UserError(f"{field}: negatives={self.negatives} must be at least 1")

    def check_batch(self, images: int, field: str) -> None:
        """Raises a UserError if there are fewer images than negatives."""
        if self.negatives > images:
            raise UserError(
                f"{field}: negatives={self.negatives} need as many images on each device, which has"
                f" {images}; lower it, raise the batch, or use fewer devices"
            )

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the loss per image, (B,)."""
        sr, number = context.sr, context.lr.shape[0]
        extract = context.extractors["vgg"]
        enlarged = jax.image.resize(context.lr, sr.shape, "bicubic")
        images = sr, context.images[self.target], enlarged
        features = [map(jax.nn.relu, extract(image, self.layers)) for image in images]
        total = jnp.zeros(number)
        for weight, ours, positive, negative in zip(self.weights, *features, strict=True):
            away = [l1(jnp.roll(negative, -k, axis=0), ours) for k in range(self.negatives)]
            total += weight * l1(positive, ours) / (jnp.stack(away).mean(axis=0) + SMALLEST)
        return total
