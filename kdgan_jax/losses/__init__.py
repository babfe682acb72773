"""Losses: pure functions of arrays that return one value per image.

The train step weights and averages the values. To add a loss, write a file and add a line to
`TERMS`. `REGULARIZERS` lists the regularisers of a discriminator, and `SCHEDULES` how a loss's
weight changes over steps; they are extended in the same way.
"""

from kdgan_jax.losses.adversarial import CrossEntropy, Hinge, LeastSquares, Relativistic
from kdgan_jax.losses.affinity import Affinity
from kdgan_jax.losses.attention import Attention
from kdgan_jax.losses.contrastive import Contrastive
from kdgan_jax.losses.distill import Blend
from kdgan_jax.losses.fitnet import FitNet
from kdgan_jax.losses.gradient_penalty import R1
from kdgan_jax.losses.haar import Haar
from kdgan_jax.losses.pattern import Pattern
from kdgan_jax.losses.perceptual import Perceptual
from kdgan_jax.losses.pixel import L1, L2, RMSE, Charbonnier
from kdgan_jax.losses.schedules import Between, Constant, Cosine, Linear
from kdgan_jax.losses.several import Several
from kdgan_jax.losses.term import Adversarial, Context, Output, Regularizer, Term
from kdgan_jax.losses.upcycling import Consistency, ZoomIn

TERMS: dict[str, type[Term]] = {
    "l1": L1,
    "l2": L2,
    "rmse": RMSE,
    "charbonnier": Charbonnier,
    "blend": Blend,
    "haar": Haar,
    "pattern": Pattern,
    "perceptual": Perceptual,
    "bce": CrossEntropy,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "relativistic": Relativistic,
    "fitnet": FitNet,
    "attention_transfer": Attention,
    "affinity": Affinity,
    "contrastive": Contrastive,
    "several": Several,
    "consistency": Consistency,
    "zoom_in": ZoomIn,
}
REGULARIZERS = {"r1": R1}
SCHEDULES = {"constant": Constant, "linear": Linear, "cosine": Cosine, "between": Between}

__all__ = [
    "REGULARIZERS",
    "SCHEDULES",
    "TERMS",
    "Adversarial",
    "Context",
    "Output",
    "Regularizer",
    "Term",
]
