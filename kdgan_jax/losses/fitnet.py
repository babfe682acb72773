"""Feature distillation with hints (Romero et al., "FitNets", ICLR 2015)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pairs import Paired
from kdgan_jax.losses.pixel import l2
from kdgan_jax.losses.term import Context
from kdgan_jax.models.types import Params


@dataclass(frozen=True)
class FitNet(Paired):
    """½ mean (A(S) - T)² over pairs of features, where A is a trained 1x1 convolution.

    Equation 3 of Romero et al. 2015, but a mean over elements and pairs, so that the weight does
    not depend on the size of a patch. A is their regressor for features of equal size.
    """

    def init(self, key: Array, context: Context) -> dict[str, Any]:
        """Returns {"S-T": {"kernel": (1, 1, C, D), "bias": (D,)}} for every pair (S, T)."""
        adapters = {}
        for pair in self.pairs:
            student, teacher = self.features(pair, context)
            key, kernel_key = jax.random.split(key)
            shape = (1, 1, student.shape[-1], teacher.shape[-1])
            kernel = jax.nn.initializers.lecun_normal()(kernel_key, shape)
            adapters["-".join(pair)] = {"kernel": kernel, "bias": jnp.zeros(shape[-1])}
        return adapters

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the loss per image, (B,)."""

        def distance(pair: tuple[str, str], student: Array, teacher: Array) -> Array:
            adapter = params["-".join(pair)]
            adapted = student @ adapter["kernel"][0, 0] + adapter["bias"].reshape(1, 1, 1, -1)
            return 0.5 * l2(adapted, teacher)

        return self.mean(context, distance)
