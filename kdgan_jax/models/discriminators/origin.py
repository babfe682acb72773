"""The discriminator of the origin."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.blocks.layers import Conv
from kdgan_jax.models.blocks.normalization import identity, normalized


class OriginDiscriminator(nn.Module):
    """The origin's: three stride-2 convolutions, global average pooling, two dense layers.

    635,009 parameters; any image size. Its sigmoid is part of the loss here.

    Attributes:
      channels: of the three convolutions.
      hidden: units of the dense layer.
      spectral_norm: divide each kernel by its largest singular value.
      mean: unused; every discriminator takes it.
      dtype: that convolutions compute in; logits are float32.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    hidden: int = 1024
    spectral_norm: bool = False
    mean: Callable[[Any], Any] = identity
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B,); `update` keeps what `spectral_norm` finds."""
        apply = functools.partial(normalized, spectral=self.spectral_norm, update=update)
        x = image
        for channels in self.channels:
            x = nn.relu(apply(Conv(channels, stride=2, dtype=self.dtype), x))
        x = nn.relu(apply(nn.Dense(self.hidden, dtype=self.dtype), x.mean(axis=(1, 2))))
        return apply(nn.Dense(1, dtype=jnp.float32), x)[:, 0]
