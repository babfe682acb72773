"""Lists the architectures, and the published files that are known and which of them are here.

python -m kdgan_jax.zoo [FOLDER ...] [--seconds] [--results=OUT ...]
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.inference import costs
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave
from kdgan_jax.runtime.files import read_json, sha256

Table = list[list[str]]
RUNS = 5  # that a time is the median of
COSTS = ["parameters", "multi-adds", "receptive field (LR pixels)", "scales"]
SCALE = 4  # of measured and published figures


def architectures() -> Table:
    """Returns a row per architecture with its default arguments: costs at its largest scale."""
    rows = []
    for name, module in models.GENERATORS.items():
        scales = getattr(module, "scales", models.SCALES)
        model = Model(name, {}, scales[-1], foreign.shapes(module(scale=scales[-1])))
        reads = "yes" if hasattr(module, "detect") else "no"
        rows.append([name, *_costs(model, scales), reads])
    return rows


def _costs(model: Model, scales: Sequence[int]) -> list[str]:
    whole = getattr(model.module, "whole_image", False)
    return [
        f"{model.parameters:,}",
        f"{costs.multi_adds_720p(model) / 1e9:.1f} G",
        "whole image" if whole else str(2 * model.module.receptive_radius + 1),
        ", ".join(map(str, scales)),
    ]


def find(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the files of weights below `folders`, by the SHA-256 of their bytes."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return {
        sha256(path): path for path in paths if path.suffix in imported.READERS and path.is_file()
    }


def files(here: dict[str, Path]) -> Table:
    """Returns a row per published file that is known; its costs are counted if it is `here`."""
    rows = []
    for digest, known in published.FILES.items():
        place, counted = here.get(digest), ["-"] * len(COSTS)
        if place:
            model = Model.of(imported.load(place))
            scales = getattr(model.module, "serves_scales", (model.scale,))
            counted = _costs(model, scales)
        rows.append([known.title, *counted, known.licence, known.source, str(place or "-")])
    return rows


def seconds(model: Model) -> float:
    """Returns the median seconds of one 1280 x 720 output, after one that is not counted."""
    size = -(-costs.HEIGHT // model.scale), -(-costs.WIDTH // model.scale), 3
    frame = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    model.upscale(frame)
    taken = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        model.upscale(frame)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def _measured(folders: Sequence[Path]) -> dict[tuple[str, str], str]:
    """Returns "PSNR / SSIM" by model and set, out of what `kdgan_jax.evaluate` left in folders."""
    cells = {}
    for folder in folders:
        path = folder / "results.json"
        try:
            for row in read_json(path)["rows"]:
                if row["scale"] == SCALE:
                    figures = row["psnr_y"], row["ssim_y"]
                    cells[row["model"], row["dataset"]] = _figures(*figures)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: has no results that can be read ({error!r}); give the --out of"
                " kdgan_jax.evaluate"
            ) from None
    return cells


def _figures(psnr: float, ssim: float | None) -> str:
    return f"{psnr:.2f}" + ("" if ssim is None else f" / {ssim:.4f}")


def beside(here: dict[str, Path], folders: Sequence[Path], timed: bool) -> Iterator[list[str]]:
    """Yields rows with what was measured of a file, and below it what was published.

    Files of `evaluate`'s results are known by their names without the suffix.
    """
    cells = _measured(folders)
    for digest, known in published.FILES.items():
        place = here.get(digest)
        own = [cells.get((place.stem, name), "-") for name in published.SETS] if place else []
        if place is None or set(own) <= {"-"}:
            continue
        model = Model.of(imported.load(place, scale=SCALE))
        took = [f"{seconds(model):.2g}"] if timed else []
        yield [known.title, *own, *_costs(model, [])[:2], *took]
        if known.figures:
            stated = [_figures(*pair) for pair in known.figures]
            stated += ["-"] * (len(published.SETS) - len(stated))
            yield [f"*{known.stated_in}*", *stated, "", "", *([""] * timed)]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        prog="kdgan zoo",
        description="List the architectures and the published files that are known: costs of those"
        " that are here, licences, sources. With --results, print measured beside published"
        " figures instead.",
    )
    add = parser.add_argument
    add("folders", nargs="*", help="where published files may lie, at any depth")
    add(
        "--results",
        nargs="+",
        default=[],
        metavar="OUT",
        help="what kdgan_jax.evaluate has left of files in FOLDERS at x4",
    )
    add("--seconds", action="store_true", help="with --results: time a 1280x720 output of each")
    arguments = parser.parse_args(argv)
    console.setup()
    devices.configure()
    try:
        folders = [Path(name) for name in arguments.folders]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
        if arguments.seconds and not arguments.results:
            raise UserError("--seconds goes with --results; give both")
        here = find(folders)
        if arguments.results:
            results = [Path(name) for name in arguments.results]
            rows = list(beside(here, results, arguments.seconds))
            took = ["seconds per frame"] if arguments.seconds else []
            print(table(["network", *published.SETS, *COSTS[:2], *took], rows))
            return 0
        print(table(["architecture", *COSTS, "reads published files"], architectures()))
        print()
        titles = ["published network", *COSTS, "licence", "source", "here"]
        print(table(titles, files(here)))
    except UserError as error:
        leave(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
