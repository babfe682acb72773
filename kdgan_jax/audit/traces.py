"""Traces of earlier processing in a photo's pixels: JPEG's blocks, enlargement.

Thresholds were set on 268 photos of the training folder (a third of BSDS500 and all others), never
on a benchmark set. Rates below are for photos of at least 64 pixels a side.

Blocks. Photos reduced to 0.55 by Pillow, saved as JPEG of quality 30, 50, 75, 90 and decoded: 99.6,
99.2, 95.4, 63.1 % found; the 45 lossless photos, not reduced: 100, 100, 97.8, 75.6 %. False alarms:
0.4 % of photos reduced to 0.55, 0.8 % of photos reduced to a half, none of the 45.

Enlargement. MATLAB's bicubic x2, x3, x4: 100, 99.3, 100 % found; Pillow's Lanczos and bilinear x2
and x4: 100 %; bicubic x1.5: 25 %; nearest neighbour x2: 28 %; bicubic x2, then JPEG of quality 75:
75 %. False alarms: none of 534 photos, of 524 reduced ones, and of 1,494 JPEGs made of those.

Drawings, text and pixel art have few edges, which make some columns rougher than others by chance.
They are told by their flat areas, where neighbours are equal, and not judged: at least 51 % of the
pixels of 140 lossless ones; 48 % or less of their JPEGs of quality 50 and 90; of 106 photos, 20 %
or less, and of their JPEGs of quality 30, 36 % or less but for one.
"""

import itertools
from typing import NamedTuple

import numpy as np

_LARGEST = 1024  # most pixels of a side that are examined, to save memory and time
_SMALLEST = 64  # smaller photos have too few blocks and frequencies
_WINDOW = 128  # side of a window of the spectrum
_BANDS = (1 / 32, 1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 0.501)  # cycles per pixel
_EMPTY = 0.085  # relative to the power of the band below
_UNEVEN, _UNEVEN_IN_BLOCKS = 1.12, 1.25  # JPEG's blocks, too, make even and odd columns differ
_BLOCKS_EACH, _BLOCKS = 1.03, 1.07
_DRAWN = 0.5  # share of pixels that equal their neighbours


class Traces(NamedTuple):
    """How a photo was processed before."""

    blocks: bool  # as JPEG: 8x8 blocks show, wherever they begin
    enlarged: bool  # by a factor of 2 or more


def middle(image: np.ndarray) -> np.ndarray:
    """Returns the part of `image` (H, W, C) to examine: a view of its middle 1024x1024 pixels."""
    height, width = image.shape[:2]
    top, left = (max(side - _LARGEST, 0) // 2 for side in (height, width))
    return image[top : top + _LARGEST, left : left + _LARGEST]


def _roughness(luma: np.ndarray) -> list[np.ndarray]:
    """Returns the mean third difference at each of 8 phases (8,), of columns and of rows.

    It is large where neither side continues smoothly: between two blocks, and midway between two
    pixels that were interpolated from the same ones.
    """
    phases = []
    for y in (luma, luma.T):
        difference = np.abs(y[:, :-3] - 3 * y[:, 1:-2] + 3 * y[:, 2:-1] - y[:, 3:])
        columns = np.minimum(difference, 16).mean(axis=0)  # so that edges do not dominate
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
    """Returns the ratio of even and odd phases, each taken away from block borders."""
    even, odd = (np.sort(phases[start::2])[:2].mean() for start in (0, 1))
    return float(max(even, odd) / min(even, odd))


def _band_powers(luma: np.ndarray) -> np.ndarray:
    """Returns the power density (7,) of `luma` in each of `_BANDS`, averaged over windows.

    A band's value is its median, which a regular pattern does not change.
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


def _is_drawn(luma: np.ndarray) -> bool:
    """Returns whether most pixels equal those to their right and below, as in a drawing."""
    inner = luma[:-1, :-1]
    return bool(((inner == luma[:-1, 1:]) & (inner == luma[1:, :-1])).mean() > _DRAWN)


def look(luma: np.ndarray) -> Traces:
    """Returns the traces in `luma` (H, W), from 0 to 255.

    Images below 64 pixels a side and lossless drawings show none.

    Enlargement by 2 makes every other column rougher than its neighbours. Enlargement by any factor
    makes the spectrum drop to almost nothing from one band to the next; that of a photo does not.
    """
    if min(luma.shape) < _SMALLEST or _is_drawn(luma):
        return Traces(False, False)
    columns, rows = _roughness(luma)
    blocks = _has_blocks(columns, rows)
    powers = _band_powers(luma)
    if powers[0] < 10:  # nearly flat: rounding to 8 bits alone has 1/12
        return Traces(blocks, False)
    uneven = min(_unevenness(columns), _unevenness(rows))
    drops = (powers[1:] / powers[:-1]).min() < _EMPTY
    limit = _UNEVEN_IN_BLOCKS if blocks else _UNEVEN
    return Traces(blocks, uneven > limit or bool(drops))
