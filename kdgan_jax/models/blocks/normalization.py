"""Normalization in discriminators: of kernels, and of features over a batch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def identity(tree: Any) -> Any:
    """The mean over one device."""
    return tree


def normalized(layer: nn.Module, x: Array, spectral: bool, update: bool) -> Array:
    """Returns `layer(x)`; if `spectral`, its kernel is divided by its largest singular value.

    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018. One
    power iteration finds the value, from where the last `update` left off.
    """
    if not spectral:
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=update)


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
