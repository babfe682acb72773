"""The command `python -m kdgan_jax.evaluate`: its arguments, checked before anything is measured.

python -m kdgan_jax.evaluate --models=bicubic,runs/kd --data=Set5,Set14 --out=results
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdgan_jax.baselines import random_forest
from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.data import photos
from kdgan_jax.evaluation import measure, metrics, run, sheets
from kdgan_jax.inference.load import load
from kdgan_jax.models import SCALES
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError, leave, suggest


def _words(flag: str, value: str) -> list[str]:
    """Returns what `value` lists, separated by commas.

    Raises:
      UserError: an item is empty.
    """
    words = [word.strip() for word in value.split(",")]
    if not all(words):
        raise UserError(f"{flag}={value}: something is missing beside a comma")
    return words


def _labelled(word: str) -> tuple[str, str]:
    """Returns (label, the rest) of "LABEL=REST"; no label is "", and a path may hold "="."""
    label, equals, rest = word.partition("=")
    return (label, rest) if equals and not Path(word).exists() else ("", word)


def upscalers(word: str, scale: int, ensemble: bool) -> list[measure.Upscaler]:
    """Returns what `word` names: a baseline, a forest, or the path of a model (see `zoo.load`).

    "LABEL=..." gives it another name in tables and pictures. With `ensemble` a trained model is
    followed by itself with self-ensemble, under its name and "+".

    Raises:
      UserError: it names nothing, or a model of another scale.
    """
    label, path = _labelled(word)
    name = label or path
    if path in BASELINES:
        return [replace(measure.from_baseline(path, scale), name=name)]
    model = _trained(path, scale)
    if model.scale != scale:
        raise UserError(f"{path} is of scale {model.scale}, but --scale={scale}; evaluate it apart")
    found = [measure.from_model(name, model)]
    return [*found, measure.from_ensemble(f"{name}+", model)] if ensemble else found


def _trained(path: str, scale: int) -> measure.Trained:
    if path == "forest" or path.startswith("forest:"):
        return random_forest.load(path.removeprefix("forest").removeprefix(":") or "runs/forest")
    try:
        return load(path, scale=scale)
    except UserError as error:
        raise UserError(f"{error}{suggest(path, [*BASELINES, 'forest'])}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdgan evaluate",
        description="Measure models on folders of photos: tables, comparison sheets, plots.",
        epilog="Exit code: 0, or 1 if sets failed (each is named, the others are measured), or 2 if"
        " nothing was begun.",
    )
    add = parser.add_argument
    add(
        "--models",
        required=True,
        help=f"separated by commas: {', '.join(BASELINES)}; forest (runs/forest) or forest:PATH; a"
        " run's workdir or checkpoint (runs/kd, runs/kd:teacher, runs/kd:distill; with :raw the"
        " weights that are not averaged); a file of weights, ours or published. LABEL=PATH names a"
        " model in tables and pictures",
    )
    add(
        "--data",
        required=True,
        help="folders separated by commas; each holds images, or HR/ and optionally LRx{scale}/."
        " LABEL=DIR names a set in tables and files",
    )
    add("--out", required=True, help="folder for tables and pictures")
    add("--scale", type=int, default=4, choices=SCALES, help="enlargement (default: %(default)s)")
    add(
        "--metrics",
        default=",".join(metrics.METRICS),
        help="separated by commas (default: %(default)s); lpips_vgg takes most of the time",
    )
    add("--self_ensemble", action="store_true", help='add a "+" row for every trained model')
    add(
        "--compare",
        action="append",
        default=[],
        metavar="A,B",
        help="paired difference A - B with its 95 %% bootstrap interval; may be repeated",
    )
    add(
        "--reference",
        help="the model over which the plot of gains is made (default: bicubic, else the first)",
    )
    add(
        "--images", help="names of the photos on the sheets, separated by commas (default: first 3)"
    )
    add(
        "--crop",
        metavar="x,y,w,h",
        help="the box on the sheets, in HR pixels (default: where the models differ most)",
    )
    add(
        "--resume",
        action="store_true",
        help="keep each model's rows in OUT/rows, and take those that an earlier run left there",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the arguments name; returns 0, or 1 if some sets failed."""
    arguments = _parser().parse_args(argv)
    console.setup()
    devices.configure()
    try:
        plan = _plan(arguments)
    except UserError as error:
        leave(error)
    failed = run.run(plan)
    results = plan.out / "results.md"
    if len(failed) < len(plan.sets):
        print(results.read_text())
    return 1 if failed else 0


def _plan(arguments: argparse.Namespace) -> run.Plan:
    """Returns what is to be measured and made.

    Raises:
      UserError: something in the arguments, the models or the photos is wrong.
    """
    scale, out = arguments.scale, Path(arguments.out)
    chosen = _words("--metrics", arguments.metrics)
    metrics.check(chosen)
    if "psnr_y" not in chosen:
        raise UserError(f"--metrics={arguments.metrics} lacks psnr_y, which plots need; add it")
    labelled = [_labelled(word) for word in _words("--data", arguments.data)]
    folders = [path for _, path in labelled]
    names = [label or Path(path).resolve().name for label, path in labelled]
    _refuse_places(names)
    _refuse_twice("--data", arguments.data, names)
    _check_out(out, folders)
    found = [
        u
        for word in _words("--models", arguments.models)
        for u in upscalers(word, scale, arguments.self_ensemble)
    ]
    labels = [u.name for u in found]
    _refuse_twice("--models", arguments.models, labels)
    pairs = [_pair(words, labels) for words in arguments.compare]
    reference = arguments.reference or ("bicubic" if "bicubic" in labels else labels[0])
    _known("--reference", reference, labels)
    smallest = metrics.smallest_side(chosen, scale)
    sets = {n: _photos(path, scale, smallest) for n, path in zip(names, folders, strict=True)}
    wanted = _words("--images", arguments.images) if arguments.images else None
    known = [photo.name for found in sets.values() for photo in found]
    for word in wanted or []:
        if word not in known:
            raise UserError(f"--images: no photo is named {word!r}{suggest(word, known)}")
    shown = {name: _shown(found, wanted) for name, found in sets.items()}
    box = _box(arguments.crop, [p for chosen in shown.values() for p in chosen])
    resume = arguments.resume
    return run.Plan(found, sets, shown, out, scale, chosen, pairs, reference, box, resume)


def _photos(path: str, scale: int, smallest: int) -> list[photos.Photo]:
    found, bad = photos.folder(path, scale)
    bad += [
        f"{p.hr}: {p.size[1]}x{p.size[0]} is too small to be measured; sides must be at least"
        f" {smallest} pixels"
        for p in found
        if min(p.size) < smallest
    ]
    if bad:
        raise UserError(f"{bad[0]} ({len(bad)} such files in {path}); mend or remove them")
    return found


def _check_out(out: Path, folders: list[str]) -> None:
    """Refuses a folder for results that holds something else, or would be read as photos."""
    if (out / "checkpoints").is_dir():
        raise UserError(f"--out={out} is the workdir of a run; choose another folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; choose a folder")
    if (out / "rows").is_symlink():
        raise UserError(f"--out={out}: its folder 'rows' is a link; remove it")
    for folder in folders:
        if out.resolve().is_relative_to(Path(folder).resolve()):
            raise UserError(f"--out={out} is inside --data={folder}; choose a folder elsewhere")


def _shown(found: list[photos.Photo], wanted: list[str] | None) -> list[photos.Photo]:
    if wanted is None:
        return found[: run.SHEET_PHOTOS]
    return [photo for word in wanted for photo in found if photo.name == word]


def _box(crop: str | None, shown: list[photos.Photo]) -> sheets.Box | None:
    if crop is None:
        return None
    numbers = crop.split(",")
    if len(numbers) != 4 or not all(n.strip().isdecimal() for n in numbers):
        raise UserError(f"--crop={crop} must be x,y,w,h: four whole numbers of HR pixels")
    box = sheets.Box(*map(int, numbers))
    for photo in shown:
        height, width = photo.size
        if not (0 < box.width <= width - box.left and 0 < box.height <= height - box.top):
            raise UserError(
                f"--crop={crop} is not inside {photo.name} of {width}x{height}; choose another box,"
                " or other photos with --images"
            )
    return box


def _pair(words: str, labels: list[str]) -> tuple[str, str]:
    pair = words.split(",")
    if len(pair) != 2 or pair[0] == pair[1]:
        raise UserError(f"--compare={words} must name two models, A,B")
    for word in pair:
        _known("--compare", word, labels)
    return pair[0], pair[1]


def _known(flag: str, word: str, labels: list[str]) -> None:
    if word not in labels:
        raise UserError(
            f"{flag}: {word!r} is not among the models{suggest(word, labels)} (there are:"
            f" {', '.join(labels)})"
        )


def _refuse_places(names: list[str]) -> None:
    """Refuses names of sets that would lead the files named after them out of their folder."""
    for name in names:
        if Path(name).name != name or "\0" in name:
            raise UserError(f"--data: a set cannot be named {name!r}; LABEL=DIR gives it another")


def _refuse_twice(flag: str, value: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{flag}={value}: two are named {name!r}; give each its own name")


if __name__ == "__main__":
    sys.exit(main())
