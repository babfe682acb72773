"""EDSR: residual blocks without normalisation, pixel shuffle last.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
Files are those of BasicSR, whose networks work on RGB in 0 to 255.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from kdgan_jax.models.blocks.layers import Conv, ShuffleUpsampler, tap

# Mean of DIV2K, subtracted from the input and added to the output (RGB in [0, 1]).
MEAN = 0.4488, 0.4371, 0.4040
PUBLISHED_RANGE = 255.0


def _published_residual(channels: int) -> float:
    """Returns the residual scale of BasicSR's network of so many channels."""
    return 0.1 if channels == 256 else 1.0


class EDSR(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width; 64 in EDSR-baseline, 256 in EDSR.
      blocks: residual blocks; 16 in EDSR-baseline, 32 in EDSR.
      residual_scale: factor on each residual; 1 in EDSR-baseline, 0.1 in EDSR.
      image_range: RGB inside goes from 0 to this; 255 in BasicSR's files.
      dtype: that convolutions compute in; the result is float32.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 16
    residual_scale: float = 1.0
    image_range: float = 1.0
    dtype: Any = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 2 * self.blocks + 5  # head, blocks, body's end, upsampler and tail

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(MEAN, lr.dtype).reshape(1, 1, 1, 3)
        conv = functools.partial(Conv, dtype=self.dtype)
        features: dict[str, Array] = {}
        x = conv(self.channels)((lr - mean) * self.image_range)
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            y = conv(self.channels, gain=0.1)(nn.relu(conv(self.channels)(x)))
            x = tap(self, features, f"block{i + 1}", x + self.residual_scale * y)
        x = tap(self, features, "body", head + conv(self.channels, gain=0.1)(x))
        x = ShuffleUpsampler(self.scale, self.channels, dtype=self.dtype)(x)
        return mean + conv(3, gain=0.1)(x).astype(jnp.float32) / self.image_range, features

    def torch_key(self, key: str) -> str:
        """Returns the key in BasicSR's files."""
        *parts, layer, _, kind = key.split(".")
        number = int(layer.removeprefix("Conv_"))
        if parts:
            return f"upsample.{2 * number}.{kind}"  # a shuffle stands between two
        if number == 0:
            return f"conv_first.{kind}"
        if number > 2 * self.blocks:
            return f"{('conv_after_body', 'conv_last')[number - 2 * self.blocks - 1]}.{kind}"
        # Linen numbers a block's outer convolution, the second, before the inner one.
        return f"body.{(number - 1) // 2}.conv{1 + number % 2}.{kind}"

    def as_published(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `state`, by BasicSR's keys, for the arguments that `detect` takes for it.

        A file says neither range nor residual scale, so they go into the weights.
        """
        gain = PUBLISHED_RANGE / self.image_range
        factors = {"conv_first.weight": 1 / gain, "conv_last.weight": gain, "conv_last.bias": gain}
        residual = self.residual_scale / _published_residual(self.channels)
        factors |= {key: residual for key in state if ".conv2." in key}
        return {key: array * np.float32(factors.get(key, 1)) for key, array in state.items()}

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the EDSR whose file has entries of `shapes`, else None.

        Range and residual scale are not in a file; they are those of the published ones.
        """
        first, up = shapes.get("conv_first.weight"), shapes.get("upsample.0.weight")
        blocks = sum(re.fullmatch(r"body\.\d+\.conv2\.weight", key) is not None for key in shapes)
        steps = 2 if "upsample.2.weight" in shapes else 1
        needed = {"conv_after_body.weight", "conv_last.weight", "body.0.conv1.weight"}
        if not first or not up or not needed <= set(shapes):
            return None
        scale = {(4, 2): 4, (4, 1): 2, (9, 1): 3}.get((up[0] // first[0], steps))
        if len(shapes) != 2 * (3 + 2 * blocks + steps) or scale is None:
            return None
        return {
            "scale": scale,
            "channels": first[0],
            "blocks": blocks,
            "residual_scale": _published_residual(first[0]),
            "image_range": PUBLISHED_RANGE,
        }
