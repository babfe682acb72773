"""Attention that several published networks share: features weighed by what lies further away."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import conv

SMALLEST = 15  # side of what `ESA` takes: (15 - 3) / 2 + 1 = 7, one window of its pooling


class ContrastAttention(nn.Module):
    """Contrast-aware channel attention (Hui et al. 2019, IMDN).

    Every channel is weighed by its population standard deviation plus its mean over the whole map.

    Attributes:
      reduction: channels over those of the hidden layer.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        channels = x.shape[-1]
        mean = x.mean(axis=(1, 2), keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=(1, 2), keepdims=True)
        # The root is infinitely steep at 0, where a constant channel would make gradients NaN.
        flat = variance == 0
        deviation = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, variance)))
        y = conv(max(channels // self.reduction, 1), 1, name="conv_du.0")(deviation + mean)
        return x * nn.sigmoid(conv(channels, 1, name="conv_du.2")(nn.relu(y)))


class ESA(nn.Module):
    """Enhanced spatial attention (Liu et al., RFANet, CVPR 2020).

    Features are weighed by what a narrow branch makes of them and of a coarse map, which comes of
    an unpadded convolution of stride 2 and maxima of 7x7 with stride 3, and is enlarged bilinearly.

    Attributes:
      width: channels of the branch.
      deep: three convolutions on the coarse map with GELU between them, rather than one.
      point: makes the 1x1 convolutions.
      reduce: makes the convolution of stride 2.
      convolution: makes those on the coarse map.
    """

    width: int
    deep: bool = False
    point: Callable[..., Any] = functools.partial(conv, kernel=1)
    reduce: Callable[..., Any] = conv
    convolution: Callable[..., Any] = conv

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape; sides are at least `SMALLEST`."""
        narrow = self.point(self.width, name="conv1")(x)
        y = self.reduce(self.width, stride=2, pad=0, name="conv2")(narrow)
        y = nn.max_pool(y, (7, 7), strides=(3, 3))
        for i, name in enumerate(("conv_max", "conv3", "conv3_") if self.deep else ("conv3",)):
            y = nn.gelu(y, approximate=False) if i else y
            y = self.convolution(self.width, name=name)(y)
        y = jax.image.resize(y, narrow.shape, "bilinear", antialias=False)
        y = y + self.point(self.width, name="conv_f")(narrow)
        return x * nn.sigmoid(self.point(x.shape[-1], name="conv4")(y))
