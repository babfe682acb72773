"""HiT-SRF: a transformer whose windows grow from 4 to 64 pixels, with correlations for attention.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024.
Its cost grows linearly with the windows, so they can be far larger than those of SwinIR, which it
is modelled on. 866,420 parameters at x4.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.correlation import SUMMARY, Correlation, norm
from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap
from kdgan_jax.models.generators.edsr import MEAN


class Block(nn.Module):
    """The correlation, then a feed-forward part that sees 5x5 pixels; both normalised after."""

    heads: int
    window: int
    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        x = x + norm("norm1")(Correlation(self.heads, self.window, name="correlation")(x))
        hidden = self.expansion * x.shape[-1]
        y = nn.gelu(nn.Dense(hidden, name="mlp.fc1")(x), approximate=False)
        near = conv(hidden, 5, groups=hidden, name="mlp.dwconv.depthwise_conv.0")(y)
        y = y + nn.gelu(near, approximate=False)
        return x + norm("norm2")(nn.Dense(x.shape[-1], name="mlp.fc2")(y))


class HiTSRF(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width; an even multiple of `heads`, at least 16.
      groups: of blocks, each with one block per window and a residual.
      heads: groups of channels whose spatial correlations are apart.
      windows: sides of the windows in pixels, at most 8 or multiples of 8.
      expansion: width of the feed-forward parts relative to `channels`.
    """

    scale: int = 4
    channels: int = 60
    groups: int = 4
    heads: int = 6
    windows: tuple[int, ...] = (4, 8, 16, 32, 48, 64)
    expansion: int = 2

    whole_image = True  # windows are counted from the image's top left corner
    receptive_radius = 0

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network of these PyTorch shapes, None if not HiT-SRF.

        Windows of up to 8 pixels have the same shapes: 4 is assumed for a group's first block.
        """
        block = "layers.0.residual_group.blocks.{}.{}.weight"
        heads = block.format(0, "correlation.pos.pos3.2")
        hidden = block.format(0, "mlp.fc1")
        if not {"conv_first.weight", "upsample.0.weight", heads, hidden} <= shapes.keys():
            return None
        windows: list[int] = []
        while (key := block.format(len(windows), "correlation.spatial_linear")) in shapes:
            side = SUMMARY * math.isqrt(shapes[key][1])
            windows.append(4 if side == SUMMARY and not windows else side)
        channels = shapes["conv_first.weight"][0]
        return {
            "scale": math.isqrt(shapes["upsample.0.weight"][0] // 3),
            "channels": channels,
            "groups": sum(k.startswith("layers.") and k.endswith(".conv.weight") for k in shapes),
            "heads": shapes[heads][0],
            "windows": tuple(windows),
            "expansion": shapes[hidden][0] // channels,
        }

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(MEAN, lr.dtype).reshape(1, 1, 1, 3)
        features: dict[str, Array] = {}
        head = tap(self, features, "head", conv(self.channels, name="conv_first")(lr - mean))
        x = norm("patch_embed.norm")(head)
        for i in range(self.groups):
            y = x
            for j, window in enumerate(self.windows):
                name = f"layers.{i}.residual_group.blocks.{j}"
                y = Block(self.heads, window, self.expansion, name=name)(y)
            x = x + conv(self.channels, name=f"layers.{i}.conv")(y)
            x = tap(self, features, f"group{i + 1}", x)
        x = head + conv(self.channels, name="conv_after_body")(norm("norm")(x))
        x = tap(self, features, "body", x)
        x = conv(3 * self.scale**2, name="upsample.0")(x)
        return mean + pixel_shuffle(x, self.scale), features
