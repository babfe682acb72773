"""Patches cut on the device that the photos lie on, as part of the compiled train step."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.data.buffers import Buffers, to_image
from kdgan_jax.data.sampling import Places, draw


def arrays(photos: Buffers) -> dict[str, Any]:
    """Returns what `batch` reads of the photos, to be placed on the device."""
    return {
        "rows": photos.rows,
        "begins": photos.begins.astype("int32"),
        "widths": photos.sides[:, 1].astype("int32"),
    }


def batch(
    photos: dict[str, Any], known: dict[str, Any], seed: int, index: Array, size: int
) -> dict[str, Array]:
    """Returns the patches of the samples `index` (n,), by the names of the photos' images, uint8.

    Args:
      photos: of `arrays`.
      known: of `sampling.table`.
      seed: of the phase.
      index: numbers of samples in the whole run, uint32.
      size: side of a patch in LR pixels.
    """
    places = draw(seed, index, known)
    return {name: cut(rows, photos, places, size) for name, rows in photos["rows"].items()}


def cut(rows: Array, photos: dict[str, Any], places: Places, size: int) -> Array:
    """Returns the patches of one image at `places`, (n, P, P, 3), turned."""
    begin, width = photos["begins"][places.photo], photos["widths"][places.photo]
    lines = places.top[:, None] + jnp.arange(size)
    starts = begin[:, None] + lines * width[:, None] + places.left[:, None]

    def line(start: Array) -> Array:
        return jax.lax.dynamic_slice(rows, (start, 0), (size, rows.shape[1]))

    return jax.vmap(_turned)(to_image(jax.vmap(jax.vmap(line))(starts)), places.turn)


def _turned(image: Array, turn: Array) -> Array:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = jnp.where(turn & 1, image[:, ::-1], image)
    image = jnp.where(turn & 2, image[::-1], image)
    return jnp.where(turn & 4, image.transpose(1, 0, 2), image)
