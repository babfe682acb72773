"""EDSR: residual blocks without normalisation, pixel shuffle last.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.layers import Conv, ShuffleUpsampler

# Mean of DIV2K, subtracted from the input and added to the output (RGB in [0, 1]).
MEAN = 0.4488, 0.4371, 0.4040


class EDSR(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      features: channels; 64 in EDSR-baseline, 256 in EDSR.
      blocks: residual blocks; 16 in EDSR-baseline, 32 in EDSR.
      residual_scale: factor on each residual; 1 in EDSR-baseline, 0.1 in EDSR.
    """

    scale: int = 4
    features: int = 64
    blocks: int = 16
    residual_scale: float = 1.0

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 2 * self.blocks + 5  # head, blocks, body's end, upsampler and tail

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(MEAN, lr.dtype).reshape(1, 1, 1, 3)
        head = x = Conv(self.features)(lr - mean)
        taps = {"head": head}
        for i in range(self.blocks):
            y = Conv(self.features, gain=0.1)(nn.relu(Conv(self.features)(x)))
            x = taps[f"block{i + 1}"] = x + self.residual_scale * y
        x = taps["body"] = head + Conv(self.features, gain=0.1)(x)
        x = ShuffleUpsampler(self.scale, self.features)(x)
        return mean + Conv(3, gain=0.1)(x), taps
