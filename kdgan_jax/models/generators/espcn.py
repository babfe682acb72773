"""ESPCN: three convolutions at LR size and a pixel shuffle, which this network introduced.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016. This is the variant of fannymonori/TF-ESPCN, with ReLU
instead of the paper's tanh, and tanh after the shuffle.
"""

import math

import flax.linen as nn
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.generators.fsrcnn import on_luma
from kdgan_jax.models.types import Arguments, Features, Shapes

NAMES = {"f1", "b1", "f2", "b2", "f3", "b3"}  # constants in the published graph


class ESPCN(nn.Module):
    """Maps RGB in [0, 1] to RGB: the network enlarges full-range Y, bicubic the chroma.

    24,752 parameters at x4.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: output channels of the first two convolutions.
    """

    scale: int = 4
    channels: tuple[int, int] = (64, 32)

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 2 + 1 + 1

    @nn.compact
    def core(self, y: Array) -> tuple[Array, Features]:
        """Maps Y (B, h, w, 1) to (Y (B, h * scale, w * scale, 1), features at LR size)."""
        features: Features = {}
        x = tap(self, features, "conv1", nn.relu(torch_conv(self.channels[0], 5, name="conv1")(y)))
        x = tap(self, features, "conv2", nn.relu(torch_conv(self.channels[1], 3, name="conv2")(x)))
        x = pixel_shuffle(torch_conv(self.scale**2, 3, name="conv3")(x), self.scale)
        return nn.tanh(x), features

    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        return on_luma(self.core, lr, self.scale)

    @staticmethod
    def torch_key(key: str) -> str:
        """Returns the name of the constant in the published graph: f1, b1, f2 and so on."""
        layer, kind = key.split(".")
        return {"weight": "f", "bias": "b"}[kind] + layer.removeprefix("conv")

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the ESPCN with constants of these shapes, or None."""
        if set(shapes) != NAMES:
            return None
        return {
            "scale": math.isqrt(shapes["f3"][0]),
            "channels": (shapes["f1"][0], shapes["f2"][0]),
        }
