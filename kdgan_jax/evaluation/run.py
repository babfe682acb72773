"""A run of evaluation: set after set, tables after each, so that a failure loses nothing done."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.data import photos
from kdgan_jax.evaluation import cache, measure, plots, report, sheets, significance
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError

SHEET_PHOTOS = 3


class Plan(NamedTuple):
    """What is to be measured, and how it is to be shown.

    Attributes:
      upscalers: the models.
      sets: photos by the set's name.
      shown: of each set, the photos on its sheet.
      out: folder for what is made.
      scale: HR over LR.
      metrics: names out of `metrics.METRICS`.
      pairs: models to compare.
      reference: the model over which gains are shown.
      box: what the sheets enlarge; None where the models differ most.
      resume: keep every model's rows as soon as it is measured, and take those that are there.
    """

    upscalers: list[measure.Upscaler]
    sets: dict[str, list[photos.Photo]]
    shown: dict[str, list[photos.Photo]]
    out: Path
    scale: int
    metrics: list[str]
    pairs: list[tuple[str, str]]
    reference: str
    box: sheets.Box | None
    resume: bool


def examples(found: Sequence[photos.Photo], scale: int) -> Iterator[measure.Example]:
    """Yields the photos decoded, one at a time."""
    for photo in found:
        yield measure.Example(photo.name, *photos.load(photo, scale))


def run(plan: Plan) -> list[str]:
    """Measures and writes what `plan` says; returns the names of the sets that failed."""
    plan.out.mkdir(parents=True, exist_ok=True)
    rows: measure.Rows = []
    per_image: measure.Rows = []
    failed = []
    for name, found in plan.sets.items():
        try:
            more = _measure(plan, name, found)
        except (UserError, OSError, MemoryError, RuntimeError) as error:
            failed.append(name)
            console.log.error("failed: %s: %s", name, error if str(error) else repr(error))
            continue
        rows, per_image = rows + more[0], per_image + more[1]
        compared = [row for pair in plan.pairs for row in significance.compare(per_image, *pair)]
        report.write(plan.out, rows, per_image, compared, device=devices.describe(1))
        try:
            _illustrate(plan, name, *more)
        except ImportError:
            console.log.warning("matplotlib is not installed: no sheets and plots are made")
        except Exception as error:  # whatever it is, the figures are there
            console.log.warning("%s: its pictures could not be made (%r)", name, error)
    return failed


def _measure(
    plan: Plan, name: str, found: Sequence[photos.Photo]
) -> tuple[measure.Rows, measure.Rows]:
    """Returns the rows of one set; to resume, model after model, else photo after photo."""
    groups = [[u] for u in plan.upscalers] if plan.resume else [plan.upscalers]
    digest = cache.set_digest(found) if plan.resume else ""
    rows: measure.Rows = []
    per_image: measure.Rows = []
    with console.progress(name, len(found) * len(plan.upscalers)) as bar:
        for group in groups:
            kept = cache.place(plan.out / "rows", group[0], digest, plan.scale, plan.metrics)
            more = cache.load(kept, group[0].name, name) if plan.resume else None
            if more:
                bar.skip(len(found))
            else:
                more = measure.measure(
                    group,
                    examples(found, plan.scale),
                    dataset=name,
                    scale=plan.scale,
                    metrics=plan.metrics,
                    on_image=bar.advance,
                )
                if plan.resume:
                    cache.store(kept, *more)
            rows, per_image = rows + more[0], per_image + more[1]
    return rows, per_image


def _illustrate(plan: Plan, name: str, rows: measure.Rows, per_image: measure.Rows) -> None:
    """Makes the set's sheet and plots; the sheet's few photos are upscaled once more."""
    if plan.shown[name]:
        lines = []
        for example in examples(plan.shown[name], plan.scale):
            made = {u.name: u.upscale(example.lr) for u in plan.upscalers}
            lines.append(sheets.line(example, made, per_image, scale=plan.scale, box=plan.box))
        sheets.sheet(plan.out / f"{name}_sheet.png", lines)
    plots.tradeoff(plan.out / f"{name}_tradeoff.png", rows)
    if len(plan.upscalers) > 1:
        plots.gains(plan.out / f"{name}_gains.png", per_image, plan.reference)
