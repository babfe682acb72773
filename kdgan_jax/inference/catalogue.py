"""Tables of the architectures and of the published files, with costs and measured results."""

from collections.abc import Sequence
from pathlib import Path

from kdgan_jax import models
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.inference import costs
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.console import quiet
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256

Table = list[list[str]]  # rows of cells, with the titles first
COSTS = ["parameters", "multi-adds", "receptive field (LR pixels)", "scales"]
SCALE = 4  # of measured and published results


def architectures() -> Table:
    """Returns a row per architecture with its default arguments; costs at its largest scale."""
    table = [["architecture", *COSTS, "reads published files"]]
    for name, module in models.GENERATORS.items():
        scales = getattr(module, "scales", models.SCALES)
        model = Model(name, {}, scales[-1], foreign.shapes(module(scale=scales[-1])))
        reads = "yes" if hasattr(module, "detect") else "no"
        table.append([name, *_costs(model, scales), reads])
    return table


def _costs(model: Model, scales: Sequence[int]) -> list[str]:
    whole_image = getattr(model.module, "whole_image", False)
    return [
        f"{model.parameters:,}",
        f"{costs.multi_adds_720p(model) / 1e9:.1f} G",
        "whole image" if whole_image else str(2 * model.module.receptive_radius + 1),
        ", ".join(map(str, scales)),
    ]


def find(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the files of weights below `folders` by the SHA-256 of their bytes."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return {sha256(path): path for path in paths if imported.is_model(path)}


def published_files(paths: dict[str, Path]) -> Table:
    """Returns a row per published file; costs only for those in `paths`, keyed by SHA-256."""
    table = [["published network", *COSTS, "licence", "source", "here"]]
    for digest, file in published.FILES.items():
        path, cells = paths.get(digest), ["-"] * len(COSTS)
        if path:
            with quiet():
                model = Model.of(imported.load(path))
            cells = _costs(model, getattr(model.module, "serves_scales", (model.scale,)))
        table.append([file.title, *cells, file.licence, file.source, str(path or "-")])
    return table


def comparison(paths: dict[str, Path], results: Sequence[Path], timed: bool) -> Table:
    """Returns two rows per published file: measured results, and below them the published ones.

    Args:
      paths: the files, keyed by SHA-256; in the results each has its name without the suffix.
      results: folders that `kdgan_jax.evaluate` wrote.
      timed: whether to add seconds per 1280 x 720 output, measured now.

    Raises:
      UserError: a folder does not hold such results.
    """
    measured = _measured(results)
    seconds_title = ["seconds per frame"] if timed else []
    table = [["network", *published.SETS, *COSTS[:2], *seconds_title]]
    for digest, file in published.FILES.items():
        path = paths.get(digest)
        if path is None or not any((path.stem, name) in measured for name in published.SETS):
            continue
        cells = [measured.get((path.stem, name), "-") for name in published.SETS]
        with quiet():
            model = Model.of(imported.load(path, scale=SCALE))
        seconds = [f"{costs.seconds_720p(model):.2g}"] if timed else []
        table.append([file.title, *cells, *_costs(model, [])[:2], *seconds])
        if file.figures:
            cells = [_quality(psnr, ssim) for psnr, ssim in file.figures]
            cells += ["-"] * (len(published.SETS) - len(cells))
            table.append([f"*{file.stated_in}*", *cells, "", "", *([""] * timed)])
    return table


def _measured(folders: Sequence[Path]) -> dict[tuple[str, str], str]:
    """Returns "PSNR / SSIM" to HR by model and data set, from results of `kdgan_jax.evaluate`."""
    cells = {}
    for folder in folders:
        path = folder / "results.json"
        try:
            for row in read_json(path)["rows"]:
                if row["scale"] == SCALE and row.get("reference", "HR") == "HR":
                    cells[row["model"], row["dataset"]] = _quality(row["psnr_y"], row["ssim_y"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read as results of kdgan_jax.evaluate ({error!r}); give the"
                " folder of its --out"
            ) from None
    return cells


def _quality(psnr: float, ssim: float | None) -> str:
    return f"{psnr:.2f}" + ("" if ssim is None else f" / {ssim:.4f}")


def markdown(table: Table) -> str:
    """Returns a table as Markdown."""
    titles, *rows = table
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
