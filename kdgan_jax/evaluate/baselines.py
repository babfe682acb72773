"""Interpolation, the baselines without weights: (LR uint8, scale) to SR uint8."""

from collections.abc import Callable

import numpy as np

from kdgan_jax import bicubic


def nearest(lr: np.ndarray, scale: int) -> np.ndarray:
    """Returns `lr` (h, w, 3) with every pixel repeated `scale` times in both directions."""
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


BASELINES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "nearest": nearest,
    "bicubic": bicubic.upscale,
}
