"""Writes any model as one file, averages models, and exports weights under PyTorch's names.

python -m kdgan_jax.convert SOURCE OUT.safetensors
python -m kdgan_jax.convert --average runs/a runs/b OUT.safetensors
python -m kdgan_jax.convert --interpolate runs/kd:distill runs/kd:adversarial 0.8 OUT.safetensors
python -m kdgan_jax.convert runs/kd OUT.safetensors --pytorch
python -m kdgan_jax.convert runs/kd OUT.safetensors --dtype=float16
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdgan_jax.formats import foreign, imported, native
from kdgan_jax.formats.weights import Weights
from kdgan_jax.inference import mix
from kdgan_jax.inference.load import load
from kdgan_jax.runtime import console, outputs
from kdgan_jax.runtime.errors import UserError, leave

# Facts for the header of the file, and how --help explains them.
FACTS = {
    "licence": "terms of use",
    "source": "origin",
    "author": "author",
    "data": "training data",
    "made_by": "the command or program that made the file",
    "figures": "how good it is, such as PSNR on held-out photos",
    "soft": "the model that a refined one starts from, for --strength of upscale",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan convert",
        description="Write a model as one safetensors file. SOURCE is a published file"
        f" ({', '.join(imported.READERS)}), a run's workdir or checkpoint, or the origin's"
        " SavedModel. PyTorch files are read without executing anything in them.",
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="[SOURCE ...] OUT",
        help="the model to read, or with --average several, and the file to write",
    )
    add(
        "--arch",
        help="the architecture of a published file, perhaps with arguments that the file does not"
        " store, such as compact:slope=0.2; detected by default",
    )
    add("--scale", type=int, help="the scale of a published file that serves several")
    add(
        "--interpolate",
        nargs=3,
        metavar=("A", "B", "T"),
        help="instead of SOURCE: (1 - T) A + T B for models of one architecture, T from 0 to 1",
    )
    add(
        "--average",
        action="store_true",
        help="write the mean of the weights of several SOURCES, models of one architecture",
    )
    add("--pytorch", action="store_true", help="write weights under PyTorch's names, in its layout")
    add(
        "--dtype",
        choices=native.DTYPES,
        default=native.DTYPES[0],
        help="how weights are stored (default: %(default)s); float16 halves the file, and keeps"
        " three digits of a number",
    )
    for fact, meaning in FACTS.items():
        add(f"--{fact}", help=f"{meaning}, for the header of the file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0."""
    arguments = _parser().parse_args(console.arguments(argv))
    console.setup()
    try:
        out = _out(arguments)
        facts = {fact: getattr(arguments, fact) for fact in FACTS if getattr(arguments, fact)}
        model = _model(arguments).with_about(**facts)
        if arguments.pytorch:
            foreign.save(out, model)
        else:
            native.save(out, model, arguments.dtype)
    except UserError as error:
        leave(error)
    console.log.info(
        "%s: %s at x%d, %s parameters%s",
        out,
        model.name,
        model.scale,
        f"{model.parameters:,}",
        ", under PyTorch's names" if arguments.pytorch else "",
    )
    return 0


def _out(arguments: argparse.Namespace) -> Path:
    """Returns the file to write.

    Raises:
      UserError: arguments do not fit together, or the file exists or cannot be created.
    """
    sources = len(arguments.paths) - 1
    if arguments.interpolate and (arguments.average or sources):
        raise UserError("--interpolate A B T takes its own two models; give them and OUT alone")
    if arguments.average and sources < 2:
        raise UserError("--average needs two models or more, and then OUT: --average A B OUT")
    if not arguments.interpolate and not arguments.average and sources != 1:
        raise UserError(
            "give one SOURCE and OUT; for several models: --average A B OUT, or"
            " --interpolate A B T OUT"
        )
    if sources != 1 and (arguments.arch or arguments.scale):
        raise UserError("--arch and --scale are for a single SOURCE; leave them out")
    if arguments.pytorch and arguments.dtype != native.DTYPES[0]:
        raise UserError(f"--pytorch writes {native.DTYPES[0]}; leave out --dtype={arguments.dtype}")
    return outputs.new_file(arguments.paths[-1], ".safetensors")


def _model(arguments: argparse.Namespace) -> Weights:
    """Returns the model to write.

    Raises:
      UserError: a model cannot be read, models differ, or an argument does not apply.
    """
    if arguments.average:
        return mix.average([load(path) for path in arguments.paths[:-1]])
    if arguments.interpolate:
        first, second, share = arguments.interpolate
        weight = mix.share(share)
        if weight is None:
            raise UserError(
                f"--interpolate: T={share!r} is no number from 0 to 1; 0 gives A, 1 gives B"
            )
        return mix.average([load(first), load(second)], [1 - weight, weight])
    source = Path(arguments.paths[0])
    if imported.is_foreign(source):
        return imported.load(source, arguments.arch, arguments.scale)
    if arguments.arch or arguments.scale:
        raise UserError(f"{source} states its architecture and scale; leave out --arch and --scale")
    return load(source)


if __name__ == "__main__":
    sys.exit(main())
