"""Draws how students learn: PSNR on held-out photos over the steps of runs, a part for each scale.

    python launch/reproduce/learning_curves.py docs/students.png runs/clean_x4 runs/clean_tiny_x3

Phases of a run follow one another on the axis.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from kdgan_jax.runtime import files
from kdgan_jax.workdir.metrics import read_metrics

PSNR = "holdout_psnr_y"


def points(workdir: Path) -> list[tuple[float, float]]:
    """Returns (thousands of steps since the run's first, PSNR in dB)."""
    rows, found, before = read_metrics(workdir / "metrics.jsonl"), [], 0
    for phase in dict.fromkeys(row["phase"] for row in rows):
        own = [row for row in rows if row["phase"] == phase]
        found += [((before + row["step"]) / 1000, row[PSNR]) for row in own if PSNR in row]
        before += own[-1]["step"]
    return found


def main(path: str, workdirs: Sequence[str]) -> None:
    """Writes the plot to `path`."""
    by_scale = defaultdict(list)
    for workdir in map(Path, workdirs):
        by_scale[files.read_json(workdir / "config.json")["scale"]].append(workdir)
    figure = Figure(figsize=(4.5 * len(by_scale), 3.6), dpi=110, layout="constrained")
    parts = figure.subplots(1, len(by_scale), squeeze=False)[0]
    for axes, (scale, found) in zip(parts, sorted(by_scale.items(), reverse=True), strict=True):
        for workdir in found:
            axes.plot(*zip(*points(workdir), strict=True), label=workdir.name, linewidth=1.2)
        axes.set_title(f"x{scale}", fontsize=10)
        axes.set_xlabel("thousands of steps")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    parts[0].set_ylabel("PSNR on held-out photos, Y (dB)")
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
