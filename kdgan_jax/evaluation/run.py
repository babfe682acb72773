"""Runs an evaluation set by set; tables are written after each, so that a failure loses nothing."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdgan_jax.data.photos import Photo, load, load_pair
from kdgan_jax.evaluation import cache, measure, naming, plots, report, sheets, significance
from kdgan_jax.evaluation.measure import Rows
from kdgan_jax.pictures import writing
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json


class Plan(NamedTuple):
    """What to measure, and how to show it.

    Attributes:
      upscalers: the models.
      sets: photos by the set's name.
      sheet_photos: photos on each set's sheet, by the set's name.
      out: folder for the results.
      scale: reference over LR.
      metrics: names in `metrics.METRICS`, by the set's name; those of a set without references
        are of `metrics.NO_REFERENCE`, all others have "psnr_y".
      pairs: names of models to compare.
      reference: name of the model over which gains are shown.
      box: part of the photos on the sheets; None where the models differ most.
      pictures: whether to make sheets and plots.
      resume: whether to store each model's rows, and to use rows stored earlier.
      teacher: the model whose images are the reference; None for HR, where photos have it.
      save_images: whether to write every model's image of every photo.
    """

    upscalers: list[measure.Upscaler]
    sets: dict[str, list[Photo]]
    sheet_photos: dict[str, list[Photo]]
    out: Path
    scale: int
    metrics: dict[str, list[str]]
    pairs: list[tuple[str, str]]
    reference: str
    box: sheets.Box | None
    pictures: bool
    resume: bool
    teacher: measure.Upscaler | None
    save_images: bool = False

    @property
    def models(self) -> list[measure.Upscaler]:
        """The upscalers, and the teacher if there is one."""
        return [*self.upscalers, *([self.teacher] if self.teacher else [])]

    def has_reference(self, name: str) -> bool:
        """Whether images of the set `name` are compared with others."""
        return "psnr_y" in self.metrics[name]


def examples(
    photos: Sequence[Photo], scale: int, teacher: measure.Upscaler | None = None
) -> Iterator[measure.Example]:
    """Yields the decoded photos, one at a time.

    Their reference is the teacher's image, without a teacher HR, and without HR there is none.
    """
    for photo in photos:
        if teacher:
            yield measure.referred(photo.name, load(photo, scale)["lr"], teacher)
        elif photo.hr is None:
            yield measure.alone(photo.name, load(photo, scale)["lr"], scale)
        else:
            yield measure.Example(photo.name, *load_pair(photo, scale))


def check_out(plan: Plan) -> None:
    """Checks that results in the folder for results are of models that are measured again.

    Raises:
      UserError: some are of others, which `run` would write over.
    """
    try:
        stored = read_json(plan.out / "results.json")
        places = {row["model"]: row["model"] for row in stored["rows"]} | stored.get("models", {})
    except (ValueError, KeyError, TypeError):  # there are none, or they are damaged
        return
    asked_for = {model.name: model.path or model.name for model in plan.models}
    lost = [
        name if place == name else f"{name} at {place}"
        for name, place in places.items()
        if asked_for.get(name) != place
    ]
    if lost:
        raise UserError(
            f"--out={plan.out} holds results of other models ({', '.join(lost)}); choose another"
            " folder, or --overwrite"
        )


def run(plan: Plan) -> list[str]:
    """Measures what `plan` lists and writes the results; returns the names of sets that failed."""
    plan.out.mkdir(parents=True, exist_ok=True)
    rows: Rows = []
    per_image: Rows = []
    bicubic: dict[str, float] = {}
    failed = []
    asked_for = {upscaler.name for upscaler in plan.upscalers}
    floor, upscalers = _with_bicubic(plan)
    paths = {u.name: u.path for u in plan.upscalers if u.path not in ("", u.name)}
    if plan.teacher and plan.teacher.path != plan.teacher.name:
        paths[plan.teacher.name] = plan.teacher.path
    for name, photos in plan.sets.items():
        lines: dict[str, sheets.Line] = {}
        try:
            some = upscalers if plan.has_reference(name) else plan.upscalers
            set_rows, set_images = _measure(plan, some, name, photos, lines)
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            failed.append(name)
            console.log.error("failed: %s: %s", name, error if str(error) else repr(error))
            continue
        bicubic |= {
            measure.title(row): row["psnr_y"]
            for row in set_rows
            if row["model"] == floor and row["psnr_y"] is not None
        }
        set_rows = [row for row in set_rows if row["model"] in asked_for]
        set_images = [row for row in set_images if row["model"] in asked_for]
        rows, per_image = rows + set_rows, per_image + set_images
        comparisons = [row for pair in plan.pairs for row in significance.compare(per_image, *pair)]
        report.write(
            plan.out,
            rows,
            per_image,
            comparisons,
            bicubic=bicubic,
            paths=paths,
            device=devices.describe(1),
            engine=measure.engine(plan.models),
        )
        if plan.pictures:
            try:
                _illustrate(plan, name, set_rows, set_images, lines)
            except Exception as error:  # a picture must not cost the figures
                console.log.warning("%s: its pictures could not be made (%r)", name, error)
    return failed


def _with_bicubic(plan: Plan) -> tuple[str, list[measure.Upscaler]]:
    """Returns the name of bicubic and the models with it; if not asked for, its PSNR is enough."""
    bicubic = measure.from_baseline("bicubic", plan.scale)
    for upscaler in plan.upscalers:
        if not upscaler.parameters and upscaler.digest() == bicubic.digest():
            return upscaler.name, plan.upscalers
    name = "bicubic"
    while name in {upscaler.name for upscaler in plan.upscalers}:
        name += "*"
    return name, [*plan.upscalers, dataclasses.replace(bicubic, name=name, only=("psnr_y",))]


def _measure(
    plan: Plan,
    upscalers: Sequence[measure.Upscaler],
    name: str,
    photos: Sequence[Photo],
    lines: dict[str, sheets.Line],
) -> tuple[Rows, Rows]:
    """Returns the rows of one set: photo by photo, or to resume, model by model.

    Photo by photo, the lines of the set's sheet enter `lines`, by the photo's name.
    """
    shown = {upscaler.name for upscaler in plan.upscalers}
    on_sheet = {photo.name for photo in plan.sheet_photos[name]} if plan.pictures else set()

    def keep(example: measure.Example, pictures: Mapping[str, np.ndarray], rows: Rows) -> None:
        pictures = {model: sr for model, sr in pictures.items() if model in shown}
        if plan.save_images:
            for model, sr in pictures.items():
                path = image_path(plan.out, model, name, example.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                writing.write(path, Picture(sr))
        # Nothing is where images alone are written.
        is_measured = any(rows[0][metric] is not None for metric in plan.metrics[name])
        if example.name in on_sheet and pictures.keys() == shown and is_measured:
            lines[example.name] = sheets.line(
                example, pictures, rows, scale=plan.scale, box=plan.box
            )

    def measured(some: Sequence[measure.Upscaler], metrics: Sequence[str]) -> tuple[Rows, Rows]:
        return measure.measure(
            some,
            examples(photos, plan.scale, plan.teacher),
            dataset=name,
            scale=plan.scale,
            metrics=metrics,
            timed=measure.middle(photos, lambda photo: photo.size).name,
            on_image=bar.advance,
            keep=keep,
        )

    with console.progress(name, len(photos) * len(upscalers)) as bar:
        if not plan.resume:
            return measured(upscalers, plan.metrics[name])
        rows: Rows = []
        per_image: Rows = []
        digest = cache.set_digest(photos)
        reference = None
        if plan.has_reference(name):
            reference = plan.teacher.name if plan.teacher else measure.HR
        for upscaler in upscalers:
            metrics = plan.metrics[name] if upscaler.only is None else upscaler.only
            path = cache.rows_path(
                plan.out / "rows", upscaler, digest, plan.scale, metrics, plan.teacher
            )
            stored = cache.load(path, upscaler.name, name, reference)
            if stored is None:
                stored = measured([upscaler], plan.metrics[name])
                cache.store(path, *stored)
            elif plan.save_images:  # those that are there may be another model's
                measured([upscaler], [])
            else:
                bar.skip(len(photos))
            rows, per_image = rows + stored[0], per_image + stored[1]
        return rows, per_image


def image_path(out: Path, model: str, dataset: str, image: str) -> Path:
    """Returns where --save_images writes a model's image of a photo of a set."""
    return out / "images" / naming.file_name(model) / dataset / f"{image}.png"


def _illustrate(
    plan: Plan, name: str, rows: Rows, per_image: Rows, lines: dict[str, sheets.Line]
) -> None:
    """Makes the set's sheet and plots; photos whose `lines` are missing are upscaled once more."""
    photos = plan.sheet_photos[name]
    missing = [photo for photo in photos if photo.name not in lines]
    for example in examples(missing, plan.scale, plan.teacher):
        pictures = {u.name: u.upscale(example.lr) for u in plan.upscalers}
        lines[example.name] = sheets.line(
            example, pictures, per_image, scale=plan.scale, box=plan.box
        )
    if photos:
        sheets.sheet(plan.out / f"{name}_sheet.png", [lines[photo.name] for photo in photos])
    if plan.has_reference(name):
        plots.tradeoff(plan.out / f"{name}_tradeoff.png", rows)
    if plan.has_reference(name) and len(plan.upscalers) > 1:
        plots.gains(plan.out / f"{name}_gains.png", per_image, plan.reference)
