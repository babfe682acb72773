"""One phase of training: build the step, restore or start the state, loop, log, save."""

import contextlib
import dataclasses
import functools
import math
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax import devices, models
from kdgan_jax.config import uses_teacher
from kdgan_jax.errors import UserError
from kdgan_jax.io import checkpoint, imagenet, logs
from kdgan_jax.models.discriminator import identity
from kdgan_jax.train import optim, state, steps
from kdgan_jax.train.feed import Feed
from kdgan_jax.zoo.model import Model

STEPS_PER_CALL = 16


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a phase is made of.

    Attributes:
      name: "teacher", "distill" or "adversarial".
      settings: `config.train[name]`.
      config: the whole config.
      workdir: of the run.
      model: the generator to train; its params are the start, None draws fresh ones.
      teacher: the trained teacher, where there is one.
      devices: how many to train on.
    """

    name: str
    settings: Any
    config: Any
    workdir: Path
    model: Model
    teacher: Model | None
    devices: int

    @property
    def folder(self) -> Path:
        """Where the phase's checkpoints lie."""
        return checkpoint.phase_folder(self.workdir, self.name)

    @property
    def key(self) -> jax.Array:
        """The PRNG key of the phase's fresh weights."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(self.name.encode()))

    @property
    def batch_seed(self) -> int:
        """The seed of the phase's batches: phases see other batches than each other."""
        return zlib.crc32(f"{self.name} {self.config.seed}".encode())


def optimisers(phase: Phase) -> steps.Optimisers:
    """Returns the optimisers of the phase's players."""
    settings = phase.settings
    if not settings.adversarial_weight:
        return steps.Optimisers(optim.adam(settings, settings.learning_rate, settings.steps))
    updates = settings.steps - settings.discriminator_warmup_steps
    return steps.Optimisers(
        optim.adam(settings, settings.learning_rate, updates),
        optim.adam(settings, settings.discriminator_learning_rate, settings.steps),
    )


def initial(phase: Phase, players: steps.Optimisers) -> state.TrainState:
    """Returns the state before the first update, of the phase's model or of fresh weights."""
    settings, config = phase.settings, phase.config
    own_key, other_key = jax.random.split(phase.key)
    params = phase.model.params
    if params is None:
        params = models.init(phase.model.module, own_key, settings.hr_patch // config.scale)
    if players.discriminator is None:
        return state.create(phase.key, params, players.generator)
    spec = config.discriminator
    network = models.discriminator(spec.name, spec.kwargs.to_dict())
    return state.create(
        phase.key,
        params,
        players.generator,
        models.init(network, other_key, settings.hr_patch),
        players.discriminator,
    )


def networks(phase: Phase, mean: Callable[[Any], Any] = identity) -> steps.Networks:
    """Returns the functions that the phase's step calls; `mean` averages over devices."""

    def apply(module: Any) -> steps.Apply:
        return lambda params, images: module.apply({"params": params}, images)

    found = steps.Networks(apply(phase.model.module))
    if phase.teacher is not None and uses_teacher(phase.settings):
        found = found._replace(teacher=apply(phase.teacher.module))
    if phase.settings.adversarial_weight:
        spec = phase.config.discriminator
        discriminator = models.discriminator(spec.name, spec.kwargs.to_dict(), mean=mean)
        found = found._replace(discriminator=apply(discriminator))
    return found


def frozen(phase: Phase) -> dict[str, Any]:
    """Returns the parameters that the phase's step reads and never changes."""
    found: dict[str, Any] = {}
    if phase.teacher is not None and uses_teacher(phase.settings):
        found["teacher"] = phase.teacher.params
    if phase.settings.perceptual_weight:
        found["vgg"] = imagenet.vgg16()
    return found


def _restore(phase: Phase, fresh: state.TrainState) -> state.TrainState:
    """Returns the state of the newest checkpoint, or `fresh`."""
    there = checkpoint.steps(phase.folder)
    if not there:
        return fresh
    logs.log.info("%s: resumed at step %d", phase.name, there[-1])
    targets = state.to_items(devices.to_host(fresh))
    return state.from_items(checkpoint.load(phase.folder / str(there[-1]), targets))


def save(phase: Phase, current: state.TrainState, step: int) -> None:
    """Writes the checkpoint of `step`."""
    meta = {"model": phase.model.spec, "phase": phase.name, "versions": versions()}
    checkpoint.save(phase.folder, step, state.to_items(devices.to_host(current)), meta)


def versions() -> dict[str, str]:
    """Returns the versions of the packages that figures depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in ("kdgan_jax", "jax", "flax", "optax", "numpy")}


def finished(workdir: Path, name: str, steps: int) -> bool:
    """Returns whether the last checkpoint of the phase `name` is there."""
    return checkpoint.steps(checkpoint.phase_folder(workdir, name))[-1:] == [steps]


def adopt(phase: Phase) -> None:
    """Writes the phase's model, trained elsewhere, as this phase's last checkpoint."""
    save(phase, initial(phase, optimisers(phase)), phase.settings.steps)


def _stop_if_not_finite(row: dict[str, float], phase: Phase, step: int) -> None:
    """Ends the run before a diverged state is saved over good checkpoints."""
    broken = [name for name, value in row.items() if not np.isfinite(value)]
    if broken:
        raise UserError(
            f"{phase.name}: {', '.join(broken)} not finite by step {step}; the newest checkpoint"
            f" is from before; lower config.train.{phase.name}.learning_rate or set its clip_norm"
        )


def steps_per_call(config: Any, settings: Any, on_device: bool) -> int:
    """Returns how many steps a compiled call makes at most.

    By default as many as divide what happens between calls, up to `STEPS_PER_CALL`, so that all
    calls are the same program; one on a CPU, where gradients of convolutions in a loop are slow.
    """
    if not on_device:
        return 1
    if config.steps_per_call or devices.on_cpu():
        return config.steps_per_call or 1
    every = (config.log_every, config.evaluate_every, config.checkpoint_every, settings.steps)
    return max(k for k in range(1, STEPS_PER_CALL + 1) if math.gcd(*every) % k == 0)


def compiled(
    phase: Phase, players: steps.Optimisers, feed: Feed
) -> Callable[[int], devices.Step]:
    """Returns the function from a number of steps to the call that makes so many."""
    one = steps.make_step(networks(phase, devices.mean), players, phase.settings, devices.mean)
    one = steps.fed(one, feed.cut)
    return functools.cache(
        lambda count: devices.parallel(steps.repeated(one, count), phase.devices)
    )


def _next(number: int, most: int, config: Any, settings: Any) -> int:
    """Returns how many steps to make after `number`: not beyond what is due next."""
    every = (config.log_every, config.evaluate_every, config.checkpoint_every)
    return min(most, settings.steps - number, *(n - number % n for n in every))


def train(phase: Phase, feed: Feed, evaluate: Callable[[Model], float]) -> None:
    """Trains the phase to its end, from the newest checkpoint where there is one.

    Args:
      phase: what to train.
      feed: gives the batches.
      evaluate: the mean Y-PSNR of a model on the held-out photos, for the log.
    """
    settings, config = phase.settings, phase.config
    players = optimisers(phase)
    current = _restore(phase, initial(phase, players))
    start = int(current.step)
    current = devices.replicate(current, phase.devices)
    step = compiled(phase, players, feed)
    fixed = devices.replicate(frozen(phase), phase.devices) | {"photos": feed.arrays}
    most = steps_per_call(config, settings, feed.on_device)
    began, seen = time.perf_counter(), start
    # Numbers of steps and their mean metrics since the last row; read only there.
    recent: list[tuple[int, dict[str, jax.Array]]] = []
    with (
        contextlib.closing(logs.MetricLog(phase.workdir, phase.name, start)) as metric_log,
        logs.progress(phase.name, settings.steps, start) as bar,
        contextlib.closing(feed.given(start)) as stream,
    ):
        number = start
        while number < settings.steps:
            count = _next(number, most, config, settings)
            current, metrics = step(count)(current, fixed, next(stream))
            recent.append((count, metrics))
            number += count
            last = number == settings.steps
            note = ""
            row: dict[str, float] = {}
            saving = last or number % config.checkpoint_every == 0
            if saving or number % config.log_every == 0:
                counts, values = zip(*jax.device_get(recent), strict=True)
                row = {
                    name: float(np.average([v[name] for v in values], weights=counts))
                    for name in metrics
                }
                recent.clear()
                _stop_if_not_finite(row, phase, number)
                now = time.perf_counter()
                row["seconds_per_step"] = (now - began) / (number - seen)
                began, seen = now, number
                note = f"loss {row['total']:.4f}"
            if last or number % config.evaluate_every == 0:
                averaged = phase.model.with_params(devices.to_host(current.ema))
                row["holdout_psnr_y"] = evaluate(averaged)
                note = f"held-out {row['holdout_psnr_y']:.2f} dB"
                began, seen = time.perf_counter(), number
            if row:
                metric_log.write(number, row)
            if saving:
                save(phase, current, number)
                began, seen = time.perf_counter(), number
            bar.advance(note, count)
