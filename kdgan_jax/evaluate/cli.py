"""The command `python -m kdgan_jax.evaluate`.

python -m kdgan_jax.evaluate --models=bicubic,runs/kd --data=Set5,Set14 --out=results
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdgan_jax import devices
from kdgan_jax.data import photos
from kdgan_jax.errors import UserError, leave, suggest
from kdgan_jax.evaluate import measure, pictures, report
from kdgan_jax.evaluate.baselines import BASELINES
from kdgan_jax.io import logs
from kdgan_jax.zoo.load import load


def upscaler(word: str, scale: int) -> measure.Upscaler:
    """Returns what `word` names: a baseline, or the path of a model (see `zoo.load`).

    "LABEL=PATH" gives it another name in tables and pictures.

    Raises:
      UserError: it names nothing, or a model of another scale.
    """
    if word in BASELINES:
        return measure.from_baseline(word, scale)
    label, _, path = word.rpartition("=")
    try:
        model = load(path)
    except UserError as error:
        raise UserError(f"{error}{suggest(word, BASELINES)}") from None
    if model.scale != scale:
        raise UserError(f"{path} is of scale {model.scale}, but --scale={scale}; evaluate it apart")
    return measure.from_model(label or path, model)


def examples(found: Sequence[photos.Photo], scale: int) -> Iterator[measure.Example]:
    """Yields the photos decoded, one at a time."""
    for photo in found:
        yield measure.Example(photo.name, *photos.load(photo, scale))


def _photos(path: str, scale: int) -> list[photos.Photo]:
    found, bad = photos.folder(path, scale)
    if bad:
        raise UserError(f"{bad[0]} ({len(bad)} such files in {path}); mend or remove them")
    return found


def _refuse_twice(flag: str, value: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{flag}={value}: two are named {name!r}; give each its own name")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the arguments name; leaves with 2 after a user's error."""
    parser = argparse.ArgumentParser(
        prog="python -m kdgan_jax.evaluate",
        description="Measure models on folders of photos: PSNR and SSIM on Y, PSNR on RGB.",
    )
    parser.add_argument(
        "--models",
        required=True,
        help=f"separated by commas: {', '.join(BASELINES)}, or paths (runs/kd, runs/kd:teacher)"
        "; LABEL=PATH names a model in tables and pictures",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="folders separated by commas; each holds images, or HR/ and optionally LRx{scale}/",
    )
    parser.add_argument("--out", required=True, help="folder for tables and pictures")
    parser.add_argument("--scale", type=int, default=4, help="enlargement (default: 4)")
    arguments = parser.parse_args(argv)
    logs.setup()
    devices.configure()
    try:
        _evaluate(arguments)
    except UserError as error:
        leave(error)


def _evaluate(arguments: argparse.Namespace) -> None:
    scale, out = arguments.scale, Path(arguments.out)
    upscalers = [upscaler(word, scale) for word in arguments.models.split(",")]
    folders = arguments.data.split(",")
    names = [Path(path).resolve().name for path in folders]
    _refuse_twice("--models", arguments.models, [u.name for u in upscalers])
    _refuse_twice("--data", arguments.data, names)
    sets = {name: _photos(path, scale) for name, path in zip(names, folders, strict=True)}
    if (out / "checkpoints").is_dir():
        raise UserError(f"--out={out} is the workdir of a run; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    rows, per_image = [], []
    for name, found in sets.items():
        with logs.progress(name, len(found) * len(upscalers)) as bar:
            more = measure.measure(
                upscalers, examples(found, scale), dataset=name, scale=scale, on_image=bar.advance
            )
        rows += more[0]
        per_image += more[1]
        shown = list(examples(found[:3], scale))
        made = [{u.name: u.upscale(example.lr) for u in upscalers} for example in shown]
        pictures.sheet(out / f"{name}.png", shown, made, scale=scale)
        report.write(out, rows, per_image, device=devices.describe(1))
    print((out / "results.md").read_text())
