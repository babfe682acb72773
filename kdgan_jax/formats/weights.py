"""A network's weights and the description that rebuilds the network: what file readers return."""

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
    """A generator, by name and arguments, and its weights.

    Attributes:
      name: the generator's name in `kdgan_jax.models.GENERATORS`.
      kwargs: its arguments.
      scale: its enlargement.
      params: its weights, a tree of float32 arrays on the host or a device.
      about: facts about it, such as source, licence and how it was made.
    """

    name: str
    kwargs: dict[str, Any]
    scale: int
    params: Any
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Gives arguments their present names, so that equal networks have equal descriptions."""
        object.__setattr__(self, "kwargs", models.as_named_now(self.kwargs))

    @property
    def module(self) -> Any:
        """The Linen module; `models.apply(module, {"params": params}, lr)` runs it."""
        return models.generator(self.name, self.kwargs, self.scale)

    @property
    def spec(self) -> dict[str, Any]:
        """The description that rebuilds the network, as JSON values."""
        return {"name": self.name, "kwargs": self.kwargs, "scale": self.scale}

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return models.parameters(self.params)

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the network's description and its weights."""
        digest = hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode())
        for leaf in jax.tree.leaves(self.params):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def folded(self) -> Self:
        """Returns the network for deployment: fewer layers that compute the same.

        A network that cannot be folded is returned unchanged.
        """
        folded = self.module.fold(self.params) if hasattr(self.module, "fold") else None
        return self if folded is None else replace(self, kwargs=folded[0], params=folded[1])

    def with_params(self, params: Any) -> Self:
        """Returns the same network with other weights."""
        return replace(self, params=params)

    def with_about(self, **about: str) -> Self:
        """Returns the same weights with these facts added."""
        return replace(self, about=self.about | about)
