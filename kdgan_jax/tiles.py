"""Running a network over an image of any size in tiles of one size.

A network that sees only a neighbourhood gives, inside a tile and further from the tile's seams
than its receptive radius, exactly what it gives on the whole image. The outermost tiles are flush
with the image's edges, so the padding that the network sees there is the image's own. One tile
size means one compilation, and features of one tile in memory, beside the image and its result.
"""

import sys
from collections.abc import Callable, Iterator
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


def run(
    predict: Callable[[np.ndarray], np.ndarray],
    lr: np.ndarray,
    *,
    scale: int,
    tiling: Tiling,
    on_tile: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Returns the network's image (h * scale, w * scale, C) of `lr` (h, w, C), tile by tile.

    Args:
      predict: maps one tile (a, b, C) to (a * scale, b * scale, C), any dtype.
      lr: the image.
      scale: the network's factor.
      tiling: how `lr` is cut.
      on_tile: called after every tile.
    """
    out: np.ndarray | None = None
    for rows, columns in positions(lr.shape[:2], tiling):
        part = lr[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size]
        result = predict(part)
        if out is None:
            height, width = lr.shape[0] * scale, lr.shape[1] * scale
            out = np.empty((height, width, result.shape[-1]), result.dtype)
        top, left = rows.start + rows.keep_from, columns.start + columns.keep_from
        kept = result[
            rows.keep_from * scale : rows.keep_to * scale,
            columns.keep_from * scale : columns.keep_to * scale,
        ]
        out[
            top * scale : top * scale + kept.shape[0], left * scale : left * scale + kept.shape[1]
        ] = kept
        on_tile()
    assert out is not None
    return out
