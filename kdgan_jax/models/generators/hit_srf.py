"""HiT-SRF: a transformer with windows of 4 to 64 pixels and correlations instead of attention.

Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024.
The cost is linear in the area of a window, so windows can be far larger than in SwinIR, on which
the network is modelled. 866,420 parameters at x4.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.correlation import SUMMARY, Correlation
from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN
from kdgan_jax.models.blocks.normalization import torch_layer_norm
from kdgan_jax.models.types import Arguments, Features, Shapes


class Block(nn.Module):
    """The correlation, then a feed-forward part over 5x5 pixels, each with a norm at its end."""

    heads: int
    window: int
    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = Correlation(self.heads, self.window, name="correlation")(x)
        x = x + torch_layer_norm("norm1")(y)
        hidden = self.expansion * x.shape[-1]
        y = nn.gelu(nn.Dense(hidden, name="mlp.fc1")(x), approximate=False)
        near = torch_conv(hidden, 5, groups=hidden, name="mlp.dwconv.depthwise_conv.0")(y)
        y = y + nn.gelu(near, approximate=False)
        return x + torch_layer_norm("norm2")(nn.Dense(x.shape[-1], name="mlp.fc2")(y))


class HiTSRF(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; an even multiple of `heads`, at least 16.
      groups: residual groups, each with one block per window size.
      heads: groups of channels with a spatial correlation each.
      windows: sides of the windows in pixels: up to 8, or multiples of 8.
      expansion: width of the feed-forward parts relative to `channels`.
    """

    scale: int = 4
    channels: int = 60
    groups: int = 4
    heads: int = 6
    windows: tuple[int, ...] = (4, 8, 16, 32, 48, 64)
    expansion: int = 2

    whole_image = True  # windows start at the top left corner of the image
    receptive_radius = 0

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the HiT-SRF with these PyTorch shapes, or None.

        All windows of up to 8 pixels have the same shapes: 4 is assumed for the first block of a
        group, and 8 for others.
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
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(DIV2K_MEAN, lr.dtype).reshape(1, 1, 1, 3)
        features: Features = {}
        head = tap(self, features, "head", torch_conv(self.channels, name="conv_first")(lr - mean))
        x = torch_layer_norm("patch_embed.norm")(head)
        for i in range(self.groups):
            y = x
            for j, window in enumerate(self.windows):
                name = f"layers.{i}.residual_group.blocks.{j}"
                y = Block(self.heads, window, self.expansion, name=name)(y)
            x = x + torch_conv(self.channels, name=f"layers.{i}.conv")(y)
            x = tap(self, features, f"group{i + 1}", x)
        x = head + torch_conv(self.channels, name="conv_after_body")(torch_layer_norm("norm")(x))
        x = tap(self, features, "body", x)
        x = torch_conv(3 * self.scale**2, name="upsample.0")(x)
        return mean + pixel_shuffle(x, self.scale), features
