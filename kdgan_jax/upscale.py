"""Upscales photos with a trained model; keeps colour, grey and transparency.

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
from kdgan_jax.inference.load import DEFAULT, SHIPPED, load
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic, codec, folders, writing
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave


def upscale_picture(
    model: Model,
    picture: Picture,
    on_tile: Callable[[], None] = lambda: None,
    ensemble: bool = False,
) -> Picture:
    """Returns `picture` enlarged: the network enlarges colours, bicubic enlarges transparency.

    Args:
      model: the network.
      picture: of any kind; the result has the same kind.
      on_tile: called after every tile; not called with `ensemble`.
      ensemble: whether colours are the mean over the eight flips and rotations, which takes eight
        times as long.
    """
    alpha = None if picture.alpha is None else bicubic.upscale(picture.alpha, model.scale)
    if ensemble:
        rgb = quantise(self_ensemble(model.predict, picture.pixels))
    else:
        rgb = model.upscale(picture.pixels, on_tile=on_tile)
    return Picture(rgb, alpha, picture.grey)


def plan(inputs: Sequence[str], out: Path) -> list[tuple[Path, Path]]:
    """Returns (source, target) of every image in `inputs`; targets are PNG files below `out`.

    Folders are searched at any depth and keep their structure. A target's name includes the
    source's suffix if another source differs in the suffix only.

    Raises:
      UserError: an input does not exist, a folder holds no image, or two targets are the same.
    """
    sources: list[tuple[Path, Path]] = []  # with their paths below `out`
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            sources += [(source, source.relative_to(path)) for source in folders.find(path)]
        elif path.exists():
            sources.append((path, Path(path.name)))
        else:
            raise UserError(f"{path}: no such file or folder")
    sources = list(dict.fromkeys(sources))
    number = Counter(below.with_suffix(".png") for _, below in sources)
    planned: dict[Path, Path] = {}
    for source, below in sources:
        png = below.with_suffix(".png")
        target = out / (png if number[png] == 1 else f"{below}.png")
        if target in planned:
            raise UserError(
                f"{planned[target]} and {source} would have the same output name; upscale them into"
                " separate folders"
            )
        planned[target] = source
    return [(source, target) for target, source in planned.items()]


def _tiles(source: Path, model: Model) -> int:
    """Returns the number of tiles of an image; 1 if it cannot be read, which is reported later."""
    try:
        size = codec.size(source)
    except UserError:
        return 1
    return sum(1 for _ in tiles.positions(size, model.tiling(size)))


def _upscale_file(
    model: Model, source: Path, target: Path, out: Path, on_tile: Callable[[], None], ensemble: bool
) -> None:
    if not target.parent.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"{source}: the link {target.parent} leads out of --out={out}; remove the link"
        )
    if target.exists():
        raise UserError(f"{source}: {target} exists; remove it or choose another --out")
    result = upscale_picture(model, codec.read(source), on_tile, ensemble)
    target.parent.mkdir(parents=True, exist_ok=True)
    writing.write(target, result)


def main(argv: Sequence[str] | None = None) -> int:
    """Upscales the inputs; returns 0, or 1 if some files failed."""
    parser = argparse.ArgumentParser(
        prog="kdgan upscale",
        description="Upscale photos with a trained model. Results are PNG files of the same names.",
        epilog="Exit code: 0; 1 if some files failed (each is named); 2 if nothing was upscaled"
        " because an argument is wrong.",
    )
    parser.add_argument("inputs", nargs="+", help="image files, or folders searched at any depth")
    parser.add_argument("--out", required=True, help="folder for the results; made if missing")
    parser.add_argument(
        "--model",
        default=DEFAULT,
        help=f"one that comes with the package ({', '.join(SHIPPED)}; default: %(default)s), a"
        " run's workdir (runs/kd, runs/kd:control), a checkpoint, or a file of"
        " weights, kdgan_jax's own or published",
    )
    parser.add_argument(
        "--self_ensemble",
        action="store_true",
        help="average over the eight flips and rotations: slightly better, eight times slower",
    )
    arguments = parser.parse_args(console.arguments(argv))
    console.setup()
    devices.configure()
    try:
        model = load(arguments.model)
        pairs = plan(arguments.inputs, Path(arguments.out))
    except UserError as error:
        leave(error)

    failed = 0
    counts = [_tiles(source, model) for source, _ in pairs]
    with console.progress("upscaling", sum(counts)) as bar:
        for (source, target), count in zip(pairs, counts, strict=True):
            end = bar.done + count
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
                reason = error if isinstance(error, UserError) else f"{source}: {error!r}"
                console.log.error("failed: %s", reason)
            while bar.done < end:
                bar.advance()
    console.log.info("%d of %d upscaled into %s", len(pairs) - failed, len(pairs), arguments.out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
