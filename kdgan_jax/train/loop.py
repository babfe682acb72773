"""The training loop of a phase: restore, train, log, evaluate, save, and stop when asked."""

import contextlib
import math
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.config.settings import LoopConfig
from kdgan_jax.data import batches
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime import console, devices, files, processes
from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.train import optim
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.heldout import Scores
from kdgan_jax.train.phase_setup import (
    PhaseSetup,
    compiled_steps,
    frozen_weights,
    initial_state,
    log_scaled_rates,
)
from kdgan_jax.train.state import TrainState, from_items, to_items
from kdgan_jax.train.stopping import Stop
from kdgan_jax.workdir import checkpoint, record
from kdgan_jax.workdir.metrics import MetricLog, Row

STEPS_PER_CALL = 16


def _restore(setup: PhaseSetup, fresh: TrainState) -> TrainState:
    """Returns the state of the newest intact checkpoint, or `fresh` if there is none."""
    newest = checkpoint.newest(setup.folder, console.log.warning)
    processes.agree(newest, "newest checkpoint")
    if newest is None:
        return fresh
    console.log.info("%s: resumed at step %d", setup.name, newest)
    template = to_items(devices.to_host(fresh))
    return from_items(checkpoint.load(setup.folder / str(newest), template))


def save(
    setup: PhaseSetup,
    current: TrainState,
    step: int,
    folder: Path | None = None,
    best: int | None = None,
) -> Path:
    """Writes the checkpoint of `step`, and returns its path.

    Args:
      setup: of the phase.
      current: state, on the devices or on the host.
      step: its number of updates.
      folder: to write to; None takes the phase's.
      best: step of an older checkpoint that stays.
    """
    meta = {
        "model": setup.model.spec,
        "phase": setup.name,
        "network": setup.config.network,
        "number": setup.config.number,
        "versions": record.versions(),
    }
    folder, items = folder or setup.folder, to_items(devices.to_host(current))
    try:
        return checkpoint.save(folder, step, items, meta, kept=best)
    except OSError as error:
        raise UserError(
            f"{folder}: the checkpoint of step {step} cannot be written ({error}); earlier"
            " ones are intact; free some space and run the same command to resume"
        ) from None


def finished(workdir: Path, name: str, steps: int) -> bool:
    """Returns whether the final checkpoint of the phase `name` exists and is intact."""
    folder = checkpoint.phase_folder(workdir, name)
    return checkpoint.steps(folder)[-1:] == [steps] and checkpoint.newest(folder) == steps


def adopt(setup: PhaseSetup) -> None:
    """Writes a model that was trained elsewhere as the phase's final checkpoint."""
    save(setup, initial_state(setup), setup.config.steps)


def _metric_log(setup: PhaseSetup, start: int) -> contextlib.AbstractContextManager[Any]:
    """Returns the context of the phase's log, which is None in all processes but the first."""
    if not processes.first():
        return contextlib.nullcontext()
    return contextlib.closing(MetricLog(setup.workdir, setup.name, start))


class _Rows:
    """Metrics of the calls since the last row of the log, read from the devices once per row.

    Attributes:
      streak: number of latest updates that were skipped in a row.
      not_finite: names of the metrics that were not finite in a call since the last row.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, dict[str, jax.Array]]] = []
        self.streak = 0
        self.not_finite: list[str] = []

    def add(self, steps: int, metrics: dict[str, jax.Array]) -> None:
        """Adds the mean metrics of a call that made `steps` steps."""
        self._calls.append((steps, metrics))

    def take(self) -> Row:
        """Returns the means of all finite values since the last row, over steps.

        If updates were skipped, "skipped" is their number and "not_finite" says why. A call of the
        discriminator's warm-up has no metrics of the generator.
        """
        counts, values = zip(*jax.device_get(self._calls), strict=True)
        self._calls.clear()
        skipped = np.concatenate([np.atleast_1d(v.pop("skipped")) for v in values])
        for is_skipped in skipped:
            self.streak = self.streak + 1 if is_skipped else 0
        names = {name: None for v in values for name in v}
        self.not_finite = [
            name for name in names if not all(np.isfinite(v.get(name, 0)) for v in values)
        ]
        row: Row = {}
        for name in names:
            present = [(v[name], n) for v, n in zip(values, counts, strict=True) if name in v]
            column, weights = (np.array(numbers) for numbers in zip(*present, strict=True))
            finite = np.isfinite(column)
            if finite.any():
                row[name] = float(np.average(column[finite], weights=weights[finite]))
        if skipped.any():
            row |= {"skipped": int(skipped.sum()), "not_finite": self.reason}
        return row

    @property
    def reason(self) -> str:
        """What was not finite, in words."""
        return ", ".join(self.not_finite) or "a target, a gradient or a new weight"


def _note(row: Row, losses: Collection[str], turn: int) -> str:
    """Returns what a row of the log shows in the terminal: the loss, and one more fact in turn."""
    facts = [f"{1 / float(row['seconds_per_step']):.3g} steps/s"]
    facts += [f"rate {row['learning_rate']:.2g}", f"{float(row['memory_mb']) / 1000:.1f} GB"]
    facts += [f"gradient {row['gradient_norm']:.2g}"] if "gradient_norm" in row else []
    facts += [f"{label} {row[label]:.4f}" for label in losses if label in row and len(losses) > 1]
    loss = f"loss {row['total']:.4f}, " if "total" in row else ""
    return loss + facts[turn % len(facts)]


class _Best:
    """The best of a phase's checkpoints: the one whose mean PSNR on held-out photos is highest.

    Attributes:
      step: of it; None if none was evaluated.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.step: int | None
        self.step, self._psnr = checkpoint.best(folder) or (None, -math.inf)

    def update(self, step: int, psnr: float) -> None:
        """Takes a checkpoint that has been written."""
        if psnr > self._psnr:
            self.step, self._psnr = step, psnr
            if processes.first():
                checkpoint.record_best(self._folder, step, psnr)

    def tell(self, setup: PhaseSetup) -> None:
        """Logs which one it is, unless it is the last."""
        if self.step is not None and self.step < setup.config.steps:
            console.log.info(
                "%s: the best checkpoint on the held-out photos is that of step %d (%.2f dB); its"
                " name is %s:%s:best",
                *(setup.name, self.step, self._psnr, setup.workdir, setup.name),
            )


def _diverged(
    setup: PhaseSetup, feed: Feed, current: TrainState, item: Any, rows: _Rows
) -> UserError:
    """Saves the weights and the batch of the latest step; returns the error that ends the run."""
    step = int(current.step)
    previous = np.int32(step - 1)
    folder = setup.workdir / "debug" / setup.name
    saved = save(setup, devices.to_host(current).replace(step=previous), step, folder)
    item = devices.gather(item)
    shares = [
        feed.cut(feed.arrays, jax.tree.map(lambda a, i=i: a[i], item), previous)
        for i in range(setup.devices)
    ]
    batch = jax.tree.map(lambda *parts: np.concatenate(parts), *shares)
    if processes.first():
        with files.replacing(folder / f"{step}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **batches.to_arrays(batch))
    processes.barrier("the batch is written")
    return UserError(
        f"{setup.name}: the last {rows.streak} updates up to step {step} were not finite and were"
        f" skipped (not finite: {rows.reason}); the weights before them are in {saved} and the"
        f" batch in {step}.npz beside it (see them with python -m kdgan_jax.replay {saved}); lower"
        f" config.train.{setup.name}.learning_rate or set its clip_norm, in another --workdir"
    )


def steps_per_call(loop: LoopConfig, steps: int, on_device: bool) -> int:
    """Returns the largest number of steps that a compiled call makes.

    The default, at most `STEPS_PER_CALL`, divides all intervals of the loop, so that all calls are
    the same program. On a CPU it is 1, since gradients of convolutions are slow inside a loop.

    Args:
      loop: intervals of the training loop.
      steps: of the phase.
      on_device: whether a call may make several steps.
    """
    if not on_device:
        return 1
    if loop.steps_per_call or devices.on_cpu():
        return loop.steps_per_call or 1
    intervals = (loop.log_every, loop.evaluate_every, loop.checkpoint_every, steps)
    return max(k for k in range(1, STEPS_PER_CALL + 1) if math.gcd(*intervals) % k == 0)


def until_due(number: int, most: int, loop: LoopConfig, setup: PhaseSetup) -> int:
    """Returns the number of steps after step `number` until something is due; at most `most`."""
    intervals = (loop.log_every, loop.evaluate_every, loop.checkpoint_every)
    ends = [end for end in (setup.warmup, setup.config.steps) if end > number]
    return min(most, *(end - number for end in ends), *(n - number % n for n in intervals))


def train(
    setup: PhaseSetup,
    feed: Feed,
    evaluate: Callable[[Model], Scores],
    loop: LoopConfig,
    stop: Stop | None = None,
    finish: Callable[[Model], Model] = lambda model: model,
) -> None:
    """Trains the phase to its end, starting from its newest checkpoint if there is one.

    Args:
      setup: the phase.
      feed: of its batches.
      evaluate: returns how a model does on the held-out photos, for the log.
      loop: intervals of the training loop.
      stop: whether the run has been asked to stop.
      finish: what is done to the model of averaged weights after the last step.

    Raises:
      Stopped: the run was asked to stop; the current step is saved.
      UserError: updates are not finite, photos are missing, or the workdir cannot be written to.
    """
    stop = stop or Stop()
    steps = setup.config.steps
    log_scaled_rates(setup)
    current = _restore(setup, initial_state(setup))
    start = int(current.step)
    current = devices.replicate(current, setup.devices)
    call = compiled_steps(setup, feed)
    frozen = devices.replicate(frozen_weights(setup), setup.devices) | {"photos": feed.arrays}
    most = steps_per_call(loop, steps, feed.on_device)
    interval_began, interval_start = time.perf_counter(), start
    rows, best = _Rows(), _Best(setup.folder)
    rate = optim.schedule(setup.config.optimizer, steps - setup.warmup)
    with (
        _metric_log(setup, start) as metric_log,
        console.progress(setup.name, steps, start) as bar,
        contextlib.closing(feed.stream(start)) as stream,
        stop.waiting(),
    ):
        number = start
        while number < steps:
            count = until_due(number, most, loop, setup)
            try:
                item = next(stream)
            except UserError:  # a photo is missing
                if number > start and not processes.several():  # saving needs all processes
                    save(setup, current, number)
                raise
            current, metrics = call(count, number < setup.warmup)(current, frozen, item)
            rows.add(count, metrics)
            number += count
            last = number == steps
            asked = stop.after_step()  # a later request waits for the next step
            note = ""
            row: Row = {}
            saving = last or number % loop.checkpoint_every == 0 or asked is not None
            if saving or number % loop.log_every == 0:
                row = rows.take()
                now = time.perf_counter()
                pace = (now - interval_began) / (number - interval_start)
                row["learning_rate"] = float(rate(max(0, number - 1 - setup.warmup)))
                row["memory_mb"] = round(devices.memory_used() / 1e6)
                row["seconds_per_step"], row["seconds_left"] = pace, pace * (steps - number)
                interval_began, interval_start = now, number
                if rows.streak >= (1 if last else loop.max_bad_steps):
                    if metric_log:
                        metric_log.write(number, row)
                    raise _diverged(setup, feed, current, item, rows)
                # Weights whose next update is not finite must not replace a good checkpoint.
                saving = saving and (rows.streak == 0 or asked is not None)
                if "skipped" in row:
                    console.log.warning(
                        "%s: of the updates up to step %d, %d were skipped (not finite: %s)",
                        *(setup.name, number, row["skipped"], row["not_finite"]),
                    )
                note = _note(row, setup.config.losses, number // loop.log_every)
            if last:
                model = finish(setup.model.with_params(devices.to_host(current.ema)))
                current = current.replace(ema=devices.replicate(model.params, setup.devices))
            if last or (number % loop.evaluate_every == 0 and asked is None):
                averaged = setup.model.with_params(devices.to_host(current.ema)).folded()
                scores = evaluate(averaged)
                row |= scores.means
                note = f"held-out {row['holdout_psnr_y']:.2f} dB"
                if metric_log:
                    metric_log.picture(number, scores.picture)
                interval_began, interval_start = time.perf_counter(), number
            if row and metric_log:
                metric_log.write(number, row)
            if saving:
                save(setup, current, number, best=best.step)
                if "holdout_psnr_y" in row:
                    best.update(number, float(row["holdout_psnr_y"]))
                interval_began, interval_start = time.perf_counter(), number
            bar.advance(note, count)
            if asked is not None:
                raise Stopped(
                    f"Stopped at {setup.name} step {number} (saved). Run the same command to"
                    " resume."
                )
    best.tell(setup)
