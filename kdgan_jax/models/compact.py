"""The fast student: plain 3x3 convolutions at LR resolution, pixel shuffle last.

The shape of Real-ESRGAN's small network (SRVGGNetCompact; Wang et al. 2021): the nearest-enlarged
input is added, so that training starts from an interpolation.
"""

import flax.linen as nn
from jax import Array

from kdgan_jax.models.layers import Conv, PReLU, nearest, pixel_shuffle


class Compact(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      features: channels of every hidden layer.
      depth: convolutions between the first and the last.
    """

    scale: int = 4
    features: int = 24
    depth: int = 4

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return self.depth + 2

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x, taps = lr, {}
        for i in range(self.depth + 1):
            x = taps[f"conv{i + 1}"] = PReLU()(Conv(self.features)(x))
        x = Conv(3 * self.scale**2, gain=0.01)(x)
        return nearest(lr, self.scale) + pixel_shuffle(x, self.scale), taps
