"""Losses: pure functions of arrays, one value per image; weights and means are the step's."""

from kdgan_jax.losses.adversarial import ADVERSARIAL
from kdgan_jax.losses.distill import blend
from kdgan_jax.losses.perceptual import feature_distance
from kdgan_jax.losses.pixel import charbonnier, l1, l2, rmse

PIXEL = {"l1": l1, "l2": l2, "rmse": rmse, "charbonnier": charbonnier}

__all__ = ["ADVERSARIAL", "PIXEL", "blend", "feature_distance"]
