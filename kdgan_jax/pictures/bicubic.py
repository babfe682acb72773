"""MATLAB's bicubic `imresize` for integer factors, bit for bit.

Kernel, antialiasing, symmetric border and rounding after each pass are MATLAB's; files that MATLAB
wrote are reproduced without a differing pixel. Networks that enlarge their input first use
`matrix`, which has the same weights but does not round.
"""

import functools

import numpy as np


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, eq. 15)."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))


@functools.lru_cache(maxsize=256)
def _weights(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights (n, P) float64 and 0-based source indices (n, P) along one axis."""
    n = int(np.ceil(size * scale))
    width = 4 / min(scale, 1.0)
    centre = np.arange(1, n + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centre - width / 2)
    index = left[:, None] + np.arange(int(np.ceil(width)) + 2)
    distance = centre[:, None] - index
    weights = scale * _cubic(scale * distance) if scale < 1 else _cubic(distance)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])  # the edge is repeated
    source = mirrored[np.mod(index - 1, 2 * size).astype(int)]
    used = np.any(weights != 0, axis=0)
    return weights[:, used], source[:, used]


def _resize_rows(image: np.ndarray, scale: float) -> np.ndarray:
    weights, source = _weights(image.shape[0], scale)
    total = np.zeros((len(weights), *image.shape[1:]))
    for column in range(weights.shape[1]):
        total += weights[:, column, None, None] * image[source[:, column]]
    white = np.iinfo(image.dtype).max
    return np.clip(np.floor(total + 0.5), 0, white).astype(image.dtype)  # half up, not half to even


def _imresize(image: np.ndarray, scale: float) -> np.ndarray:
    rows = _resize_rows(image, scale)
    return _resize_rows(rows.swapaxes(0, 1), scale).swapaxes(0, 1)


def crop_to_multiple(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns `image` (H, W, C) cropped at the bottom and the right to multiples of `scale`."""
    height, width = (side - side % scale for side in image.shape[:2])
    return image[:height, :width]


def downscale(hr: np.ndarray, scale: int) -> np.ndarray:
    """Returns the LR image (H // scale, W // scale, C) of `hr`, both uint8 or both uint16.

    `hr` (H, W, C) is first cropped to a multiple of `scale`, an integer of at least 1.
    """
    return np.ascontiguousarray(_imresize(crop_to_multiple(hr, scale), 1 / scale))


def upscale(lr: np.ndarray, scale: int) -> np.ndarray:
    """Returns `lr` (h, w, C) enlarged to (h * scale, w * scale, C), both uint8 or uint16."""
    return np.ascontiguousarray(_imresize(lr, float(scale)))


@functools.lru_cache(maxsize=256)
def matrix(size: int, scale: int) -> np.ndarray:
    """Returns the float32 matrix (size * scale, size) that enlarges one axis, unrounded."""
    weights, source = _weights(size, float(scale))
    dense = np.zeros((len(weights), size))
    np.add.at(dense, (np.arange(len(weights))[:, None], source), weights)
    return dense.astype(np.float32)
