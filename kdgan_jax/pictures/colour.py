"""Grey, and BT.601 studio-range YCbCr as MATLAB's rgb2ycbcr and super-resolution papers use it.

Arrays of YCbCr are NumPy or JAX, channels last, RGB in [0, 1]; Y then lies in [16/255, 235/255].
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax  # checking photos does not import it

Array = TypeVar("Array", np.ndarray, "jax.Array")

# Rows give Y, Cb, Cr of R, G, B (ITU-R BT.601-7, scaled to 8 bits: 219 and 224 steps).
YCBCR_FROM_RGB = (
    np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]],
        np.float64,
    )
    / 255
)
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0], np.float64) / 255
RGB_FROM_YCBCR = np.linalg.inv(YCBCR_FROM_RGB)
SPARSE = 16  # distance of the pixels that are looked at first


def _offset(ycbcr: "np.ndarray | jax.Array") -> np.ndarray:
    """Returns the offset in the dtype of `ycbcr`, with as many axes."""
    return YCBCR_OFFSET.astype(ycbcr.dtype).reshape((1,) * (ycbcr.ndim - 1) + (3,))


def _mix(colours: Array, matrix: np.ndarray) -> Array:
    """Applies `matrix` to the last axis; not by @, which GPUs compute in reduced precision."""
    return (colours[..., None, :] * matrix.astype(colours.dtype)).sum(axis=-1)


def rgb_to_ycbcr(rgb: Array) -> Array:
    """Returns YCbCr (..., 3) of `rgb` (..., 3) in [0, 1], in the dtype of `rgb`."""
    return _mix(rgb, YCBCR_FROM_RGB) + _offset(rgb)


def ycbcr_to_rgb(ycbcr: Array) -> Array:
    """Returns RGB (..., 3) of `ycbcr` (..., 3), the inverse of `rgb_to_ycbcr`."""
    return _mix(ycbcr - _offset(ycbcr), RGB_FROM_YCBCR)


def luma(rgb_u8: np.ndarray) -> np.ndarray:
    """Returns unrounded Y (H, W) float64 on the 0 to 255 scale of uint8 RGB (H, W, 3)."""
    r, g, b = (rgb_u8[..., i].astype(np.float64) for i in range(3))
    return 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255


def is_grey(pixels: np.ndarray) -> bool:
    """Returns whether an image (H, W, 3) uint8 or uint16 is grey, but for what JPEG does to it.

    The three channels then differ by at most 2 of 255 everywhere.
    """
    most = np.iinfo(pixels.dtype).max // 255 * 2
    for part in (pixels[::SPARSE, ::SPARSE], pixels):  # a few pixels tell most images of colour
        low, high = np.minimum.reduce(part, axis=-1), np.maximum.reduce(part, axis=-1)
        if (high - low > most).any():
            return False
    return True


def greyed(image: np.ndarray) -> np.ndarray:
    """Returns an image (H, W, 3) of integers with the mean of the channels in each, rounded."""
    mean = (image.sum(axis=-1, keepdims=True, dtype=np.uint32) + 1) // 3
    return np.repeat(mean.astype(image.dtype), 3, axis=-1)
