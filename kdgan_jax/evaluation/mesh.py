"""Mesh: a pattern with a period of 2 or 4 pixels, which small networks leave in flat parts.

A pixel shuffle gives every place in a block of pixels its own filter. Where these disagree, the
image repeats every 4 or 2 pixels, and its spectrum has peaks at these periods.
"""

import numpy as np

from kdgan_jax.pictures.colour import luma

SMALLEST = 48  # side of an image in pixels; in smaller ones, the surroundings of peaks overlap
REACH = 8  # frequencies on each side of a peak that are looked at
LEAST = 1e-12, 1e-9  # added to the surroundings' power; the least ratio


def excess(image: np.ndarray) -> float:
    """Returns how far Y of uint8 RGB (H, W, 3) exceeds its surroundings at periods 2 and 4.

    It is the logarithm to base 10 of the power at such a frequency over that of the frequencies
    around it, of the worst of the eight. Most photos have 0 to 0.5, and a flat image -9.
    """
    height, width = (side // 8 * 8 for side in image.shape[:2])
    y = luma(image[:height, :width])
    spectrum = _waves(height) @ (y - y.mean()) @ _waves(width).T
    places = 2 * REACH + 1
    power = np.square(np.abs(spectrum)).reshape(3, places, 3, places)
    distance = np.abs(np.arange(-REACH, REACH + 1))
    distance = np.maximum(distance[:, None], distance)
    peak, around = (
        np.einsum("yixj,ij->yx", power, near / near.sum()) for near in (distance <= 1, distance > 4)
    )
    ratio = peak / (around + LEAST[0])
    ratio[0, 0] = 0  # the image's mean
    return float(np.log10(max(ratio.max(), LEAST[1])))


def _waves(size: int) -> np.ndarray:
    """Returns the windowed waves (51, size) around the frequencies 0, 1/4 and 1/2."""
    frequencies = np.arange(-REACH, REACH + 1) + np.array([[0], [size // 4], [size // 2]])
    phases = np.outer(frequencies, np.arange(size)) % size
    return np.exp(-2j * np.pi / size * phases) * np.hanning(size)
