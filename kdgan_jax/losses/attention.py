"""Attention transfer (Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017)."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pairs import Paired
from kdgan_jax.losses.pixel import EPSILON
from kdgan_jax.losses.term import Context
from kdgan_jax.models.types import Params


def attention(feature: Array) -> Array:
    """Returns where a feature (B, H, W, C) is strong, (B, H W): means of squares, of length 1.

    The activation-based map of section 3.1, with the mean of squares as in the authors' code.
    """
    strength = jnp.square(feature).mean(axis=-1).reshape(feature.shape[0], -1)
    return strength / jnp.sqrt(jnp.square(strength).sum(axis=1, keepdims=True) + EPSILON)


@dataclass(frozen=True)
class Attention(Paired):
    """The squared distance of `attention` maps, summed over places, averaged over pairs: 0 to 2.

    Equation 2, with the square of the authors' code. They take the mean over places, which is that
    much smaller on larger maps. Numbers of channels may differ.
    """

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the loss per image, (B,)."""
        return self.mean(
            context,
            lambda _, student, teacher: jnp.square(attention(student) - attention(teacher)).sum(1),
        )
