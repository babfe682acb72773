"""NIQE: how far an image's statistics are from those of natural ones (Mittal et al. 2013).

Y is rounded. After removing the local mean and dividing by the local deviation, the pixels of every
block, and their products with a neighbour, have the shape of an asymmetric generalised Gaussian.
Its parameters at two scales are the block's 36 features. NIQE is the distance between the Gaussian
of these features and that of natural images.
"""

import functools
import math
from pathlib import Path
from typing import Literal

import numpy as np

from kdgan_jax.pictures.colour import luma

Border = Literal["edge", "symmetric"]  # of an image, as `np.pad` extends it

PARAMETERS = Path(__file__).with_name("parameters") / "niqe.safetensors"
BLOCK = 96  # side of a block in pixels; blocks do not overlap, and a rest is left out
SMALLEST = 2 * BLOCK  # side of an image; a covariance needs several blocks
NEIGHBOURS = (0, 1), (1, 0), (1, 1), (1, -1)
# MATLAB's antialiased bicubic that halves: the weights of 8 pixels around the new one.
HALVING = np.array([-6, -18, 58, 222, 222, 58, -18, -6]) / 512
FLAT = 1e-9  # smaller deviations from the local mean, of 255, are none


def distance(image: np.ndarray) -> float:
    """Returns the NIQE of uint8 RGB (H, W, 3) with sides of at least `SMALLEST`; lower is better.

    It is NaN where fewer than two blocks have structure.
    """
    from safetensors.numpy import load_file

    height, width = (side // BLOCK * BLOCK for side in image.shape[:2])
    y = np.round(luma(image[:height, :width]))
    with np.errstate(invalid="ignore", divide="ignore"):  # blocks without structure give NaN
        features = np.hstack([_features(y, BLOCK), _features(_halved(y), BLOCK // 2)])
    whole = features[~np.isnan(features).any(axis=1)]
    if len(whole) < 2:
        return math.nan
    natural = load_file(PARAMETERS)
    shift = natural["mean"] - np.nanmean(features, axis=0)
    covariance = (natural["covariance"] + np.cov(whole, rowvar=False)) / 2
    return float(np.sqrt(shift @ np.linalg.pinv(covariance) @ shift))


def _filtered(image: np.ndarray, weights: np.ndarray, border: Border, step: int = 1) -> np.ndarray:
    """Returns (H / step, W / step): `image` with `weights` applied along both axes."""
    width = (len(weights) - step) // 2
    for _ in range(2):
        rows = len(image)
        padded = np.pad(image, [(width, width), (0, 0)], border)
        shifted = (padded[i : i + rows : step] for i in range(len(weights)))
        image = sum(w * part for w, part in zip(weights, shifted, strict=True)).T
    return image


def _halved(image: np.ndarray) -> np.ndarray:
    return _filtered(image, HALVING, "symmetric", step=2)


def _features(y: np.ndarray, side: int) -> np.ndarray:
    """Returns the features (blocks, 18) of Y on the scale of 0 to 255."""
    gaussian = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    gaussian /= gaussian.sum()
    mean = _filtered(y, gaussian, "edge")
    variance = np.abs(_filtered(np.square(y), gaussian, "edge") - np.square(mean))
    deviation = y - mean
    deviation[np.abs(deviation) < FLAT] = 0  # not the sign of an error of rounding
    normal = deviation / (np.sqrt(variance) + 1)
    rows, columns = (length // side for length in y.shape)
    blocks = normal.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
    shape, left, right = _fitted(blocks)
    features = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:  # cyclic within a block
        shape, left, right = _fitted(blocks * np.roll(blocks, shift, axis=(1, 2)))
        features += [shape, (right - left) * _gamma(2 / shape) / _gamma(1 / shape), left, right]
    return np.stack(features, axis=1)


_gamma = np.vectorize(math.gamma, otypes=[float])


@functools.lru_cache(maxsize=1)
def _shapes() -> tuple[np.ndarray, np.ndarray]:
    """Returns shapes to try, and E[|x|]^2 / E[x^2] of the generalised Gaussian of each."""
    shapes = np.arange(0.2, 10.001, 0.001)
    return shapes, _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))


def _fitted(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (shape, left scale, right scale) of each block's values, by their moments.

    They are those of an asymmetric generalised Gaussian (Lasmar et al. 2009). Without values on a
    side, its scale is NaN, and the shape the least, as in the published programs.
    """
    x = blocks.reshape(len(blocks), -1)
    squares = np.square(x)
    left, right = (
        np.sqrt((squares * side).sum(axis=1) / side.sum(axis=1)) for side in (x < 0, x > 0)
    )
    ratio = left / right
    spread = np.abs(x).mean(axis=1) ** 2 / squares.mean(axis=1)
    spread *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, spreads = _shapes()
    shape = np.array([shapes[np.argmin(np.square(spreads - one))] for one in spread])
    scale = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * scale, right * scale
