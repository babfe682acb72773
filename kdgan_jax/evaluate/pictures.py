"""Comparison sheets as papers print them: the whole photo, then one crop of every model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluate.measure import Example
from kdgan_jax.evaluate.metrics import psnr_y, ssim_y
from kdgan_jax.io.files import replacing

INK = "#d62728"
CROP = 96  # side of a box that is chosen, in HR pixels
MOST_PANELS = 5  # crops in one line
# Inches, at which text of 9 points reads well on a page 10 inches wide.
WIDTH, TEXT = 10.0, 0.44
WHOLE = 1.7  # width of the whole photo, in crops


def most_different(pictures: Sequence[np.ndarray], side: int, step: int) -> tuple[int, int]:
    """Returns (top, left) of the `side` x `side` window in which the pictures differ most.

    Args:
      pictures: uint8 images of one size.
      side: of the window, at most the pictures' sides.
      step: window positions are multiples of it.
    """
    spread = np.std([p.astype(np.float32) for p in pictures], axis=0).mean(axis=-1)
    total = np.pad(spread.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = (
        total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    )[::step, ::step]
    row, column = np.unravel_index(np.argmax(windows), windows.shape)
    return int(row) * step, int(column) * step


class Box(NamedTuple):
    """A part of an HR image, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def choose_box(example: Example, pictures: Sequence[np.ndarray], scale: int) -> Box:
    """Returns the square of `CROP` pixels in which `pictures` and HR differ most."""
    side = min(CROP, *example.hr.shape[:2]) // scale * scale
    top, left = most_different([*pictures, example.hr], side, scale)
    return Box(left, top, side, side)


def sheet(
    path: Path,
    examples: Sequence[Example],
    results: Sequence[dict[str, np.ndarray]],
    *,
    scale: int,
    box: Box | None = None,
) -> None:
    """Writes a PNG: of each photo the whole HR with a box, then the box in LR, every model and HR.

    Args:
      path: of the PNG.
      examples: the photos.
      results: for each photo the models' pictures by name.
      scale: HR over LR; the LR crop is shown with its own pixels.
      box: what to enlarge, inside every photo; None takes where the models differ most.
    """
    from matplotlib.figure import Figure

    boxes = [
        box or choose_box(example, list(made.values()), scale)
        for example, made in zip(examples, results, strict=True)
    ]
    number = len(results[0]) + 2
    lines = -(-number // MOST_PANELS)
    columns = -(-number // lines)
    side = WIDTH / (columns + WHOLE)  # of a crop, in inches
    tall = side * max(b.height / b.width for b in boxes) + TEXT
    height = len(examples) * max(lines * tall, WHOLE * side + TEXT)
    figure = Figure(figsize=(WIDTH, height), dpi=130)
    grid = figure.add_gridspec(
        len(examples),
        2,
        width_ratios=[WHOLE, columns],
        wspace=0.03,
        hspace=0.1,
        left=0,
        right=1,
        bottom=0,
        top=1,
    )
    for i, (example, pictures, own) in enumerate(zip(examples, results, boxes, strict=True)):
        whole = figure.add_subplot(grid[i, 0])
        whole.imshow(example.hr)
        whole.add_patch(_outline(own))
        _label(whole, Path(example.name).name, "")
        cells = grid[i, 1].subgridspec(lines, columns, wspace=0.04, hspace=TEXT / (tall - TEXT))
        for j, (name, picture, figures) in enumerate(_panels(example, pictures, own, scale)):
            axes = figure.add_subplot(cells[divmod(j, columns)])
            axes.imshow(picture, interpolation="nearest")
            _label(axes, name, figures)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _panels(
    example: Example, pictures: dict[str, np.ndarray], box: Box, scale: int
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yields (title, crop, what stands below it)."""
    right, bottom = box.left + box.width, box.top + box.height
    low_rows = slice(box.top // scale, -(-bottom // scale))
    low_columns = slice(box.left // scale, -(-right // scale))
    yield "LR", example.lr[low_rows, low_columns], ""
    for name, sr in pictures.items():
        figures = f"{psnr_y(sr, example.hr, scale):.2f} / {ssim_y(sr, example.hr, scale):.4f}"
        yield name, sr[box.top : bottom, box.left : right], figures
    yield "HR", example.hr[box.top : bottom, box.left : right], "PSNR / SSIM"


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
