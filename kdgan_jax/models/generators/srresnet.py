"""SRResNet, the generator of SRGAN.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017. Its batch normalisation is left out: at inference it folds into the
convolutions beside it, so the network that runs is this one, and training needs no running
statistics (Lim et al. 2017 drop it for its cost in quality).
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, PReLU, ShuffleUpsampler, tap


class SRResNet(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width; 64 in the paper.
      blocks: residual blocks; 16 in the paper.
      dtype: that convolutions compute in; the result is float32.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 16
    dtype: Any = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 4 + 2 * self.blocks + 1 + 2 + 4

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        conv = functools.partial(Conv, dtype=self.dtype)
        features: dict[str, Array] = {}
        head = x = tap(self, features, "head", PReLU()(conv(self.channels, 9)(lr)))
        for i in range(self.blocks):
            y = PReLU()(conv(self.channels)(x))
            x = tap(self, features, f"block{i + 1}", x + conv(self.channels, gain=0.1)(y))
        x = tap(self, features, "body", head + conv(self.channels, gain=0.1)(x))
        x = ShuffleUpsampler(self.scale, self.channels, activate=True, dtype=self.dtype)(x)
        return conv(3, 9, gain=0.5)(x).astype(jnp.float32), features
