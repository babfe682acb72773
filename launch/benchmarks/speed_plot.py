"""Draws the figures of launch/benchmarks/speed.py.

    python -m launch.benchmarks.speed_plot FOLDER/times.json docs/speed.png

A group per network and size, a bar per engine: its speed, over that of `ours`, in the median round.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from launch.benchmarks.data import quartiles

OURS, JAX = "ours", "ours, jax"
TITLES = {
    JAX: "ours, JAX alone",
    "torch": "PyTorch",
    "torch_channels_last": "PyTorch, channels last",
    "onnxruntime": "ONNX Runtime by hand",
    "openvino": "OpenVINO by hand",
}
COLOURS = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7"  # told apart by everybody


def draw(path: str | Path, times: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Writes the plot.

    Args:
      path: of the picture.
      times: seconds in every round, by case and engine.
    """
    cases = [case for case, of_case in times.items() if JAX in of_case]
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(TITLES)
    for place, (engine, title) in enumerate(TITLES.items()):
        found = [i for i, case in enumerate(cases) if engine in times[case]]
        if not found:
            continue
        speed = [np.array(times[cases[i]][OURS]) / times[cases[i]][engine] for i in found]
        low, middle, high = np.transpose([quartiles(values) for values in speed])
        axes.bar(
            np.array(found) + (place - (len(TITLES) - 1) / 2) * width,
            middle,
            width,
            yerr=(middle - low, high - middle),
            color=COLOURS[place],
            label=title,
            error_kw={"linewidth": 0.8},
        )
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(cases)), [case.replace(" ", "\n") for case in cases])
    axes.set_ylabel("speed, 1 = model.upscale")
    axes.set_xlabel("network and LR size")
    figure.legend(fontsize="small", ncols=len(TITLES), loc="outside upper center")
    figure.savefig(path)


def main() -> int:
    """Draws the plot of a file."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.speed_plot", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("times", type=Path, help="times.json, as speed.py writes it")
    parser.add_argument("picture", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    draw(arguments.picture, json.loads(arguments.times.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
