"""Plots of a sweep: curves over updates, and differences with their intervals."""

from pathlib import Path
from typing import Any

from kdgan_jax.evaluation.naming import wrapped
from kdgan_jax.runtime import files
from launch.ablation.comparison import Comparison

COLOURS = [f"C{number}" for number in (0, 3, 2, 1, 4, 5, 6, 8, 9)]  # not grey, beside black
STYLES = "-", "--", ":"
FEW = 30  # points of a curve that are marked
BANDS = 3  # seeds from which intervals are drawn
CROWD = 4  # variants; with more, their seeds and bands would hide each other


def _looks(names: list[str], control: str) -> dict[str, dict[str, Any]]:
    """Returns colour and style of each variant's line; the control is black."""
    others = [name for name in names if name != control]
    looks = {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": STYLES[i // len(COLOURS) % len(STYLES)],
        }
        for i, name in enumerate(others)
    }
    return looks | {control: {"color": "black", "linestyle": "-"}}


def curves(path: Path, found: Comparison, control: str) -> bool:
    """Writes PSNR on the held-out photos over updates, and its difference to the control, as PNG.

    Of few variants, thin lines are seeds, and from three seeds on bands are 95 % intervals. Of
    many, there are means, and bars are the intervals at the end. Variants whose PSNR cannot be
    compared with the control's are left out.

    Returns:
      whether there is something to draw.
    """
    from matplotlib.figure import Figure

    rows = [row for row in found.curves if row["psnr"] and row["comparable"]]
    if not rows:
        return False
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    grid = figure.subplots(1, 2)
    looks = _looks([row["variant"] for row in found.curves], control)
    others = [row for row in rows if row["variant"] != control and row["difference"]]
    few = len(rows) <= CROWD
    for row in rows:
        _curve(grid[0], row, "psnr", looks[row["variant"]], few)
        grid[0].plot([], [], label=wrapped(row["variant"], 28), **looks[row["variant"]])
    for number, row in enumerate(others):
        _curve(grid[1], row, "difference", looks[row["variant"]], few)
        if not few:
            _last_interval(grid[1], row["difference"], looks[row["variant"]]["color"], number)
    grid[1].axhline(0, color="black", linewidth=1)
    grid[0].set_title(f"PSNR on held-out photos, to {rows[0]['reference']} (dB)", fontsize=10)
    barred = not few and any(row["difference"][-1]["seeds"] >= BANDS for row in others)
    bars = "; bars: 95 % over seeds, at the end" * barred
    grid[1].set_title(f"difference to {wrapped(control, 28)} (dB){bars}", fontsize=10)
    for axes in grid:
        axes.set_xlabel("updates of the last phase")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=min(5, len(rows)), fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return True


def _curve(axes: Any, row: dict[str, Any], field: str, look: dict[str, Any], few: bool) -> None:
    """Draws the means of a variant, with its seeds and their interval if there are few variants."""
    points = row[field]
    steps, means = [p["update"] for p in points], [p["mean"] for p in points]
    marker = "o" if len(points) < FEW else ""
    axes.plot(steps, means, linewidth=1.8, marker=marker, markersize=3, **look)
    if not few:
        return
    for curve in row[f"{field}_by_seed"].values():
        axes.plot(*zip(*curve, strict=True), linewidth=0.6, alpha=0.45, **look)
    if points[0]["seeds"] >= BANDS:
        low, high = ([p[end] for p in points] for end in ("low", "high"))
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.12, linewidth=0)


def _last_interval(axes: Any, points: list[dict[str, Any]], colour: str, number: int) -> None:
    """Draws the interval of the last of a curve's points beside it, those of others further on."""
    last = points[-1]
    if last["seeds"] >= BANDS:
        place = last["update"] * (1.03 + 0.015 * number)
        axes.plot([place, place], [last["low"], last["high"]], color=colour, linewidth=2)
        axes.plot(place, last["mean"], "o", color=colour, markersize=4, markeredgecolor="white")


def differences(path: Path, found: Comparison, control: str) -> bool:
    """Writes the paired differences in PSNR to the control as PNG, a part for every set.

    Thin lines are intervals over images, thick ones over seeds, dots the seeds.

    Returns:
      whether there is something to draw.
    """
    from matplotlib.figure import Figure

    rows = [
        row
        for row in found.differences
        if row["metric"] == "psnr_y" and row["difference"] is not None
    ]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    if not sets:
        return False
    names = list(dict.fromkeys(row["variant"] for row in rows))
    size = max(5.0, 1.5 + 3.2 * len(sets)), 1.5 + 0.42 * len(names)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    looks = _looks([row["variant"] for row in found.curves], control)
    for axes, name in zip(grid, sets, strict=True):
        for row in (row for row in rows if row["set"] == name):
            height, colour = names.index(row["variant"]), looks[row["variant"]]["color"]
            if row["images_low"] is not None:
                ends = row["images_low"], row["images_high"]
                axes.plot(ends, [height + 0.18] * 2, color=colour, linewidth=1)
            if row["low"] is not None:
                axes.plot((row["low"], row["high"]), [height] * 2, color=colour, linewidth=3)
            seeds = row["by_seed"]
            axes.plot(seeds, [height - 0.18] * len(seeds), ".", color=colour, markersize=4)
            axes.plot(row["difference"], height, "o", color=colour, markeredgecolor="white")
        axes.axvline(0, color="black", linewidth=1)
        images = next(row["images"] for row in rows if row["set"] == name)
        axes.set_title(f"{wrapped(name, 28)} ({images})", fontsize=10)
        axes.grid(alpha=0.3, axis="x")
        axes.tick_params(axis="x", labelsize=8)
    grid[0].set_yticks(range(len(names)), [wrapped(name, 28) for name in names])
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    legend = "thin: 95 % over images, small dots: seeds"
    if any(row["low"] is not None for row in rows):
        legend = "thick: 95 % over seeds, thin: over images, small dots: seeds"
    figure.supxlabel(f"PSNR over {wrapped(control, 28)} (dB); {legend}", fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return True
