"""VDSR: twenty 3x3 convolutions on the bicubic-enlarged luma, which is added at the end.

Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016;
without biases, as published by twtygqyy/pytorch-vdsr. One set of weights serves every scale.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import bicubic_upsample, conv, tap
from kdgan_jax.pictures.colour import rgb_to_ycbcr, ycbcr_to_rgb

FIRST, LAST = "input.weight", "output.weight"


class VDSR(nn.Module):
    """RGB in [0, 1] to RGB; works on studio-range Y, chroma is bicubic. 664,704 parameters.

    Attributes:
      scale: enlargement, any.
      channels: of every hidden layer.
      depth: convolutions in all.
    """

    serves_scales = 2, 3, 4  # by one file of weights

    scale: int = 4
    channels: int = 64
    depth: int = 20

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return -(-self.depth // self.scale) + 3  # bicubic reaches two LR pixels, one to align

    @nn.compact
    def core(self, y: Array) -> tuple[Array, dict[str, Array]]:
        """Maps enlarged Y (B, H, W, 1) to (Y of the same shape, features of that size)."""
        features: dict[str, Array] = {}
        x = nn.relu(conv(self.channels, bias=False, name="input")(y))
        x = tap(self, features, "input", x)
        for i in range(self.depth - 2):
            x = nn.relu(conv(self.channels, bias=False, name=f"residual_layer.{i}.conv")(x))
            x = tap(self, features, f"conv{i + 1}", x)
        return y + conv(1, bias=False, name="output")(x), features

    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at HR size)."""
        ycbcr = rgb_to_ycbcr(bicubic_upsample(lr, self.scale, rounded=True))
        y, features = self.core(ycbcr[..., :1])
        return ycbcr_to_rgb(jnp.concatenate([y, ycbcr[..., 1:]], axis=-1)), features

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the VDSR whose file has entries of `shapes`, else None.

        The scale is 4, the largest that the published file was trained for: all share the weights.
        """
        middle = {f"residual_layer.{i}.conv.weight" for i in range(len(shapes) - 2)}
        if set(shapes) != {FIRST, LAST, *middle}:
            return None
        return {"scale": 4, "channels": shapes[FIRST][0], "depth": len(shapes)}
