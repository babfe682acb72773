"""The origin's student generator: an SRCNN-shaped network on the nearest-enlarged image.

Ghaayathri Devi K., "Image-Super-Resolution" (Distilled_GAN.ipynb). 36,483 parameters, but it works
at HR size: 33.5 G multiply-accumulates for a 1280 x 720 output.
"""

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, nearest, tap


class KDGANStudent(nn.Module):
    """Nearest enlargement, 9x9/64 ReLU, 3x3/32 ReLU, 5x5/3 linear; RGB in [0, 1].

    Attributes:
      scale: enlargement; 4 in the origin.
    """

    scale: int = 4

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return -(-(4 + 1 + 2) // self.scale) + 1

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        features: dict[str, Array] = {}
        x = tap(self, features, "conv1", nn.relu(Conv(64, 9)(nearest(lr, self.scale))))
        x = tap(self, features, "conv2", nn.relu(Conv(32, 3)(x)))
        return Conv(3, 5)(x), features
