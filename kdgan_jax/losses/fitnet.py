"""Feature distillation with hints (Romero et al., "FitNets", ICLR 2015)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l2
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models import feature
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError


@dataclass(frozen=True)
class FitNet(Term):
    """½ mean (A(S) - T)² over pairs of features, where A is a trained 1x1 convolution.

    Equation 3 of Romero et al. 2015, but a mean over elements and pairs, so that the weight does
    not depend on the size of a patch. A is their regressor for features of equal size.

    Attributes:
      pairs: names of (the generator's feature, the teacher's feature).
    """

    of_image: ClassVar[bool] = False
    of_teacher: ClassVar[bool] = True

    pairs: tuple[tuple[str, str], ...] = ()

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError unless `pairs` holds at least one pair, and only pairs."""
        if not self.pairs or not all(isinstance(p, tuple) and len(p) == 2 for p in self.pairs):
            raise UserError(
                f"{field}: pairs={self.pairs!r} must be pairs of a feature of the trained network"
                " and one of the teacher, such as pairs=((conv3,block8),)"
            )

    def init(self, key: Array, context: Context) -> dict[str, Any]:
        """Returns {"S-T": {"kernel": (1, 1, C, D), "bias": (D,)}} for every pair (S, T)."""
        adapters = {}
        for pair in self.pairs:
            student, teacher = self._features(pair, context)
            key, kernel_key = jax.random.split(key)
            shape = (1, 1, student.shape[-1], teacher.shape[-1])
            kernel = jax.nn.initializers.lecun_normal()(kernel_key, shape)
            adapters["-".join(pair)] = {"kernel": kernel, "bias": jnp.zeros(shape[-1])}
        return adapters

    def __call__(self, params: Params, context: Context) -> Array:
        """Returns the loss per image, (B,)."""
        losses = []
        for pair in self.pairs:
            student, teacher = self._features(pair, context)
            adapter = params["-".join(pair)]
            adapted = student @ adapter["kernel"][0, 0] + adapter["bias"].reshape(1, 1, 1, -1)
            losses.append(0.5 * l2(adapted, jax.lax.stop_gradient(teacher)))
        return jnp.mean(jnp.stack(losses), axis=0)

    def _features(self, pair: tuple[str, str], context: Context) -> tuple[Array, Array]:
        """Returns the generator's and the teacher's feature of a pair.

        Raises:
          UserError: one of them does not exist, or their sizes differ.
        """
        teacher_features = context.teachers[self.target].features
        student = feature(
            context.generator.features, pair[0], "fitnet: the network that is trained"
        )
        teacher = feature(teacher_features, pair[1], f"fitnet: the teacher {self.target!r}")
        if student.shape[1:3] != teacher.shape[1:3]:
            raise UserError(
                f"fitnet: the features {pair[0]!r} and {pair[1]!r} differ in size"
                f" ({student.shape[1:3]} and {teacher.shape[1:3]}); name features of the same size"
            )
        return student, teacher
