"""FSRCNN: convolutions at LR size, most of them narrow, and one enlargement at the end.

Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016. This is
the variant of Saafke/FSRCNN_Tensorflow, which ends in a 1x1 convolution and a pixel shuffle instead
of the paper's 9x9 transposed convolution.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import PReLU, bicubic_upsample, pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes

FULL_RANGE = 0.299, 0.587, 0.114  # weights of R, G and B in Y, as in JPEG: Y is in [0, 1]


def luma(rgb: Array) -> Array:
    """Returns full-range Y (B, H, W, 1) of RGB (B, H, W, 3) in [0, 1]."""
    weights = jnp.asarray(FULL_RANGE, rgb.dtype).reshape(1, 1, 1, 3)
    return (rgb * weights).sum(axis=-1, keepdims=True)


def on_luma(
    core: Callable[[Array], tuple[Array, Features]], lr: Array, scale: int
) -> tuple[Array, Features]:
    """Enlarges full-range Y with a network and the chroma with bicubic interpolation.

    R - Y and B - Y are those of the bicubic 8-bit image. So the difference in Y is added to each of
    R, G and B.

    Args:
      core: maps Y (B, h, w, 1) to (Y (B, h * scale, w * scale, 1), features).
      lr: RGB (B, h, w, 3) in [0, 1].
      scale: upscaling factor.

    Returns:
      (RGB (B, h * scale, w * scale, 3), features).
    """
    enlarged = bicubic_upsample(lr, scale, rounded=True)
    y, features = core(luma(lr))
    return enlarged + (y - luma(enlarged)), features


class FSRCNN(nn.Module):
    """Maps RGB in [0, 1] to RGB: the network enlarges full-range Y, bicubic the chroma.

    At x4, it has 9,169 parameters; FSRCNN-small (channels 32, narrow 5, depth 1) has 2,006.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels of the wide layers, at the start and the end; d in the paper.
      narrow: channels of the layers between these; s in the paper.
      depth: narrow 3x3 convolutions; m in the paper.
    """

    scale: int = 4
    channels: int = 56
    narrow: int = 12
    depth: int = 4

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side."""
        return 2 + max(self.depth, 1)  # bicubic depends on two

    @nn.compact
    def core(self, y: Array) -> tuple[Array, Features]:
        """Maps Y (B, h, w, 1) to (Y (B, h * scale, w * scale, 1), features at LR size)."""
        middle = [(self.narrow, 3)] * self.depth
        layers = [(self.channels, 5), (self.narrow, 1), *middle, (self.channels, 1)]
        x = y
        features: Features = {}
        for i, (channels, kernel) in enumerate(layers, 1):
            x = PReLU(name=f"prelu{i}")(torch_conv(channels, kernel, name=f"conv{i}")(x))
            x = tap(self, features, f"conv{i}", x)
        x = torch_conv(self.scale**2, 1, bias=False, name=f"conv{len(layers) + 1}")(x)
        bias = self.param(
            "bias", nn.initializers.zeros, (1,)
        )  # a single one, added after the shuffle
        return pixel_shuffle(x, self.scale) + bias.reshape(1, 1, 1, 1), features

    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        return on_luma(self.core, lr, self.scale)

    def torch_key(self, key: str) -> str:
        """Returns the name of the constant in the published graph: f1, b1, alpha1, f2 and so on."""
        if key == "bias":
            return f"b{self.depth + 4}"
        layer, kind = key.split(".")
        if layer.startswith("prelu"):
            return f"alpha{layer.removeprefix('prelu')}"
        return {"weight": "f", "bias": "b"}[kind] + layer.removeprefix("conv")

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the FSRCNN with constants of these shapes, or None."""
        last = sum(name.startswith("alpha") for name in shapes) + 1
        kernels, biases = ([f"{kind}{i + 1}" for i in range(last)] for kind in "fb")
        slopes = [f"alpha{i + 1}" for i in range(last - 1)]
        if last < 4 or set(shapes) != {*kernels, *biases, *slopes}:
            return None
        return {
            "scale": math.isqrt(shapes[kernels[-1]][0]),
            "channels": shapes["f1"][0],
            "narrow": shapes["f2"][0],
            "depth": last - 4,
        }
