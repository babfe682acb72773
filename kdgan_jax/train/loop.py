"""The loop of a phase: restore or start, make steps, log, evaluate, save, leave when asked."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import LoopConfig
from kdgan_jax.data import batches
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train import state
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.phase import Phase, compiled, frozen, initial, say_rate
from kdgan_jax.train.stopping import Stop
from kdgan_jax.workdir import checkpoint, record
from kdgan_jax.workdir.metrics import MetricLog

STEPS_PER_CALL = 16


def _restore(phase: Phase, fresh: state.TrainState) -> state.TrainState:
    """Returns the state of the newest checkpoint that is whole, or `fresh`."""
    newest = checkpoint.newest(phase.folder, console.log.warning)
    processes.agree(newest, "newest checkpoint")
    if newest is None:
        return fresh
    console.log.info("%s: resumed at step %d", phase.name, newest)
    targets = state.to_items(devices.to_host(fresh))
    return state.from_items(checkpoint.load(phase.folder / str(newest), targets))


def save(phase: Phase, current: state.TrainState, step: int, folder: Path | None = None) -> Path:
    """Writes the checkpoint of `step`, into the phase's folder or another; returns where."""
    meta = {
        "model": phase.model.spec,
        "phase": phase.name,
        "network": phase.config.network,
        "number": phase.config.number,
        "versions": record.versions(),
    }
    folder, items = folder or phase.folder, state.to_items(devices.to_host(current))
    try:
        return checkpoint.save(folder, step, items, meta)
    except OSError as error:
        raise UserError(
            f"{folder}: the checkpoint of step {step} cannot be written ({error}); those before it"
            " are whole; make room and start again to go on"
        ) from None


def finished(workdir: Path, name: str, steps: int) -> bool:
    """Returns whether the last checkpoint of the phase `name` is there, and whole."""
    folder = checkpoint.phase_folder(workdir, name)
    return checkpoint.steps(folder)[-1:] == [steps] and checkpoint.newest(folder) == steps


def adopt(phase: Phase) -> None:
    """Writes the phase's model, trained elsewhere, as this phase's last checkpoint."""
    save(phase, initial(phase), phase.config.steps)


def _metric_log(phase: Phase, start: int) -> contextlib.AbstractContextManager[Any]:
    """Returns what gives the phase's log, in the process that writes it, and None in others."""
    if not processes.first():
        return contextlib.nullcontext()
    return contextlib.closing(MetricLog(phase.workdir, phase.name, start))


class _Rows:
    """Metrics of calls, read from the devices only where a row of the log is due.

    Attributes:
      streak: steps in a row, up to now, that were not made since something was not finite.
      broken: names of the metrics that were not finite in the last of them.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, dict[str, jax.Array]]] = []
        self.streak = 0
        self.broken: list[str] = []

    def add(self, steps: int, metrics: dict[str, jax.Array]) -> None:
        """Keeps the mean metrics of a call of so many steps."""
        self._calls.append((steps, metrics))

    def take(self) -> dict[str, float]:
        """Returns the means over steps since the last time, of those values that are finite.

        With "skipped", the number of updates that were not made, if there are any. While the
        discriminator warms up there are no metrics of the generator.
        """
        counts, values = zip(*jax.device_get(self._calls), strict=True)
        self._calls.clear()
        skipped = np.concatenate([np.atleast_1d(v.pop("skipped")) for v in values])
        for one in skipped:
            self.streak = self.streak + 1 if one else 0
        self.broken = [name for name, value in values[-1].items() if not np.isfinite(value)]
        row = {}
        for name in {name: None for v in values for name in v}:
            there = [(v[name], n) for v, n in zip(values, counts, strict=True) if name in v]
            column, weights = (np.array(numbers) for numbers in zip(*there, strict=True))
            good = np.isfinite(column)
            if good.any():
                row[name] = float(np.average(column[good], weights=weights[good]))
        return row | ({"skipped": int(skipped.sum())} if skipped.any() else {})


def _stop_if_bad(
    phase: Phase, feed: Feed, current: Any, given: Any, rows: _Rows, most: int
) -> None:
    """Ends a run that has diverged, and leaves what its last step was made of.

    Raises:
      UserError: `most` updates in a row were not finite, or the phase's last one.
    """
    step = int(current.step)
    before = np.int32(step - 1)
    allowed = 0 if step == phase.config.steps else most - 1
    if rows.streak <= allowed:
        return
    folder = phase.workdir / "debug" / phase.name
    place = save(phase, devices.to_host(current).replace(step=before), step, folder)
    given = devices.whole(given)
    shares = [
        feed.cut(feed.arrays, jax.tree.map(lambda a, i=i: a[i], given), before)
        for i in range(phase.devices)
    ]
    batch = jax.tree.map(lambda *parts: np.concatenate(parts), *shares)
    if processes.first():
        with files.replacing(folder / f"{step}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **batches.to_arrays(batch))
    processes.together("the batch is written")
    broken = ", ".join(rows.broken) or "a gradient or a new weight"
    raise UserError(
        f"{phase.name}: the last {rows.streak} updates up to step {step} were not finite and not"
        f" made (not finite: {broken}); the weights before them and the batch are in {place} and"
        f" {step}.npz beside it (see them with python -m kdgan_jax.replay {place}); lower"
        f" config.train.{phase.name}.learning_rate or set its clip_norm, in another --workdir"
    )


def steps_per_call(loop: LoopConfig, steps: int, on_device: bool) -> int:
    """Returns how many steps a compiled call makes at most.

    By default as many as divide what happens between calls, up to `STEPS_PER_CALL`, so that all
    calls are the same program; one on a CPU, where gradients of convolutions in a loop are slow.

    Args:
      loop: what is due when.
      steps: of the phase.
      on_device: whether a call may make several.
    """
    if not on_device:
        return 1
    if loop.steps_per_call or devices.on_cpu():
        return loop.steps_per_call or 1
    every = (loop.log_every, loop.evaluate_every, loop.checkpoint_every, steps)
    return max(k for k in range(1, STEPS_PER_CALL + 1) if math.gcd(*every) % k == 0)


def until_due(number: int, most: int, loop: LoopConfig, phase: Phase) -> int:
    """Returns how many steps to make after `number`: not beyond what is due next."""
    every = (loop.log_every, loop.evaluate_every, loop.checkpoint_every)
    ends = [end for end in (phase.warmup, phase.config.steps) if end > number]
    return min(most, *(end - number for end in ends), *(n - number % n for n in every))


def train(
    phase: Phase,
    feed: Feed,
    evaluate: Callable[[Model], float],
    loop: LoopConfig,
    stop: Stop | None = None,
) -> None:
    """Trains the phase to its end, from the newest checkpoint where there is one.

    Args:
      phase: what to train.
      feed: gives the batches.
      evaluate: the mean Y-PSNR of a model on the held-out photos, for the log.
      loop: what is due when.
      stop: whether the run has been asked to end.

    Raises:
      Stopped: it has been; the step that was under way is saved.
    """
    stop = stop or Stop()
    steps = phase.config.steps
    say_rate(phase)
    current = _restore(phase, initial(phase))
    start = int(current.step)
    current = devices.replicate(current, phase.devices)
    call = compiled(phase, feed)
    fixed = devices.replicate(frozen(phase), phase.devices) | {"photos": feed.arrays}
    most = steps_per_call(loop, steps, feed.on_device)
    began, seen = time.perf_counter(), start
    rows = _Rows()
    with (
        _metric_log(phase, start) as metric_log,
        console.progress(phase.name, steps, start) as bar,
        contextlib.closing(feed.given(start)) as stream,
        stop.waiting(),
    ):
        number = start
        while number < steps:
            count = until_due(number, most, loop, phase)
            try:
                given = next(stream)
            except UserError:  # photos are gone: what has been learnt from them is not
                if number > start and not processes.several():  # others go on with their steps
                    save(phase, current, number)
                raise
            current, metrics = call(count, number < phase.warmup)(current, fixed, given)
            rows.add(count, metrics)
            number += count
            last = number == steps
            asked = stop.after_step()  # what comes after this waits for the next step
            note = ""
            row: dict[str, float] = {}
            saving = last or number % loop.checkpoint_every == 0 or asked is not None
            if saving or number % loop.log_every == 0:
                row = rows.take()
                _stop_if_bad(phase, feed, current, given, rows, loop.max_bad_steps)
                # Weights whose next update is not finite do not replace ones that are known good.
                saving = saving and (rows.streak == 0 or asked is not None)
                now = time.perf_counter()
                row["seconds_per_step"] = (now - began) / (number - seen)
                began, seen = now, number
                note = f"loss {row['total']:.4f}" if "total" in row else ""
            if last or (number % loop.evaluate_every == 0 and asked is None):
                averaged = phase.model.with_params(devices.to_host(current.ema)).folded()
                row["holdout_psnr_y"] = evaluate(averaged)
                note = f"held-out {row['holdout_psnr_y']:.2f} dB"
                began, seen = time.perf_counter(), number
            if row and metric_log:
                metric_log.write(number, row)
            if saving:
                save(phase, current, number)
                began, seen = time.perf_counter(), number
            bar.advance(note, count)
            if asked is not None:
                raise Stopped(
                    f"Stopped at {phase.name} step {number} (saved). Run the same command to"
                    " resume."
                )
