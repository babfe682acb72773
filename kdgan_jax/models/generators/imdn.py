"""IMDN: channels are split off step by step and weighed by their contrast.

Hui, Gao, Yang, Wang, "Lightweight Image Super-Resolution with Information Multi-distillation
Network", ACM Multimedia 2019.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.attention import ContrastAttention
from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap


class _Block(nn.Module):
    """Each of three convolutions gives a quarter of its channels away, the rest to the next."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        kept: list[Array] = []
        rest = x
        for i in range(3):
            y = nn.leaky_relu(conv(channels, name=f"c{i + 1}")(rest), 0.05)
            kept.append(y[..., : channels // 4])
            rest = y[..., channels // 4 :]
        kept.append(conv(channels // 4, name="c4")(rest))
        y = ContrastAttention(name="cca")(jnp.concatenate(kept, axis=-1))
        return x + conv(channels, 1, name="c5")(y)


class IMDN(nn.Module):
    """RGB in [0, 1] to RGB; 715,176 parameters at x4.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width, a multiple of 4.
      blocks: information multi-distillation blocks.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 6

    whole_image = True  # statistics of whole maps
    receptive_radius = 0

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: dict[str, Array] = {}
        head = x = tap(self, features, "head", conv(self.channels, name="fea_conv")(lr))
        outputs = []
        for i in range(1, self.blocks + 1):
            x = tap(self, features, f"block{i}", _Block(name=f"IMDB{i}")(x))
            outputs.append(x)
        x = conv(self.channels, 1, name="c.0")(jnp.concatenate(outputs, axis=-1))
        x = conv(self.channels, name="LR_conv")(nn.leaky_relu(x, 0.05))
        x = tap(self, features, "body", head + x)
        x = conv(3 * self.scale**2, name="upsampler.0")(x)
        return pixel_shuffle(x, self.scale), features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network that has these PyTorch shapes, None if not IMDN."""
        needed = {"fea_conv.weight", "IMDB1.cca.conv_du.0.weight", "LR_conv.weight"}
        if not needed | {"upsampler.0.weight"} <= shapes.keys():
            return None
        return {
            "scale": math.isqrt(shapes["upsampler.0.weight"][0] // 3),
            "channels": shapes["fea_conv.weight"][0],
            "blocks": sum(name.endswith(".cca.conv_du.0.weight") for name in shapes),
        }
