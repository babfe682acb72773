"""Fits a run into a number of minutes: measures this machine, then chooses copies and steps."""

import contextlib
import copy
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from kdgan_jax.config.settings import DataConfig, PhaseConfig, RunConfig
from kdgan_jax.data.buffers import Buffers
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import decode, load
from kdgan_jax.data.sources import entries
from kdgan_jax.evaluation import measure
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks, inputs, labelling, results
from kdgan_jax.train.feed import feed_factory
from kdgan_jax.train.phase_setup import (
    PhaseSetup,
    compiled_steps,
    frozen_weights,
    initial_state,
)

LABELS_SHARE = 0.3  # of the time for labels and training that labels get
LEAST_COPIES = 64  # with fewer, a student learns the copies by heart
LEAST_STEPS = 200
REFINE_SHARE = 0.3  # of the time for training that a refinement gets
LEAST_REFINING = 40  # steps; with fewer, nothing is seen of it
TIMED_STEPS = 8
SHEET_SECONDS = 10.0  # for pictures and files
EVALUATIONS = 5  # during training


class Speeds(NamedTuple):
    """Seconds on this machine.

    Attributes:
      load: to read and degrade one copy.
      label: for the teacher's image of one copy.
      compile: of the train steps.
      step: for one update.
      refining: for one update of the phase with a discriminator; 0 if there is none.
      evaluation: for all held-out photos at the end.
      check: for all held-out photos during training.
    """

    load: float
    label: float
    compile: float
    step: float
    refining: float
    evaluation: float
    check: float


class Plan(NamedTuple):
    """What fits.

    Attributes:
      photos: number to train on.
      copies: of each photo.
      steps: of training.
      complemented: whether the embedded photos are among them.
      refining: steps of the phase with a discriminator.
    """

    photos: int
    copies: int
    steps: int
    complemented: bool = False
    refining: int = 0


def planned(config: ConfigDict, workdir: Path, spent: float = 0.0) -> ConfigDict:
    """Returns `config` with the numbers that fit into `config.minutes`, if that is not 0.

    They are measured once and kept in `plan.json` in the workdir, so a resumed run has the same.

    Args:
      config: of a run.
      workdir: of the run.
      spent: seconds that have passed already.

    Raises:
      UserError: the config has other phases than one with a stored teacher and one that refines
        its student, or the minutes are too few.
    """
    if not config.minutes:
        return config
    began = time.perf_counter() - spent
    run = checks.checked(config)
    if not _can_be_planned(run) or processes.several():
        raise UserError(
            f"config.minutes={config.minutes:g} plans a run of one process and one phase, with a"
            " teacher whose images are stored, and perhaps a second one that refines its student;"
            " set it to 0, and choose steps and copies yourself"
        )
    if run.data.prepared:
        raise UserError(
            f"config.minutes={config.minutes:g} chooses the copies of photos, but those of"
            f" config.data.prepared={run.data.prepared!r} are made; leave out one of the two"
        )
    path = workdir / "plan.json"
    if path.is_file():
        plan = _read(path)
    else:
        plan, speeds = _measured_plan(run, workdir, began)
        workdir.mkdir(parents=True, exist_ok=True)
        seconds = {f"seconds_{name}": value for name, value in speeds._asdict().items()}
        files.write_json(path, plan._asdict() | {"minutes": config.minutes} | seconds)
    return _with_plan(config, run, plan)


def _trained(run: RunConfig) -> list[PhaseConfig]:
    return [phase for phase in run.phases if not phase.checkpoint]


def _can_be_planned(run: RunConfig) -> bool:
    """Returns whether one phase learns from stored images, and at most one refines its student."""
    match _trained(run):
        case [learns]:
            return bool(learns.stored)
        case [learns, refines]:
            follows = refines.discriminator is not None and refines.start == learns.name
            return bool(learns.stored) and follows and refines.stored == learns.stored
        case _:
            return False


def _read(path: Path) -> Plan:
    try:
        saved = files.read_json(path)
        photos, copies, steps, complemented = (saved[name] for name in Plan._fields[:4])
        refining = saved.get("refining", 0)  # older plans have none
        return Plan(int(photos), int(copies), int(steps), bool(complemented), int(refining))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as the plan of a run ({error!r}); restore it, or choose"
            " another --workdir"
        ) from None


def _complemented(data: DataConfig) -> tuple[str, tuple[float, ...]]:
    """Returns source and weights with the embedded photos, which get half of the samples."""
    number = len(entries(data.source))
    weights = data.weights or (1.0,) * number
    return f"{data.source},embedded:train", (*weights, sum(weights))


def _with_plan(config: ConfigDict, run: RunConfig, plan: Plan) -> ConfigDict:
    fitted = copy.deepcopy(config)
    if plan.complemented:
        fitted.data.source, fitted.data.weights = _complemented(run.data)
    fitted.data.copies, fitted.data.most = plan.copies, plan.photos
    for phase, steps in zip(_trained(run), (plan.steps, plan.refining), strict=False):
        fitted.train[phase.name].steps = steps
    fitted.evaluate_every = -(-plan.steps // EVALUATIONS)
    fitted.checkpoint_every = -(-plan.steps // (2 * EVALUATIONS))
    fitted.log_every = max(1, min(config.log_every, plan.steps // 20))
    return fitted


def _measured_plan(run: RunConfig, workdir: Path, began: float) -> tuple[Plan, Speeds]:
    console.log.info("Planning for %g minutes: measuring teacher and student.", run.minutes)
    levels = len(run.data.levels)
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, copies=levels))
    photos = inputs.photos(run)[1]
    complemented = len(photos.train) // levels < run.data.complement
    if complemented:
        source, weights = _complemented(run.data)
        data = dataclasses.replace(run.data, source=source, weights=weights)
        photos = inputs.photos(dataclasses.replace(run, data=data))[1]
    models = inputs.external_models(run, workdir)
    number = devices.count(run.devices, run.batches)
    setups: list[PhaseSetup] = []

    def untrained(name: str, fold: bool) -> Model:
        return setups[0].model.with_params(initial_state(setups[0]).ema)

    for phase in _trained(run):
        setups.append(inputs.set_up_phase(phase, run, workdir, models, number, untrained))
    speeds = _speeds(setups, run, photos)
    spent = time.perf_counter() - began
    plan = fit(run.minutes * 60 - spent, speeds, len(photos.train) // levels, levels)
    plan = plan._replace(complemented=complemented)
    console.log.info(
        "%d photos%s, %d copies of each (labels: about %.1f min), %d steps (about %.1f min)%s.",
        *(plan.photos, ", the embedded ones among them" * complemented),
        *(plan.copies, plan.photos * plan.copies * speeds.label / 60),
        *(plan.steps, plan.steps * speeds.step / 60),
        f", {plan.refining} of refinement (about {plan.refining * speeds.refining / 60:.1f} min)"
        if plan.refining
        else "",
    )
    return plan, speeds


def fit(seconds: float, speeds: Speeds, photos: int, levels: int) -> Plan:
    """Returns the plan that takes about `seconds`.

    Args:
      seconds: that are left.
      speeds: of this machine.
      photos: number of photos that there are.
      levels: of degradation, which the copies of a photo take in turn.

    Raises:
      UserError: the time is too short; says how many minutes are needed.
    """
    fixed = speeds.compile + speeds.evaluation + EVALUATIONS * speeds.check
    each = speeds.load + speeds.label
    least = LEAST_STEPS * speeds.step + LEAST_REFINING * speeds.refining
    needed = fixed + LEAST_COPIES * each + least
    if seconds < needed:
        raise UserError(
            f"config.minutes: {seconds:.0f} s are left, but {LEAST_COPIES} images of this teacher"
            f" take {LEAST_COPIES * each:.0f} s here, the fewest steps of the student"
            f" {least:.0f} s, compilation and the table {fixed:.0f} s; set"
            f" config.minutes to at least {needed * 1.1 / 60 + 1:.0f}, or take smaller networks"
        )
    affordable = max(LEAST_COPIES, int(LABELS_SHARE * (seconds - fixed) / each))
    used = min(photos, max(1, affordable // levels))
    copies = max(1, affordable // used)
    training, refining = seconds - fixed - used * copies * each, 0
    if speeds.refining:
        refining = max(LEAST_REFINING, int(REFINE_SHARE * training / speeds.refining))
        training -= refining * speeds.refining
    steps = max(LEAST_STEPS, int(training / speeds.step))
    return Plan(used, copies, steps, refining=refining)


def _speeds(setups: list[PhaseSetup], run: RunConfig, photos: Photos) -> Speeds:
    """Measures this machine on a few copies, a held-out photo, and steps on random patches."""
    setup = setups[0]
    sample = photos.train[:TIMED_STEPS]
    load(sample[-1], run.scale)  # imports SciPy
    began = time.perf_counter()
    decoded = decode(sample, lambda photo: load(photo, run.scale), 1.0, "the first photos")
    copies = [images["lr"] for _, images in decoded]
    seconds_load = (time.perf_counter() - began) / len(sample)
    name = setup.config.stored[0]
    teacher, config = setup.at_scale(name), setup.config.teachers[name]
    label = _second_time(lambda: labelling.output(teacher, config, copies[0]))
    compilations, steps = zip(
        *(_step_seconds(setup, run, copies[0].shape) for setup in setups), strict=True
    )
    step, refining = (*steps, 0.0)[:2]

    lr = load(photos.holdout[0], run.scale)["lr"]
    student = setup.model.with_params(initial_state(setup).ema)
    sr = student.raw(lr)
    reference = _second_time(lambda: teacher.raw(lr))
    own = _second_time(lambda: student.raw(lr))
    figures = _second_time(lambda: results.figures(sr, sr[::-1], run.scale))
    held_out = len(photos.holdout)
    # The reference and the rows of the table per photo, repetitions for the first one, the sheet.
    rows = len(setups) + 2
    evaluation = held_out * (2 * reference + len(setups) * own + rows * figures)
    evaluation += measure.LEAST_RUNS * (reference + own) + SHEET_SECONDS
    times = (sum(compilations), step, refining, evaluation, held_out * own)
    return Speeds(seconds_load, label, *times)


def _second_time(function: Callable[[], object]) -> float:
    """Returns the seconds of a second call; the first one compiles."""
    function()
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _step_seconds(setup: PhaseSetup, run: RunConfig, shape: tuple[int, ...]) -> tuple[float, float]:
    """Returns seconds of compilation and of one step, on random copies of `shape` (h, w, 3)."""
    height, width = max(shape[0], _lr_patch(run)), max(shape[1], _lr_patch(run))
    pixels, channels = height * width, 3 * run.scale**2
    random = np.random.default_rng(0)
    lr = random.integers(0, 256, (pixels, 3), np.uint8)
    photo = Buffers({"lr": lr}, np.array([[height, width]]), {"lr": np.zeros(1, np.int64)})
    data = dataclasses.replace(run.data, backend="device", sampling="pixels", weights=())
    labels = {
        name: random.integers(0, 256, (pixels, channels), np.uint8) for name in setup.config.stored
    }
    with console.quiet():
        feeds = feed_factory(data, run.scale, [], photo, setup.devices, with_hr=False)
    feed = feeds(0, setup.config.batches, labels)
    state = devices.replicate(initial_state(setup), setup.devices)
    frozen = devices.replicate(frozen_weights(setup), setup.devices) | {"photos": feed.arrays}
    step = compiled_steps(setup, feed)(1, False)
    with contextlib.closing(feed.stream(0)) as stream:
        began = time.perf_counter()
        state, metrics = step(state, frozen, next(stream))
        jax.block_until_ready(metrics)
        compilation = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(TIMED_STEPS):
            state, metrics = step(state, frozen, next(stream))
        jax.block_until_ready(metrics)
    return compilation, (time.perf_counter() - began) / TIMED_STEPS


def _lr_patch(run: RunConfig) -> int:
    return run.largest_patch // run.scale
