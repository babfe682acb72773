"""One phase of training: build the step, restore or start the state, loop, log, save."""

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax import devices, models
from kdgan_jax.config import uses_teacher
from kdgan_jax.errors import UserError
from kdgan_jax.io import checkpoint, imagenet, logs
from kdgan_jax.train import optim, state, steps
from kdgan_jax.zoo.model import Model

BatchSource = Callable[[int], Generator[dict[str, np.ndarray]]]


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
        return self.workdir / "checkpoints" / self.name

    @property
    def key(self) -> jax.Array:
        """The PRNG key of the phase's fresh weights."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(self.name.encode()))

    @property
    def batch_seed(self) -> int:
        """The seed of the phase's batches: phases see other batches than each other."""
        return zlib.crc32(f"{self.name} {self.config.seed}".encode())


def _optimisers(phase: Phase) -> steps.Optimisers:
    settings = phase.settings
    if not settings.adversarial_weight:
        return steps.Optimisers(optim.adam(settings, settings.learning_rate, settings.steps))
    updates = settings.steps - settings.discriminator_warmup_steps
    return steps.Optimisers(
        optim.adam(settings, settings.learning_rate, updates),
        optim.adam(settings, settings.discriminator_learning_rate, settings.steps),
    )


def _initial(phase: Phase, optimisers: steps.Optimisers) -> state.TrainState:
    settings, config = phase.settings, phase.config
    own_key, other_key = jax.random.split(phase.key)
    params = phase.model.params
    if params is None:
        params = models.init(phase.model.module, own_key, settings.hr_patch // config.scale)
    if optimisers.discriminator is None:
        return state.create(phase.key, params, optimisers.generator)
    spec = config.discriminator
    network = models.discriminator(spec.name, spec.kwargs.to_dict())
    return state.create(
        phase.key,
        params,
        optimisers.generator,
        models.init(network, other_key, settings.hr_patch),
        optimisers.discriminator,
    )


def _step(phase: Phase, optimisers: steps.Optimisers) -> Any:
    """Returns (the compiled step, its frozen parameters)."""
    settings, spec = phase.settings, phase.config.discriminator
    generator, teacher, discriminator = phase.model.module, None, None
    frozen: dict[str, Any] = {}
    if phase.teacher is not None and uses_teacher(settings):
        network = phase.teacher.module
        teacher = lambda params, lr: network.apply({"params": params}, lr)  # noqa: E731
        frozen["teacher"] = phase.teacher.params
    if settings.perceptual_weight:
        frozen["vgg"] = imagenet.vgg16()
    if optimisers.discriminator is not None:
        game = models.discriminator(spec.name, spec.kwargs.to_dict(), mean=devices.mean)
        discriminator = lambda params, image: game.apply({"params": params}, image)  # noqa: E731
    networks = steps.Networks(
        lambda params, lr: generator.apply({"params": params}, lr), teacher, discriminator
    )
    step = steps.make_step(networks, optimisers, settings, devices.mean)
    return devices.parallel(step, phase.devices), devices.replicate(frozen, phase.devices)


def _restore(phase: Phase, initial: state.TrainState) -> state.TrainState:
    """Returns the state of the newest checkpoint, or `initial`."""
    there = checkpoint.steps(phase.folder)
    if not there:
        return initial
    logs.log.info("%s: resumed at step %d", phase.name, there[-1])
    targets = state.to_items(devices.to_host(initial))
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
    return checkpoint.steps(workdir / "checkpoints" / name)[-1:] == [steps]


def adopt(phase: Phase) -> None:
    """Writes the phase's model, trained elsewhere, as this phase's last checkpoint."""
    optimisers = _optimisers(phase)
    save(phase, _initial(phase, optimisers), phase.settings.steps)


def _stop_if_not_finite(row: dict[str, float], phase: Phase, step: int) -> None:
    """Ends the run before a diverged state is saved over good checkpoints."""
    broken = [name for name, value in row.items() if not np.isfinite(value)]
    if broken:
        raise UserError(
            f"{phase.name}: {', '.join(broken)} not finite by step {step}; the newest checkpoint"
            f" is from before; lower config.train.{phase.name}.learning_rate or set its clip_norm"
        )


def train(phase: Phase, batches: BatchSource, evaluate: Callable[[Model], float]) -> None:
    """Trains the phase to its end, from the newest checkpoint where there is one.

    Args:
      phase: what to train.
      batches: gives the batches from a step to the end of the phase.
      evaluate: the mean Y-PSNR of a model on the held-out photos, for the log.
    """
    settings, config = phase.settings, phase.config
    optimisers = _optimisers(phase)
    current = _restore(phase, _initial(phase, optimisers))
    start = int(current.step)
    current = devices.replicate(current, phase.devices)
    step, frozen = _step(phase, optimisers)
    began, seen = time.perf_counter(), start
    recent: list[dict[str, jax.Array]] = []  # metrics since the last row; read only there
    with (
        contextlib.closing(logs.MetricLog(phase.workdir, phase.name, start)) as metric_log,
        logs.progress(phase.name, settings.steps, start) as bar,
        contextlib.closing(batches(start)) as stream,
    ):
        for number, batch in enumerate(stream, start + 1):
            current, metrics = step(current, frozen, batch)
            recent.append(metrics)
            last = number == settings.steps
            note = ""
            row: dict[str, float] = {}
            saving = last or number % config.checkpoint_every == 0
            if saving or number % config.log_every == 0:
                values = jax.device_get(recent)
                row = {name: float(np.mean([v[name] for v in values])) for name in metrics}
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
            bar.advance(note)
