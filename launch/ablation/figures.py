"""What the runs of a sweep have left: figures of images, curves, costs."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.evaluation.measure import HR, Rows
from kdgan_jax.evaluation.metrics import METRICS
from kdgan_jax.runtime.files import read_json
from kdgan_jax.workdir.metrics import read_metrics
from launch.ablation import tasks
from launch.ablation.planning import MODEL, Plan, Run

LOWER = "lpips_alex", "lpips_vgg", "dists", "niqe", "mesh"  # metrics of which less is better
Curve = list[tuple[int, float]]  # (update, PSNR in dB)


class Made(NamedTuple):
    """A finished run.

    Attributes:
      run: of the plan.
      images: rows per set and image, as of `measure.images`, of the last phase's model.
      curve: PSNR on the held-out photos during the last phase.
      reference: what that PSNR compares with, HR or the name of a teacher.
      held_out: tells which the held-out photos are and how they are degraded.
      pace: median seconds of an update of the last phase; None if no row has it.
      training: seconds of the updates of all phases.
      seconds: of the whole run, with its start and its evaluations.
      memory: megabytes in use at most, of a device or on a CPU of the process; None if unknown.
      made_by: commit or version of the program, version of JAX, devices.
    """

    run: Run
    images: Rows
    curve: Curve
    reference: str
    held_out: str
    pace: float | None
    training: float
    seconds: float
    memory: float | None
    made_by: str

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.task.seed

    def logs_as(self, other: "Made") -> bool:
        """Returns whether its curve shows the same as that of another run.

        That is the same phase after as many updates of earlier ones, and PSNR of the same photos to
        the same reference.
        """
        mine, others = (
            (made.reference, made.held_out, made.run.phase.name, made.run.earlier)
            for made in (self, other)
        )
        return mine == others


HELD_OUT = "held out"  # what runs call the set of their held-out photos


def made(plan: Plan) -> dict[str, list[Made]]:
    """Returns the finished runs by variant, all variants in the plan's order."""
    found: dict[str, list[Made]] = {}
    for run in plan.runs:
        runs = found.setdefault(run.task.variant, [])
        if tasks.is_done(run.task):
            runs.append(_made(run))
    return found


def _made(run: Run) -> Made:
    task, phase = run.task, run.phase
    images = _images(task.folder / "per_image.csv", run.row)
    for stage in task.stages[1:]:
        images += _images(stage.result.with_name("per_image.csv"), MODEL)
    rows = read_metrics(task.folder / "metrics.jsonl")
    own = [row for row in rows if row["phase"] == phase.name]
    paces = _values(own, "seconds_per_step")
    memory = _values(own, "memory_mb")
    return Made(
        run=run,
        images=images,
        curve=[(row["step"], row["holdout_psnr_y"]) for row in own if "holdout_psnr_y" in row],
        reference=HR if phase.needs_hr else next(iter(phase.teachers)),
        held_out=_held_out(run),
        # The first row has the time to compile.
        pace=float(np.median(paces[1:] or paces)) if paces else None,
        training=_training_seconds(rows),
        seconds=tasks.recorded(task).seconds,
        memory=max(memory) if memory else None,
        made_by=_made_by(task.folder / "run.json"),
    )


def _held_out(run: Run) -> str:
    data = run.config.data
    degraded = data.degradation, data.holdout_copies, data.crop, run.config.scale
    try:
        photos = read_json(run.task.folder / "photos.json")["holdout"]
    except (KeyError, ValueError):
        photos = run.task.name  # like no others
    return json.dumps([photos, degraded])


def _made_by(path: Path) -> str:
    """Returns what has made a run, by the record of its last start; "" if that is lost."""
    try:
        start = read_json(path)["starts"][-1]
        versions = start["versions"]
        program = start["revision"] or versions["kdgan_jax"]
        changes = "+" * program.endswith("+")  # to a commit
        program = program.removesuffix("+")[:12] + changes
        return f"kdgan_jax {program}, jax {versions['jax']} on {start['device']}"
    except (LookupError, TypeError, ValueError):
        return ""


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def _training_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of all updates, without evaluations, from rows of metrics.jsonl."""
    total, before = 0.0, dict[str, int]()
    for row in rows:
        if "seconds_per_step" in row:
            steps = row["step"] - before.get(row["phase"], 0)
            total += steps * row["seconds_per_step"]
            before[row["phase"]] = row["step"]
    return total


def _images(path: Path, model: str) -> Rows:
    """Returns the rows of one model in a table that an evaluation has written."""
    with path.open(encoding="utf-8", newline="") as file:
        rows: Rows = [dict(row) for row in csv.DictReader(file) if row["model"] == model]
    for row in rows:
        row |= {name: float(row[name]) if row.get(name) else None for name in METRICS}
        row["reference"] = row["reference"] or None
    return rows
