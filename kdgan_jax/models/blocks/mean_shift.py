"""The mean of DIV2K's images, and its subtraction and addition as a layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

DIV2K_MEAN = 0.4488, 0.4371, 0.4040  # RGB in [0, 1]


class MeanShift(nn.Module):
    """Adds `offset` to RGB as published files store it: a 1x1 convolution with constant weights.

    Attributes:
      offset: added to each channel at initialization; a file may hold other weights.
    """

    offset: tuple[float, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, 3) to the same shape."""
        kernel = self.param("kernel", lambda _: jnp.eye(3).reshape(1, 1, 3, 3))
        bias = self.param("bias", lambda _: jnp.asarray(self.offset))
        kernel, bias = jax.lax.stop_gradient((kernel, bias))  # constants: training keeps them
        # The image itself passes through, so the product needs full precision.
        mixed = jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0], precision="highest")
        return mixed + bias.reshape(1, 1, 1, 3)
