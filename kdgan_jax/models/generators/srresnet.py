"""SRResNet, the generator of SRGAN.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017. Batch normalization is left out: at inference it folds into the neighbouring
convolutions anyway, and Lim et al. (2017) show that it costs quality.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv, PReLU, ShuffleUpsampler, tap
from kdgan_jax.models.types import Features


class SRResNet(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; 64 in the paper.
      blocks: residual blocks; 16 in the paper.
      dtype: dtype in which convolutions compute; the result is float32.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 16
    dtype: DTypeLike = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 4 + 2 * self.blocks + 1 + 2 + 4

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        conv = functools.partial(Conv, dtype=self.dtype)
        features: Features = {}
        head = x = tap(self, features, "head", PReLU()(conv(self.channels, 9)(lr)))
        for i in range(self.blocks):
            y = PReLU()(conv(self.channels)(x))
            x = tap(self, features, f"block{i + 1}", x + conv(self.channels, gain=0.1)(y))
        x = tap(self, features, "body", head + conv(self.channels, gain=0.1)(x))
        x = ShuffleUpsampler(self.scale, self.channels, activate=True, dtype=self.dtype)(x)
        return conv(3, 9, gain=0.5)(x).astype(jnp.float32), features
