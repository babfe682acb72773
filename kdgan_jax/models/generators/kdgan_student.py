"""The student of the original notebook: SRCNN's shape on an image enlarged by nearest neighbour.

Ghaayathri Devi K., "Image-Super-Resolution" (Distilled_GAN.ipynb). It has 36,483 parameters, but
works at HR size: 33.5 G multiply-accumulates for a 1280 x 720 output.
"""

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, nearest, tap
from kdgan_jax.models.types import Features


class KDGANStudent(nn.Module):
    """Maps RGB in [0, 1] to RGB: nearest neighbour, 9x9x64 ReLU, 3x3x32 ReLU, 5x5x3 linear.

    Attributes:
      scale: upscaling factor: 2, 3 or 4; 4 in the original.
    """

    scale: int = 4

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return -(-(4 + 1 + 2) // self.scale) + 1

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        features: Features = {}
        x = tap(self, features, "conv1", nn.relu(Conv(64, 9)(nearest(lr, self.scale))))
        x = tap(self, features, "conv2", nn.relu(Conv(32, 3)(x)))
        return Conv(3, 5)(x), features
