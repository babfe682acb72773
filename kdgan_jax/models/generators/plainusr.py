"""PlainUSR: plain convolutions, for speed, with attention to local importance.

Wang et al., "PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution", ACCV 2024. This is
the form for inference: the residuals and side branches of training are folded into the 3x3 kernels,
and three channels that no block changes carry the image itself. At x4, PlainUSR-L has 734,004
parameters, PlainUSR (64, 48, 32 channels, depth 2) 333,108 and PlainUSR-S (32, 16, 8 channels,
depth 2, attention 4) 68,612. PlainUSR-U (16, 8 channels, depth 2, no coarse map) has 19,820.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import pixel_shuffle, tap, torch_conv
from kdgan_jax.models.types import Arguments, Features, Shapes


def _soft_pool(x: Array) -> Array:
    """Averages 7x7 windows at stride 3, with the exponential of each value as its weight."""
    weight = jnp.exp(x)  # infinite for values above 88 in float32, above 11 in float16
    total = nn.avg_pool(x * weight, (7, 7), strides=(3, 3))
    return total / nn.avg_pool(weight, (7, 7), strides=(3, 3))


class LocalAttention(nn.Module):
    """Weights features by a coarse map of `width` channels and by their own first channel."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C), sides of at least 7, to the same shape."""
        y = _soft_pool(torch_conv(self.width, 1, name="body.0")(x))
        y = torch_conv(self.width, stride=2, name="body.2")(y)
        y = nn.sigmoid(torch_conv(x.shape[-1], name="body.3")(y))
        importance = jax.image.resize(y, x.shape, "bilinear", antialias=False)
        return x * importance * nn.sigmoid(x[..., :1])


class PixelAttention(nn.Module):
    """Weights features by a map of their own size and by their own first channel."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        return x * nn.sigmoid(x[..., :1]) * nn.sigmoid(torch_conv(x.shape[-1], name="body.0")(x))


class Block(nn.Module):
    """`depth` convolutions and, if given, a layer of attention; without a residual."""

    depth: int
    attention: Callable[..., nn.Module] | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        y = torch_conv(x.shape[-1], name="body.0")(x)
        for i in range(1, self.depth):
            y = torch_conv(x.shape[-1], name=f"body.{2 * i}")(nn.leaky_relu(y, 0.05))
        if self.attention is None:
            return y
        return self.attention(name=f"body.{2 * self.depth - 1}")(y)


class PlainUSR(nn.Module):
    """Maps RGB in [0, 1] to RGB.

    Attributes:
      scale: upscaling factor: 2, 3 or 4.
      channels: channels of the blocks, from the outer ones to the one in the middle; (64, 48, 32)
        in PlainUSR.
      depth: convolutions per block; 3 in PlainUSR-L, 2 in PlainUSR.
      attention: channels of the attention's coarse map. With 0, as in PlainUSR-U, the block in
        the middle alone has an attention, of full size.
    """

    scale: int = 4
    channels: tuple[int, ...] = (80, 64, 48)
    depth: int = 3
    attention: int = 16

    @property
    def whole_image(self) -> bool:
        """Whether the grid of a coarse map depends on the size of the image."""
        return self.attention > 0

    @property
    def receptive_radius(self) -> int:
        """LR pixels that one output pixel depends on, on each side; 0 for the whole image."""
        return 0 if self.whole_image else 3 + self.depth * (2 * len(self.channels) - 1)

    @property
    def smallest(self) -> int:
        """The smallest side of an LR image in pixels."""
        return 7 if self.whole_image else 1

    @staticmethod
    def detect(shapes: Shapes) -> Arguments | None:
        """Returns the arguments of the PlainUSR with these PyTorch shapes, or None."""
        depth = sum(f"block1.body.{2 * i}.weight" in shapes for i in range(3))
        outer = sum(f"block{i}.body.0.weight" in shapes for i in range(1, len(shapes))) // 2
        blocks = [f"block{i}" for i in range(1, outer + 1)] + ["blockm"]
        attention = f"body.{2 * depth - 1}.body.0.weight"
        if (
            not outer
            or not {f"blockm.{attention}", "head.weight", "tail.0.weight"} <= shapes.keys()
        ):
            return None
        return {
            "scale": math.isqrt(shapes["tail.0.weight"][0] // 3),
            "channels": tuple(shapes[f"{block}.body.0.weight"][0] for block in blocks),
            "depth": depth,
            "attention": shapes.get(f"block1.{attention}", (0,))[0],
        }

    @nn.compact
    def __call__(self, lr: Array) -> tuple[Array, Features]:
        """Maps (B, h, w, 3) to ((B, h * scale, w * scale, 3), features at LR size)."""
        *outer, middle = self.channels
        features: Features = {}
        x = tap(self, features, "head", torch_conv(outer[0] + 3, name="head")(lr))
        widths = [*outer, middle, *reversed(outer)]
        numbers = [*range(1, len(outer) + 1), "m", *range(len(outer) + 1, 2 * len(outer) + 1)]
        for number, width in zip(numbers, widths, strict=True):
            attention: Callable[..., nn.Module] | None = None
            if self.attention:
                attention = functools.partial(LocalAttention, self.attention)
            elif number == "m":
                attention = PixelAttention
            y = Block(self.depth, attention, name=f"block{number}")(x[..., :width])
            x = tap(self, features, f"block{number}", jnp.concatenate([y, x[..., width:]], axis=-1))
        return pixel_shuffle(torch_conv(3 * self.scale**2, name="tail.0")(x), self.scale), features
