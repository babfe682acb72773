"""Traces in the pixels of what was done to a photo: JPEG's blocks, enlargement.

Thresholds were set on 268 photos of the training folder (a third of BSDS500, all others), never on
a benchmark set. Rates, of those with 64 pixels and more a side:

Blocks, photos reduced to 0.55 by Pillow, saved as JPEG of quality 30, 50, 75, 90 and decoded: 99.6,
99.2, 95.4, 63.1 % found; of the 45 lossless photos, not reduced: 100, 100, 97.8, 75.6 %. False
alarms: 0.4 % of those reduced to 0.55, 0.8 % of those reduced to a half, none of the 45.

Enlarged by MATLAB's bicubic x2, x3, x4: 100, 99.3, 100 % found; by Pillow's Lanczos and bilinear x2
and x4: 100 %; bicubic x1.5: 25 %; nearest neighbour x2: 28 %; bicubic x2, then JPEG of quality 75:
75 %. False alarms: none of the 534 photos, of 524 reduced ones, and of 1,494 of them as JPEG.
"""

import itertools
from typing import NamedTuple

import numpy as np

_LARGEST = 1024  # pixels of a side that are looked at; memory and time
_SMALLEST = 64  # below, there are too few blocks and frequencies to tell
_WINDOW = 128  # of the spectrum
_BANDS = (1 / 32, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 0.501)  # cycles per pixel
_EMPTY = 0.085  # of the power of the band below
_UNEVEN, _UNEVEN_IN_BLOCKS = 1.12, 1.25  # JPEG's blocks make even and odd columns differ, too
_BLOCKS_EACH, _BLOCKS = 1.03, 1.07


class Traces(NamedTuple):
    """What was done to a photo before."""

    blocks: bool  # it was a JPEG, its 8x8 blocks show, wherever they begin
    enlarged: bool  # by 2 or more


def middle(image: np.ndarray) -> np.ndarray:
    """Returns the part of `image` (H, W, C) that is worth looking at, a view of 1024x1024."""
    height, width = image.shape[:2]
    top, left = (max(side - _LARGEST, 0) // 2 for side in (height, width))
    return image[top : top + _LARGEST, left : left + _LARGEST]


def _roughness(luma: np.ndarray) -> list[np.ndarray]:
    """Returns for columns and rows, and each of 8 phases, the mean third difference (8,).

    It is large where neither neighbour continues smoothly: between two blocks, and in the middle
    between two pixels that were interpolated from the same ones.
    """
    phases = []
    for y in (luma, luma.T):
        difference = np.abs(y[:, :-3] - 3 * y[:, 1:-2] + 3 * y[:, 2:-1] - y[:, 3:])
        columns = np.minimum(difference, 16).mean(axis=0)  # edges of things shall not outweigh
        whole = len(columns) // 8 * 8
        phases.append(columns[:whole].reshape(-1, 8).mean(axis=0) + 1e-6)
    return phases


def _step(phases: np.ndarray) -> float:
    """Returns how much rougher one phase of 8 is than those 2, 4 and 6 columns away."""
    place = int(np.argmax(phases - np.roll(phases, 4)))
    return float(phases[place] / max(phases[(place + k) % 8] for k in (2, 4, 6)))


def _has_blocks(columns: np.ndarray, rows: np.ndarray) -> bool:
    each = _step(columns), _step(rows)
    return min(each) > _BLOCKS_EACH and (each[0] * each[1]) ** 0.5 > _BLOCKS


def _unevenness(phases: np.ndarray) -> float:
    """Returns how much even and odd phases differ, each taken where blocks do not reach."""
    even, odd = (np.sort(phases[start::2])[:2].mean() for start in (0, 1))
    return float(max(even, odd) / min(even, odd))


def _band_powers(luma: np.ndarray) -> np.ndarray:
    """Returns the power density (7,) of `luma` in each of `_BANDS`, the mean over many windows.

    Of a band it is the median, which a regular pattern does not move.
    """
    side = min(_WINDOW, *luma.shape) // 2 * 2
    window = np.hanning(side + 2)[1:-1]
    window = window[:, None] * window
    starts = [
        np.linspace(0, length - side, int(np.clip(round(length / side), 1, 8))).astype(int)
        for length in luma.shape
    ]
    power = np.zeros((side, side // 2 + 1))
    for top in starts[0]:
        for left in starts[1]:
            part = luma[top : top + side, left : left + side]
            power += np.abs(np.fft.rfft2((part - part.mean()) * window)) ** 2
    power /= len(starts[0]) * len(starts[1]) * (window**2).sum()
    frequency = np.maximum(np.abs(np.fft.fftfreq(side))[:, None], np.fft.rfftfreq(side))
    bands = itertools.pairwise(_BANDS)
    return np.array(
        [np.median(power[(frequency >= low) & (frequency < high)]) for low, high in bands]
    )


def look(luma: np.ndarray) -> Traces:
    """Returns what can be told of `luma` (H, W), of 0 to 255; of small images, nothing.

    Enlarged by 2, every other column is rougher than its neighbours; by any other factor, the
    spectrum falls to nearly nothing from one band to the next, which that of photos does not.
    """
    if min(luma.shape) < _SMALLEST:
        return Traces(False, False)
    columns, rows = _roughness(luma)
    blocks = _has_blocks(columns, rows)
    powers = _band_powers(luma)
    if powers[0] < 10:  # nearly flat: little above the rounding to 8 bits, of density 1/12
        return Traces(blocks, False)
    uneven = min(_unevenness(columns), _unevenness(rows))
    falls = (powers[1:] / powers[:-1]).min() < _EMPTY
    limit = _UNEVEN_IN_BLOCKS if blocks else _UNEVEN
    return Traces(blocks, uneven > limit or bool(falls))
