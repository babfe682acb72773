"""The options of the command `upscale`, and what is checked of them before a model is loaded."""

import argparse
import contextlib
import importlib.util
from importlib import metadata

from kdgan_jax.inference import engines
from kdgan_jax.inference.load import DEFAULT, SHIPPED
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.upscaling import stages, streams, targets


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="kdgan upscale",
        usage="%(prog)s PICTURE... -o OUT [-n MODEL] [-s FACTOR] [options]",
        description="Upscale pictures with a trained model. Results have the names of the pictures"
        " and keep their bits, transparency, colour profile, EXIF, resolution and text. Results"
        " that exist are skipped, so the same command goes on where it was stopped.",
        epilog="Exit code: 0; 1 if some files failed (each is named); 2 if nothing was upscaled"
        " because an argument is wrong; 130, 143 or 129 if Ctrl-C, SIGTERM or SIGHUP stopped it.",
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="PICTURE",
        help="image files, or folders searched at any depth; - is stdin",
    )
    add(
        "-i",
        "--input",
        nargs="+",
        action="extend",
        default=[],
        metavar="PICTURE",
        help="the same, as an option",
    )
    add("--version", action="version", version=version())
    add(
        "--list_models",
        action="store_true",
        help="list the models that come with the package, and where to find others",
    )

    add = made.add_argument_group("results").add_argument
    add(
        "-o",
        "--out",
        "--output",
        metavar="OUT",
        help="folder for the results, made if missing; for one photo also a file such as big.png;"
        " - is stdout (the default if the picture is stdin)",
    )
    add(
        "--ext",
        "--format",
        dest="ext",
        choices=(*targets.FORMATS, targets.AUTO),
        help="format (default: png); auto keeps each picture's, where it can be written",
    )
    add("--suffix", default="", help="end of names: --suffix=x4 makes a_x4.png of a.jpg")
    add(
        "--quality",
        type=int,
        metavar="1..100",
        help="of JPEG (default 95), AVIF (90) and WebP (default: lossless)",
    )
    again = made.add_mutually_exclusive_group()
    again.add_argument(
        "--skip_existing", action="store_true", help="keep results that exist (the default)"
    )
    again.add_argument("--overwrite", action="store_true", help="make results that exist again")
    add(
        "--strip",
        action="store_true",
        help="leave out EXIF, XMP, IPTC, resolution and text, and do not name the model in results",
    )
    add(
        "--all_frames",
        action="store_true",
        help="enlarge all frames of animated GIF, WebP and PNG, with --ext=png, webp or auto",
    )

    add = made.add_argument_group("models and sizes").add_argument
    add(
        "-n",
        "--model",
        "--model_name",
        action="append",
        metavar="MODEL",
        help=f"one that comes with the package ({', '.join(SHIPPED)}; default: {DEFAULT}), a"
        " run's workdir (runs/kd, runs/kd:control), a checkpoint, or a file of weights,"
        " kdgan_jax's own or published. Several, separated by commas or by another -n, have a"
        " folder each in OUT",
    )
    add(
        "--sheet",
        action="store_true",
        help="also draw each picture beside what the models make of it, in OUT/sheets",
    )
    add(
        "-s",
        "--scale",
        "--outscale",
        metavar="FACTOR",
        help="of the results, such as 2 or 2.5: the network's scale, then Lanczos (default: the"
        " network's scale)",
    )
    add(
        "--size",
        metavar="WxH",
        help="of the results in pixels, in the same way; 1920x and x1080 keep the shape",
    )
    add(
        "--strength",
        type=float,
        metavar="0..1",
        help="of a refined model whose card names the soft one that it starts from: 0 is the soft"
        " one, 1 the refined one",
    )
    add(
        "--self_ensemble",
        action="store_true",
        help="average over the eight flips and rotations: slightly better, eight times slower",
    )
    add(
        "--keep_colour",
        action="store_true",
        help="keep the local mean colour, which networks may shift",
    )
    add(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="what runs the network (default: a GPU, if JAX finds one)",
    )
    add(
        "--engine",
        choices=engines.NAMES,
        default=engines.AUTO,
        help="what runs it on a CPU: ONNX Runtime or JAX (default: ONNX Runtime, if its results are"
        " JAX's)",
    )
    add(
        "-t",
        "--tile",
        type=int,
        default=0,
        metavar="PIXELS",
        help="side of the tiles in which pictures go through the network (default: 0, what suits"
        " the network); tiles leave no seams, unless a network sees the whole picture",
    )
    return made


def version() -> str:
    """Returns the name and the version of the program; the name alone if it is not installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return f"kdgan_jax {metadata.version('kdgan_jax')}"
    return "kdgan_jax"


def ends(arguments: argparse.Namespace) -> tuple[list[str], str]:
    """Returns the inputs and the output that are named; either may be a stream.

    Raises:
      UserError: one is missing, or streams and files do not fit together.
    """
    inputs, out = [*arguments.inputs, *arguments.input], arguments.out
    if not inputs:
        raise UserError("no picture is named; give files or folders, as in PICTURE -o OUT")
    given = [name for name in inputs if streams.is_stdin(name)]
    if given and len(inputs) > 1:
        raise UserError(f"{given[0]}: stdin is the only input, or none; name files instead")
    if out is None and given:
        out = streams.STREAM
    if out is None:
        raise UserError("-o is missing: the folder for results, or for one photo a file")
    if not out:
        raise UserError("--out is empty; name a folder (is a variable not set?)")
    return inputs, out


def check(arguments: argparse.Namespace) -> None:
    """Checks options that need no model.

    Raises:
      UserError: an option is wrong by itself, or two do not fit together.
    """
    stages.size(arguments.scale, arguments.size)
    if arguments.tile < 0:
        raise UserError(f"--tile={arguments.tile} is no number of pixels; 0 is the default")
    if {"/", "\0"} & set(arguments.suffix) or len(arguments.suffix.encode()) > 100:
        raise UserError(f"--suffix={arguments.suffix} cannot be the end of a name")
    form = arguments.ext or "png"
    if arguments.all_frames and form not in (*stages.ANIMATED, targets.AUTO):
        raise UserError(f"--all_frames with --ext={form}; give {' or '.join(stages.ANIMATED)}")
    if arguments.sheet and not importlib.util.find_spec("matplotlib"):
        raise missing("matplotlib", "--sheet")
