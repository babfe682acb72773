"""Running a network on an image of any size, in tiles of few sizes.

Inside a tile, farther from its seams than the receptive radius, a network that sees only a
neighbourhood gives exactly what it gives on the whole image. The outermost tiles are flush with the
image's edges, so the network pads there as it would pad the image. Few sizes mean few compilations,
and memory holds the features of few tiles beside the image and the result.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """A tile along one axis: its first pixel, its length, and the part of it that is kept."""

    start: int
    size: int
    keep_from: int
    keep_to: int


class Tiling(NamedTuple):
    """How an image is cut.

    Attributes:
      tile: side of a tile in pixels; a multiple of `grid`, and at least 2 * margin + grid.
      margin: receptive radius of the network in pixels.
      grid: tiles start at multiples of it, for a network that gathers squares of this side.
      largest: if it is not 0, sides of images longer than `tile` are cut into the fewest tiles that
        are at most this long, equal, and multiples of `SHARED`; these may be shorter than `tile`.
    """

    tile: int
    margin: int
    grid: int = 1
    largest: int = 0


SHARED = 16  # images of many sizes share tiles of few sizes
WHOLE = Tiling(sys.maxsize, 0)


def spans(size: int, tiling: Tiling) -> list[Span]:
    """Returns the tiles that cover `size` pixels; their kept parts cover each pixel once.

    All tiles have one size; only the last is smaller if the grid does not let it end at the edge.

    Raises:
      ValueError: the tile has no room inside its margins.
    """
    margin, grid = tiling.margin, tiling.grid
    tile = _side(size, tiling)
    if size <= tile:
        return [Span(0, size, 0, size)]
    stride = (tile - 2 * margin) // grid * grid
    if stride < 1:
        raise ValueError(
            f"tile={tile} is too small for margin={margin} and grid={grid}; it must be at least"
            f" {2 * margin + grid}"
        )
    last = -(-(size - tile) // grid) * grid
    starts = [*range(0, last, stride), last]
    seams = [0, *(start + margin for start in starts[1:]), size]
    return [
        Span(start, min(tile, size - start), seams[i] - start, seams[i + 1] - start)
        for i, start in enumerate(starts)
    ]


def _side(size: int, tiling: Tiling) -> int:
    """Returns the side of the tiles along an axis of `size` pixels."""
    if size <= tiling.tile or not tiling.largest:
        return tiling.tile
    step = math.lcm(SHARED, tiling.grid)
    for number in range(1, size):
        side = -(-(size + (number - 1) * 2 * tiling.margin) // (number * step)) * step
        if side <= min(size, tiling.largest):
            return side
    return tiling.tile


def positions(shape: tuple[int, int], tiling: Tiling) -> Iterator[tuple[Span, Span]]:
    """Yields (rows, columns) of every tile of an image of `shape` (h, w)."""
    for rows in spans(shape[0], tiling):
        for columns in spans(shape[1], tiling):
            yield rows, columns


def _batches(tiles: Iterable[tuple[Span, Span]], batch: int) -> Iterator[list[tuple[Span, Span]]]:
    """Yields lists of at most `batch` tiles of equal size."""
    by_size: dict[tuple[int, int], list[tuple[Span, Span]]] = {}
    for rows, columns in tiles:
        by_size.setdefault((rows.size, columns.size), []).append((rows, columns))
    for equal in by_size.values():
        for start in range(0, len(equal), batch):
            yield equal[start : start + batch]


def run(
    predict: Callable[[np.ndarray], np.ndarray],
    lr: np.ndarray,
    *,
    scale: int,
    tiling: Tiling,
    batch: int = 1,
    on_tile: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Returns the network's image (h * scale, w * scale, C) of `lr` (h, w, C), tile by tile.

    Args:
      predict: maps tiles (n, a, b, C) to (n, a * scale, b * scale, C), any dtype.
      lr: the image.
      scale: the network's factor.
      tiling: how `lr` is cut.
      batch: n, unless the image is a single tile; then n is 1.
      on_tile: called after every tile.
    """
    sr: np.ndarray | None = None
    tiles = list(positions(lr.shape[:2], tiling))
    batch = batch if len(tiles) > 1 else 1
    for group in _batches(tiles, batch):
        parts = [lr[r.start : r.start + r.size, c.start : c.start + c.size] for r, c in group]
        # Repeats fill the last batch: another batch size would need another compilation.
        results = predict(np.stack(parts + parts[-1:] * (batch - len(parts))))
        if len(tiles) == 1:
            on_tile()
            return np.require(results[0], requirements="W")
        if sr is None:
            height, width = lr.shape[0] * scale, lr.shape[1] * scale
            sr = np.empty((height, width, results.shape[-1]), results.dtype)
        for (rows, columns), result in zip(group, results, strict=False):
            top, left = rows.start + rows.keep_from, columns.start + columns.keep_from
            kept = result[
                rows.keep_from * scale : rows.keep_to * scale,
                columns.keep_from * scale : columns.keep_to * scale,
            ]
            bottom, right = top * scale + kept.shape[0], left * scale + kept.shape[1]
            sr[top * scale : bottom, left * scale : right] = kept
            on_tile()
    assert sr is not None
    return sr
