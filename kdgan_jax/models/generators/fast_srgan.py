"""The generator of Fast-SRGAN: SRGAN's, with instance normalisation and half the blocks.

H. Raza, Fast-SRGAN, github.com/HasnainRaz/Fast-SRGAN (no paper), after Ledig et al., "Photo-
Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017. It was
trained against a discriminator, for looks rather than PSNR. 925,646 parameters at x4.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv, pixel_shuffle, tap


class SharedPReLU(nn.Module):
    """Parametric ReLU with one slope for all channels, as PyTorch's PReLU()."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps an array to the same shape."""
        slope = self.param("slope", nn.initializers.constant(0.25), (1,))
        return jnp.where(x >= 0, x, slope[0] * x)


def _instance_norm(x: Array) -> Array:
    """Gives each channel of each image mean 0 and variance 1."""
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.var(x, axis=(1, 2), keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5)


class Block(nn.Module):
    """Two normalised convolutions, plus the input."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = _instance_norm(conv(x.shape[-1], bias=False, name="conv1")(x))
        y = conv(x.shape[-1], bias=False, name="conv2")(SharedPReLU(name="relu1")(y))
        return x + _instance_norm(y)


class FastSRGAN(nn.Module):
    """RGB in [0, 1] to RGB; inside and in the published files [-1, 1].

    Attributes:
      scale: enlargement; 4 (twice by 2) in the published file, 2 and 3 in one go.
      channels: width.
      blocks: residual blocks.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 8

    whole_image = True  # each normalisation takes the whole map's mean and variance
    receptive_radius = 0

    @staticmethod
    def detect(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
        """Returns the arguments of the network of these PyTorch shapes, None if another's."""
        first, upsampler = "neck.0.weight", "upsampling.0.conv.weight"
        if not {first, upsampler, "stem.0.conv1.weight", "head.0.weight"} <= shapes.keys():
            return None
        channels = shapes[first][0]
        twice = "upsampling.1.conv.weight" in shapes
        return {
            "scale": 4 if twice else math.isqrt(shapes[upsampler][0] // channels),
            "channels": channels,
            "blocks": sum(k.startswith("stem.") and k.endswith(".conv1.weight") for k in shapes),
        }

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, dict[str, Array]]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: dict[str, Array] = {}
        x = SharedPReLU(name="neck.1")(conv(self.channels, name="neck.0")(2 * lr - 1))
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            x = tap(self, features, f"block{i + 1}", Block(name=f"stem.{i}")(x))
        x = head + _instance_norm(conv(self.channels, bias=False, name="bottleneck.0")(x))
        x = tap(self, features, "body", x)
        for i, factor in enumerate((2, 2) if self.scale == 4 else (self.scale,)):
            y = conv(self.channels * factor**2, name=f"upsampling.{i}.conv")(x)
            x = SharedPReLU(name=f"upsampling.{i}.relu")(pixel_shuffle(y, factor))
        return (jnp.tanh(conv(3, name="head.0")(x)) + 1) / 2, features
