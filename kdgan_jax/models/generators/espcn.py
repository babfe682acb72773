"""ESPCN: three convolutions at LR resolution and the first pixel shuffle.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016; in the form published by fannymonori/TF-ESPCN, with ReLU
where the paper has tanh, and tanh after the shuffle.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap
from kdgan_jax.models.generators.fsrcnn import on_luma

NAMES = {"f1", "b1", "f2", "b2", "f3", "b3"}  # of the constants in the published graph


class ESPCN(nn.Module):
    """RGB in [0, 1] to RGB; enlarges full-range Y by the network, chroma by bicubic.

    24,752 parameters at x4.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: after the first two convolutions.
    """

    scale: int = 4
    channels: tuple[int, int] = (64, 32)

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 2 + 1 + 1

    @nn.compact
    def core(self, y: Array) -> tuple[Array, dict[str, Array]]:
        """Maps Y (B, h, w, 1) to (Y (B, h * scale, w * scale, 1), features at LR size)."""
        features: dict[str, Array] = {}
        x = tap(self, features, "conv1", nn.relu(conv(self.channels[0], 5, name="conv1")(y)))
        x = tap(self, features, "conv2", nn.relu(conv(self.channels[1], 3, name="conv2")(x)))
        x = pixel_shuffle(conv(self.scale**2, 3, name="conv3")(x), self.scale)
        return nn.tanh(x), features

    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        return on_luma(self.core, lr, self.scale)

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the constant's name in the published graph: f1, b1, f2 and so on."""
        layer, kind = key.split(".")
        return {"weight": "f", "bias": "b"}[kind] + layer.removeprefix("conv")

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the ESPCN whose file has entries of `shapes`, else None."""
        if set(shapes) != NAMES:
            return None
        return {
            "scale": math.isqrt(shapes["f3"][0]),
            "channels": (shapes["f1"][0], shapes["f2"][0]),
        }
