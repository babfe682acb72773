"""Lists the architectures, and the published files that are known and which of them are here.

python -m kdgan_jax.zoo [FOLDER ...]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax import models
from kdgan_jax.errors import UserError, leave
from kdgan_jax.io.files import sha256
from kdgan_jax.zoo import costs, foreign, imported, published
from kdgan_jax.zoo.model import Model


def architectures() -> list[list[str]]:
    """Returns a row per architecture with its default arguments: costs at its largest scale."""
    rows = []
    for name, module in models.GENERATORS.items():
        scales = getattr(module, "scales", models.SCALES)
        built = module(scale=scales[-1])
        model = Model(name, {}, scales[-1], foreign.shapes(built))
        whole = getattr(built, "whole_image", False)
        rows.append(
            [
                name,
                f"{model.parameters:,}",
                f"{costs.multi_adds_720p(model) / 1e9:.1f} G",
                "whole image" if whole else str(2 * built.receptive_radius + 1),
                ", ".join(map(str, scales)),
                "yes" if hasattr(module, "detect") else "no",
            ]
        )
    return rows


def files(folders: Sequence[Path]) -> list[list[str]]:
    """Returns a row per published file that is known, with its place below `folders`."""
    here = {
        sha256(path): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in imported.READERS
    }
    return [
        [known.title, known.source, known.licence, str(here.get(digest, "-"))]
        for digest, known in published.FILES.items()
    ]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(prog="python -m kdgan_jax.zoo", description=__doc__)
    parser.add_argument("folders", nargs="*", help="where published files may lie, at any depth")
    arguments = parser.parse_args(argv)
    folders = [Path(name) for name in arguments.folders]
    for folder in folders:
        if not folder.is_dir():
            leave(UserError(f"{folder}: no such folder"))
    costs_of = ["parameters", "multi-adds", "receptive field", "scales", "reads published files"]
    print(table(["architecture", *costs_of], architectures()))
    print()
    print(table(["published network", "source", "licence", "here"], files(folders)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
