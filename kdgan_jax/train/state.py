"""Everything that changes while a phase trains, as one pytree of arrays."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array


@flax.struct.dataclass
class TrainState:
    """State of one phase; parts that a phase has no use for are empty dicts.

    Attributes:
      step: number of updates made, int32.
      key: the phase's PRNG key, as raw uint32 words; nothing is drawn from it twice.
      params: the generator's parameters.
      ema: their exponential moving average: what is evaluated and exported.
      optimizer: the generator's optimiser state.
      discriminator: {"params": ..., "optimizer": ...}, or empty.
    """

    step: Array
    key: Array
    params: Any
    ema: Any
    optimizer: Any
    discriminator: Any


def create(
    key: Array,
    params: Any,
    optimiser: optax.GradientTransformation,
    discriminator_params: Any = None,
    discriminator_optimiser: optax.GradientTransformation | None = None,
) -> TrainState:
    """Returns the state before the first update; the EMA starts as a copy of `params`."""
    other: Any = {}
    if discriminator_params is not None and discriminator_optimiser is not None:
        other = {
            "params": discriminator_params,
            "optimizer": discriminator_optimiser.init(discriminator_params),
        }
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(key),
        params=params,
        ema=jax.tree.map(jnp.array, params),
        optimizer=optimiser.init(params),
        discriminator=other,
    )


def to_items(state: TrainState) -> dict[str, Any]:
    """Returns host state as the items of a checkpoint."""
    return {
        "params": state.params,
        "ema": state.ema,
        "optimizer": state.optimizer,
        "discriminator": state.discriminator,
        "loop": {"step": np.asarray(state.step), "key": np.asarray(state.key)},
    }


def from_items(items: dict[str, Any]) -> TrainState:
    """Returns the state of which `to_items` made `items`."""
    rest = {name: items[name] for name in ("params", "ema", "optimizer", "discriminator")}
    return TrainState(step=items["loop"]["step"], key=items["loop"]["key"], **rest)
