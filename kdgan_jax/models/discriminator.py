"""Discriminators: RGB images (B, H, W, 3) in [0, 1] to one logit each, (B,); high means real."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.layers import Conv


def identity(tree: Any) -> Any:
    """The mean over one device."""
    return tree


class OriginDiscriminator(nn.Module):
    """The origin's: three stride-2 convolutions, global average pooling, two dense layers.

    635,009 parameters; any image size. Its sigmoid is part of the loss here.

    Attributes:
      features: channels of the three convolutions.
      hidden: units of the dense layer.
      mean: unused; every discriminator takes it.
    """

    features: tuple[int, ...] = (64, 128, 256)
    hidden: int = 1024
    mean: Callable[[Any], Any] = identity

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps (B, H, W, 3) to logits (B,)."""
        x = image
        for features in self.features:
            x = nn.relu(Conv(features, stride=2)(x))
        x = nn.relu(nn.Dense(self.hidden)(x.mean(axis=(1, 2))))
        return nn.Dense(1)(x)[:, 0]


class BatchNorm(nn.Module):
    """Normalisation by the statistics of the whole batch, on however many devices it lies.

    A discriminator is only ever applied to training batches, so there are no running averages.
    """

    mean: Callable[[Any], Any] = identity

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        first, second = self.mean((x.mean((0, 1, 2)), jnp.square(x).mean((0, 1, 2))))
        variance = jnp.maximum(second - first**2, 0)  # rounding can take it below 0
        factor = scale * (variance + 1e-5) ** -0.5
        return x * factor.reshape(1, 1, 1, -1) + (bias - first * factor).reshape(1, 1, 1, -1)


class VGGDiscriminator(nn.Module):
    """SRGAN's: eight 3x3 convolutions, every second with stride 2, two dense layers.

    Ledig et al. 2017, figure 4. The size of the dense layer is bound to the image size.

    Attributes:
      features: channels of the four pairs of convolutions.
      hidden: units of the dense layer.
      mean: mean over devices, for the batch statistics.
    """

    features: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 1024
    mean: Callable[[Any], Any] = identity

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Maps (B, H, W, 3) to logits (B,)."""
        x = image
        for i, features in enumerate(self.features):
            for stride in (1, 2):
                x = Conv(features, stride=stride)(x)
                if i or stride == 2:
                    x = BatchNorm(self.mean)(x)
                x = nn.leaky_relu(x, 0.2)
        x = nn.leaky_relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)), 0.2)
        return nn.Dense(1)(x)[:, 0]
