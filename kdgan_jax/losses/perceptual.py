"""Perceptual distance in feature space (Johnson et al. 2016; before ReLU as in ESRGAN)."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l1


def feature_distance(a: Sequence[Array], b: Sequence[Array]) -> Array:
    """Mean over layers of the mean absolute difference per image, (B,).

    Args:
      a: one (B, h, w, C) array per layer.
      b: the same layers of the other images.
    """
    return jnp.mean(jnp.stack([l1(x, y) for x, y in zip(a, b, strict=True)]), axis=0)
