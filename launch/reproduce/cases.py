"""Tries small inputs that people reported trouble with, and writes what comes of each as a table.

python launch/reproduce/cases.py CASES cases.md  (CASES holds pictures/, weights/, make_folders.py)

Pictures are upscaled, weights are loaded and compared with the output that all of the same weights
must have, and folders are checked and listed as a run would take them. Takes minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kdgan_jax import load
from kdgan_jax.data import sources
from kdgan_jax.pictures import codec
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import write_text

Row = tuple[str, str, str]  # kind, input, what comes


def _said(call: Callable[[], str]) -> str:
    """Returns what `call` returns, or the one line that it is refused with."""
    try:
        return call()
    except UserError as error:
        return f"refused: {error}"
    except Exception as error:  # a fault, which the table shows
        return f"FAULT: {type(error).__name__}: {error}"


def weights(folder: Path) -> Iterator[Row]:
    """Yields a row per file of weights."""
    lr, expected = (np.load(folder / name) for name in ("lr.npy", "plain_sr.npy"))

    def loaded(path: Path) -> str:
        model = load(path)
        if model.scale * lr.shape[0] != expected.shape[0]:
            return f"{model.name}, x{model.scale}"
        off = np.abs(model.upscale(lr).astype(int) - expected).max()
        return f"{model.name}, x{model.scale}, off by {off} of 255"

    for path in sorted(folder.iterdir()):
        if path.suffix != ".npy":
            yield "weights", path.name, _said(lambda path=path: loaded(path))


def folders(script: Path, out: Path) -> Iterator[Row]:
    """Yields a row per folder that `script` makes."""
    subprocess.run([sys.executable, script, out], check=True)

    def taken(path: Path) -> str:
        photos, unusable = sources.of_source(str(path), 4)
        given = sum(photo.lr is not None and photo.hr is not None for photo in photos)
        return f"{len(photos)} photos, LR given for {given}, {len(unusable)} unusable"

    for path in sorted(out.iterdir()):
        yield "folders", path.name, _said(lambda path=path: taken(path))


def pictures(folder: Path) -> Iterator[Row]:
    """Yields a row per picture."""
    model = load("clean_x4")

    def upscaled(path: Path) -> str:
        picture = codec.read(path)
        rgb = model.upscale(picture.pixels)
        means = ", ".join(f"{mean:.1f}" for mean in rgb.mean(axis=(0, 1)))
        kinds = ["grey"] * picture.grey + ["alpha"] * (picture.alpha is not None)
        return f"{rgb.shape[1]}x{rgb.shape[0]}, means {means}{''.join(f', {k}' for k in kinds)}"

    for path in sorted(folder.iterdir()):
        yield "pictures", path.name, _said(lambda path=path: upscaled(path))


def main() -> None:
    """Writes the table and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path, help="folder of the inputs")
    parser.add_argument("out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    console.setup()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        rows += weights(arguments.cases / "weights")
        rows += folders(arguments.cases / "make_folders.py", Path(temporary) / "folders")
    rows += pictures(arguments.cases / "pictures")
    lines = ["| kind | input | what comes |", "|---|---|---|"]
    lines += [f"| {kind} | {name} | {said} |" for kind, name, said in rows]
    write_text(arguments.out, "\n".join(lines) + "\n")
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
