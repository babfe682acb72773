"""Pillow's Lanczos, for sizes that no network gives."""

import numpy as np
from PIL import Image

from kdgan_jax.pictures.picture import Picture


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """Returns a picture of `size` (height, width); of the same kind.

    Colours and transparency are resized apart, so nothing may hide under transparency that is not
    to be seen: see `transparency.filled`.
    """
    if picture.pixels.shape[:2] == size:
        return picture
    alpha = None if picture.alpha is None else _resized(picture.alpha, size)
    return picture._replace(pixels=_resized(picture.pixels, size), alpha=alpha)


def _resized(samples: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (H, W, C) of uint8 or uint16 in another size, channel by channel."""
    result = np.empty((*size, samples.shape[2]), samples.dtype)
    is_deep = samples.dtype == np.uint16
    for channel in range(samples.shape[2]):
        plane = np.ascontiguousarray(samples[..., channel])
        # Pillow's own resampling of 16 bits is off by thousands.
        image = Image.fromarray(plane.astype(np.float32) if is_deep else plane)
        found = np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))
        result[..., channel] = np.clip(np.floor(found + 0.5), 0, 65535) if is_deep else found
    return result
