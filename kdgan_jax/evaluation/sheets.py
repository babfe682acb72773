"""Comparison sheets as papers print them: the whole photo, then a crop of every model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluation.measure import Example, Rows
from kdgan_jax.runtime.files import replacing

INK = "#d62728"
CROP = 96  # side of an automatic box, in pixels of the reference
MOST_PANELS = 5  # most crops in one row
# Inches of the page, and of the text of 9 points around a crop.
WIDTH, TEXT = 10.0, 0.44
WHOLE = 1.7  # width of the whole photo, relative to a crop


def most_different(pictures: Sequence[np.ndarray], side: int, step: int) -> tuple[int, int]:
    """Returns (top, left) of the `side` x `side` window in which the pictures differ most.

    Args:
      pictures: uint8 images (H, W, 3) of equal size.
      side: of the window, at most the pictures' sides.
      step: positions of the window are multiples of it.
    """
    mean, squares = np.zeros((2, *pictures[0].shape), np.float32)
    for picture in pictures:
        mean += picture / np.float32(len(pictures))
        squares += np.square(picture, dtype=np.float32) / np.float32(len(pictures))
    spread = np.sqrt(np.maximum(squares - np.square(mean), 0)).mean(axis=-1, dtype=np.float64)
    total = np.pad(spread.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = (
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )[::step, ::step]
    row, column = np.unravel_index(np.argmax(windows), windows.shape)
    return int(row) * step, int(column) * step


class Box(NamedTuple):
    """A part of a reference image, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def choose_box(example: Example, pictures: Sequence[np.ndarray], scale: int) -> Box:
    """Returns the square of `CROP` pixels in which pictures and reference differ most."""
    side = min(CROP, *example.reference.shape[:2]) // scale * scale
    top, left = most_different([*pictures, example.reference], side, scale)
    return Box(left, top, side, side)


class Line(NamedTuple):
    """The line of a sheet about one photo."""

    name: str
    reference: np.ndarray
    box: Box
    panels: list[tuple[str, np.ndarray, str]]  # title, crop, figures below it


def line(
    example: Example,
    pictures: dict[str, np.ndarray],
    rows: Rows,
    *,
    scale: int,
    box: Box | None = None,
) -> Line:
    """Returns the line about `example`: crops of LR at its own size, every model, the reference.

    Args:
      example: the photo.
      pictures: the models' SR images by name.
      rows: per model, image and reference, from `measure.images`; the figures of this photo to
        its reference stand below the crops.
      scale: reference over LR.
      box: part of the photo to crop; None chooses where the models differ most.
    """
    box = box or choose_box(example, list(pictures.values()), scale)
    right, bottom = box.left + box.width, box.top + box.height
    low_rows = slice(box.top // scale, -(-bottom // scale))
    low_columns = slice(box.left // scale, -(-right // scale))
    shown = example.name, example.reference_name
    by_model = {row["model"]: row for row in rows if (row["image"], row["reference"]) == shown}
    with_ssim = all(row["ssim_y"] is not None for row in by_model.values())
    panels = [("LR", example.lr[low_rows, low_columns].copy(), "")]
    for name, sr in pictures.items():
        figures = f"{by_model[name]['psnr_y']:.2f}"
        figures += f" / {by_model[name]['ssim_y']:.4f}" if with_ssim else ""
        panels.append((name, sr[box.top : bottom, box.left : right].copy(), figures))
    crop = example.reference[box.top : bottom, box.left : right].copy()
    panels.append((example.reference_name, crop, "PSNR / SSIM" if with_ssim else "PSNR"))
    return Line(example.name, example.reference, box, panels)


def sheet(path: Path, lines: Sequence[Line]) -> None:
    """Writes a PNG: for each photo its whole reference with a box, then the box of every model.

    Figures are of the whole photo.
    """
    from matplotlib.figure import Figure

    number = len(lines[0].panels)
    rows = -(-number // MOST_PANELS)
    columns = -(-number // rows)
    side = WIDTH / (columns + WHOLE)  # width of a crop, in inches
    tall = side * max(line.box.height / line.box.width for line in lines) + TEXT
    heights = [
        max(rows * tall, WHOLE * side * line.reference.shape[0] / line.reference.shape[1] + TEXT)
        for line in lines
    ]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=130)
    grid = figure.add_gridspec(
        len(lines),
        2,
        width_ratios=[WHOLE, columns],
        height_ratios=heights,
        wspace=0.03,
        hspace=0.1,
        left=0,
        right=1,
        bottom=0,
        top=1,
    )
    for i, line in enumerate(lines):
        whole = figure.add_subplot(grid[i, 0])
        whole.imshow(line.reference)
        whole.add_patch(_outline(line.box))
        _label(whole, Path(line.name).name, "")
        cells = grid[i, 1].subgridspec(rows, columns, wspace=0.04, hspace=TEXT / (tall - TEXT))
        for j, (name, picture, figures) in enumerate(line.panels):
            axes = figure.add_subplot(cells[divmod(j, columns)])
            axes.imshow(picture, interpolation="nearest")
            _label(axes, name, figures)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _label(axes: Any, above: str, below: str) -> None:
    axes.set_title(above, fontsize=9, pad=3)
    axes.set_xlabel(below, fontsize=9, labelpad=3)
    axes.set_xticks([])
    axes.set_yticks([])


def _outline(box: Box) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (box.left, box.top), box.width, box.height, edgecolor=INK, facecolor="none", linewidth=1.5
    )
