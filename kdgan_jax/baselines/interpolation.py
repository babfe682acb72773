"""Interpolation, the baselines without weights: (LR uint8, scale) to SR uint8."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from kdgan_jax.pictures import bicubic


def _pillow(filter: Image.Resampling) -> Callable[[np.ndarray, int], np.ndarray]:
    """Returns Pillow's interpolation; for enlarging it is the textbook's, edges renormalised."""

    def upscale(lr: np.ndarray, scale: int) -> np.ndarray:
        height, width = lr.shape[:2]
        return np.asarray(Image.fromarray(lr).resize((width * scale, height * scale), filter))

    return upscale


def nearest(lr: np.ndarray, scale: int) -> np.ndarray:
    """Returns `lr` (h, w, 3) with every pixel repeated `scale` times in both directions."""
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


BASELINES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "nearest": nearest,
    "bilinear": _pillow(Image.Resampling.BILINEAR),
    "bicubic": bicubic.upscale,  # MATLAB's
    "lanczos": _pillow(Image.Resampling.LANCZOS),  # three lobes
}
