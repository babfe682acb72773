"""Runs an evaluation set by set; tables are written after each, so that a failure loses nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.data.photos import Photo, load, load_pair
from kdgan_jax.evaluation import cache, measure, plots, report, sheets, significance
from kdgan_jax.evaluation.measure import Rows
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError


class Plan(NamedTuple):
    """What to measure, and how to show it.

    Attributes:
      upscalers: the models.
      sets: photos by the set's name.
      sheet_photos: photos on each set's sheet, by the set's name.
      out: folder for the results.
      scale: reference over LR.
      metrics: names in `metrics.METRICS`.
      pairs: names of models to compare.
      reference: name of the model over which gains are shown.
      box: part of the photos on the sheets; None where the models differ most.
      pictures: whether to make sheets and plots.
      resume: whether to store each model's rows, and to use rows stored earlier.
      teacher: the model whose images are the reference; None for HR.
    """

    upscalers: list[measure.Upscaler]
    sets: dict[str, list[Photo]]
    sheet_photos: dict[str, list[Photo]]
    out: Path
    scale: int
    metrics: list[str]
    pairs: list[tuple[str, str]]
    reference: str
    box: sheets.Box | None
    pictures: bool
    resume: bool
    teacher: measure.Upscaler | None


def examples(
    photos: Sequence[Photo], scale: int, teacher: measure.Upscaler | None = None
) -> Iterator[measure.Example]:
    """Yields the decoded photos, one at a time, with HR or the teacher's images as reference."""
    for photo in photos:
        if teacher:
            yield measure.referred(photo.name, load(photo, scale)["lr"], teacher)
        else:
            yield measure.Example(photo.name, *load_pair(photo, scale))


def run(plan: Plan) -> list[str]:
    """Measures what `plan` lists and writes the results; returns the names of sets that failed."""
    plan.out.mkdir(parents=True, exist_ok=True)
    rows: Rows = []
    per_image: Rows = []
    failed = []
    for name, photos in plan.sets.items():
        try:
            set_rows, set_images = _measure(plan, name, photos)
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            failed.append(name)
            console.log.error("failed: %s: %s", name, error if str(error) else repr(error))
            continue
        rows, per_image = rows + set_rows, per_image + set_images
        comparisons = [row for pair in plan.pairs for row in significance.compare(per_image, *pair)]
        report.write(plan.out, rows, per_image, comparisons, device=devices.describe(1))
        if plan.pictures:
            try:
                _illustrate(plan, name, set_rows, set_images)
            except Exception as error:  # a picture must not cost the figures
                console.log.warning("%s: its pictures could not be made (%r)", name, error)
    return failed


def _measure(plan: Plan, name: str, photos: Sequence[Photo]) -> tuple[Rows, Rows]:
    """Returns the rows of one set: photo by photo, or to resume, model by model."""
    with console.progress(name, len(photos) * len(plan.upscalers)) as bar:
        if not plan.resume:
            return _measure_models(plan, plan.upscalers, name, photos, bar)
        rows: Rows = []
        per_image: Rows = []
        digest = cache.set_digest(photos)
        reference = plan.teacher.name if plan.teacher else measure.HR
        for upscaler in plan.upscalers:
            path = cache.rows_path(
                plan.out / "rows", upscaler, digest, plan.scale, plan.metrics, plan.teacher
            )
            stored = cache.load(path, upscaler.name, name, reference)
            if stored:
                bar.skip(len(photos))
            else:
                stored = _measure_models(plan, [upscaler], name, photos, bar)
                cache.store(path, *stored)
            rows, per_image = rows + stored[0], per_image + stored[1]
        return rows, per_image


def _measure_models(
    plan: Plan,
    upscalers: Sequence[measure.Upscaler],
    name: str,
    photos: Sequence[Photo],
    bar: console.Progress,
) -> tuple[Rows, Rows]:
    return measure.measure(
        upscalers,
        examples(photos, plan.scale, plan.teacher),
        dataset=name,
        scale=plan.scale,
        metrics=plan.metrics,
        on_image=bar.advance,
    )


def _illustrate(plan: Plan, name: str, rows: Rows, per_image: Rows) -> None:
    """Makes the set's sheet and plots; the photos on the sheet are upscaled once more."""
    if plan.sheet_photos[name]:
        lines = []
        for example in examples(plan.sheet_photos[name], plan.scale, plan.teacher):
            pictures = {u.name: u.upscale(example.lr) for u in plan.upscalers}
            lines.append(sheets.line(example, pictures, per_image, scale=plan.scale, box=plan.box))
        sheets.sheet(plan.out / f"{name}_sheet.png", lines)
    plots.tradeoff(plan.out / f"{name}_tradeoff.png", rows)
    if len(plan.upscalers) > 1:
        plots.gains(plan.out / f"{name}_gains.png", per_image, plan.reference)
