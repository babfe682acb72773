"""Losses that compare features of the trained network with features of a teacher."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models import feature
from kdgan_jax.runtime.errors import UserError


@dataclass(frozen=True)
class Paired(Term):
    """A term of pairs of features of the same height and width.

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
        """Returns no parameters, after a look at the features.

        Raises:
          UserError: a feature does not exist, or two differ in size.
        """
        for pair in self.pairs:
            self.features(pair, context)
        return {}

    def mean(
        self, context: Context, distance: Callable[[tuple[str, str], Array, Array], Array]
    ) -> Array:
        """Returns the mean over pairs of `distance`, (B,), without gradients to the teacher.

        Args:
          context: of the step.
          distance: maps a pair, the generator's feature and the teacher's to (B,).
        """
        losses = []
        for pair in self.pairs:
            student, teacher = self.features(pair, context)
            losses.append(distance(pair, student, jax.lax.stop_gradient(teacher)))
        return jnp.mean(jnp.stack(losses), axis=0)

    def features(self, pair: tuple[str, str], context: Context) -> tuple[Array, Array]:
        """Returns the generator's and the teacher's feature of a pair, (B, H, W, C) and (.., D).

        Raises:
          UserError: one of them does not exist, or their sizes differ.
        """
        ours, theirs = context.generator.features, context.teachers[self.target].features
        student = feature(ours, pair[0], "the network that is trained")
        teacher = feature(theirs, pair[1], f"the teacher {self.target!r}")
        if student.shape[1:3] != teacher.shape[1:3]:
            raise UserError(
                f"the features {pair[0]!r} and {pair[1]!r} differ in size"
                f" ({student.shape[1:3]} and {teacher.shape[1:3]}); name features of the same size"
            )
        return student, teacher
