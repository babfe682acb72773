"""Attention of published networks: features are weighted by what surrounds them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import torch_conv
from kdgan_jax.models.types import Layer

SMALLEST = 15  # smallest side for `ESA`: (15 - 3) / 2 + 1 = 7, one window of its pooling


class ContrastAttention(nn.Module):
    """Contrast-aware channel attention (Hui et al. 2019, IMDN).

    Each channel is weighted according to the standard deviation plus the mean of its whole map.

    Attributes:
      reduction: ratio of input channels to hidden channels.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        channels = x.shape[-1]
        mean = x.mean(axis=(1, 2), keepdims=True)
        hidden = max(channels // self.reduction, 1)
        y = nn.relu(torch_conv(hidden, 1, name="conv_du.0")(deviation(x, mean) + mean))
        return x * nn.sigmoid(torch_conv(channels, 1, name="conv_du.2")(y))


@jax.jit
def deviation(x: Array, mean: Array) -> Array:
    """Returns the standard deviation of each channel, (B, 1, 1, C), by its mean of that shape.

    It is compiled under its own name, by which `onnx.named` recognises it.
    """
    variance = ((x - mean) ** 2).mean(axis=(1, 2), keepdims=True)
    # The slope of the root is infinite at 0: a constant channel would give NaN gradients.
    constant = variance == 0
    return jnp.where(constant, 0.0, jnp.sqrt(jnp.where(constant, 1.0, variance)))


class ESA(nn.Module):
    """Enhanced spatial attention (Liu et al., RFANet, CVPR 2020).

    A narrow branch computes the weights. It adds its input to a coarse map, made by an unpadded
    convolution of stride 2 and a 7x7 max pooling of stride 3 and enlarged bilinearly.

    Attributes:
      width: channels of the branch.
      deep: three convolutions with GELUs between them on the coarse map, instead of one.
      point: makes the 1x1 convolutions.
      reduce: makes the convolution of stride 2.
      convolution: makes the convolutions on the coarse map.
    """

    width: int
    deep: bool = False
    point: Layer = functools.partial(torch_conv, kernel=1)
    reduce: Layer = torch_conv
    convolution: Layer = torch_conv

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
