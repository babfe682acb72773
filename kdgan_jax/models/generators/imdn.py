"""IMDN: channels are split off step by step and weighted by their contrast.

Hui, Gao, Yang, Wang, "Lightweight Image Super-Resolution with Information Multi-distillation
Network", ACM Multimedia 2019.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.attention import ContrastAttention
from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes


class _Block(nn.Module):
    """Three convolutions that each set aside a quarter of their channels and pass on the rest."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        kept: list[Array] = []
        rest = x
        for i in range(3):
            y = nn.leaky_relu(torch_conv(channels, name=f"c{i + 1}")(rest), 0.05)
            kept.append(y[..., : channels // 4])
            rest = y[..., channels // 4 :]
        kept.append(torch_conv(channels // 4, name="c4")(rest))
        y = ContrastAttention(name="cca")(jnp.concatenate(kept, axis=-1))
        return x + torch_conv(channels, 1, name="c5")(y)


class IMDN(nn.Module):
    """Maps RGB in [0, 1] to RGB; 715,176 parameters at x4.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width, a multiple of 4.
      blocks: information multi-distillation blocks.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 6

    whole_image = True  # statistics of whole maps
    receptive_radius = 0

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        head = x = tap(self, features, "head", torch_conv(self.channels, name="fea_conv")(lr))
        outputs = []
        for i in range(1, self.blocks + 1):
            x = tap(self, features, f"block{i}", _Block(name=f"IMDB{i}")(x))
            outputs.append(x)
        x = torch_conv(self.channels, 1, name="c.0")(jnp.concatenate(outputs, axis=-1))
        x = torch_conv(self.channels, name="LR_conv")(nn.leaky_relu(x, 0.05))
        x = tap(self, features, "body", head + x)
        x = torch_conv(3 * self.scale**2, name="upsampler.0")(x)
        return pixel_shuffle(x, self.scale), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the IMDN with these PyTorch shapes, or None."""
        needed = {"fea_conv.weight", "IMDB1.cca.conv_du.0.weight", "LR_conv.weight"}
        if not needed | {"upsampler.0.weight"} <= shapes.keys():
            return None
        return {
            "scale": math.isqrt(shapes["upsampler.0.weight"][0] // 3),
            "channels": shapes["fea_conv.weight"][0],
            "blocks": sum(name.endswith(".cca.conv_du.0.weight") for name in shapes),
        }
