"""Discriminators: RGB images (B, H, W, 3) in [0, 1] to logits; high means real.

Logits are (B,), or (B, h, w) of a discriminator that judges places; callers take the mean of each
image. A discriminator's options are its fields but `mean` and `dtype`, which the caller decides.
With `spectral_norm` it has the collection "batch_stats" beside its parameters, and
`apply(..., update=True, mutable=["batch_stats"])` gives the new one, too.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.layers import Conv


def identity(tree: Any) -> Any:
    """The mean over one device."""
    return tree


def _layer(layer: nn.Module, x: Array, spectral: bool, update: bool) -> Array:
    """Returns `layer(x)`; if `spectral`, its kernel is divided by its largest singular value.

    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018. One
    power iteration finds the value, from where the last `update` left off.
    """
    if not spectral:
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=update)


class OriginDiscriminator(nn.Module):
    """The origin's: three stride-2 convolutions, global average pooling, two dense layers.

    635,009 parameters; any image size. Its sigmoid is part of the loss here.

    Attributes:
      features: channels of the three convolutions.
      hidden: units of the dense layer.
      spectral_norm: divide each kernel by its largest singular value.
      mean: unused; every discriminator takes it.
      dtype: that convolutions compute in; logits are float32.
    """

    features: tuple[int, ...] = (64, 128, 256)
    hidden: int = 1024
    spectral_norm: bool = False
    mean: Callable[[Any], Any] = identity
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B,); `update` keeps what `spectral_norm` finds."""
        apply = functools.partial(_layer, spectral=self.spectral_norm, update=update)
        x = image
        for features in self.features:
            x = nn.relu(apply(Conv(features, stride=2, dtype=self.dtype), x))
        x = nn.relu(apply(nn.Dense(self.hidden, dtype=self.dtype), x.mean(axis=(1, 2))))
        return apply(nn.Dense(1, dtype=jnp.float32), x)[:, 0]


class BatchNorm(nn.Module):
    """Normalisation by the statistics of the whole batch, on however many devices it lies.

    A discriminator is only ever applied to training batches, so there are no running averages.
    """

    mean: Callable[[Any], Any] = identity

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape."""
        given, x = x.dtype, x.astype(jnp.float32)
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        first, second = self.mean((x.mean((0, 1, 2)), jnp.square(x).mean((0, 1, 2))))
        variance = jnp.maximum(second - first**2, 0)  # rounding can take it below 0
        factor = scale * (variance + 1e-5) ** -0.5
        y = x * factor.reshape(1, 1, 1, -1) + (bias - first * factor).reshape(1, 1, 1, -1)
        return y.astype(given)


class VGGDiscriminator(nn.Module):
    """SRGAN's: eight 3x3 convolutions, every second with stride 2, two dense layers.

    Ledig et al. 2017, figure 4. The size of the dense layer is bound to the image size.

    Attributes:
      features: channels of the four pairs of convolutions.
      hidden: units of the dense layer.
      spectral_norm: divide each kernel by its largest singular value.
      mean: mean over devices, for the batch statistics.
      dtype: that convolutions compute in; logits are float32.
    """

    features: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 1024
    spectral_norm: bool = False
    mean: Callable[[Any], Any] = identity
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B,); `update` keeps what `spectral_norm` finds."""
        apply = functools.partial(_layer, spectral=self.spectral_norm, update=update)
        x = image
        for i, features in enumerate(self.features):
            for stride in (1, 2):
                x = apply(Conv(features, stride=stride, dtype=self.dtype), x)
                if i or stride == 2:
                    x = BatchNorm(self.mean)(x)
                x = nn.leaky_relu(x, 0.2)
        x = x.reshape(len(x), -1)
        x = nn.leaky_relu(apply(nn.Dense(self.hidden, dtype=self.dtype), x), 0.2)
        return apply(nn.Dense(1, dtype=jnp.float32), x)[:, 0]
