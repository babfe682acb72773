"""Finds the same picture twice among small thumbnails: resized, recompressed, mirrored or turned.

Pictures are alike where their 16x16 grey thumbnails correlate above 0.9 and, so that two skies are
not one, the detail of their 64x64 thumbnails above 0.4 at some shift of up to 2 thumbnail pixels.

Measured on the 534 photos of the training folder: copies that are found are 100 % of those saved as
JPEG of quality 30 (mirrored or not), halved (turned or not), brightened, or cropped by 1 or 2 %;
99.4 % cropped by 3 %, 51 % by 5 %; 99.8 % reduced to a quarter. Of 6,000 pairs of different photos
the detail correlates 0.19 at most; no pair of all 142,311 was taken for a copy, in any turn.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SIDE = 64  # of a thumbnail
_COARSE, _DETAIL, _SHIFT = 0.9, 0.4, 2
_FLAT = 1.0  # standard deviation, of 255, below which there is nothing to compare

# What was done to a picture, and how to undo it in an array (..., SIDE, SIDE).
_TURNS = {
    "": lambda a: a,
    "mirrored": lambda a: a[..., ::-1],
    "upside down": lambda a: a[..., ::-1, :],
    "turned by 180 degrees": lambda a: a[..., ::-1, ::-1],
    "transposed": lambda a: a.swapaxes(-1, -2),
    "turned right": lambda a: a.swapaxes(-1, -2)[..., ::-1, :],
    "turned left": lambda a: a.swapaxes(-1, -2)[..., ::-1],
    "turned and mirrored": lambda a: a.swapaxes(-1, -2)[..., ::-1, ::-1],
}


class Match(NamedTuple):
    """Two pictures that are alike, by their indices."""

    first: int
    second: int
    turn: str  # what was done to the first to get the second: empty, or as in `_TURNS`
    correlation: float  # of their detail, above 0.4


class Copy(NamedTuple):
    """A picture that is one before it: indices of both, and how alike they are, in words."""

    later: int
    earlier: int
    how: str


def _average(rows: np.ndarray) -> np.ndarray:
    """Returns the means (SIDE, W) of `rows` (H, W) over SIDE equal stretches, in parts of pixels.

    No matrix product: its threads would fight with those that decode.
    """
    total = np.pad(np.cumsum(rows, axis=0), [(1, 1), (0, 0)], mode="edge")
    total[0] = 0
    edges = np.linspace(0, len(rows), SIDE + 1)
    whole = edges.astype(int)
    part = (edges - whole)[:, None]
    return np.diff(total[whole] * (1 - part) + total[whole + 1] * part, axis=0) * SIDE / len(rows)


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Returns the grey uint8 (SIDE, SIDE) thumbnail of uint8 `rgb` (H, W, 3), of any shape."""
    # First by whole pixels, to at least four times the size: the rest is then small.
    y, x = (max(side // (4 * SIDE), 1) for side in rgb.shape[:2])
    height, width = rgb.shape[0] // y, rgb.shape[1] // x
    blocks = rgb[: height * y, : width * x].reshape(height, y, width, x, 3)
    grey = (blocks.mean(axis=(1, 3)) * (0.299, 0.587, 0.114)).sum(axis=-1)
    return np.round(_average(_average(grey).T).T).astype(np.uint8)


def _coarse(thumbs: np.ndarray) -> np.ndarray:
    """Returns unit vectors (N, 256) float32 of thumbnails (N, SIDE, SIDE); zero for flat ones."""
    small = thumbs.astype(np.float32).reshape(-1, 16, SIDE // 16, 16, SIDE // 16).mean(axis=(2, 4))
    flat = small.reshape(-1, 256) - small.mean(axis=(1, 2))[:, None]
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > _FLAT * 16, flat / np.maximum(norm, 1e-6), 0).astype(np.float32)


def _detail(thumb: np.ndarray) -> np.ndarray:
    """Returns a thumbnail (SIDE, SIDE) less its mean over 5x5 pixels, float32."""
    padded = np.pad(thumb.astype(np.float32), 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return thumb - windows.mean(axis=(2, 3))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - first.mean(), second - second.mean()
    if min(a.std(), b.std()) < _FLAT:
        return 0.0
    return float((a * b).mean() / (a.std() * b.std()))


def detail_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how far the detail of two thumbnails (SIDE, SIDE) agrees at the best small shift."""
    still, moved = _detail(first)[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT], _detail(second)
    height, width = still.shape
    shifts = [(y, x) for y in range(2 * _SHIFT + 1) for x in range(2 * _SHIFT + 1)]
    return max(_correlation(still, moved[y : y + height, x : x + width]) for y, x in shifts)


def matches(firsts: np.ndarray, seconds: np.ndarray | None = None) -> Iterator[Match]:
    """Yields the pictures of `firsts` that are alike with one of `seconds`, in order.

    Args:
      firsts: thumbnails (N, SIDE, SIDE) uint8.
      seconds: thumbnails (M, SIDE, SIDE) uint8; by default the later ones of `firsts`.
    """
    among = seconds is None
    seconds = firsts if seconds is None else seconds
    turned = {turn: _coarse(apply(seconds)) for turn, apply in _TURNS.items()}
    vectors = _coarse(firsts)
    for start in range(0, len(vectors), 512):  # blocks: all pairs at once would not fit
        found: dict[tuple[int, int], Match] = {}
        for turn, others in turned.items():
            rows, columns = np.nonzero(vectors[start : start + 512] @ others.T > _COARSE)
            for first, second in zip((rows + start).tolist(), columns.tolist(), strict=True):
                if among and second <= first:
                    continue
                value = detail_correlation(firsts[first], _TURNS[turn](seconds[second]))
                known = found.get((first, second))
                if value > max(_DETAIL, known.correlation if known else 0):
                    found[first, second] = Match(first, second, turn, value)
        yield from (found[pair] for pair in sorted(found))


def copies(digests: Sequence[str], thumbs: Sequence[np.ndarray]) -> list[Copy]:
    """Returns the pictures that are, or nearly are, an earlier one; each is named once.

    Args:
      digests: equal where all pixels are.
      thumbs: thumbnails (SIDE, SIDE) uint8.
    """
    first_of: dict[str, int] = {}
    found: dict[int, Copy] = {}
    for index, digest in enumerate(digests):
        first = first_of.setdefault(digest, index)
        if first != index:
            found[index] = Copy(index, first, "has the same pixels as")
    once = list(first_of.values())
    if len(once) > 1:
        for match in matches(np.stack([thumbs[index] for index in once])):
            turn = f" ({match.turn})" if match.turn else ""
            later, earlier = once[match.second], once[match.first]
            how = f"is nearly the same picture{turn} as"
            found.setdefault(later, Copy(later, earlier, how))
    return [found[index] for index in sorted(found)]
