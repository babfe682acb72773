"""Everything that changes while a phase trains, as one pytree of arrays."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from kdgan_jax.models.types import Params

GENERATOR, ADAPTERS, DISCRIMINATOR = "generator", "adapters", "discriminator"
Optimizers = Mapping[str, optax.GradientTransformation]  # by the name of what they train


@flax.struct.dataclass
class Trained:
    """A network, or the parameters of the losses, with its optimiser.

    Attributes:
      params: a tree of arrays.
      others: variables that are not parameters, by Flax collection, such as the vectors of a
        spectral norm; a dict.
      optimizer: the optimiser's state.
    """

    params: Any
    others: Any
    optimizer: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of a Flax module."""
        return {"params": self.params, **self.others}


@flax.struct.dataclass
class TrainState:
    """The state of a phase.

    Attributes:
      step: number of updates made, int32.
      key: the phase's PRNG key as raw uint32 words; it is the same at every step.
      networks: what is trained, by name: the generator and, if the phase has them, the losses'
        adapters and the discriminator.
      ema: exponential moving average of the generator's parameters, which is evaluated and
        exported.
    """

    step: Array
    key: Array
    networks: dict[str, Trained]
    ema: Any


def create(key: Array, variables: Mapping[str, Params], optimizers: Optimizers) -> TrainState:
    """Returns the state before the first update; the EMA starts as a copy of the parameters.

    Args:
      key: the phase's PRNG key.
      variables: {"params": ..., other collections} of everything that is trained, by name.
      optimizers: by the same names.
    """
    networks = {}
    for name, collections in variables.items():
        params = collections["params"]
        others = {kind: tree for kind, tree in collections.items() if kind != "params"}
        networks[name] = Trained(params, others, optimizers[name].init(params))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key),
        networks=networks,
        ema=jax.tree.map(jnp.array, networks[GENERATOR].params),
    )


def to_items(state: TrainState) -> dict[str, Any]:
    """Returns a state on the host as the items of a checkpoint, which can be read one by one."""
    items = {"ema": state.ema, "loop": {"step": np.asarray(state.step), "key": state.key}}
    for name, trained in state.networks.items():
        items[f"{name}.params"] = trained.params
        items[f"{name}.others"] = trained.others
        items[f"{name}.optimizer"] = trained.optimizer
    return items


def from_items(items: Mapping[str, Any]) -> TrainState:
    """Returns the state that `to_items` turned into `items`."""
    names = [name.removesuffix(".params") for name in items if name.endswith(".params")]
    networks = {
        name: Trained(*(items[f"{name}.{part}"] for part in ("params", "others", "optimizer")))
        for name in names
    }
    return TrainState(items["loop"]["step"], items["loop"]["key"], networks, items["ema"])
