"""Running a network over an image of any size in tiles of one size.

A network that sees only a neighbourhood gives, inside a tile and further from the tile's seams
than its receptive radius, exactly what it gives on the whole image. The outermost tiles are flush
with the image's edges, so the padding that the network sees there is the image's own. One tile
size means one compilation, and features of few tiles in memory, beside the image and its result.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """One tile along one axis: where it starts, how long it is, which part of it is kept."""

    start: int
    size: int
    keep_from: int
    keep_to: int


class Tiling(NamedTuple):
    """How an image is cut.

    Attributes:
      tile: side of a tile in pixels; more than 2 * margin, and a multiple of `grid`.
      margin: receptive radius of the network, in the same pixels.
      grid: tiles start at its multiples, for a network that gathers squares of so many pixels.
    """

    tile: int
    margin: int
    grid: int = 1


WHOLE = Tiling(sys.maxsize, 0)


def spans(size: int, tiling: Tiling) -> list[Span]:
    """Returns the tiles that cover `size` pixels; kept parts are disjoint and cover all.

    All are of one size, but the last is smaller where the grid does not let it end at the edge.
    """
    tile, margin, grid = tiling
    if size <= tile:
        return [Span(0, size, 0, size)]
    stride = (tile - 2 * margin) // grid * grid
    if stride < 1:
        raise ValueError(f"tile={tile} must be more than twice the margin {margin}")
    last = -(-(size - tile) // grid) * grid
    starts = [*range(0, last, stride), last]
    seams = [0, *(start + margin for start in starts[1:]), size]
    return [
        Span(start, min(tile, size - start), seams[i] - start, seams[i + 1] - start)
        for i, start in enumerate(starts)
    ]


def positions(shape: tuple[int, int], tiling: Tiling) -> Iterator[tuple[Span, Span]]:
    """Yields (rows, columns) of every tile of an image of `shape` (h, w)."""
    for rows in spans(shape[0], tiling):
        for columns in spans(shape[1], tiling):
            yield rows, columns


def _batches(places: Iterable[tuple[Span, Span]], batch: int) -> Iterator[list[tuple[Span, Span]]]:
    """Yields tiles of one size, at most `batch` at a time."""
    alike: dict[tuple[int, int], list[tuple[Span, Span]]] = {}
    for rows, columns in places:
        alike.setdefault((rows.size, columns.size), []).append((rows, columns))
    for tiles in alike.values():
        for start in range(0, len(tiles), batch):
            yield tiles[start : start + batch]


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
      batch: n, of an image that is cut at all; 1 of one that is not.
      on_tile: called after every tile.
    """
    out: np.ndarray | None = None
    places = list(positions(lr.shape[:2], tiling))
    batch = batch if len(places) > 1 else 1
    for group in _batches(places, batch):
        parts = [lr[r.start : r.start + r.size, c.start : c.start + c.size] for r, c in group]
        # Repeats fill the last batch up: one of another size would be compiled anew.
        results = predict(np.stack(parts + parts[-1:] * (batch - len(parts))))
        if out is None:
            height, width = lr.shape[0] * scale, lr.shape[1] * scale
            out = np.empty((height, width, results.shape[-1]), results.dtype)
        for (rows, columns), result in zip(group, results, strict=False):
            top, left = rows.start + rows.keep_from, columns.start + columns.keep_from
            kept = result[
                rows.keep_from * scale : rows.keep_to * scale,
                columns.keep_from * scale : columns.keep_to * scale,
            ]
            bottom, right = top * scale + kept.shape[0], left * scale + kept.shape[1]
            out[top * scale : bottom, left * scale : right] = kept
            on_tile()
    assert out is not None
    return out
