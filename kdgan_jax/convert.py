"""Brings published weights into our format, mixes models, and gives ours back to PyTorch's world.

python -m kdgan_jax.convert SOURCE OUT.safetensors
python -m kdgan_jax.convert --interpolate runs/kd:distill runs/kd:adversarial 0.8 OUT.safetensors
python -m kdgan_jax.convert runs/kd OUT.safetensors --pytorch
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdgan_jax.formats import foreign, imported, native
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference import mix
from kdgan_jax.inference.load import load
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError, leave

FACTS = {"licence": "terms", "source": "where it comes from", "data": "what it was trained on"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan convert",
        description="Write a model as one safetensors file. SOURCE is a published file"
        f" ({', '.join(imported.READERS)}), a run's workdir or checkpoint, or the origin's"
        " SavedModel. PyTorch files are read without running anything in them.",
    )
    add = parser.add_argument
    add("paths", nargs="+", metavar="[SOURCE] OUT", help="what to read, and the file to write")
    add("--arch", help="the architecture, if it is not to be detected from the file")
    add("--scale", type=int, help="of a file that serves several scales")
    add(
        "--interpolate",
        nargs=3,
        metavar=("A", "B", "T"),
        help="in place of SOURCE: (1 - T) A + T B, two models of one architecture",
    )
    add("--average", nargs="+", metavar="MODEL", help="in place of SOURCE: the mean of several")
    add("--pytorch", action="store_true", help="write PyTorch's names and layout")
    for fact in FACTS:
        add(f"--{fact}", help=f"{FACTS[fact]}, for the header")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file that the arguments name."""
    arguments = _parser().parse_args(argv)
    console.setup()
    try:
        out = _out(arguments)
        model = _model(arguments)
        said = {fact: getattr(arguments, fact) for fact in FACTS}
        model = model.with_about(**{fact: text for fact, text in said.items() if text})
        if arguments.pytorch:
            foreign.save(out, model)
        else:
            native.save(out, model)
    except UserError as error:
        leave(error)
    console.log.info(
        "%s: %s at x%d, %s parameters%s",
        out,
        model.name,
        model.scale,
        f"{model.parameters:,}",
        ", PyTorch's names" if arguments.pytorch else "",
    )
    return 0


def _out(arguments: argparse.Namespace) -> Path:
    """Returns the file to write.

    Raises:
      UserError: there are too many paths or too few, it exists, or its suffix is another.
    """
    mixing = bool(arguments.interpolate) + bool(arguments.average)
    if mixing > 1 or len(arguments.paths) != (1 if mixing else 2):
        raise UserError("give one of SOURCE, --interpolate and --average, and then OUT")
    out = Path(arguments.paths[-1])
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: give OUT the suffix .safetensors")
    if out.exists():
        raise UserError(f"{out} exists; remove it or choose another name")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; make it first")
    return out


def _model(arguments: argparse.Namespace) -> Weights:
    if arguments.average:
        return mix.average([load(path) for path in arguments.average])
    if arguments.interpolate:
        first, second, share = arguments.interpolate
        try:
            weight = float(share)
        except ValueError:
            weight = np.nan
        if not np.isfinite(weight):
            raise UserError(f"--interpolate: {share!r} is no number; 0 gives A, 1 gives B")
        return mix.average([load(first), load(second)], [1 - weight, weight])
    source = Path(arguments.paths[0])
    if imported.is_foreign(source):
        return imported.load(source, arguments.arch, arguments.scale)
    if arguments.arch or arguments.scale:
        raise UserError(f"{source} says itself what it is; leave out --arch and --scale")
    return load(source)


if __name__ == "__main__":
    sys.exit(main())
