"""A small discriminator that rates every part of an image."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv
from kdgan_jax.models.blocks.normalization import identity, normalized
from kdgan_jax.models.types import Mean


class PatchDiscriminator(nn.Module):
    """3x3 convolutions, all but the first and the last of stride 2 (Isola et al. 2017, PatchGAN).

    94,401 parameters; images may have any size.

    Attributes:
      channels: output channels of the convolutions before the last.
      spectral_norm: divide each kernel by its largest singular value.
      mean: unused; every discriminator takes it.
      dtype: dtype in which convolutions compute; logits are float32.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    spectral_norm: bool = False
    mean: Mean = identity
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B, h, w); `update` stores the state of `spectral_norm`."""
        apply = functools.partial(normalized, spectral=self.spectral_norm, update=update)
        x = image
        for i, channels in enumerate(self.channels):
            stride = 2 if i else 1
            x = nn.leaky_relu(apply(Conv(channels, stride=stride, dtype=self.dtype), x), 0.2)
        return apply(Conv(1, dtype=self.dtype), x)[..., 0].astype(jnp.float32)
