"""What hides under transparency."""

import numpy as np


def filled(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns `pixels` with colours of the nearest visible ones where nothing is visible.

    Files hold any colour there, often black, which a network would draw into what is visible. The
    fill is coarser, the farther it is from the visible pixels (the pull-push of Gortler et al.
    1996, "The Lumigraph").

    Args:
      pixels: (H, W, C) integers.
      alpha: (H, W, 1) integers, 0 where nothing is visible.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    weight = alpha.astype(np.float32)
    colours, weights = [pixels * weight], [weight]
    while not weights[-1].all():
        colours.append(_halved(colours[-1]))
        weights.append(_halved(weights[-1]))
    fill = colours[-1] / weights[-1]
    for colour, weight in zip(colours[-2::-1], weights[-2::-1], strict=True):
        height, width = weight.shape[:2]
        fill = fill.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
        np.divide(colour, weight, out=fill, where=weight > 0)
    return np.where(hidden, np.round(fill).astype(pixels.dtype), pixels)


def _halved(values: np.ndarray) -> np.ndarray:
    """Returns the sums of values (H, W, C) over squares of 2x2."""
    height, width, channels = values.shape
    even = np.pad(values, [(0, height % 2), (0, width % 2), (0, 0)])
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).sum(axis=(1, 3))
