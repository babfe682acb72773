"""EDSR: residual blocks without normalization, then pixel shuffles.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
Files are BasicSR's, whose networks compute with RGB in 0 to 255.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv, ShuffleUpsampler, tap
from kdgan_jax.models.blocks.mean_shift import DIV2K_MEAN
from kdgan_jax.models.types import Arguments, Features, Shapes

PUBLISHED_RANGE = 255.0  # largest RGB value inside BasicSR's networks


def _published_residual(channels: int) -> float:
    """Returns the residual scale of BasicSR's network with this number of channels."""
    return 0.1 if channels == 256 else 1.0


class EDSR(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; 64 in EDSR-baseline, 256 in EDSR.
      blocks: residual blocks; 16 in EDSR-baseline, 32 in EDSR.
      residual_scale: factor on each block's residual; 1 in EDSR-baseline, 0.1 in EDSR.
      image_range: largest RGB value inside the network; 255 in BasicSR's files.
      dtype: dtype in which convolutions compute; the result is float32.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 16
    residual_scale: float = 1.0
    image_range: float = 1.0
    dtype: DTypeLike = jnp.float32

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 2 * self.blocks + 5  # head, blocks, end of the body; upsampler and tail

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        mean = jnp.asarray(DIV2K_MEAN, lr.dtype).reshape(1, 1, 1, 3)
        conv = functools.partial(Conv, dtype=self.dtype)
        features: Features = {}
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
            return f"upsample.{2 * number}.{kind}"  # a shuffle has a number, too
        if number == 0:
            return f"conv_first.{kind}"
        if number > 2 * self.blocks:
            return f"{('conv_after_body', 'conv_last')[number - 2 * self.blocks - 1]}.{kind}"
        # Linen numbers the second convolution of a block, the outer call, before the first.
        return f"body.{(number - 1) // 2}.conv{1 + number % 2}.{kind}"

    def as_published(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `state` (by BasicSR's keys) for the arguments that `detect` infers from it.

        A file does not store the range and the residual scale, so the weights absorb them.
        """
        gain = PUBLISHED_RANGE / self.image_range
        factors = {"conv_first.weight": 1 / gain, "conv_last.weight": gain, "conv_last.bias": gain}
        residual = self.residual_scale / _published_residual(self.channels)
        factors |= {key: residual for key in state if ".conv2." in key}
        return {key: array * np.float32(factors.get(key, 1)) for key, array in state.items()}

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the EDSR with these PyTorch shapes, or None.

        A file does not store the range and the residual scale; those of BasicSR are assumed.
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
