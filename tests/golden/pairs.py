"""Pairs of images (H, W, 3) uint8 for which lpips.json has the value of LPIPS."""

from collections.abc import Callable

import numpy as np

from kdgan_jax.data import photos, sources
from kdgan_jax.pictures import bicubic

Pair = tuple[np.ndarray, np.ndarray]


def _noise(shape: tuple[int, int]) -> Pair:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, *shape, 3), np.uint8)
    return first, second


def _enlarged(path: str, top: int, left: int, shape: tuple[int, int]) -> Pair:
    (photo,) = sources.installed([path], 1)
    hr = photos.pixels(photo.hr)[top : top + shape[0], left : left + shape[1]]
    return bicubic.upscale(bicubic.downscale(hr, 4), 4), bicubic.crop_to_multiple(hr, 4)


def _noisy(path: str) -> Pair:
    (photo,) = sources.installed([path], 1)
    hr = photos.pixels(photo.hr)[:256, :256]
    noise = np.random.default_rng(1).normal(0, 20, hr.shape)
    return np.clip(np.round(hr + noise), 0, 255).astype(np.uint8), hr


PAIRS: dict[str, Callable[[], Pair]] = {
    "noise 64x96": lambda: _noise((64, 96)),
    "noise 33x47": lambda: _noise((33, 47)),
    "cat, bicubic": lambda: _enlarged("skimage/data/chelsea.png", 0, 0, (300, 451)),
    "cat, bicubic, odd size": lambda: _enlarged("skimage/data/chelsea.png", 31, 77, (124, 148)),
    "coffee, noisy": lambda: _noisy("skimage/data/coffee.png"),
}
