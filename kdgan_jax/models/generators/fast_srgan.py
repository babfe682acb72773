"""The generator of Fast-SRGAN: SRGAN's, with instance normalization and half the blocks.

H. Raza, Fast-SRGAN, github.com/HasnainRaz/Fast-SRGAN (no paper), after Ledig et al., "Photo-
Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017. It is
adversarially trained, for appearance rather than PSNR. 925,646 parameters at x4.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import PReLU, pixel_shuffle, tap, torch_conv, upscaling_steps
from kdgan_jax.models.types import Arguments, Features, Shapes


def _instance_norm(x: Array) -> Array:
    """Returns `x` (B, H, W, C) with mean 0 and variance 1 in each channel of each image."""
    mean = jnp.mean(x, axis=(1, 2), keepdims=True)
    variance = jnp.var(x, axis=(1, 2), keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5)


class Block(nn.Module):
    """Two normalized convolutions, plus the input."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = _instance_norm(torch_conv(x.shape[-1], bias=False, name="conv1")(x))
        y = torch_conv(x.shape[-1], bias=False, name="conv2")(PReLU(shared=True, name="relu1")(y))
        return x + _instance_norm(y)


class FastSRGAN(nn.Module):
    """Maps RGB in [0, 1] to RGB; inside, RGB is in [-1, 1].

    Attributes:
      scale: upscaling factor: 2, 3 or 4; 4 in the published file.
      channels: width.
      blocks: residual blocks.
    """

    scale: int = 4
    channels: int = 64
    blocks: int = 8

    whole_image = True  # normalization uses the mean and variance of the whole map
    receptive_radius = 0

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the Fast-SRGAN with these PyTorch shapes, or None."""
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
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        features: Features = {}
        x = PReLU(shared=True, name="neck.1")(torch_conv(self.channels, name="neck.0")(2 * lr - 1))
        head = x = tap(self, features, "head", x)
        for i in range(self.blocks):
            x = tap(self, features, f"block{i + 1}", Block(name=f"stem.{i}")(x))
        x = head + _instance_norm(torch_conv(self.channels, bias=False, name="bottleneck.0")(x))
        x = tap(self, features, "body", x)
        for i, factor in enumerate(upscaling_steps(self.scale)):
            y = torch_conv(self.channels * factor**2, name=f"upsampling.{i}.conv")(x)
            x = PReLU(shared=True, name=f"upsampling.{i}.relu")(pixel_shuffle(y, factor))
        return (jnp.tanh(torch_conv(3, name="head.0")(x)) + 1) / 2, features
