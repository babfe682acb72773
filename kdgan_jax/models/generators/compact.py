"""The fast student: plain 3x3 convolutions at LR resolution, pixel shuffle last.

Real-ESRGAN's small network, SRVGGNetCompact (Wang et al., "Real-ESRGAN: Training Real-World Blind
Super-Resolution with Pure Synthetic Data", ICCVW 2021): the nearest-enlarged input is added, so
that training starts from an interpolation. Published with 64 channels and a depth of 16
(realesr-animevideov3, 621,424 parameters) or 32 (realesr-general-x4v3, 1,213,296).
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import BranchConv, Conv, PReLU, nearest, pixel_shuffle, tap

LAST_GAIN = 0.01  # of the last convolution


class Compact(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: of every hidden layer.
      depth: convolutions between the first and the last; num_conv in Real-ESRGAN.
      branches: train each convolution as the sum of several; `fold` makes the plain network of it.
      dtype: that convolutions compute in; the result is float32.
    """

    scale: int = 4
    channels: int = 24
    depth: int = 4
    branches: bool = False
    dtype: Any = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return self.depth + 2

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        conv = BranchConv if self.branches else Conv
        x = lr
        features: dict[str, Array] = {}
        for i in range(self.depth + 1):
            x = PReLU()(conv(self.channels, dtype=self.dtype)(x))
            x = tap(self, features, f"conv{i + 1}", x)
        x = conv(3 * self.scale**2, gain=LAST_GAIN, dtype=self.dtype)(x)
        x = pixel_shuffle(x, self.scale).astype(jnp.float32)
        return nearest(lr, self.scale) + x, features

    def fold(self, params: Any) -> tuple[dict[str, Any], Any] | None:
        """Returns (arguments but the scale, parameters) of the plain network that does the same.

        None if this is the plain one.
        """
        if not self.branches:
            return None
        hidden = BranchConv(self.channels, parent=None)
        last = BranchConv(3 * self.scale**2, gain=LAST_GAIN, parent=None)
        layers = [hidden] * (self.depth + 1) + [last]
        plain = {f"Conv_{i}": each.fold(params[f"BranchConv_{i}"]) for i, each in enumerate(layers)}
        slopes = {name: slope for name, slope in params.items() if name.startswith("PReLU_")}
        return {"channels": self.channels, "depth": self.depth}, plain | slopes

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the key in Real-ESRGAN's files: convolutions and slopes in turn in one list."""
        layer, *_, kind = key.split(".")
        name, _, number = layer.rpartition("_")
        return f"body.{2 * int(number) + (name == 'PReLU')}.{kind}"

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the SRVGGNetCompact with entries of `shapes`, else None."""
        last = 2 * (len(shapes) // 3)  # two entries of a convolution, one of a PReLU
        names = {f"body.{i}.weight" for i in range(last + 1)}
        names |= {f"body.{i}.bias" for i in range(0, last + 1, 2)}
        if last < 2 or set(shapes) != names:
            return None
        return {
            "scale": math.isqrt(shapes[f"body.{last}.weight"][0] // 3),
            "channels": shapes["body.0.weight"][0],
            "depth": last // 2 - 1,
        }
