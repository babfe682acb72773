"""Plots: training curves, quality against cost, gains per image."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.evaluation.measure import Rows, title
from kdgan_jax.evaluation.naming import wrapped
from kdgan_jax.runtime.files import replacing
from kdgan_jax.workdir.metrics import NO_LOSSES

INK = "#d62728"
NAME = 28  # characters of a model's name in a line
FEW = 50  # points of a curve that are marked
COSTS = {"params": "parameters", "multi_adds_720p": "multi-adds for a 1280x720 output"}


Curves = dict[str, list[tuple[float, float]]]  # points by name


def curves(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes training curves as PNG: for each phase its losses, and PSNR on the held-out photos.

    What has no points gets no plot; if nothing has, no file is written.

    Args:
      path: of the PNG.
      rows: of `metrics.jsonl`.
    """
    from matplotlib.figure import Figure

    phases = list(dict.fromkeys(row["phase"] for row in rows))
    by_phase = [[row for row in rows if row["phase"] == phase] for phase in phases]
    lines = [
        ("losses, unweighted", [_losses(own) for own in by_phase]),
        ("PSNR on held-out photos, Y (dB)", [_curves(own, ["holdout_psnr_y"]) for own in by_phase]),
    ]
    lines = [(meaning, cells) for meaning, cells in lines if any(cells)]
    if not lines:
        return
    size = 4.2 * len(phases), 2.7 * len(lines)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(len(lines), len(phases), squeeze=False, sharex="col")
    for line, (meaning, cells) in zip(grid, lines, strict=True):
        next(axes for axes, cell in zip(line, cells, strict=True) if cell).set_ylabel(meaning)
        for axes, cell in zip(line, cells, strict=True):
            for name, points in cell.items():
                marker = "." if len(points) < FEW else ""  # a single point is no line
                axes.plot(*zip(*points, strict=True), label=name, linewidth=1, marker=marker)
            axes.set_visible(bool(cell))
            axes.grid(alpha=0.3)
            if meaning.startswith("losses") and cell:
                axes.set_yscale("log")
                axes.legend(fontsize=8)
    for column, phase in zip(grid.T, phases, strict=True):
        shown = [axes for axes in column if axes.get_visible()]
        if shown:
            shown[0].set_title(phase)
            shown[-1].set_xlabel("step")
            shown[-1].tick_params(labelbottom=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _losses(rows: list[dict[str, Any]]) -> Curves:
    """Returns the losses of a phase; on a logarithmic axis there is no place for 0."""
    names = dict.fromkeys(name for row in rows for name in row if name not in NO_LOSSES)
    found = {
        name: [(step, loss) for step, loss in points if loss > 0]
        for name, points in _curves(rows, list(names)).items()
    }
    return {name: points for name, points in found.items() if points}


def _curves(rows: list[dict[str, Any]], names: Sequence[str]) -> Curves:
    """Returns the finite values of each column that has some."""
    found = {
        name: [(row["step"], row[name]) for row in rows if np.isfinite(row.get(name, np.nan))]
        for name in names
    }
    return {name: points for name, points in found.items() if points}


def tradeoff(path: Path, rows: Rows) -> None:
    """Writes PSNR against parameters and against multi-adds as PNG, with a name at each point.

    A model without cost (interpolation) is a dashed line; a model of unknown cost is left out. A
    cost that no model has gets no plot; if there is none, no file is written.

    Args:
      path: of the PNG.
      rows: of one data set, from `measure.means`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    heading = f"{title(rows[0])}, x{rows[0]['scale']}"
    rows = [row for row in rows if np.isfinite(row["psnr_y"])]
    fields = [field for field in COSTS if any(row[field] for row in rows)]
    if not fields:
        return
    figure = Figure(figsize=(5.4 * len(fields), 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # to measure the names
    grid = figure.subplots(1, len(fields), sharey=True, squeeze=False)[0]
    grid[0].set_ylabel("PSNR on Y (dB)")
    figure.suptitle(heading, fontsize=11)
    for axes, field in zip(grid, fields, strict=True):
        costly = [row for row in rows if row[field]]
        axes.plot([r[field] for r in costly], [r["psnr_y"] for r in costly], "o", color=INK)
        for row in rows:
            if row[field] == 0:
                axes.axhline(row["psnr_y"], color="grey", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        costs = [r[field] for r in costly]
        wide = max(costs) > 100 * min(costs)
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())  # 50 k, 10 G
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.2, y=0.12)
        axes.set_xlabel(COSTS[field])
        axes.grid(alpha=0.3, which="both", linewidth=0.5)
    figure.draw_without_rendering()  # fixes the layout
    for axes, field in zip(grid, fields, strict=True):
        left = axes.get_xlim()[0]
        points = [(r["model"], r[field], r["psnr_y"]) for r in rows if r[field]]
        _write_names(axes, points, [(r["model"], left, r["psnr_y"]) for r in rows if r[field] == 0])
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


Point = tuple[str, float, float]  # name, x and y
Place = tuple[float, float, str, str]  # offsets in points of 1/72 inch, and alignment
# Places of a name at its point, the nearest first; a line leads to the distant ones.
BESIDE: list[Place] = [
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (5, 5, "left", "bottom"),
    (5, -5, "left", "top"),
    (-5, 5, "right", "bottom"),
    (-5, -5, "right", "top"),
]
DISTANT: list[Place] = [
    (x * distance, y * distance, align, "center")
    for distance in (16, 24, 32, 44, 56)
    for x, align in ((-1, "right"), (-0.5, "right"), (0, "center"), (0.5, "left"), (1, "left"))
    for y in (1, -1)
]
PLACES = BESIDE + DISTANT
CROWDED = 60  # pixels; points nearer than this leave each other little room
LEADER = {"arrowstyle": "-", "color": "grey", "linewidth": 0.6, "shrinkA": 0}
LINE_PLACES = [(4, 2, "left", "bottom"), (4, -2, "left", "top"), (90, 2, "left", "bottom")]


def _write_names(axes: Any, points: Sequence[Point], lines: Sequence[Point]) -> None:
    """Writes names at points and at the left ends of lines, where they overlap least.

    A name that could be taken for another point's counts as if a quarter of it lay on something.
    """
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    markers = [axes.transData.transform((x, y)) for _, x, y in points]
    heights = [axes.transData.transform((x, y))[1] for _, x, y in lines]
    occupied = [_square(marker, 5) for marker in markers]
    occupied += [_box(frame.x0, height - 1, frame.x1, height + 1) for height in heights]
    crowd = [sum(np.hypot(*(a - b)) < CROWDED for b in markers) for a in markers]
    order = sorted(range(len(points)), key=lambda i: -crowd[i])  # those with least choice first
    named = [(*points[i], PLACES) for i in order] + [(*line, LINE_PLACES) for line in lines]
    for name, x, y, places in named:
        write = functools.partial(_write, axes, wrapped(name, NAME), (x, y))
        point, candidates = axes.transData.transform((x, y)), []
        others = [marker for marker in markers if any(marker != point)]
        for place in places:
            text = write(place)
            extent = text.get_window_extent(renderer).padded(1.5)
            text.remove()
            boxes = [extent]
            if place in DISTANT:
                boxes += _along(point, extent)
            area = extent.width * extent.height
            overlap = sum(_shared_area(box, other) for box in boxes for other in occupied)
            overlap += area - _shared_area(extent, frame)
            own = _distance(extent, point) if place in BESIDE else 0
            if any(_distance(extent, other) < max(1.6 * own, 8) for other in others):
                overlap += area / 4
            candidates.append((overlap, place, boxes))
            if not overlap:  # which no further place is better than
                break
        _, place, boxes = min(candidates, key=lambda candidate: candidate[0])
        write(place, LEADER if place in DISTANT else None)
        occupied += boxes


def _write(axes: Any, text: str, point: tuple[float, float], place: Place, line: Any = None) -> Any:
    """Writes a text at a place of a point, with a line between them if it has a style."""
    *offset, horizontal, vertical = place
    return axes.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        fontsize=8,
        in_layout=False,
        arrowprops=line,
    )


def _along(start: Any, text: Any) -> list[Any]:
    """Returns small squares along the line from a point to the middle of a text's box."""
    end = (text.x0 + text.x1) / 2, (text.y0 + text.y1) / 2
    places = np.linspace(start, end, 40)
    outside = np.hypot(*(places - start).T) > 8
    return [_square(place, 1.5) for place in places[outside] if not text.contains(*place)]


def _square(centre: Any, radius: float) -> Any:
    return _box(*(c - radius for c in centre), *(c + radius for c in centre))


def _box(left: float, bottom: float, right: float, top: float) -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(left, bottom, right, top)


def _distance(box: Any, point: Any) -> float:
    """Returns how far a point lies outside a box, in pixels; 0 inside."""
    across = max(box.x0 - point[0], 0, point[0] - box.x1)
    along = max(box.y0 - point[1], 0, point[1] - box.y1)
    return float(np.hypot(across, along))


def _shared_area(a: Any, b: Any) -> float:
    """Returns the area of the intersection of two boxes."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0) * max(height, 0)


def gains(path: Path, per_image: Rows, reference: str) -> None:
    """Writes the distribution over images of the gain in PSNR over `reference` as PNG.

    Each model has a box (quartiles and median; whiskers at 1.5 times the box) and a dot per image.
    Images with an infinite PSNR are left out; without any other image, nothing is written.

    Args:
      path: of the PNG.
      per_image: rows of one data set, from `measure.images`.
      reference: name of a model in them.
    """
    from matplotlib.figure import Figure

    base = {row["image"]: row["psnr_y"] for row in per_image if row["model"] == reference}
    by_model: dict[str, np.ndarray] = {}
    for model in dict.fromkeys(row["model"] for row in per_image):
        pairs = [(r["psnr_y"], base[r["image"]]) for r in per_image if r["model"] == model]
        differences = np.array([a - b for a, b in pairs if np.isfinite(a) and np.isfinite(b)])
        if model != reference and len(differences):
            by_model[model] = differences
    if not by_model:
        return
    names = [wrapped(name, NAME) for name in by_model]
    figure = Figure(figsize=(10, 1.3 + 0.42 * len(names)), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.boxplot(
        list(by_model.values()),
        orientation="horizontal",
        tick_labels=names,
        showfliers=False,
        widths=0.6,
        medianprops={"color": INK},
    )
    random = np.random.default_rng(0)  # spreads the dots, so that they do not hide each other
    for height, values in enumerate(by_model.values(), 1):
        spread = height + random.uniform(-0.18, 0.18, len(values))
        axes.plot(values, spread, ".", color="tab:blue", alpha=0.5, markersize=4)
    axes.axvline(0, color="grey", linewidth=1)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.set_xlabel(f"gain in PSNR over {wrapped(reference, 60)}, per image (dB)")
    axes.set_title(f"{title(per_image[0])}: {len(base)} images", fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
