"""Interpolation: baselines without weights, from (LR uint8, scale) to SR uint8."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from kdgan_jax.pictures import bicubic

Interpolation = Callable[[np.ndarray, int], np.ndarray]


def _pillow(resampling: Image.Resampling) -> Interpolation:
    """Returns one of Pillow's interpolations, whose weights are renormalised at the edges."""

    def upscale(lr: np.ndarray, scale: int) -> np.ndarray:
        height, width = lr.shape[:2]
        size = width * scale, height * scale
        return np.asarray(Image.fromarray(lr).resize(size, resampling))

    return upscale


def nearest(lr: np.ndarray, scale: int) -> np.ndarray:
    """Returns `lr` (h, w, 3) with every pixel repeated `scale` times in both directions."""
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


BASELINES: dict[str, Interpolation] = {
    "nearest": nearest,
    "bilinear": _pillow(Image.Resampling.BILINEAR),
    "bicubic": bicubic.upscale,  # MATLAB's
    "lanczos": _pillow(Image.Resampling.LANCZOS),  # three lobes
}
