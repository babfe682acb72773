"""Comparison sheets as papers print them: the whole photo, then a crop of every model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluation.measure import Example, Rows
from kdgan_jax.evaluation.naming import wrapped
from kdgan_jax.runtime.files import replacing

# Metrics below a crop, in this order, with title and format: to a reference, and without one.
FIGURES = {"psnr_y": ("PSNR", ".2f"), "ssim_y": ("SSIM", ".4f"), "lpips_alex": ("LPIPS", ".3f")}
ALONE = {"niqe": ("NIQE", ".2f"), "mesh": ("mesh", ".2f")}
CROP = 96  # side of an automatic box, in pixels of the reference
MOST_PANELS = 5  # most crops in one row
# Inches of the page, of the text of 9 points around a crop, of each line more, and of a character.
WIDTH, TEXT, LINE, CHARACTER = 10.0, 0.44, 0.16, 0.07
WHOLE = 1.7  # width of the whole photo, relative to a crop
# Colours and widths in points of the frame around the box; on any photo one of the two is seen.
FRAME = [("black", 3.6), ("white", 1.6)]


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
    pictures: Mapping[str, np.ndarray],
    rows: Rows,
    *,
    scale: int,
    box: Box | None = None,
) -> Line:
    """Returns the line about `example`: crops of LR at its own size, every model, the reference.

    Args:
      example: the photo.
      pictures: the models' SR images by name.
      rows: per model, image and reference, from `measure.images`; the `FIGURES` of this photo to
        its reference stand below the crops, or `ALONE` if it has none.
      scale: reference over LR.
      box: part of the photo to crop; None chooses where the models differ most.
    """
    box = box or choose_box(example, list(pictures.values()), scale)
    right, bottom = box.left + box.width, box.top + box.height
    low_rows = slice(box.top // scale, -(-bottom // scale))
    low_columns = slice(box.left // scale, -(-right // scale))
    shown = example.name, example.reference_name
    by_model = {row["model"]: row for row in rows if (row["image"], row["reference"]) == shown}
    measured = {
        metric: shown
        for metric, shown in (ALONE if example.reference_name is None else FIGURES).items()
        if all(row[metric] is not None for row in by_model.values())
    }
    titles = " / ".join(name for name, _ in measured.values())
    is_alone = example.reference_name is None
    panels = [("LR", example.lr[low_rows, low_columns].copy(), titles if is_alone else "")]
    for name, sr in pictures.items():
        row = by_model[name]
        figures = " / ".join(f"{row[metric]:{form}}" for metric, (_, form) in measured.items())
        panels.append((name, sr[box.top : bottom, box.left : right].copy(), figures))
    if example.reference_name is not None:
        crop = example.reference[box.top : bottom, box.left : right].copy()
        panels.append((example.reference_name, crop, titles))
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
    characters = int(side / CHARACTER)  # in a line above it
    titles = [wrapped(name, characters) for line in lines for name, _, _ in line.panels]
    text = TEXT + LINE * max(title.count("\n") for title in titles)
    tall = side * max(line.box.height / line.box.width for line in lines) + text
    heights = [
        max(rows * tall, WHOLE * side * line.reference.shape[0] / line.reference.shape[1] + text)
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
        for colour, width in FRAME:
            whole.add_patch(_outline(line.box, colour, width))
        _label(whole, wrapped(Path(line.name).name, int(WHOLE * characters)), "")
        cells = grid[i, 1].subgridspec(rows, columns, wspace=0.04, hspace=text / (tall - text))
        for j, (name, picture, figures) in enumerate(line.panels):
            axes = figure.add_subplot(cells[divmod(j, columns)])
            axes.imshow(picture, interpolation="nearest")
            _label(axes, wrapped(name, characters), figures)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _label(axes: Any, above: str, below: str) -> None:
    axes.set_title(above, fontsize=9, pad=3)
    axes.set_xlabel(below, fontsize=9, labelpad=3)
    axes.set_xticks([])
    axes.set_yticks([])


def _outline(box: Box, colour: str, width: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (box.left, box.top),
        box.width,
        box.height,
        edgecolor=colour,
        facecolor="none",
        linewidth=width,
        clip_on=False,  # at the photo's edge the frame is whole, too
    )
