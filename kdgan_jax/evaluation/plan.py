"""Makes the plan of an evaluation: checks the command's arguments before anything is measured."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.baselines import random_forest
from kdgan_jax.baselines.interpolation import BASELINES
from kdgan_jax.data import sources
from kdgan_jax.data.photos import Photo
from kdgan_jax.evaluation import measure, naming
from kdgan_jax.evaluation.metrics import (
    NO_REFERENCE,
    available,
    check,
    measurable,
    smallest_side,
)
from kdgan_jax.evaluation.run import Plan
from kdgan_jax.evaluation.sheets import Box
from kdgan_jax.inference import engines
from kdgan_jax.inference.load import resolve
from kdgan_jax.inference.reduced import at_scale
from kdgan_jax.layouts import places
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError, missing, suggest

SHEET_PHOTOS = 3  # on a sheet, unless --images names them


def make(
    *,
    models: str,
    data: str,
    out: str,
    scale: int,
    metrics: str | None = None,
    self_ensemble: bool = False,
    compare: Sequence[str] = (),
    reference: str | None = None,
    images: str | None = None,
    crop: str | None = None,
    resume: bool = False,
    reference_model: str | None = None,
    save_images: bool = False,
    engine: str = engines.JAX,
) -> Plan:
    """Returns the plan for the arguments of the command `evaluate`, which are named like its flags.

    Metrics, sheets and plots that are made by default are skipped with a warning if a package is
    missing.

    Raises:
      UserError: an argument, a model or a photo is unusable, or something that is asked for needs
        a missing package.
    """
    asked_for = _metrics(metrics)
    folders = _folders(data)
    _check_out(Path(out), folders.values(), ["rows", *["images"] * save_images])
    if compare and not _is_installed("scipy"):
        raise missing("scipy", f"--compare={compare[0]}")
    pictures = _pictures({"reference": reference, "images": images, "crop": crop})
    given = [_labelled(word) for word in _model_words(models)]
    if reference_model:
        given.append(_labelled(reference_model))
    called = _names(given)
    teacher = _teacher(*called.pop(), scale, engine) if reference_model else None
    upscalers = [
        upscaler
        for name, path in called
        for upscaler in named_upscalers(name, path, scale, self_ensemble, engine)
    ]
    names = [upscaler.name for upscaler in upscalers]
    _check_unique("--models", models, names)
    if save_images:
        _check_unique("--models", models, [naming.file_name(name) for name in names])
    pairs = [_pair(words, upscalers) for words in compare]
    over = _model("--reference", reference, upscalers) if reference else ""
    sets: dict[str, list[Photo]] = {}
    metrics_of: dict[str, list[str]] = {}
    for name, entry in folders.items():
        taken = sources.of_place(entry.path, entry.kind, entry.path, scale)
        metrics_of[name] = _metrics_of(taken, asked_for, not metrics, scale, teacher)
        sets[name] = _photos(taken, scale, smallest_side(metrics_of[name], scale))
    sheet_photos = _sheet_photos(sets, images)
    return Plan(
        upscalers,
        sets,
        sheet_photos,
        Path(out),
        scale,
        metrics_of,
        pairs,
        over or ("bicubic" if "bicubic" in names else names[0]),
        _box(crop, [photo for photos in sheet_photos.values() for photo in photos]),
        pictures,
        resume,
        teacher,
        save_images,
    )


def _model_words(models: str) -> list[str]:
    """Returns the words of --models; a comma in the path of a file or folder divides none."""

    def exists(word: str) -> bool:
        label, path = _labelled(word)
        return Path(path).exists() and "," not in label

    return _no_gap("--models", models, places.between_commas(models, exists))


def _names(given: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns (name, path) of each (label, path): without a label, the shortest name."""
    labels = [label for label, _ in given if label]
    short = iter(naming.short([path for label, path in given if not label], labels))
    return [(places.printable(label or next(short)), path) for label, path in given]


def named_upscalers(
    name: str, path: str, scale: int, ensemble: bool, engine: str = engines.JAX
) -> list[measure.Upscaler]:
    """Returns the upscaler at `path`: a baseline, a forest, or a model's path (see `load`).

    With `ensemble` a trained model is followed by its self-ensemble, which has its name and "+".
    `engine` runs networks.

    Raises:
      UserError: there is no such model, it has another scale, or the engine cannot run it.
    """
    if path in BASELINES:
        return [replace(measure.from_baseline(path, scale), name=name, path=path)]
    model = _trained(path, scale, engine)
    if model.scale != scale:
        raise UserError(
            f"{path} has scale {model.scale}, but --scale={scale}; evaluate it separately"
        )
    plain = replace(measure.from_model(name, model), path=path)
    if not ensemble:
        return [plain]
    return [plain, replace(measure.from_ensemble(f"{name}+", model), path=f"{path}+")]


def _trained(path: str, scale: int, engine: str) -> measure.Trained:
    if path == "forest" or path.startswith("forest:"):
        return random_forest.load(path.removeprefix("forest").removeprefix(":") or "runs/forest")
    try:
        return resolve(path, scale=scale, engine=engine)
    except UserError as error:
        raise UserError(f"{error}{suggest(path, [*BASELINES, 'forest'])}") from None


def _teacher(name: str, path: str, scale: int, engine: str) -> measure.Upscaler:
    """Returns the model that --reference_model names."""
    model = resolve(path, scale=scale, engine=engine)
    reduced = at_scale(model, scale, f"--reference_model={path}")
    return replace(measure.from_model(name, reduced), path=path)


def _words(flag: str, value: str) -> list[str]:
    """Returns the comma-separated words of `value`.

    Raises:
      UserError: a word is empty.
    """
    return _no_gap(flag, value, [word.strip() for word in value.split(",")])


def _no_gap(flag: str, value: str, words: list[str]) -> list[str]:
    if not all(words):
        raise UserError(f"{flag}={value}: a name is missing beside a comma")
    return words


def _labelled(word: str) -> tuple[str, str]:
    """Returns (label, path) of "LABEL=PATH"; without label it is "", and a path may contain "="."""
    label, equals, path = word.partition("=")
    return (label, path) if equals and not Path(word).exists() else ("", word)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _metrics(value: str | None) -> list[str]:
    """Returns the metrics that --metrics lists, by default those that can be measured here."""
    if value is None:
        return available()
    names = _words("--metrics", value)
    check(names)
    return names


def _metrics_of(
    taken: sources.Taken,
    names: list[str],
    is_default: bool,
    scale: int,
    teacher: measure.Upscaler | None,
) -> list[str]:
    """Returns the metrics of a set: `names`, and by default those that photos without HR allow.

    Without HR and a teacher, they are those that need no reference.

    Raises:
      UserError: photos have no reference that the metrics need, or psnr_y is missing.
    """
    lacking = [photo for photo in taken.photos if photo.hr is None]
    alone = [name for name in names if name in NO_REFERENCE]
    if lacking and is_default:
        alone = measurable(NO_REFERENCE, min(min(photo.size) for photo in lacking), scale)
        if small := [name for name in NO_REFERENCE if name not in alone]:
            side = smallest_side(small, scale)
            log.warning(
                "%s: %s not measured; sides must be at least %d pixels after enlarging",
                taken.entry,
                " and ".join(small),
                side,
            )
    if lacking and not teacher:
        if not alone or len(lacking) < len(taken.photos):
            raise UserError(
                f"--data={taken.entry}: {lacking[0].lr} has no HR image to measure against; give"
                " --reference_model=MODEL, whose images take its place, or measure photos without"
                f" HR apart, with --metrics={','.join(NO_REFERENCE)}"
            )
        log.info("%s: measured without a reference, by %s", taken.entry, " and ".join(alone))
        return alone
    if alone == names and not teacher:
        return alone
    if "psnr_y" not in names:
        raise UserError(f"--metrics={','.join(names)} lacks psnr_y, which plots need; add it")
    return list(dict.fromkeys([*names, *alone]))


def _pictures(flags: dict[str, str | None]) -> bool:
    """Returns whether sheets and plots can be made; flags about them need Matplotlib."""
    if _is_installed("matplotlib"):
        return True
    for flag, value in flags.items():
        if value is not None:
            raise missing("matplotlib", f"--{flag}={value}")
    log.warning("no sheets and plots are made: matplotlib is not installed")
    return False


class _Set(NamedTuple):
    """A set that --data lists, such as "mine=lr:photos"; label and kind are "" if not given."""

    label: str
    kind: str
    path: str

    @property
    def exists(self) -> bool:
        """Whether there is something at its path."""
        return places.exists(self.path, self.kind)


def _folders(data: str) -> dict[str, _Set]:
    """Returns the sets that --data lists, by their names."""

    def exists(word: str) -> bool:
        return (one := _folder(word)).exists and "," not in one.label

    words = _no_gap("--data", data, places.between_commas(data, exists))
    folders = [_folder(word) for word in words]
    names = [one.label or places.name(one.path, one.kind) for one in folders]
    for name in names:
        if Path(name).name != name or "\0" in name:  # files named after it would leave --out
            raise UserError(f"--data: {name!r} cannot name a set; LABEL=DIR gives another name")
    _check_unique("--data", data, names)
    return dict(zip(names, folders, strict=True))


def _folder(word: str) -> _Set:
    """Returns the set of a word such as "mine=lr:photos"."""
    whole = _Set("", *sources.split_kind(word))
    if whole.exists:  # a folder may be named "a=b"
        return whole
    label, entry = _labelled(word)
    return _Set(label, *sources.split_kind(entry))


def _check_out(out: Path, folders: Iterable[_Set], inside: Iterable[str]) -> None:
    """Refuses a folder for results that holds something else, or would be read as photos.

    `inside` names the folders that are made in it.
    """
    if (out / "checkpoints").is_dir():
        raise UserError(f"--out={out} is the workdir of a run; choose another folder")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; choose a folder")
    for name in inside:
        if (out / name).is_symlink():
            raise UserError(f"--out={out}: its folder {name!r} is a link; remove it")
    for path in (root for one in folders for root in places.roots(one.path, one.kind)):
        if out.resolve().is_relative_to(path.resolve()):
            raise UserError(f"--out={out} is inside --data={path}; choose a folder elsewhere")


def _photos(taken: sources.Taken, scale: int, smallest: int) -> list[Photo]:
    """Returns the photos of a set, and logs what is taken.

    Raises:
      UserError: some cannot be used; names the first.
    """
    photos = taken.photos
    unusable = taken.unusable + [
        f"{photo.place}: {photo.size[1]}x{photo.size[0]}"
        f"{'' if photo.hr is not None else ' enlarged'} is too small to be measured; remove it,"
        f" sides must be at least {smallest} pixels"
        for photo in photos
        if min(photo.size) < smallest
    ]
    if unusable:
        raise UserError(f"{unusable[0]} ({len(unusable)} unusable files in {taken.entry})")
    log.info("%s", sources.described(taken, photos, scale))
    return photos


def _sheet_photos(sets: dict[str, list[Photo]], images: str | None) -> dict[str, list[Photo]]:
    """Returns the photos on each set's sheet: those that --images names, or the first ones."""
    if not images:
        return {name: photos[:SHEET_PHOTOS] for name, photos in sets.items()}
    words = _words("--images", images)
    names = [photo.name for photos in sets.values() for photo in photos]
    for word in words:
        if word not in names:
            raise UserError(f"--images: no photo is named {word!r}{suggest(word, names)}")
    return {
        name: [photo for word in words for photo in photos if photo.name == word]
        for name, photos in sets.items()
    }


def _box(crop: str | None, photos: Sequence[Photo]) -> Box | None:
    if crop is None:
        return None
    numbers = crop.split(",")
    if len(numbers) != 4 or not all(n.strip().isdecimal() for n in numbers):
        raise UserError(f"--crop={crop} must be x,y,w,h: four whole numbers of HR pixels")
    box = Box(*map(int, numbers))
    for photo in photos:
        height, width = photo.size
        if not (0 < box.width <= width - box.left and 0 < box.height <= height - box.top):
            raise UserError(
                f"--crop={crop} is not inside {photo.name} of {width}x{height}; choose another box,"
                " or other photos with --images"
            )
    return box


def _pair(words: str, upscalers: Sequence[measure.Upscaler]) -> tuple[str, str]:
    pair = [_model("--compare", word, upscalers) for word in words.split(",")]
    if len(pair) != 2 or pair[0] == pair[1]:
        raise UserError(f"--compare={words} must name two different models, A,B")
    return pair[0], pair[1]


def _model(flag: str, word: str, upscalers: Sequence[measure.Upscaler]) -> str:
    """Returns the name of the model that `word` names, by its name or its path."""
    for upscaler in upscalers:
        if word in (upscaler.name, upscaler.path):
            return upscaler.name
    names = [upscaler.name for upscaler in upscalers]
    raise UserError(
        f"{flag}: {word!r} is not among the models{suggest(word, names)} (known:"
        f" {', '.join(names)})"
    )


def _check_unique(flag: str, value: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{flag}={value}: two are named {name!r}; give each its own LABEL=")
