"""Patches cut on the device that holds the photos, inside the compiled train step."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from kdgan_jax.data.batches import Batch
from kdgan_jax.data.buffers import Buffers, square_side, to_image
from kdgan_jax.data.sampling import TURNS, Places, Table, draw


class Arrays(NamedTuple):
    """The arrays of N decoded photos that `batch` reads on the device; see `Buffers`.

    Attributes:
      rows: images by name, (P, 3 * squared enlargement).
      begins: (N,) int32 for each image: every photo's first row, negative where it has none.
      heights: (N,) int32, in LR pixels.
      widths: (N,) int32, in LR pixels.
      present: (N,) bool for each image that some photos lack.
    """

    rows: dict[str, Any]
    begins: dict[str, Any]
    heights: Any
    widths: Any
    present: dict[str, Any]


def arrays(photos: Buffers) -> Arrays:
    """Returns the arrays of decoded photos, to be placed on the device."""
    return Arrays(
        rows=photos.rows,
        begins={name: begins.astype("int32") for name, begins in photos.begins.items()},
        heights=photos.sides[:, 0].astype("int32"),
        widths=photos.sides[:, 1].astype("int32"),
        present=photos.incomplete(),
    )


def batch(
    photos: Arrays, table: Table, seed: int, index: Array, size: int, margin: int = 0
) -> Batch:
    """Returns the patches of samples, with size + 2 * margin LR pixels per side.

    Args:
      photos: on the device.
      table: of the photos, for `size`.
      seed: of the phase.
      index: (B,) uint32, numbers of the samples in the whole run.
      size: side of a patch in LR pixels, without margins.
      margin: LR pixels cut around it on every side; beyond a photo, its edge is repeated.
    """
    places = draw(seed, index, table)
    images = {name: cut(photos, name, places, size, margin) for name in photos.rows}
    valid = {name: present[places.photo] for name, present in photos.present.items()}
    for name, mask in valid.items():
        images[name] = jnp.where(mask[:, None, None, None], images[name], 0)
    return Batch(images.pop("lr"), images, valid, index)


def cut(photos: Arrays, name: str, places: Places, size: int, margin: int = 0) -> Array:
    """Returns the patches of one image at `places`, (n, P, P, 3), flipped and rotated.

    The pixels of patches from photos that lack the image are arbitrary.
    """
    rows, begin = photos.rows[name], photos.begins[name][places.photo]
    width = photos.widths[places.photo]
    if not len(rows):  # no photo has the image, so there are no pixels to index
        side = (size + 2 * margin) * square_side(rows)
        return jnp.zeros((len(places.photo), side, side, 3), rows.dtype)
    if margin:
        height = photos.heights[places.photo]
        upright = _padded(rows, begin, height, width, places, size, margin)
    else:
        upright = _within(rows, begin, width, places, size)
    # On a CPU, selecting pixel by pixel is slow (a tenth of a small student's step); on an
    # accelerator, looping over the images is.
    return jax.lax.platform_dependent(
        upright, places.turn, cpu=_turned_one_by_one, default=jax.vmap(_turned)
    )


def _within(rows: Array, begin: Array, width: Array, places: Places, size: int) -> Array:
    """Returns upright patches (n, P, P, 3) without margins, sliced line by line."""
    lines = places.top[:, None] + jnp.arange(size)
    starts = begin[:, None] + lines * width[:, None] + places.left[:, None]

    def line(start: Array) -> Array:
        return jax.lax.dynamic_slice(rows, (start, 0), (size, rows.shape[1]))

    return to_image(jax.vmap(jax.vmap(line))(starts))


def _padded(
    rows: Array, begin: Array, height: Array, width: Array, places: Places, size: int, margin: int
) -> Array:
    """Returns upright patches with margins, gathered pixel by pixel with the edge repeated."""
    scale = square_side(rows)

    def along(first: Array, length: Array) -> tuple[Array, Array]:
        """Returns LR coordinates, and offsets in their squares, along one side of each patch."""
        pixels = (first[:, None] - margin) * scale + jnp.arange((size + 2 * margin) * scale)
        pixels = jnp.clip(pixels, 0, length[:, None] * scale - 1)
        return pixels // scale, pixels % scale

    y, line = along(places.top, height)
    x, column = along(places.left, width)
    row = begin[:, None, None] + y[:, :, None] * width[:, None, None] + x[:, None, :]
    offset = line[:, :, None] * scale + column[:, None, :]
    # Only the rows of photos that lack the image are out of bounds.
    return rows.reshape(len(rows), scale**2, 3).at[row, offset].get(mode="clip")


def _turned_one_by_one(images: Array, turns: Array) -> Array:
    """Applies `_turned` to images (n, P, P, 3) in a loop."""
    branches = [functools.partial(_turned, turn=turn) for turn in range(TURNS)]
    return jax.lax.map(lambda pair: jax.lax.switch(pair[1], branches, pair[0]), (images, turns))


def _turned(image: Array, turn: Any) -> Array:
    """Applies one of the eight flips and rotations, numbered 0 to 7."""
    image = jnp.where(turn & 1, image[:, ::-1], image)
    image = jnp.where(turn & 2, image[::-1], image)
    return jnp.where(turn & 4, image.transpose(1, 0, 2), image)
