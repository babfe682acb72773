"""Normalization of kernels and of features."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from kdgan_jax.models.types import Mean


def identity(tree: Any) -> Any:
    """Returns `tree`: the mean over a single device."""
    return tree


def normalized(layer: nn.Module, x: Array, spectral: bool, update: bool) -> Array:
    """Returns `layer(x)`; if `spectral`, the kernel is divided by its largest singular value.

    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018. One
    step of power iteration per call estimates the value, starting from the result of the last call
    with `update`.
    """
    if not spectral:
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=update)


def torch_layer_norm(name: str) -> nn.LayerNorm:
    """Returns a LayerNorm over channels that computes the same as PyTorch's."""
    # The fast variance (mean of squares minus squared mean) loses digits.
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class BatchNorm(nn.Module):
    """Batch normalization for discriminators; a batch may be spread over several devices.

    Discriminators only see training batches, so there are no running averages.

    Attributes:
      mean: averages a tree of arrays over the devices.
    """

    mean: Mean = identity

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps (B, H, W, C) to the same shape and dtype; statistics are float32."""
        dtype, x = x.dtype, x.astype(jnp.float32)
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, mean_square = self.mean((x.mean((0, 1, 2)), jnp.square(x).mean((0, 1, 2))))
        variance = jnp.maximum(mean_square - mean**2, 0)  # rounding can make it negative
        factor = scale * (variance + 1e-5) ** -0.5
        y = x * factor.reshape(1, 1, 1, -1) + (bias - mean * factor).reshape(1, 1, 1, -1)
        return y.astype(dtype)
