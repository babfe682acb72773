"""FSRCNN: convolutions at LR resolution only, most of them narrow, one enlargement at the end.

Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016; in the
form published by Saafke/FSRCNN_Tensorflow, whose last layer is a 1x1 convolution and a pixel
shuffle where the paper has a 9x9 transposed convolution.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import PReLU, bicubic_upsample, conv, pixel_shuffle, tap

FULL_RANGE = 0.299, 0.587, 0.114  # weights of R, G and B in JPEG's Y, which goes from 0 to 1
Features = dict[str, Array]


def luma(rgb: Array) -> Array:
    """Returns full-range Y (B, H, W, 1) of RGB (B, H, W, 3)."""
    weights = jnp.asarray(FULL_RANGE, rgb.dtype).reshape(1, 1, 1, 3)
    return (rgb * weights).sum(axis=-1, keepdims=True)


def on_luma(
    core: Callable[[Array], tuple[Array, Features]], lr: Array, scale: int
) -> tuple[Array, Features]:
    """Returns (RGB, features) of a network `core` of full-range Y; the rest is bicubic.

    R - Y and B - Y are those of the enlarged RGB image of 8 bits. Y alone differs then, and it
    differs by the same amount in R, G and B.
    """
    enlarged = bicubic_upsample(lr, scale, rounded=True)
    y, features = core(luma(lr))
    return enlarged + (y - luma(enlarged)), features


class FSRCNN(nn.Module):
    """RGB in [0, 1] to RGB; enlarges full-range Y by the network, chroma by bicubic.

    At x4 9,169 parameters, and 2,006 as FSRCNN-small (channels 32, narrow 5, depth 1).

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: of the first and the last but one layer, the paper's d.
      narrow: channels between these, the paper's s.
      depth: 3x3 convolutions between these, the paper's m.
    """

    scale: int = 4
    channels: int = 56
    narrow: int = 12
    depth: int = 4

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 2 + max(self.depth, 1)  # bicubic reaches two

    @nn.compact
    def core(self, y: Array) -> tuple[Array, Features]:
        """Maps Y (B, h, w, 1) to (Y (B, h * scale, w * scale, 1), features at LR size)."""
        middle = [(self.narrow, 3)] * self.depth
        layers = [(self.channels, 5), (self.narrow, 1), *middle, (self.channels, 1)]
        x = y
        features: Features = {}
        for i, (channels, kernel) in enumerate(layers, 1):
            x = PReLU(name=f"prelu{i}")(conv(channels, kernel, name=f"conv{i}")(x))
            x = tap(self, features, f"conv{i}", x)
        x = conv(self.scale**2, 1, bias=False, name=f"conv{len(layers) + 1}")(x)
        bias = self.param("bias", nn.initializers.zeros, (1,))  # one, added after the shuffle
        return pixel_shuffle(x, self.scale) + bias.reshape(1, 1, 1, 1), features

    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        return on_luma(self.core, lr, self.scale)

    def torch_key(self, key: str) -> str:
        """Returns the constant's name in the published graph: f1, b1, alpha1, f2 and so on."""
        if key == "bias":
            return f"b{self.depth + 4}"
        layer, kind = key.split(".")
        if layer.startswith("prelu"):
            return f"alpha{layer.removeprefix('prelu')}"
        return {"weight": "f", "bias": "b"}[kind] + layer.removeprefix("conv")

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the FSRCNN whose file has entries of `shapes`, else None."""
        last = sum(name.startswith("alpha") for name in shapes) + 1
        kernels, biases = ([f"{kind}{i + 1}" for i in range(last)] for kind in "fb")
        slopes = [f"alpha{i + 1}" for i in range(last - 1)]
        if last < 4 or set(shapes) != {*kernels, *biases, *slopes}:
            return None
        return {
            "scale": math.isqrt(shapes[kernels[-1]][0]),
            "channels": shapes["f1"][0],
            "narrow": shapes["f2"][0],
            "depth": last - 4,
        }
