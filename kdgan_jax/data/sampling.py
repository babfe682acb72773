"""Which patch is sample i of a run: a pure function of (seed, i), the same wherever it is traced.

Both pipelines cut what is drawn here: tf.data on the host, and the train step on the accelerator.
Only 32-bit integers are used, so that all devices draw the same.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

TURNS = 8  # flips and rotations


class Places(NamedTuple):
    """Patches: index of the photo, top left corner in LR pixels, flip or rotation; (n,) each."""

    photo: Any
    top: Any
    left: Any
    turn: Any


def table(sides: np.ndarray, size: int, uniform_over: str = "pixels") -> dict[str, np.ndarray]:
    """Returns what `draw` needs of photos with LR `sides` (N, 2) for LR patches of `size`.

    Args:
      sides: at least `size`, below 2**16.
      size: side of a patch in LR pixels.
      uniform_over: "pixels": all places of a patch are equally likely, whatever the photo;
        "images": all photos are.
    """
    free = sides.astype(np.int64) - size + 1
    weights = free[:, 0] * free[:, 1] if uniform_over == "pixels" else np.ones(len(sides), np.int64)
    cut = np.cumsum(weights)[:-1] / weights.sum()
    return {"cuts": np.floor(cut * 2**32).astype(np.uint32), "free": free.astype(np.uint32)}


def draw(seed: int, index: Any, known: dict[str, Any]) -> Places:
    """Returns the places of the samples `index` (n,), uint32.

    A photo's share is off by at most 2**-32.

    Args:
      seed: of the phase.
      index: numbers of samples in the whole run, 32 bits.
      known: of `table`.
    """
    key = jax.random.key(seed, impl="threefry2x32")
    bits = jax.vmap(lambda i: jax.random.bits(jax.random.fold_in(key, i), (4,), jnp.uint32))(index)
    photo = jnp.searchsorted(known["cuts"], bits[:, 0], side="right")
    free = jnp.asarray(known["free"])[photo]
    top, left = _below(free[:, 0], bits[:, 1]), _below(free[:, 1], bits[:, 2])
    return Places(photo, top, left, (bits[:, 3] >> 29).astype(jnp.int32))


def _below(limit: Array, bits: Array) -> Array:
    """Returns floor(limit * bits / 2**32) for limits below 2**16, in 32-bit integers."""
    low = (bits & 0xFFFF) * limit >> 16
    return ((bits >> 16) * limit + low >> 16).astype(jnp.int32)
