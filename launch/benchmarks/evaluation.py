"""The time of `kdgan evaluate` in this checkout and in another, and how far their figures differ.

    python -m launch.benchmarks.evaluation OTHER --data=SETS [--models=clean_x4] [--rounds=3]

OTHER is a checkout of this repository, as `git worktree add` or `git archive` makes it. In each
round both run once, in turn, in processes of their own. Each keeps its compiled programs, so the
first round compiles, as the first evaluation of a user does. Prints seconds and their ratio in each
round, and then by how much the figures that both have differ at most, seconds aside.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
TABLES = "results.csv", "per_image.csv"


def seconds(checkout: Path, folder: Path, arguments: list[str]) -> float:
    """Returns the seconds of one evaluation by the code in `checkout`, with results in `folder`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }
    command = [sys.executable, "-m", "kdgan_jax.evaluate", f"--out={folder}/out", *arguments]
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def figures(folder: Path) -> dict[tuple[str, ...], str]:
    """Returns the texts of all figures but seconds, by table, model, set, image and column."""
    found: dict[tuple[str, ...], str] = {}
    for table in TABLES:
        with (folder / "out" / table).open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                place = table, row["model"], row["dataset"], row.get("image", "")
                found |= {(*place, k): v for k, v in row.items() if not k.startswith("seconds")}
    return found


def difference(ours: Path, theirs: Path) -> str:
    """Returns by how much a figure differs at most, and which one it is."""
    first, second = figures(ours), figures(theirs)
    both = [place for place in first if first[place] and second.get(place)]
    gaps = {place: _gap(first[place], second[place]) for place in both}
    place = max(gaps, key=lambda place: gaps[place])
    return f"{len(both)} figures differ by at most {gaps[place]:.1e} ({' '.join(place)})"


def _gap(a: str, b: str) -> float:
    """Returns the distance of two numbers; 0 for equal texts, infinity for others."""
    try:
        return 0.0 if a == b else abs(float(a) - float(b))
    except ValueError:
        return float("inf")


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.evaluation", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("other", type=Path, help="another checkout")
    add("--data", required=True, help="as for evaluate, with absolute paths")
    add("--models", default="clean_x4", help="as for evaluate; LABEL=PATH for files")
    add("--metrics", help="as for evaluate; left out, each measures what it does by default")
    add("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = "models", "data", "metrics"
    common = [f"--{name}={value}" for name in names if (value := getattr(arguments, name))]
    print("| round | here (s) | there (s) | ratio |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "here", Path(folder) / "there"
        for number in range(1, arguments.rounds + 1):
            times = []
            for checkout, out in ((HERE, ours), (arguments.other.resolve(), theirs)):
                out.mkdir(exist_ok=True)
                times.append(seconds(checkout, out, common))
            here, there = times
            print(f"| {number} | {here:.1f} | {there:.1f} | {here / there:.2f} |", flush=True)
        print(f"\n{difference(ours, theirs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
