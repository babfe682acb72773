"""Patches cut on the device that the photos lie on, as part of the compiled train step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers, factor, to_image
from kdgan_jax.data.sampling import TURNS, Places, draw


def arrays(photos: Buffers) -> dict[str, Any]:
    """Returns what `batch` reads of the photos, to be placed on the device.

    "there" has an entry (N,) bool for each image that some photos lack: which photos have it.
    """
    return {
        "rows": photos.rows,
        "begins": {name: begins.astype("int32") for name, begins in photos.begins.items()},
        "heights": photos.sides[:, 0].astype("int32"),
        "widths": photos.sides[:, 1].astype("int32"),
        "there": photos.gaps(),
    }


def batch(
    photos: dict[str, Any],
    known: dict[str, Any],
    seed: int,
    index: Array,
    size: int,
    margin: int = 0,
) -> Batch:
    """Returns the patches of the samples `index`, p = size + 2 * margin LR pixels a side.

    Args:
      photos: of `arrays`.
      known: of `sampling.table`, for `size`.
      seed: of the phase.
      index: (B,) uint32, numbers of samples in the whole run.
      size: side of a patch in LR pixels, without margins.
      margin: LR pixels cut around it on every side.
    """
    places = draw(seed, index, known)
    found = {name: cut(photos, name, places, size, margin) for name in photos["rows"]}
    valid = {name: there[places.photo] for name, there in photos["there"].items()}
    for name, there in valid.items():
        found[name] = jnp.where(there[:, None, None, None], found[name], 0)
    return Batch(found.pop("lr"), found, valid, index)


def cut(photos: dict[str, Any], name: str, places: Places, size: int, margin: int = 0) -> Array:
    """Returns the patches of one image at `places`, (n, P, P, 3), turned.

    What comes of a photo that lacks the image is anything.
    """
    rows, begin = photos["rows"][name], photos["begins"][name][places.photo]
    width = photos["widths"][places.photo]
    if not len(rows):  # no photo has it; there is nothing that an index could be clamped to
        side = (size + 2 * margin) * factor(rows)
        return jnp.zeros((len(places.photo), side, side, 3), rows.dtype)
    if margin:
        height = photos["heights"][places.photo]
        upright = _padded(rows, begin, height, width, places, size, margin)
    else:
        upright = _within(rows, begin, width, places, size)
    # A choice for every pixel is slow on a CPU (a tenth of a small student's step), a loop with one
    # for every image on an accelerator.
    return jax.lax.platform_dependent(
        upright, places.turn, cpu=_turned_one_by_one, default=jax.vmap(_turned)
    )


def _within(rows: Array, begin: Array, width: Array, places: Places, size: int) -> Array:
    """Returns upright patches (n, P, P, 3), each line in one piece."""
    lines = places.top[:, None] + jnp.arange(size)
    starts = begin[:, None] + lines * width[:, None] + places.left[:, None]

    def line(start: Array) -> Array:
        return jax.lax.dynamic_slice(rows, (start, 0), (size, rows.shape[1]))

    return to_image(jax.vmap(jax.vmap(line))(starts))


def _padded(
    rows: Array, begin: Array, height: Array, width: Array, places: Places, size: int, margin: int
) -> Array:
    """Returns upright patches with margins, pixel by pixel, repeated beyond a photo's border."""
    scale = factor(rows)

    def along(first: Array, length: Array) -> tuple[Array, Array]:
        """Returns LR pixels, and places in their squares, along one side of each patch."""
        pixels = (first[:, None] - margin) * scale + jnp.arange((size + 2 * margin) * scale)
        pixels = jnp.clip(pixels, 0, length[:, None] * scale - 1)
        return pixels // scale, pixels % scale

    y, line = along(places.top, height)
    x, column = along(places.left, width)
    row = begin[:, None, None] + y[:, :, None] * width[:, None, None] + x[:, None, :]
    place = line[:, :, None] * scale + column[:, None, :]
    # Only rows of photos that lack the image are out of bounds.
    return rows.reshape(len(rows), scale**2, 3).at[row, place].get(mode="clip")


def _turned_one_by_one(images: Array, turns: Array) -> Array:
    """Does what `_turned` does for images (n, P, P, 3)."""
    ways = [functools.partial(_turned, turn=turn) for turn in range(TURNS)]
    return jax.lax.map(lambda one: jax.lax.switch(one[1], ways, one[0]), (images, turns))


def _turned(image: Array, turn: Any) -> Array:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = jnp.where(turn & 1, image[:, ::-1], image)
    image = jnp.where(turn & 2, image[::-1], image)
    return jnp.where(turn & 4, image.transpose(1, 0, 2), image)
