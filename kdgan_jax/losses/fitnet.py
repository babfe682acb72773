"""Feature distillation by hints (Romero et al., "FitNets", ICLR 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.pixel import l2
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models import feature
from kdgan_jax.runtime.errors import UserError


@dataclass(frozen=True)
class FitNet(Term):
    """½ mean (A(S) - T)² over named pairs of features, A a 1x1 convolution that trains along.

    Romero et al. 2015, equation 3, as a mean over elements and pairs, so that the weight does not
    depend on the size of a patch; A is their regressor for features of equal size.

    Attributes:
      pairs: (the generator's feature, the target's feature) each.
    """

    of_image: ClassVar[bool] = False
    of_teacher: ClassVar[bool] = True

    pairs: tuple[tuple[str, str], ...] = ()

    def check(self, hr_patch: int, field: str) -> None:
        """Raises a UserError if there are no pairs."""
        if not self.pairs or not all(isinstance(p, tuple) and len(p) == 2 for p in self.pairs):
            raise UserError(
                f"{field}: pairs={self.pairs!r} must name a feature of each network in every pair,"
                " such as pairs=((conv3,block8),)"
            )

    def init(self, key: Array, context: Context) -> dict[str, Any]:
        """Returns {"ours-theirs": {"kernel": (1, 1, C, D), "bias": (D,)}} of every pair."""
        found = {}
        for pair in self.pairs:
            ours, theirs = self._features(pair, context)
            key, own = jax.random.split(key)
            shape = (1, 1, ours.shape[-1], theirs.shape[-1])
            kernel = jax.nn.initializers.lecun_normal()(own, shape)
            found["-".join(pair)] = {"kernel": kernel, "bias": jnp.zeros(shape[-1])}
        return found

    def __call__(self, params: Mapping[str, Any], context: Context) -> Array:
        """Returns the loss per image, (B,)."""
        losses = []
        for pair in self.pairs:
            ours, theirs = self._features(pair, context)
            adapter = params["-".join(pair)]
            adapted = ours @ adapter["kernel"][0, 0] + adapter["bias"].reshape(1, 1, 1, -1)
            losses.append(0.5 * l2(adapted, jax.lax.stop_gradient(theirs)))
        return jnp.mean(jnp.stack(losses), axis=0)

    def _features(self, pair: tuple[str, str], context: Context) -> tuple[Array, Array]:
        teacher = context.teachers[self.target]
        ours = feature(context.generator.features, pair[0], "fitnet: the network that is trained")
        theirs = feature(teacher.features, pair[1], f"fitnet: the teacher {self.target!r}")
        if ours.shape[1:3] != theirs.shape[1:3]:
            raise UserError(
                f"fitnet: the features {pair[0]!r} and {pair[1]!r} differ in size"
                f" ({ours.shape[1:3]} and {theirs.shape[1:3]}); name features of one size"
            )
        return ours, theirs
