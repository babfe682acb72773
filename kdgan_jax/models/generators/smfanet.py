"""SMFANet and SMFANet+: self-modulation by pooled features, beside a local branch.

Zheng et al., "SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient
Image Super-Resolution", ECCV 2024. A map pooled 8 times and the variance over the whole image
weigh the features, in place of self-attention. At x4 SMFANet has 197,328 parameters, SMFANet+
(48 channels, 12 blocks) 495,888.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap

POOLING = 8  # pixels a side of a cell, or a little more where the image is no multiple of it


def _unit(x: Array) -> Array:
    """Divides each pixel by its norm over channels, as PyTorch's `normalize` does."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(square, 1e-24))  # floored inside: the root has a slope at 0


def _cell_maxima(x: Array, axis: int) -> Array:
    """Takes maxima over cells along an axis of (B, H, W, C), as adaptive pooling cuts them.

    Cell i of n goes from floor(i * size / n) to ceil((i + 1) * size / n), so cells overlap where n
    does not divide the size. (Published code fails at sides below 8; here they are one cell.)
    """
    size = x.shape[axis]
    cells = max(1, size // POOLING)
    start = np.arange(cells) * size // cells
    end = -(-np.arange(1, cells + 1) * size // cells)
    longest = np.arange((end - start).max())
    index = np.minimum(start[:, None] + longest, end[:, None] - 1)  # repeats do not alter a maximum
    return jnp.take(x, index, axis=axis).max(axis=axis + 1)


def _nearest(x: Array, size: int, axis: int) -> Array:
    """Enlarges an axis to `size` by repeating what each pixel's start falls on."""
    return jnp.take(x, np.arange(size) * x.shape[axis] // size, axis=axis)


class Modulation(nn.Module):
    """SMFA: half of the features weighed by pooled ones, the other half filtered locally."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        height, width, channels = x.shape[1:]
        local, whole = jnp.split(conv(2 * channels, 1, name="linear_0")(x), 2, axis=-1)

        alpha = self.param("alpha", nn.initializers.ones, (channels,))
        belt = self.param("belt", nn.initializers.zeros, (channels,))
        pooled = _cell_maxima(_cell_maxima(whole, 1), 2)
        pooled = conv(channels, groups=channels, name="dw_conv")(pooled)
        variance = jnp.var(whole, axis=(1, 2), keepdims=True, ddof=1)
        weight = pooled * alpha.reshape(1, 1, 1, -1) + variance * belt.reshape(1, 1, 1, -1)
        weight = nn.gelu(conv(channels, 1, name="linear_1")(weight), approximate=False)
        whole = whole * _nearest(_nearest(weight, height, 1), width, 2)

        local = conv(2 * channels, groups=channels, name="lde.conv_0.0")(local)
        local = nn.gelu(conv(2 * channels, 1, name="lde.conv_0.1")(local), approximate=False)
        return conv(channels, 1, name="linear_2")(
            whole + conv(channels, 1, name="lde.conv_1")(local)
        )


class PartialConvFeedForward(nn.Module):
    """PCFN: widens `expansion` times; a 3x3 convolution sees a quarter of the channels only."""

    expansion: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        hidden = self.expansion * x.shape[-1]
        quarter = hidden // 4
        y = nn.gelu(conv(hidden, 1, name="conv_0")(x), approximate=False)
        mixed = nn.gelu(conv(quarter, name="conv_1")(y[..., :quarter]), approximate=False)
        return conv(x.shape[-1], 1, name="conv_2")(jnp.concatenate([mixed, y[..., quarter:]], -1))


class SMFANet(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width; 36 in SMFANet, 48 in SMFANet+.
      blocks: 8 in SMFANet, 12 in SMFANet+.
      expansion: width of the feed-forward parts relative to `channels`.
    """

    scale: int = 4
    channels: int = 36
    blocks: int = 8
    expansion: int = 2

    whole_image = True  # the variance is that of the whole map
    receptive_radius = 0
    smallest = 2  # one pixel has no unbiased variance

    @staticmethod
    def as_published(state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `state` with numbers per channel in the shape that they have in the files."""
        shaped = {
            key: array.reshape(1, -1, 1, 1)
            for key, array in state.items()
            if key.endswith((".smfa.alpha", ".smfa.belt"))
        }
        return {**state, **shaped}

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network of these PyTorch shapes, None if not SMFANet."""
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
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: dict[str, Array] = {}
        head = x = tap(self, features, "head", conv(self.channels, name="to_feat")(lr))
        for i in range(self.blocks):
            x = x + Modulation(name=f"feats.{i}.smfa")(_unit(x))
            x = x + PartialConvFeedForward(self.expansion, name=f"feats.{i}.pcfn")(_unit(x))
            x = tap(self, features, f"block{i + 1}", x)
        x = tap(self, features, "body", head + x)
        return pixel_shuffle(conv(3 * self.scale**2, name="to_img.0")(x), self.scale), features
