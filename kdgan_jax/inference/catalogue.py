"""Tables of models, of published files and of architectures, with costs and measured results."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax import models
from kdgan_jax.formats import foreign, imported, published
from kdgan_jax.inference import costs
from kdgan_jax.inference.load import SHIPPED, load, resolve
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.console import quiet
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256

Table = list[list[str]]  # rows of cells, with the titles first
COSTS = ["parameters", "multi-adds", "receptive field (LR pixels)", "scales"]
SCALE = 4  # of measured and published results
NO_LICENCE = "none stated"
PURPOSES = {
    "photo_x4": "real photos with blur, noise or JPEG; the default of upscale",
    "photo_soft_x4": "the same, before its adversarial phase",
    "realesr-general-x4v3": "the same, sharper and slower; their teacher",
    "clean_x4": "clean photos, near to the original",
    "clean_gan_x4": "clean photos, sharper",
    "clean_tiny_x4": "clean photos, as fast as can be",
    "clean_tiny_x3": "clean photos at x3, as fast as can be",
    "clean_tiny_x2": "clean photos at x2, as fast as can be",
    "origin_x4": "comparison: the student of the original notebook",
}
# By these a file is meant to hold weights, whatever is in it.
SUFFIXES = {
    *(".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".tar", ".zip", ".h5", ".keras"),
    *(".pb", ".param", ".onnx", ".tflite", ".gguf", ".mlmodel", ".npz"),
}


def shipped() -> Table:
    """Returns a row per model that comes with the package."""
    table = [["model", "what for", *COSTS[:2], "licence"]]
    for name, purpose in PURPOSES.items():
        model = load(name)
        licence = model.about.get("licence", NO_LICENCE)
        table.append([name, purpose, *_costs(model, [])[:2], licence])
    return table


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


def candidates(folders: Sequence[Path]) -> list[Path]:
    """Returns the files below `folders` that hold weights, by their content or their suffix.

    Hidden ones are passed over, and the weights of ncnn, which belong to the .param beside them.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if hidden or not path.is_file():
                continue
            if path.suffix == ".bin" and path.with_suffix(".param").is_file():
                continue
            if path.suffix.lower() in SUFFIXES or _holds_weights(path):
                found.append(path)
    return found


def _holds_weights(path: Path) -> bool:
    try:
        return imported.is_model(path)
    except UserError:  # it cannot be opened, and nothing says that it is a model
        return False


def find(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the files of weights below `folders` by the SHA-256 of their bytes."""
    return {sha256(path): path for path in candidates(folders)}


class Files(NamedTuple):
    """What is in files.

    Attributes:
      models: a row per file that can be loaded.
      others: a row per file that cannot, with the reason.
      digests: the SHA-256 of those that can, or of the published files that they are made of.
    """

    models: Table
    others: Table
    digests: set[str]


def files(paths: Sequence[Path]) -> Files:
    """Returns what is in the files at `paths`."""
    found = Files([["file", "network", *COSTS, "licence"]], [["file", "cannot be loaded"]], set())
    for path in paths:
        try:
            with quiet():
                model = load(path)
        except UserError as error:
            found.others.append([str(path), str(error).removeprefix(f"{path}: ")])
            continue
        found.digests.add(model.about.get("sha256", ""))
        cells = _costs(model, getattr(model.module, "serves_scales", (model.scale,)))
        title = model.about.get("title", model.name)
        found.models.append([str(path), title, *cells, model.about.get("licence", NO_LICENCE)])
    return found


def to_fetch(found: Collection[str]) -> Table:
    """Returns a row per known network whose files are neither `found` nor in the package.

    `found` has files by their SHA-256.
    """
    table = [["network", "licence", "address"]]
    known = published.FILES | published.FOR_PHOTOS
    here = {*found, *(load(name).about.get("sha256") for name in SHIPPED)}
    missing = Counter(
        (file.title, file.licence, file.source)
        for digest, file in known.items()
        if digest not in here
    )
    for (title, licence, source), number in missing.items():
        files = f" ({number} files)" if number > 1 else ""
        table.append([title + files, licence, address(source)])
    return table


def address(source: str) -> str:
    """Returns the address of a `Published.source`, "OWNER/NAME@COMMIT", the last if it has two."""
    name, commit = re.findall(r"([\w.-]+/[\w.-]+)(?:@(\w+))?", source)[-1]
    return f"https://github.com/{name}" + (f"/tree/{commit}" if commit else "")


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
            model = resolve(path, scale=SCALE)
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
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
