"""Distances between images, one value per image.

Arrays are (B, H, W, C) float32; every function takes two of one shape and returns (B,). They serve
for the truth (pixel loss) and for the teacher's output (output distillation) alike.
"""

import chex
import jax.numpy as jnp
from jax import Array

EPSILON = 1e-12  # inside square roots: their slope at 0 is infinite


def _mean(x: Array) -> Array:
    return x.mean(axis=tuple(range(1, x.ndim)))


def l1(a: Array, b: Array) -> Array:
    """Mean absolute difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return _mean(jnp.abs(a - b))


def l2(a: Array, b: Array) -> Array:
    """Mean squared difference per image, (B,)."""
    chex.assert_equal_shape([a, b])
    return _mean(jnp.square(a - b))


def rmse(a: Array, b: Array) -> Array:
    """Root of the mean squared difference per image, (B,); sqrt(l2 + 1e-12).

    The origin takes the root over the whole batch, which couples images; this is per image.
    """
    return jnp.sqrt(l2(a, b) + EPSILON)


def charbonnier(a: Array, b: Array, *, epsilon: float = 1e-3) -> Array:
    """Mean of sqrt((a - b)² + epsilon²) per image, (B,).

    Charbonnier et al. 1994; epsilon = 1e-3 as in LapSRN (Lai et al. 2017), L2-like below it.
    """
    chex.assert_equal_shape([a, b])
    return _mean(jnp.sqrt(jnp.square(a - b) + epsilon**2))
