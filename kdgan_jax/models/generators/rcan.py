"""RCAN: very deep residual groups whose channels are weighted by attention.

Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap
from kdgan_jax.models.generators.edsr import MEAN

RANGE = 255.0  # of the RGB values that the published network works on
FIRST = "body.0.body.0.body"  # what a file calls the first block's layers


class MeanShift(nn.Module):
    """The identity as a 1x1 convolution that adds `offset`; files hold it, nothing trains it."""

    offset: tuple[float, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, 3) to the same shape."""
        kernel = self.param("kernel", lambda _: jnp.eye(3).reshape(1, 1, 3, 3))
        bias = self.param("bias", lambda _: jnp.asarray(self.offset))
        kernel, bias = jax.lax.stop_gradient((kernel, bias))
        mixed = jnp.einsum("byxi,io->byxo", x, kernel[0, 0], precision="highest")
        return mixed + bias.reshape(1, 1, 1, 3)


class RCAB(nn.Module):
    """Two convolutions, whose result is weighted by channel before it is added."""

    reduction: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        channels = x.shape[-1]
        y = nn.relu(conv(channels, name="body.0")(x))
        y = conv(channels, name="body.2")(y)
        mean = y.mean(axis=(1, 2), keepdims=True)
        narrow = nn.relu(conv(channels // self.reduction, 1, name="body.3.conv_du.0")(mean))
        return x + y * nn.sigmoid(conv(channels, 1, name="body.3.conv_du.2")(narrow))


class RCAN(nn.Module):
    """RGB in [0, 1] to RGB, 0 to 255 inside; 15,592,379 parameters at x4, 24 of them mean shifts.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width.
      groups: residual groups.
      blocks: residual blocks of each group.
      reduction: channels for each one inside the attention.
      mean_shift: subtract DIV2K's mean from RGB in 0 to 255, and add it at the end; False works on
        RGB in [0, 1].
    """

    scale: int = 4
    channels: int = 64
    groups: int = 10
    blocks: int = 20
    reduction: int = 16
    mean_shift: bool = True

    whole_image = True  # attention weighs channels by their mean over all pixels
    receptive_radius = 0

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        x = lr
        features: dict[str, Array] = {}
        offset = tuple(RANGE * mean for mean in MEAN)
        if self.mean_shift:
            x = MeanShift(tuple(-one for one in offset), name="sub_mean")(RANGE * x)
        head = x = tap(self, features, "head", conv(self.channels, name="head.0")(x))
        for i in range(self.groups):
            start = x
            for j in range(self.blocks):
                x = RCAB(self.reduction, name=f"body.{i}.body.{j}")(x)
            x = start + conv(self.channels, name=f"body.{i}.body.{self.blocks}")(x)
            x = tap(self, features, f"group{i + 1}", x)
        x = head + conv(self.channels, name=f"body.{self.groups}")(x)
        x = tap(self, features, "body", x)
        for i, factor in enumerate((2, 2) if self.scale == 4 else (self.scale,)):
            x = conv(self.channels * factor**2, name=f"tail.0.{2 * i}")(x)
            x = pixel_shuffle(x, factor)
        x = conv(3, name="tail.1")(x)
        if self.mean_shift:
            x = MeanShift(offset, name="add_mean")(x) / RANGE
        return x, features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the RCAN whose file has entries of `shapes`, else None."""
        narrow = f"{FIRST}.3.conv_du.0.weight"
        if not {"head.0.weight", "tail.0.0.weight", "tail.1.weight", narrow} <= set(shapes):
            return None

        def count(pattern: str) -> int:
            return sum(re.fullmatch(pattern, key) is not None for key in shapes)

        channels = shapes["head.0.weight"][0]
        scale = {4: 2, 9: 3}.get(shapes["tail.0.0.weight"][0] // channels)
        if scale is None:
            return None
        return {
            "scale": 4 if "tail.0.2.weight" in shapes else scale,
            "channels": channels,
            "groups": count(r"body\.\d+\.body\.0\.body\.0\.weight"),
            "blocks": count(r"body\.0\.body\.\d+\.body\.0\.weight"),
            "reduction": channels // shapes[narrow][0],
            "mean_shift": "sub_mean.weight" in shapes,
        }
