"""Enlarges pictures: the one place that decides what a network sees of a picture.

That is RGB of 8 or 16 bits in the picture's own colour space, without what transparency hides.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic, colour, transparency
from kdgan_jax.pictures.picture import Picture

REACH = 8  # LR pixels on each side over which `keep_means` takes means


def enlarged(
    model: Model,
    picture: Picture,
    on_tile: Callable[[], None] = lambda: None,
    *,
    ensemble: bool = False,
    keep_colour: bool = False,
) -> Picture:
    """Returns `picture` enlarged: the network enlarges colours, bicubic enlarges transparency.

    What is grey stays grey, and the bits per sample stay.

    Args:
      model: the network.
      picture: of any kind; the result has the same kind.
      on_tile: called after every tile; not called with `ensemble`.
      ensemble: whether colours are the mean over the eight flips and rotations, which takes eight
        times as long.
      keep_colour: whether means over neighbourhoods are those of `picture`: see `keep_means`.

    Raises:
      UserError: the picture is too small for the network.
    """
    pixels, alpha = picture.pixels, picture.alpha
    if alpha is not None:
        pixels = transparency.filled(pixels, alpha)
        alpha = bicubic.upscale(alpha, model.scale)
    if not ensemble and not keep_colour:
        sr = model.raw(pixels, on_tile=on_tile)
    else:
        predict = partial(model.predict, on_tile=on_tile)
        sr = self_ensemble(model.predict, pixels) if ensemble else predict(pixels)
        if keep_colour:
            sr = keep_means(sr, pixels)
        sr = quantise(sr, pixels.dtype)
    if colour.is_grey(pixels):
        sr = colour.greyed(sr)
    return picture._replace(pixels=sr, alpha=alpha)


def keep_means(sr: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """Returns `sr` with the means of `lr` over neighbourhoods of 2 * `REACH` + 1 LR pixels.

    Args:
      sr: (H, W, 3) float, 1 for white.
      lr: (H / scale, W / scale, 3) integers.
    """
    height, width = lr.shape[:2]
    scale = sr.shape[0] // height
    goal = lr / np.float32(np.iinfo(lr.dtype).max)
    for _ in range(2):  # what is clipped at black and white is missing after the first time
        sr = np.clip(sr, 0, 1)
        means = sr.reshape(height, scale, width, scale, 3).mean(axis=(1, 3))
        sr = sr + _smoothly(_blurred(goal - means), scale)
    return sr


def _blurred(image: np.ndarray) -> np.ndarray:
    """Returns (H, W, C) averaged over squares of 2 * `REACH` + 1, mirrored at the edges."""
    side = 2 * REACH + 1
    for axis in 0, 1:
        padding = [(REACH + (i == axis), REACH) if i == axis else (0, 0) for i in range(3)]
        total = np.pad(image, padding, mode="symmetric").cumsum(axis, dtype=np.float64)
        ends, starts = (np.arange(image.shape[axis]) + k for k in (side, 0))
        image = (total.take(ends, axis) - total.take(starts, axis)) / side
    return image.astype(np.float32)


def _smoothly(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns (H, W, C) enlarged by linear interpolation."""
    for axis in 0, 1:
        size = image.shape[axis]
        place = np.clip((np.arange(size * scale) + 0.5) / scale - 0.5, 0, size - 1)
        low = place.astype(int)
        share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, size - 1)
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image
