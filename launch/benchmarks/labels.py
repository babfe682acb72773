"""The cost of stored labels: what rounding changes, and a train step against one that reads HR.

    python -m launch.benchmarks.labels [--source=PHOTOS] [--teacher=MODEL] [--lr_patch 32 64]

Prints two tables. The first compares stored images with the teacher's exact ones, in 1/255: over
all numbers, and over those from 0 to 1, since uint8 also clips. The second has milliseconds of a
step of the same student with HR as target, with stored labels, and with the teacher in every step.
Steps are timed in rounds in one process, one after the other. Figures are medians over rounds;
ratios compare times of the same round and come with their quartiles.
"""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from kdgan_jax.config.settings import DataConfig, LossConfig, PhaseConfig, Spec, TeacherConfig
from kdgan_jax.data import holdout, labels, sources
from kdgan_jax.inference.load import load
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices
from kdgan_jax.train.feed import FeedFactory, feed_factory
from kdgan_jax.train.labelling import stored_outputs
from kdgan_jax.train.phase_setup import PhaseSetup, frozen_weights
from launch.benchmarks.data import SCALE, SEED, Loop, quartiles, student_phase, time_rounds

STUDENT = Spec("compact", {"channels": 32, "depth": 8})  # as in configs/photo_soft.py
FORMS = {"uint8": "uint8", "float16": "float16", "every step": ""}  # a teacher's `stored` by title


def with_teacher(phase: PhaseSetup, teacher: Model, stored: str) -> PhaseSetup:
    """Returns the phase with L1 to a teacher instead of HR."""
    loss = LossConfig(Spec("l1", {}), 1.0, Spec("constant", {}), "teacher")
    config: PhaseConfig = dataclasses.replace(
        phase.config,
        teachers={"teacher": TeacherConfig("teacher", stored=stored)},
        losses={"distill": loss},
        needs_hr=False,
    )
    return dataclasses.replace(phase, config=config, teachers={"teacher": teacher})


def student(lr_patch: int, batch: int, number: int) -> PhaseSetup:
    """Returns a phase that trains `STUDENT` with L1 to HR on `number` devices."""
    phase = student_phase(lr_patch, batch, number)
    config = dataclasses.replace(phase.config, spec=STUDENT)
    model = Model(STUDENT.name, STUDENT.options, SCALE, None)
    return dataclasses.replace(phase, config=config, model=model)


def rounding(teacher: Model, source: FeedFactory, rows: np.ndarray) -> str:
    """Returns the last columns of a row of the first table."""
    assert source.photos is not None
    joined, differences, inside = labels.joined(source.photos, {"teacher": rows}), [], []
    for photo in range(len(joined.sides)):
        exact = teacher.predict(joined.image("lr", photo)).ravel()
        stored = joined.image("teacher", photo).ravel()
        largest = 255 if stored.dtype == np.uint8 else 1
        differences.append(255 * np.abs(stored.astype(np.float64) / largest - exact))
        inside.append((exact >= 0) & (exact <= 1))
    all_numbers, within = np.concatenate(differences), np.concatenate(inside)
    columns = [
        f"{values.mean():.4f} | {values.max():.4f}" for values in (all_numbers, all_numbers[within])
    ]
    return " | ".join([*columns, f"{1 - within.mean():.2%}"])


def loops(
    phase: PhaseSetup, teacher: Model, data: DataConfig, chosen: holdout.Photos
) -> Iterator[tuple[str, Loop, str]]:
    """Yields (title, loop, row of the first table) of HR and every form of the teacher."""
    source = feed_factory(data, SCALE, chosen.train, None, phase.devices)
    yield "HR", Loop(phase, source(SEED, phase.config.batches), 1), ""
    source = feed_factory(
        *(data, SCALE, chosen.train, None, phase.devices), with_hr=False, stored=1
    )
    for title, stored in FORMS.items():
        taught = with_teacher(phase, teacher, stored)
        outputs = stored_outputs(taught, source.photos, data)
        loop = Loop(taught, source(SEED, phase.config.batches, outputs), 1)
        loop.frozen |= devices.replicate(frozen_weights(taught), phase.devices)
        row = f"| {title} | {rounding(teacher, source, outputs['teacher'])} |" if stored else ""
        yield title, loop, row


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.benchmarks.labels", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--source", default="embedded", help="photos, as in config.data.source")
    add("--teacher", default="realesr-general-x4v3", help="a model, as load takes it")
    add("--degradation", default="light", help="of LR, as in config.data.degradation")
    add("--crop", type=int, default=128, help="largest side of a photo in LR pixels")
    add("--batch", type=int, default=16)
    add("--lr_patch", type=int, nargs="+", default=[32])
    add("--rounds", type=int, default=9)
    add("--seconds", type=float, default=2.0, help="approximate length of a round of one loop")
    arguments = parser.parse_args()
    console.setup()
    devices.configure(training=True)
    teacher = load(arguments.teacher, scale=SCALE)
    number = devices.count(0, (arguments.batch,))
    data = DataConfig(
        source=arguments.source,
        degradation=arguments.degradation,
        crop=arguments.crop,
        backend="device",
    )
    chosen = sources.gather(data, SCALE, max(arguments.lr_patch) * SCALE)
    rounded, timed = [], []
    for lr_patch in arguments.lr_patch:
        phase = student(lr_patch, arguments.batch, number)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            by_title = {}
            here = dataclasses.replace(data, labels=folder)
            for title, loop, row in loops(phase, teacher, here, chosen):
                by_title[title] = loop
                stack.callback(loop.stream.close)
                rounded += [row] * bool(row and lr_patch == arguments.lr_patch[0])
            pace, _ = by_title["HR"].run(3)
            calls = max(2, round(arguments.seconds / pace))
            times = time_rounds(by_title, calls, arguments.rounds)
        for title, rows in times.items():
            ratios = rows[:, 0] / times["HR"][:, 0]
            low, middle, high = quartiles(ratios)
            timed.append(
                f"| {lr_patch} | {title} | {1e3 * np.median(rows[:, 0]):.3g} | {middle:.3f}"
                f" ({low:.3f} to {high:.3f}) |"
            )
    print(
        f"{devices.describe(number)}; {len(chosen.train)} photos\n"
        "\n| stored as | mean | largest | mean, 0 to 1 | largest, 0 to 1 | outside |"
        "\n|---|---|---|---|---|---|",
        *rounded,
        "\n| LR patch | target | ms per step | of HR |\n|---|---|---|---|",
        *timed,
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
