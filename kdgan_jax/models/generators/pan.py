"""PAN: every pixel of every channel is weighed by a 1x1 convolution of it.

Zhao, Kong, He, Qiao, Dong, "Efficient Image Super-Resolution Using Pixel Attention", ECCVW 2020.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv, nearest, tap


def _leaky(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


class _AttentionConvolution(nn.Module):
    """A convolution weighed by pixel attention to its input, and a second one."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        weight = nn.sigmoid(conv(channels, 1, name="k2")(x))
        y = conv(channels, bias=False, name="k3")(x) * weight
        return conv(channels, bias=False, name="k4")(y)


class _Block(nn.Module):
    """SCPA: half the channels go through a plain convolution, half through pixel attention."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        a = _leaky(conv(channels // 2, 1, bias=False, name="conv1_a")(x))
        b = _leaky(conv(channels // 2, 1, bias=False, name="conv1_b")(x))
        a = _leaky(conv(channels // 2, bias=False, name="k1.0")(a))
        b = _leaky(_AttentionConvolution(name="PAConv")(b))
        both = jnp.concatenate([a, b], axis=-1)
        return x + conv(channels, 1, bias=False, name="conv3")(both)


class PAN(nn.Module):
    """RGB in [0, 1] to RGB, added to the bilinear-enlarged input; 272,419 parameters at x4.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: at LR size, an even number.
      last_channels: at larger sizes.
      blocks: self-calibrated blocks with pixel attention.
    """

    scale: int = 4
    channels: int = 40
    last_channels: int = 24
    blocks: int = 16

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 2 * self.blocks + 4  # head, blocks, trunk's end; all that follows reaches two

    @property
    def serves_scales(self) -> tuple[int, ...]:
        """Scales that a file with these shapes may be of."""
        return (4,) if self.scale == 4 else (2, 3)

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: dict[str, Array] = {}
        head = x = tap(self, features, "head", conv(self.channels, name="conv_first")(lr))
        for i in range(self.blocks):
            x = tap(self, features, f"block{i + 1}", _Block(name=f"SCPA_trunk.{i}")(x))
        x = tap(self, features, "body", head + conv(self.channels, name="trunk_conv")(x))
        for i, factor in enumerate((2, 2) if self.scale == 4 else (self.scale,), start=1):
            x = conv(self.last_channels, name=f"upconv{i}")(nearest(x, factor))
            x = _leaky(x * nn.sigmoid(conv(self.last_channels, 1, name=f"att{i}.conv")(x)))
            x = _leaky(conv(self.last_channels, name=f"HRconv{i}")(x))
        x = conv(3, name="conv_last")(x)
        return x + jax.image.resize(lr, x.shape, "bilinear", antialias=False), features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network that has these PyTorch shapes, None if not PAN.

        Files for x2 and x3 have the same shapes (`serves_scales`); they are taken for x2.
        """
        needed = {"conv_first.weight", "upconv1.weight", "att1.conv.weight", "conv_last.weight"}
        if not needed | {"SCPA_trunk.0.PAConv.k2.weight"} <= shapes.keys():
            return None
        return {
            "scale": 4 if "upconv2.weight" in shapes else 2,
            "channels": shapes["conv_first.weight"][0],
            "last_channels": shapes["upconv1.weight"][0],
            "blocks": sum(name.endswith(".PAConv.k2.weight") for name in shapes),
        }
