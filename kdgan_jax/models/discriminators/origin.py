"""The discriminator of the original notebook (see `generators.kdgan_student`)."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv
from kdgan_jax.models.blocks.normalization import identity, normalized
from kdgan_jax.models.types import Mean


class OriginDiscriminator(nn.Module):
    """Three convolutions of stride 2, global average pooling and two dense layers.

    635,009 parameters; images may have any size. The original's sigmoid is part of the losses here.

    Attributes:
      channels: output channels of the three convolutions.
      hidden: units of the hidden dense layer.
      spectral_norm: divide each kernel by its largest singular value.
      mean: unused; every discriminator takes it.
      dtype: dtype in which convolutions compute; logits are float32.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    hidden: int = 1024
    spectral_norm: bool = False
    mean: Mean = identity
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B,); `update` stores the state of `spectral_norm`."""
        apply = functools.partial(normalized, spectral=self.spectral_norm, update=update)
        x = image
        for channels in self.channels:
            x = nn.relu(apply(Conv(channels, stride=2, dtype=self.dtype), x))
        x = nn.relu(apply(nn.Dense(self.hidden, dtype=self.dtype), x.mean(axis=(1, 2))))
        return apply(nn.Dense(1, dtype=jnp.float32), x)[:, 0]
