"""The place of sample i of a run: a pure function of (seed, i), wherever it is traced.

Both backends, tf.data on the host and the train step on the accelerator, cut at these places. Only
32-bit integers are used, so that all devices draw the same places.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

TURNS = 8  # flips and rotations


class Places(NamedTuple):
    """Where patches are cut, (n,) each.

    Attributes:
      photo: index of the photo.
      top: first line, in LR pixels.
      left: first column, in LR pixels.
      turn: flip or rotation, 0 to 7.
    """

    photo: Any
    top: Any
    left: Any
    turn: Any


class Table(NamedTuple):
    """What `draw` needs to know of N photos.

    Attributes:
      cuts: (N - 1,) uint32, where one photo's share of the 32-bit numbers ends and the next begins.
      free: (N, 2) uint32, the number of tops and of lefts that a patch can have.
    """

    cuts: np.ndarray
    free: np.ndarray


def tabulate(
    sides: np.ndarray,
    size: int,
    uniform_over: str = "pixels",
    weights: Sequence[float] = (),
    entries: np.ndarray | None = None,
) -> Table:
    """Returns the table of photos for LR patches of `size`.

    Args:
      sides: (N, 2) height and width of each LR image, at least `size` and below 2**16.
      size: side of a patch in LR pixels.
      uniform_over: "pixels": all places are equally likely, in whichever photo; "images": all
        photos are equally likely.
      weights: of the entries of the source: their shares of all samples, up to a factor; () to
        draw over the photos of all entries alike.
      entries: (N,) the number of each photo's entry, needed for weights.
    """
    free = sides.astype(np.int64) - size + 1
    shares = free[:, 0] * free[:, 1] if uniform_over == "pixels" else np.ones(len(sides), np.int64)
    if weights:
        assert entries is not None
        shares = np.array(weights)[entries] * (shares / np.bincount(entries, shares)[entries])
    cuts = np.cumsum(shares)[:-1] / shares.sum()
    cuts = np.minimum(np.floor(cuts * 2**32), 2**32 - 1)  # a tiny share may round to nothing
    return Table(cuts.astype(np.uint32), free.astype(np.uint32))


def draw(seed: int, index: Any, table: Table) -> Places:
    """Returns the places of samples; the probability of a photo is exact to 2**-32.

    Args:
      seed: of the phase.
      index: (n,) uint32, numbers of the samples in the whole run.
      table: of the photos.
    """
    key = jax.random.key(seed, impl="threefry2x32")
    bits = jax.vmap(lambda i: jax.random.bits(jax.random.fold_in(key, i), (4,), jnp.uint32))(index)
    photo = jnp.searchsorted(table.cuts, bits[:, 0], side="right")
    free = jnp.asarray(table.free)[photo]
    top, left = _below(free[:, 0], bits[:, 1]), _below(free[:, 1], bits[:, 2])
    return Places(photo, top, left, (bits[:, 3] >> 29).astype(jnp.int32))


def _below(limit: Array, bits: Array) -> Array:
    """Returns floor(limit * bits / 2**32) for limits below 2**16, in 32-bit integers."""
    low = (bits & 0xFFFF) * limit >> 16
    return ((bits >> 16) * limit + low >> 16).astype(jnp.int32)
