"""VapSR and VapSR-S: pixel attention with a vast receptive field.

Zhou et al., "Efficient Image Super-Resolution using Vast-Receptive-Field Attention", ECCV
Workshops 2022. Depthwise and dilated 5x5 kernels weigh the features without a sigmoid, and a
LayerNorm over the channels of each pixel keeps the deep chain stable. At x4 VapSR has 342,220
parameters, VapSR-S (32 channels, 11 blocks, 2 groups) 154,956.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap


class Attention(nn.Module):
    """Weighs each feature by what lies up to 8 pixels around it."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        width = x.shape[-1]
        y = conv(width, 1, name="pointwise")(x)
        y = conv(width, 5, groups=width, name="depthwise")(y)
        return x * conv(width, 5, groups=width, dilation=3, name="depthwise_dilated")(y)


class Block(nn.Module):
    """Attention at `attention` channels as a residual, then a LayerNorm of each pixel."""

    attention: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = nn.gelu(conv(self.attention, 1, name="proj_1")(x), approximate=False)
        y = conv(x.shape[-1], 1, name="proj_2")(Attention(name="atten_branch")(y))
        # The fast variance (mean of squares less square of mean) loses digits.
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="pixel_norm")(x + y)


class VapSR(nn.Module):
    """RGB in [0, 1] to RGB.

    Attributes:
      scale: enlargement, 2, 3 or 4.
      channels: width; 48 in VapSR, 32 in VapSR-S.
      blocks: 21 in VapSR at x4, 11 in VapSR-S.
      attention: channels inside the attention.
      groups: of the last convolution before the upsampler; 1 in VapSR, 2 in VapSR-S.
    """

    scale: int = 4
    channels: int = 48
    blocks: int = 21
    attention: int = 64
    groups: int = 1

    @property
    def receptive_radius(self) -> int:
        """Pixels of the LR image that one output pixel sees on each side."""
        return 8 * self.blocks + 4  # 2 + 3 * 2 a block; the first, the body's, the upsampler's two

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network that has these PyTorch shapes, None if not VapSR."""
        block = "body.0.proj_1.weight"
        needed = {block, "body.0.atten_branch.pointwise.weight", "conv_body.weight"}
        if not needed <= shapes.keys():
            return None
        if "upsampler.3.weight" in shapes:
            scale = 4
        elif "upsampler.2.weight" in shapes:
            scale = math.isqrt(shapes["upsampler.2.weight"][0] // 3)
        else:
            return None
        attention, channels = shapes[block][:2]
        return {
            "scale": scale,
            "channels": channels,
            "blocks": sum(key.endswith(".proj_1.weight") for key in shapes),
            "attention": attention,
            "groups": channels // shapes["conv_body.weight"][1],
        }

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: dict[str, Array] = {}
        head = x = tap(self, features, "head", conv(self.channels, name="conv_first")(lr))
        for i in range(self.blocks):
            x = Block(self.attention, name=f"body.{i}")(x)
            x = tap(self, features, f"block{i + 1}", x)
        x = head + conv(self.channels, groups=self.groups, name="conv_body")(x)
        x = tap(self, features, "body", x)
        if self.scale == 4:
            x = pixel_shuffle(conv(64, name="upsampler.0")(x), 2)
            x = conv(12, name="upsampler.3")(nn.leaky_relu(x, 0.1))
            return pixel_shuffle(x, 2), features
        x = nn.leaky_relu(conv(56, name="upsampler.0")(x), 0.1)
        x = conv(3 * self.scale**2, name="upsampler.2")(x)
        return pixel_shuffle(x, self.scale), features
