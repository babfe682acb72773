"""Upscales pictures with a trained model, and keeps what they were.

python -m kdgan_jax.upscale photo.png folder/ --out=OUT [--model=runs/kd]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kdgan_jax.inference import pictures, tiles
from kdgan_jax.inference.load import DEFAULT, SHIPPED, load
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import codec, folders, writing
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave
from kdgan_jax.workdir import record

FORMATS = "png", "jpg", "webp", "tif", "avif"  # of results, by their suffixes
ANIMATED = "png", "webp"  # those that hold several frames


def plan(inputs: Sequence[str], out: Path, suffix: str = ".png") -> list[tuple[Path, Path]]:
    """Returns (source, target) of every image in `inputs`; targets are below `out`.

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
    number = Counter(below.with_suffix(suffix) for _, below in sources)
    planned: dict[Path, Path] = {}
    for source, below in sources:
        short = below.with_suffix(suffix)
        target = out / (short if number[short] == 1 else f"{below}{suffix}")
        if target in planned:
            raise UserError(
                f"{planned[target]} and {source} would have the same output name; upscale them into"
                " separate folders"
            )
        planned[target] = source
    return [(source, target) for target, source in planned.items()]


def _tiles(source: Path, model: Model, all_frames: bool) -> int:
    """Returns the number of tiles of an image; 1 if it cannot be read, which is reported later."""
    try:
        size = codec.size(source)
        frames = codec.frame_count(source) if all_frames else 1
    except UserError:
        return 1
    return frames * sum(1 for _ in tiles.positions(size, model.tiling(size)))


def _upscale_file(
    enlarge: Callable[[Picture], Picture],
    source: Path,
    target: Path,
    out: Path,
    options: writing.Options,
    all_frames: bool,
) -> None:
    if not target.parent.resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"{source}: the link {target.parent} leads out of --out={out}; remove the link"
        )
    if target.exists():
        raise UserError(f"{source}: {target} exists; remove it or choose another --out")
    if all_frames and codec.frame_count(source) > 1:
        frames = ((enlarge(picture), duration) for picture, duration in codec.frames(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        writing.write_frames(target, frames, options)
        return
    result = enlarge(codec.read(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    writing.write(target, result, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan upscale",
        description="Upscale pictures with a trained model. Results have the names of the pictures"
        " and keep their bits, transparency, colour profile, EXIF, resolution and text.",
        epilog="Exit code: 0; 1 if some files failed (each is named); 2 if nothing was upscaled"
        " because an argument is wrong.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", help="image files, or folders searched at any depth")
    add("--out", required=True, help="folder for the results; made if missing")
    add(
        "--model",
        default=DEFAULT,
        help=f"one that comes with the package ({', '.join(SHIPPED)}; default: %(default)s), a"
        " run's workdir (runs/kd, runs/kd:control), a checkpoint, or a file of"
        " weights, kdgan_jax's own or published",
    )
    add(
        "--self_ensemble",
        action="store_true",
        help="average over the eight flips and rotations: slightly better, eight times slower",
    )
    add(
        "--format",
        choices=FORMATS,
        default="png",
        help="of the results (default: %(default)s)",
    )
    add(
        "--quality",
        type=int,
        metavar="1..100",
        help="of JPEG (default 95), AVIF (90) and WebP (default: lossless)",
    )
    add(
        "--strength",
        type=float,
        metavar="0..1",
        help="of a refined model whose card names the soft one that it starts from: 0 is the soft"
        " one, 1 the refined one",
    )
    add(
        "--keep_colour",
        action="store_true",
        help="keep the means of colours over neighbourhoods, which networks move by a few levels",
    )
    add(
        "--all_frames",
        action="store_true",
        help="enlarge all frames of animated GIF, WebP and PNG, with --format=png or webp",
    )
    add(
        "--strip",
        action="store_true",
        help="leave out EXIF, IPTC, resolution and text, and do not name the model in the results",
    )
    return parser


def _options(arguments: argparse.Namespace, model: Model) -> writing.Options:
    """Returns how results are written.

    Raises:
      UserError: options do not fit together.
    """
    form = arguments.format
    if arguments.all_frames and form not in ANIMATED:
        raise UserError(f"--all_frames with --format={form}; give {' or '.join(ANIMATED)}")
    program = f"kdgan_jax {record.versions().get('kdgan_jax', '')}".strip()
    made_by = {"Software": program, "Model": f"{Path(arguments.model).name}, x{model.scale}"}
    options = writing.Options(arguments.quality, arguments.strip, made_by)
    writing.check(f"{arguments.out}/*.{form}", options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Upscales the inputs; returns 0, or 1 if some files failed."""
    arguments = _parser().parse_args(console.arguments(argv))
    console.setup()
    devices.configure()
    try:
        between = {} if arguments.strength is None else {"strength": arguments.strength}
        model = load(arguments.model, **between)
        out = Path(arguments.out)
        options = _options(arguments, model)
        pairs = plan(arguments.inputs, out, f".{arguments.format}")
    except UserError as error:
        leave(error)

    failed = 0
    counts = [_tiles(source, model, arguments.all_frames) for source, _ in pairs]
    with console.progress("upscaling", sum(counts)) as bar:
        for (source, target), count in zip(pairs, counts, strict=True):
            end = bar.done + count
            enlarge = partial(
                pictures.enlarged,
                model,
                on_tile=partial(bar.advance, source.name),
                ensemble=arguments.self_ensemble,
                keep_colour=arguments.keep_colour,
            )
            try:
                _upscale_file(enlarge, source, target, out, options, arguments.all_frames)
            except (UserError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                reason = error if isinstance(error, UserError) else f"{source}: {error!r}"
                console.log.error("failed: %s", reason)
            while bar.done < end:
                bar.advance()
    console.log.info("%d of %d upscaled into %s", len(pairs) - failed, len(pairs), out)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
