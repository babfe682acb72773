"""Pictures of results: comparison sheets with zoomed crops, and training curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.evaluate.measure import Example
from kdgan_jax.evaluate.metrics import psnr_y, ssim_y
from kdgan_jax.io.files import replacing

INK = "#d62728"


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


def sheet(
    path: Path,
    examples: Sequence[Example],
    results: Sequence[dict[str, np.ndarray]],
    *,
    scale: int,
    crop: int = 96,
) -> None:
    """Writes a PNG with one line per photo: the whole HR with a box, then the box of each model.

    Args:
      path: of the PNG.
      examples: the photos.
      results: for each photo the models' pictures by name; the box is where they differ most.
      scale: HR over LR; the LR crop is shown with its own pixels.
      crop: side of the box in HR pixels.
    """
    from matplotlib.figure import Figure

    names = list(results[0])
    columns = len(names) + 3
    figure = Figure(figsize=(1.75 * (columns + 0.5), 2.05 * len(examples)), dpi=110)
    grid = figure.add_gridspec(
        len(examples), columns, width_ratios=[1.5] + [1] * (columns - 1), wspace=0.04, hspace=0.28
    )
    for i, (example, pictures) in enumerate(zip(examples, results, strict=True)):
        side = min(crop, *example.hr.shape[:2]) // scale * scale
        top, left = most_different([*pictures.values(), example.hr], side, scale)
        window = slice(top, top + side), slice(left, left + side)
        whole = figure.add_subplot(grid[i, 0])
        whole.imshow(example.hr)
        whole.add_patch(_box(left, top, side))
        whole.set_title(Path(example.name).name, fontsize=8)
        low = example.lr[window[0].start // scale :, window[1].start // scale :]
        low = low[: side // scale, : side // scale]
        panels = [("LR", low, "")]
        for name in names:
            sr = pictures[name]
            figures = f"{psnr_y(sr, example.hr, scale):.2f} / {ssim_y(sr, example.hr, scale):.4f}"
            panels.append((name, sr[window], figures))
        panels.append(("HR", example.hr[window], "PSNR / SSIM"))
        for j, (name, picture, figures) in enumerate(panels):
            axes = figure.add_subplot(grid[i, j + 1])
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(name, fontsize=8)
            axes.set_xlabel(figures, fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
        whole.set_xticks([])
        whole.set_yticks([])
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")


def _box(left: int, top: int, side: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), side, side, edgecolor=INK, facecolor="none", linewidth=1.5)


def curves(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes training curves as PNG: per phase the loss parts, and PSNR on the held-out photos.

    Args:
      path: of the PNG.
      rows: of `metrics.jsonl`.
    """
    from matplotlib.figure import Figure

    phases = list(dict.fromkeys(row["phase"] for row in rows))
    figure = Figure(figsize=(4.2 * len(phases), 5.4), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(phases), squeeze=False, sharex="col")
    for column, phase in enumerate(phases):
        own = [row for row in rows if row["phase"] == phase]
        above, below = grid[:, column]
        for name in ("pixel", "distill", "blend", "perceptual", "adversarial", "discriminator"):
            points = [(row["step"], row[name]) for row in own if name in row]
            if points:
                above.plot(*zip(*points, strict=True), label=name, linewidth=1)
        above.set_title(phase)
        above.set_yscale("log")
        above.legend(fontsize=8)
        points = [(row["step"], row["holdout_psnr_y"]) for row in own if "holdout_psnr_y" in row]
        if points:
            below.plot(*zip(*points, strict=True), marker=".", color=INK)
        below.set_xlabel("step")
        for axes in (above, below):
            axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("loss parts, unweighted")
    grid[1, 0].set_ylabel("PSNR on held-out photos, Y (dB)")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
