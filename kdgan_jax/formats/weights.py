"""The weights of a network, with what rebuilds the network: what readers of files return."""

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import numpy as np

from kdgan_jax import models


@dataclass(frozen=True)
class Weights:
    """A generator by its name and arguments, and its weights.

    Attributes:
      name: the generator's name in `kdgan_jax.models.GENERATORS`.
      kwargs: its arguments.
      scale: its enlargement.
      params: its weights, a tree of float32 arrays on the host or a device.
      about: what is known of it: source, licence, how it was made.
    """

    name: str
    kwargs: dict[str, Any]
    scale: int
    params: Any
    about: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> Any:
        """The Linen module; `models.apply(module, {"params": params}, lr)` runs it."""
        return models.generator(self.name, self.kwargs, self.scale)

    @property
    def spec(self) -> dict[str, Any]:
        """What rebuilds the network, as JSON values."""
        return {"name": self.name, "kwargs": self.kwargs, "scale": self.scale}

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return models.parameters(self.params)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the weights and of the network that they belong to."""
        found = hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode())
        for leaf in jax.tree.leaves(self.params):
            found.update(np.asarray(leaf).tobytes())
        return found.hexdigest()

    def folded(self) -> Self:
        """Returns the network for deployment: fewer layers that compute the same, where it can be.

        A network without `fold`, or with nothing to fold, is returned as it is.
        """
        found = self.module.fold(self.params) if hasattr(self.module, "fold") else None
        return self if found is None else replace(self, kwargs=found[0], params=found[1])

    def with_params(self, params: Any) -> Self:
        """Returns the same network with other weights."""
        return replace(self, params=params)

    def with_about(self, **about: str) -> Self:
        """Returns the same weights with more known of them."""
        return replace(self, about=self.about | about)
