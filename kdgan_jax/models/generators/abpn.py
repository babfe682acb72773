"""ABPN: plain 3x3 convolutions with ReLU at LR size, made to run in 8 bits on phones.

Du et al., "Anchor-based Plain Net for Mobile Image Super-Resolution", CVPRW 2021. It adds the
input, enlarged by nearest neighbour (the anchor), to what the convolutions give, of which the last
sees as many channels as it makes. This is the variant of ECNUSR/ETDS, which does not clip.
"""

import math

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import nearest, pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes


class ABPN(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    62,048 parameters at x4.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels of every hidden layer but the last.
      depth: convolutions between the first and the last two.
    """

    scale: int = 4
    channels: int = 28
    depth: int = 4

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return self.depth + 3

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        outputs = 3 * self.scale**2
        middle = [(f"backbone.{2 + i}.0", self.channels) for i in range(self.depth)]
        layers = [("backbone.0", self.channels), *middle, (f"backbone.{self.depth + 2}", outputs)]
        features: Features = {}
        x = lr
        for name, channels in layers:
            x = nn.relu(torch_conv(channels, name=name)(x))
            x = tap(self, features, f"conv{len(features) + 1}", x)
        x = torch_conv(outputs, name=f"backbone.{self.depth + 4}")(x)
        return nearest(lr, self.scale) + pixel_shuffle(x, self.scale), features

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the ABPN with these PyTorch shapes, or None."""
        depth = sum(f"backbone.{2 + i}.0.weight" in shapes for i in range(len(shapes)))
        last = shapes[f"backbone.{depth + 4}.weight"]
        if last[0] != last[1]:
            return None
        return {
            "scale": math.isqrt(last[0] // 3),
            "channels": shapes["backbone.0.weight"][0],
            "depth": depth,
        }
