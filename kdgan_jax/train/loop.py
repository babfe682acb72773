"""The loop of a phase: restore or start, make steps, log, evaluate, save, leave when asked."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax import devices
from kdgan_jax.errors import Stopped, UserError
from kdgan_jax.io import checkpoint, logs, record
from kdgan_jax.train import state
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.phase import Phase, compiled, frozen, initial, optimisers
from kdgan_jax.train.stopping import Stop
from kdgan_jax.zoo.model import Model

STEPS_PER_CALL = 16


def _restore(phase: Phase, fresh: state.TrainState) -> state.TrainState:
    """Returns the state of the newest checkpoint that is whole, or `fresh`."""
    newest = checkpoint.newest(phase.folder, logs.log.warning)
    if newest is None:
        return fresh
    logs.log.info("%s: resumed at step %d", phase.name, newest)
    targets = state.to_items(devices.to_host(fresh))
    return state.from_items(checkpoint.load(phase.folder / str(newest), targets))


def save(phase: Phase, current: state.TrainState, step: int) -> None:
    """Writes the checkpoint of `step`."""
    meta = {"model": phase.model.spec, "phase": phase.name, "versions": record.versions()}
    checkpoint.save(phase.folder, step, state.to_items(devices.to_host(current)), meta)


def finished(workdir: Path, name: str, steps: int) -> bool:
    """Returns whether the last checkpoint of the phase `name` is there, and whole."""
    folder = checkpoint.phase_folder(workdir, name)
    return checkpoint.steps(folder)[-1:] == [steps] and checkpoint.newest(folder) == steps


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


def _next(number: int, most: int, config: Any, settings: Any) -> int:
    """Returns how many steps to make after `number`: not beyond what is due next."""
    every = (config.log_every, config.evaluate_every, config.checkpoint_every)
    return min(most, settings.steps - number, *(n - number % n for n in every))


def train(
    phase: Phase, feed: Feed, evaluate: Callable[[Model], float], stop: Stop | None = None
) -> None:
    """Trains the phase to its end, from the newest checkpoint where there is one.

    Args:
      phase: what to train.
      feed: gives the batches.
      evaluate: the mean Y-PSNR of a model on the held-out photos, for the log.
      stop: whether the run has been asked to end.

    Raises:
      Stopped: it has been; the step that was under way is saved.
    """
    stop = stop or Stop()
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
        stop.waiting(),
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
            saving = last or number % config.checkpoint_every == 0 or stop.asked is not None
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
            if stop.asked is not None:
                raise Stopped(
                    f"{phase.name}: stopped by {stop.asked.name} after step {number}, which is"
                    " saved; start again to go on"
                )
