"""PAN: a 1x1 convolution computes a weight for every pixel of every channel.

Zhao, Kong, He, Qiao, Dong, "Efficient Image Super-Resolution Using Pixel Attention", ECCVW 2020.
"""

from collections.abc import Mapping
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import nearest, tap, torch_conv, upscaling_steps
from kdgan_jax.models.types import Arguments, Features, Shapes

Value = TypeVar("Value")


def _leaky(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


class _AttentionConvolution(nn.Module):
    """A convolution weighted by pixel attention to its input, then a second convolution."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        weight = nn.sigmoid(torch_conv(channels, 1, name="k2")(x))
        y = torch_conv(channels, bias=False, name="k3")(x) * weight
        return torch_conv(channels, bias=False, name="k4")(y)


class _Block(nn.Module):
    """SCPA: a plain convolution on half the channels, pixel attention on the other half."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        a = _leaky(torch_conv(channels // 2, 1, bias=False, name="conv1_a")(x))
        b = _leaky(torch_conv(channels // 2, 1, bias=False, name="conv1_b")(x))
        a = _leaky(torch_conv(channels // 2, bias=False, name="k1.0")(a))
        b = _leaky(_AttentionConvolution(name="PAConv")(b))
        both = jnp.concatenate([a, b], axis=-1)
        return x + torch_conv(channels, 1, bias=False, name="conv3")(both)


class PAN(nn.Module):
    """Maps RGB in [0, 1] to RGB; 272,419 parameters at x4.

    The result is added to the input enlarged bilinearly.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width at LR size, an even number.
      last_channels: width at larger sizes.
      blocks: self-calibrated blocks with pixel attention (SCPA).
    """

    scale: int = 4
    channels: int = 40
    last_channels: int = 24
    blocks: int = 16

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 2 * self.blocks + 4  # head, blocks, end of the trunk; all that follows adds two

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        head = x = tap(self, features, "head", torch_conv(self.channels, name="conv_first")(lr))
        for i in range(self.blocks):
            x = tap(self, features, f"block{i + 1}", _Block(name=f"SCPA_trunk.{i}")(x))
        x = tap(self, features, "body", head + torch_conv(self.channels, name="trunk_conv")(x))
        for i, factor in enumerate(upscaling_steps(self.scale), start=1):
            x = torch_conv(self.last_channels, name=f"upconv{i}")(nearest(x, factor))
            x = _leaky(x * nn.sigmoid(torch_conv(self.last_channels, 1, name=f"att{i}.conv")(x)))
            x = _leaky(torch_conv(self.last_channels, name=f"HRconv{i}")(x))
        x = torch_conv(3, name="conv_last")(x)
        return x + jax.image.resize(lr, x.shape, "bilinear", antialias=False), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the PAN with these PyTorch shapes, or None.

        Files for x2 and x3 have the same shapes (`readings`); x2 is assumed.
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

    @staticmethod
    def readings(
        arguments: Arguments, entries: Mapping[str, Value]
    ) -> dict[str, tuple[Arguments, dict[str, Value]]]:
        """Returns what a file may mean: one enlarging step is by 2 or by 3."""
        scales = (4,) if arguments["scale"] == 4 else (2, 3)
        return {f"x{s}": (arguments | {"scale": s}, dict(entries)) for s in scales}
