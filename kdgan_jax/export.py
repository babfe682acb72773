"""Writes a model as an ONNX file, for other programs, and compares it with the model at once.

python -m kdgan_jax.export clean_x4 OUT.onnx
python -m kdgan_jax.export runs/kd OUT.onnx --dtype=float16
python -m kdgan_jax.export runs/kd OUT.onnx --tile=128
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdgan_jax.data import embedded, photos, sources
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import SHIPPED, load
from kdgan_jax.inference.model import Model
from kdgan_jax.onnx import program, trial
from kdgan_jax.runtime import console, devices, outputs
from kdgan_jax.runtime.errors import UserError, leave
from kdgan_jax.runtime.files import replacing

# How far the file may be from the model, in 255ths of white.
LIMITS = {"float32": 1.0, "float16": 2.0}
SIMULATION = "float16 as a GPU computes it, simulated"
PHOTO = embedded.HOLDOUT[1]
SIZE = 61, 83  # of the part of a photo that is compared; odd, to see what grids make of it


class Differs(UserError):
    """The file does not do what the model does."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan export",
        description="Write a model as an ONNX file. It takes float32 RGB (1, 3, height, width)"
        " with 1 for white, and gives the same. The file is run at once, and is only kept if it"
        " does what the model does.",
        epilog="Exit code: 0; 1 if the file differs from the model; 2 if an argument is wrong.",
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help=f"one that comes with the package ({', '.join(SHIPPED)}), a run's workdir (runs/kd,"
        " runs/kd:control), a checkpoint, or a file of weights, kdgan_jax's own or published",
    )
    add("out", metavar="OUT.onnx", help="the file to write")
    add(
        "--dtype",
        choices=LIMITS,
        default="float32",
        help="of weights and computation (default: %(default)s); float16 halves the file; the"
        " image stays float32",
    )
    add(
        "--tile",
        type=int,
        metavar="N",
        help="only take images of N x N pixels, which some runtimes need, and some networks; by"
        " default, images may have any size",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the file; returns 0."""
    arguments = _parser().parse_args(console.arguments(argv))
    console.setup()
    devices.configure()
    try:
        out = outputs.new_file(arguments.out, ".onnx")
        # Not by the engine, which may run a file of this very kind: it would agree with itself.
        model = load(arguments.model, engine=engines.JAX)
        form = program.Form(arguments.tile, half=arguments.dtype == "float16")
        name = Path(arguments.model).name
        with replacing(out) as temporary:
            temporary.write_bytes(program.to_bytes(model, name, form))
            compared = _compared(temporary, model, form, LIMITS[arguments.dtype])
    except Differs as error:
        leave(error, 1)
    except UserError as error:
        leave(error)
    size = f"images of {form.tile}x{form.tile}" if form.tile else "images of any size"
    console.log.info("%s: %s at x%d, %s, for %s", out, name, model.scale, arguments.dtype, size)
    for line in compared:
        console.log.info("%s", line)
    return 0


def _compared(path: Path, model: Model, form: program.Form, limit: float) -> list[str]:
    """Returns what to tell of a comparison of a file with its model.

    Raises:
      Differs: the file is wrong, or differs by more than `limit` 255ths of white.
    """
    _check(path)
    size = (form.tile, form.tile) if form.tile else SIZE
    image, kind = _picture(size)
    try:
        results = trial.results(path, image)
        named = {f"{k} {importlib.import_module(k).__version__}": v for k, v in results.items()}
        if form.half:  # the runtimes compute in float32 on CPUs
            form = form._replace(simulated=True)
            named[SIMULATION] = trial.simulated(program.to_bytes(model, form=form), image)
    except Exception as error:  # of the runtimes' own kinds
        reason = str(error).partition("\n")[0]
        raise Differs(f"the file cannot be run ({reason}); nothing was written") from None
    expected, lines = model.predict(image), []
    for runtime, result in named.items():
        worst = float(np.abs(result - expected).max()) * 255
        if not worst <= limit:  # NaN, too
            raise Differs(
                f"in {runtime}, the file differs from the model by up to {worst:.3g}/255, more than"
                f" {limit:g}/255; nothing was written"
            )
        lines.append(f"{runtime}: differs by at most {worst:.2g}/255 on {kind}")
    return lines


def _check(path: Path) -> None:
    """Checks a file with ONNX's own checker, where that is installed.

    Raises:
      Differs: it is not valid.
    """
    try:
        from onnx import checker
    except ImportError:
        return
    try:
        checker.check_model(str(path), full_check=True)
    except Exception as error:  # of several kinds; all say what is wrong
        reason = str(error).partition("\n")[0]
        raise Differs(f"the file is not valid ONNX ({reason}); nothing was written") from None


def _picture(size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Returns a picture, uint8 (*size, 3), and what it is: a photo, if packages with some exist."""
    height, width = size
    try:
        (photo,) = sources.installed([PHOTO], 1)
        assert photo.hr is not None
        pixels, kind = photos.pixels(photo.hr), "a photo"
    except UserError:
        pixels, kind = _drawing(), "a drawing"
    repeats = -(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1
    part = np.tile(pixels, repeats)[:height, :width]
    return np.ascontiguousarray(part), f"{kind} of {width}x{height}"


def _drawing() -> np.ndarray:
    """Returns waves of several colours and a rectangle, uint8 (256, 256, 3)."""
    rows, columns = np.mgrid[:256, :256]
    waves = [128 + 100 * np.sin((rows * k + columns * (4 - k)) / 9) for k in (1, 2, 3)]
    pixels = np.stack(waves, axis=-1).astype(np.uint8)
    pixels[16:48, 24:64] = 255, 0, 32
    return pixels


if __name__ == "__main__":
    sys.exit(main())
