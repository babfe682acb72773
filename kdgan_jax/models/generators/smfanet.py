"""SMFANet and SMFANet+: self-modulation by pooled features, besides a local branch.

Zheng et al., "SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient
Image Super-Resolution", ECCV 2024. Instead of self-attention, a coarse map (8x8 pixels per
cell) and the variance over the whole image weight the features. At x4, SMFANet has 197,328
parameters and SMFANet+ (48 channels, 12 blocks) 495,888.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes

POOLING = 8  # side of a cell in pixels; a little more if it does not divide the image


def _unit(x: Array) -> Array:
    """Divides each pixel by its norm over channels, as PyTorch's `normalize` does."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-24))  # clipped inside, where the root has a slope


def _cell_maxima(x: Array, axis: int) -> Array:
    """Returns maxima over cells along one axis of (B, H, W, C), as PyTorch's adaptive pooling does.

    Cell i of n goes from floor(i * size / n) to ceil((i + 1) * size / n), so cells overlap if n
    does not divide the size. A side below 8 is one cell; the published code fails there.
    """
    size = x.shape[axis]
    cells = max(1, size // POOLING)
    start = np.arange(cells) * size // cells
    end = -(-np.arange(1, cells + 1) * size // cells)
    longest = np.arange((end - start).max())
    index = np.minimum(
        start[:, None] + longest, end[:, None] - 1
    )  # repeats do not change a maximum
    return jnp.take(x, index, axis=axis).max(axis=axis + 1)


def _nearest(x: Array, size: int, axis: int) -> Array:
    """Enlarges one axis of (B, h, w, C) to `size` by repeating entries, as PyTorch does."""
    return jnp.take(x, np.arange(size) * x.shape[axis] // size, axis=axis)


class Modulation(nn.Module):
    """SMFA: pooled features weight one half of the features; the other is filtered locally."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        height, width, channels = x.shape[1:]
        local, whole = jnp.split(torch_conv(2 * channels, 1, name="linear_0")(x), 2, axis=-1)

        alpha = self.param("alpha", nn.initializers.ones, (channels,))
        belt = self.param("belt", nn.initializers.zeros, (channels,))
        pooled = _cell_maxima(_cell_maxima(whole, 1), 2)
        pooled = torch_conv(channels, groups=channels, name="dw_conv")(pooled)
        variance = jnp.var(whole, axis=(1, 2), keepdims=True, ddof=1)
        weight = pooled * alpha.reshape(1, 1, 1, -1) + variance * belt.reshape(1, 1, 1, -1)
        weight = nn.gelu(torch_conv(channels, 1, name="linear_1")(weight), approximate=False)
        whole = whole * _nearest(_nearest(weight, height, 1), width, 2)

        local = torch_conv(2 * channels, groups=channels, name="lde.conv_0.0")(local)
        local = nn.gelu(torch_conv(2 * channels, 1, name="lde.conv_0.1")(local), approximate=False)
        return torch_conv(channels, 1, name="linear_2")(
            whole + torch_conv(channels, 1, name="lde.conv_1")(local)
        )


class PartialConvFeedForward(nn.Module):
    """PCFN: widens `expansion` times; a 3x3 convolution only processes a quarter of that."""

    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        hidden = self.expansion * x.shape[-1]
        quarter = hidden // 4
        y = nn.gelu(torch_conv(hidden, 1, name="conv_0")(x), approximate=False)
        mixed = nn.gelu(torch_conv(quarter, name="conv_1")(y[..., :quarter]), approximate=False)
        return torch_conv(x.shape[-1], 1, name="conv_2")(
            jnp.concatenate([mixed, y[..., quarter:]], -1)
        )


class SMFANet(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; 36 in SMFANet, 48 in SMFANet+.
      blocks: 8 in SMFANet, 12 in SMFANet+.
      expansion: width of the feed-forward parts relative to `channels`.
    """

    scale: int = 4
    channels: int = 36
    blocks: int = 8
    expansion: int = 2

    whole_image = True  # the variance depends on the whole map
    receptive_radius = 0
    smallest = 2  # one pixel has no unbiased variance

    @staticmethod
    def as_published(state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `state` with alpha and belt in the shape of the published files, (1, C, 1, 1)."""
        shaped = {
            key: array.reshape(1, -1, 1, 1)
            for key, array in state.items()
            if key.endswith((".smfa.alpha", ".smfa.belt"))
        }
        return {**state, **shaped}

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the SMFANet with these PyTorch shapes, or None."""
        first, last, hidden = "to_feat.weight", "to_img.0.weight", "feats.0.pcfn.conv_0.weight"
        if not {first, last, hidden, "feats.0.smfa.belt"} <= shapes.keys():
            return None
        channels = shapes[first][0]
        return {
            "scale": math.isqrt(shapes[last][0] // 3),
            "channels": channels,
            "blocks": sum(key.endswith(".smfa.belt") for key in shapes),
            "expansion": shapes[hidden][0] // channels,
        }

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        head = x = tap(self, features, "head", torch_conv(self.channels, name="to_feat")(lr))
        for i in range(self.blocks):
            x = x + Modulation(name=f"feats.{i}.smfa")(_unit(x))
            x = x + PartialConvFeedForward(self.expansion, name=f"feats.{i}.pcfn")(_unit(x))
            x = tap(self, features, f"block{i + 1}", x)
        x = tap(self, features, "body", head + x)
        return pixel_shuffle(
            torch_conv(3 * self.scale**2, name="to_img.0")(x), self.scale
        ), features
