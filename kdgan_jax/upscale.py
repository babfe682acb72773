"""Upscales photos with a trained model; colour, grey and transparency are kept.

python -m kdgan_jax.upscale photo.png folder/ --out=OUT [--model=runs/kd]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kdgan_jax.inference import tiles
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.load import SHIPPED, load
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic, codec
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave


def upscale_picture(
    model: Model,
    picture: codec.Picture,
    on_tile: Callable[[], None] = lambda: None,
    ensemble: bool = False,
) -> codec.Picture:
    """Returns `picture` enlarged: colours by the network, transparency by bicubic.

    With `ensemble` colours are the mean over the eight flips and rotations, at eight times the
    cost; `on_tile` is not called then.
    """
    alpha = None if picture.alpha is None else bicubic.upscale(picture.alpha, model.scale)
    if ensemble:
        rgb = quantise(self_ensemble(model.predict, picture.rgb))
    else:
        rgb = model.upscale(picture.rgb, on_tile=on_tile)
    return codec.Picture(rgb, alpha, picture.grey)


def plan(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """Returns (source, target) of every image that `inputs` name; targets are PNG below `out`.

    Folders are searched at any depth and keep their structure. Two sources that would share a
    target keep their suffix in its name.

    Raises:
      UserError: an input is missing, or a folder without an image.
    """
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found += [(source, source.relative_to(path)) for source in codec.find(path)]
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise UserError(f"{path}: no such file or folder")
    found = list(dict.fromkeys(found))
    plain = Counter(below.with_suffix(".png") for _, below in found)
    targets = [
        out
        / (below.with_suffix(".png") if plain[below.with_suffix(".png")] == 1 else f"{below}.png")
        for _, below in found
    ]
    writers: dict[Path, Path] = {}
    for (source, _), target in zip(found, targets, strict=True):
        if target in writers:
            raise UserError(
                f"{writers[target]} and {source} would have the same output name; upscale them into"
                " separate folders"
            )
        writers[target] = source
    return [(source, target) for (source, _), target in zip(found, targets, strict=True)]


def _tiles(source: Path, model: Model) -> int:
    """Returns how many tiles the image takes, 1 if it cannot be read (it is named later)."""
    try:
        size = codec.size(source)
    except UserError:
        return 1
    return sum(1 for _ in tiles.positions(size, model.tiling(size)))


def _upscale_file(
    model: Model, source: Path, target: Path, out: Path, on_tile: Callable[[], None], ensemble: bool
) -> None:
    if not target.parent.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{source}: {target.parent} leads out of --out={out} by a link; remove it")
    if target.exists():
        raise UserError(f"{source}: {target} exists; remove it or choose another --out")
    result = upscale_picture(model, codec.read(source), on_tile, ensemble)
    target.parent.mkdir(parents=True, exist_ok=True)
    codec.write(target, result)


def main(argv: Sequence[str] | None = None) -> int:
    """Upscales what the arguments name; returns 0, or 1 if some files failed."""
    parser = argparse.ArgumentParser(
        prog="kdgan upscale",
        description="Upscale photos with a trained model. Results are PNG files of the same names.",
        epilog="Exit code: 0, or 1 if some files failed (each is named), or 2 if nothing ran.",
    )
    parser.add_argument("inputs", nargs="+", help="image files, or folders searched at any depth")
    parser.add_argument("--out", required=True, help="folder for the results; made if missing")
    parser.add_argument(
        "--model",
        default="student_x4",
        help=f"one that comes with the package ({', '.join(SHIPPED)}; default: %(default)s), a"
        " run's workdir (runs/kd; runs/kd:teacher, runs/kd:distill), a checkpoint, or a file of"
        " weights, ours or published",
    )
    parser.add_argument(
        "--self_ensemble",
        action="store_true",
        help="mean over the eight flips and rotations: a little better, eight times as slow",
    )
    arguments = parser.parse_args(argv)
    console.setup()
    devices.configure()
    try:
        model = load(arguments.model)
        pairs = plan(arguments.inputs, Path(arguments.out))
    except UserError as error:
        leave(error)

    failed = 0
    work = [_tiles(source, model) for source, _ in pairs]
    with console.progress("upscaling", sum(work)) as bar:
        for (source, target), number in zip(pairs, work, strict=True):
            goal = bar.done + number
            try:
                _upscale_file(
                    model,
                    source,
                    target,
                    Path(arguments.out),
                    partial(bar.advance, source.name),
                    arguments.self_ensemble,
                )
            except (UserError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                known = isinstance(error, UserError)
                console.log.error("failed: %s", error if known else f"{source}: {error!r}")
            while bar.done < goal:
                bar.advance()
    console.log.info("%d of %d upscaled into %s", len(pairs) - failed, len(pairs), arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
