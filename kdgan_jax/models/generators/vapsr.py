"""VapSR and VapSR-S: pixel attention with a vast receptive field.

Zhou et al., "Efficient Image Super-Resolution using Vast-Receptive-Field Attention", ECCV
Workshops 2022. Depthwise and dilated 5x5 convolutions weight the features without a sigmoid, and a
LayerNorm over the channels of each pixel keeps the deep chain stable. At x4, VapSR has 342,220
parameters and VapSR-S (32 channels, 11 blocks, 2 groups) 154,956.
"""

import math

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.blocks.normalization import torch_layer_norm
from kdgan_jax.models.types import Arguments, Features, Shapes


class Attention(nn.Module):
    """Weights each feature according to the features up to 8 pixels around it."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        width = x.shape[-1]
        y = torch_conv(width, 1, name="pointwise")(x)
        y = torch_conv(width, 5, groups=width, name="depthwise")(y)
        return x * torch_conv(width, 5, groups=width, dilation=3, name="depthwise_dilated")(y)


class Block(nn.Module):
    """Attention on `attention` channels as a residual, then a LayerNorm of each pixel."""

    attention: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = nn.gelu(torch_conv(self.attention, 1, name="proj_1")(x), approximate=False)
        y = torch_conv(x.shape[-1], 1, name="proj_2")(Attention(name="atten_branch")(y))
        return torch_layer_norm("pixel_norm")(x + y)


class VapSR(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: width; 48 in VapSR, 32 in VapSR-S.
      blocks: 21 in VapSR at x4, 11 in VapSR-S.
      attention: channels inside the attention.
      groups: channel groups of the last convolution before the upsampler; 1 in VapSR, 2 in
        VapSR-S.
    """

    scale: int = 4
    channels: int = 48
    blocks: int = 21
    attention: int = 64
    groups: int = 1

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return (
            8 * self.blocks + 4
        )  # 2 + 3 * 2 per block; the head, the body's end, the upsampler's two

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the VapSR with these PyTorch shapes, or None."""
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
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        head = x = tap(self, features, "head", torch_conv(self.channels, name="conv_first")(lr))
        for i in range(self.blocks):
            x = Block(self.attention, name=f"body.{i}")(x)
            x = tap(self, features, f"block{i + 1}", x)
        x = head + torch_conv(self.channels, groups=self.groups, name="conv_body")(x)
        x = tap(self, features, "body", x)
        if self.scale == 4:
            x = pixel_shuffle(torch_conv(64, name="upsampler.0")(x), 2)
            x = torch_conv(12, name="upsampler.3")(nn.leaky_relu(x, 0.1))
            return pixel_shuffle(x, 2), features
        x = nn.leaky_relu(torch_conv(56, name="upsampler.0")(x), 0.1)
        x = torch_conv(3 * self.scale**2, name="upsampler.2")(x)
        return pixel_shuffle(x, self.scale), features
