"""What upscalers of every kind share: which image they take, rounding, self-ensemble."""

from collections.abc import Callable
from typing import Any

import numpy as np


def checked(image: np.ndarray) -> np.ndarray:
    """Returns `image` if it can be upscaled.

    Raises:
      ValueError: it is not uint8 RGB.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image is {image.dtype}{image.shape}; upscale takes uint8 RGB (height, width, 3)"
        )
    return image


def self_ensemble(predict: Callable[[np.ndarray], np.ndarray], lr: np.ndarray) -> np.ndarray:
    """Returns the mean of `predict` over the eight symmetries of `lr`, each turned back.

    The "+" of papers (Lim et al. 2017, EDSR+). Costs eight predictions.

    Args:
      predict: maps uint8 (h, w, 3) to float (h * scale, w * scale, 3).
      lr: the image.
    """
    total: Any = 0.0
    for turns in range(4):
        turned = np.rot90(lr, turns)
        for flip in (1, -1):
            sr = predict(np.ascontiguousarray(turned[:, ::flip]))
            total = total + np.rot90(sr[:, ::flip], -turns)
    return np.asarray(total / 8)


def quantise(sr: np.ndarray) -> np.ndarray:
    """Returns `sr`, float with 1 for white, as uint8: clipped, rounded half up."""
    return np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8)
