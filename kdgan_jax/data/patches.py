"""Patches cut on the device that the photos lie on, as part of the compiled train step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.data.buffers import Buffers, to_image
from kdgan_jax.data.sampling import TURNS, Places, draw


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

    upright = to_image(jax.vmap(jax.vmap(line))(starts))
    # A choice for every pixel is slow on a CPU (a tenth of a small student's step), a loop with one
    # for every image on an accelerator.
    return jax.lax.platform_dependent(
        upright, places.turn, cpu=_turned_one_by_one, default=jax.vmap(_turned)
    )


def _turned_one_by_one(images: Array, turns: Array) -> Array:
    """Does what `_turned` does for images (n, P, P, 3)."""
    ways = [functools.partial(_turned, turn=turn) for turn in range(TURNS)]
    return jax.lax.map(lambda one: jax.lax.switch(one[1], ways, one[0]), (images, turns))


def _turned(image: Array, turn: Any) -> Array:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = jnp.where(turn & 1, image[:, ::-1], image)
    image = jnp.where(turn & 2, image[::-1], image)
    return jnp.where(turn & 4, image.transpose(1, 0, 2), image)
