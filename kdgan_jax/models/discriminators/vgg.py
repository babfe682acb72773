"""The discriminator of SRGAN, a VGG-like network."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from kdgan_jax.models.blocks.layers import Conv
from kdgan_jax.models.blocks.normalization import BatchNorm, identity, normalized
from kdgan_jax.models.types import Mean


class VGGDiscriminator(nn.Module):
    """Eight 3x3 convolutions, every second one of stride 2, and two dense layers.

    Ledig et al. 2017, figure 4. The dense layer fixes the size of the images.

    Attributes:
      channels: output channels of the four pairs of convolutions.
      hidden: units of the hidden dense layer.
      spectral_norm: divide each kernel by its largest singular value.
      mean: averages batch statistics over the devices.
      dtype: dtype in which convolutions compute; logits are float32.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    hidden: int = 1024
    spectral_norm: bool = False
    mean: Mean = identity
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Array, update: bool = False) -> Array:
        """Maps (B, H, W, 3) to logits (B,); `update` stores the state of `spectral_norm`."""
        apply = functools.partial(normalized, spectral=self.spectral_norm, update=update)
        x = image
        for i, channels in enumerate(self.channels):
            for stride in (1, 2):
                x = apply(Conv(channels, stride=stride, dtype=self.dtype), x)
                if i or stride == 2:
                    x = BatchNorm(self.mean)(x)
                x = nn.leaky_relu(x, 0.2)
        x = x.reshape(len(x), -1)
        x = nn.leaky_relu(apply(nn.Dense(self.hidden, dtype=self.dtype), x), 0.2)
        return apply(nn.Dense(1, dtype=jnp.float32), x)[:, 0]
