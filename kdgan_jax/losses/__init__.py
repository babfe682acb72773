"""Losses: pure functions of arrays, one value per image; weights and means are the step's.

A new loss is a file and a line in `TERMS`; a new regulariser of the discriminator one in
`REGULARIZERS`; a new course of a weight one in `SCHEDULES`.
"""

from kdgan_jax.losses.adversarial import CrossEntropy, Hinge, LeastSquares, Relativistic
from kdgan_jax.losses.distill import Blend
from kdgan_jax.losses.fitnet import FitNet
from kdgan_jax.losses.gradient_penalty import R1
from kdgan_jax.losses.perceptual import Perceptual
from kdgan_jax.losses.pixel import L1, L2, RMSE, Charbonnier
from kdgan_jax.losses.schedules import Between, Constant, Cosine, Linear
from kdgan_jax.losses.term import Context, Game, Output, Regularizer, Term

TERMS: dict[str, type[Term]] = {
    "l1": L1,
    "l2": L2,
    "rmse": RMSE,
    "charbonnier": Charbonnier,
    "blend": Blend,
    "perceptual": Perceptual,
    "bce": CrossEntropy,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "relativistic": Relativistic,
    "fitnet": FitNet,
}
REGULARIZERS = {"r1": R1}
SCHEDULES = {"constant": Constant, "linear": Linear, "cosine": Cosine, "between": Between}

__all__ = [
    "REGULARIZERS",
    "SCHEDULES",
    "TERMS",
    "Context",
    "Game",
    "Output",
    "Regularizer",
    "Term",
]
