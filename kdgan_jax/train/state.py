"""Everything that changes while a phase trains, as one pytree of arrays."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

GENERATOR, ADAPTERS, DISCRIMINATOR = "generator", "adapters", "discriminator"
Optimizers = Mapping[str, optax.GradientTransformation]  # by the names of what trains


@flax.struct.dataclass
class Trained:
    """One thing that trains.

    Attributes:
      params: its parameters.
      others: its other variables by collection, such as the vectors of a spectral norm; a dict.
      optimizer: the state of its optimiser.
    """

    params: Any
    others: Any
    optimizer: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What a Flax module is applied with."""
        return {"params": self.params, **self.others}


@flax.struct.dataclass
class TrainState:
    """State of one phase.

    Attributes:
      step: number of updates made, int32.
      key: the phase's PRNG key, as raw uint32 words; nothing is drawn from it twice.
      networks: what trains, by name: the generator; adapters of losses and the discriminator where
        the phase has them.
      ema: the exponential moving average of the generator's parameters: what is evaluated and
        exported.
    """

    step: Array
    key: Array
    networks: dict[str, Trained]
    ema: Any


def create(key: Array, variables: Mapping[str, Any], optimizers: Optimizers) -> TrainState:
    """Returns the state before the first update; the EMA starts as a copy of the parameters.

    Args:
      key: of the phase.
      variables: {"params": ..., other collections} of everything that trains, by name.
      optimizers: by the same names.
    """
    networks = {}
    for name, own in variables.items():
        others = {kind: tree for kind, tree in own.items() if kind != "params"}
        networks[name] = Trained(own["params"], others, optimizers[name].init(own["params"]))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key),
        networks=networks,
        ema=jax.tree.map(jnp.array, networks[GENERATOR].params),
    )


def to_items(state: TrainState) -> dict[str, Any]:
    """Returns host state as the items of a checkpoint, so that each can be read alone."""
    items = {"ema": state.ema, "loop": {"step": np.asarray(state.step), "key": state.key}}
    for name, trained in state.networks.items():
        items[f"{name}.params"] = trained.params
        items[f"{name}.others"] = trained.others
        items[f"{name}.optimizer"] = trained.optimizer
    return items


def from_items(items: Mapping[str, Any]) -> TrainState:
    """Returns the state of which `to_items` made `items`."""
    names = [name.removesuffix(".params") for name in items if name.endswith(".params")]
    networks = {
        name: Trained(*(items[f"{name}.{part}"] for part in ("params", "others", "optimizer")))
        for name in names
    }
    return TrainState(items["loop"]["step"], items["loop"]["key"], networks, items["ema"])
