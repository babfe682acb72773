"""What all upscalers share: the check of their input, rounding, and self-ensemble."""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike


def checked_image(image: np.ndarray) -> np.ndarray:
    """Returns `image` if it is uint8 or uint16 RGB (h, w, 3) and not empty.

    Raises:
      ValueError: it is something else.
    """
    image = np.asarray(image)
    fits = image.dtype in (np.uint8, np.uint16)
    if not fits or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image is {image.dtype}{image.shape}; upscale takes uint8 RGB (height, width, 3), or"
            " uint16"
        )
    return image


def self_ensemble(predict: Callable[[np.ndarray], np.ndarray], lr: np.ndarray) -> np.ndarray:
    """Returns the mean of `predict` over the eight flips and rotations of `lr`.

    Each result is turned back before averaging. Papers mark it with "+" (Lim et al. 2017, EDSR+).

    Args:
      predict: maps `lr` (h, w, 3) to float (h * scale, w * scale, 3).
      lr: uint8 or uint16 (h, w, 3).
    """
    total: np.ndarray | float = 0.0
    for turns in range(4):
        rotated = np.rot90(lr, turns)
        for flip in (1, -1):
            sr = predict(np.ascontiguousarray(rotated[:, ::flip]))
            total = total + np.rot90(sr[:, ::flip], -turns)
    return np.asarray(total / 8)


def quantise(sr: np.ndarray, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """Returns `sr`, a float image with 1 for white, as integers: clipped, rounded half up."""
    white, rounded = np.iinfo(dtype).max, np.empty(sr.shape, dtype)
    for row, values in zip(rounded, sr, strict=True):  # large images leave no room for copies
        row[:] = np.floor(np.clip(values, 0, 1) * white + 0.5)
    return rounded
