"""One phase of training: what it is made of, and its compiled step."""

import dataclasses
import functools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from kdgan_jax import devices, models
from kdgan_jax.config import uses_teacher
from kdgan_jax.io import checkpoint, imagenet, logs
from kdgan_jax.models.discriminator import identity
from kdgan_jax.train import optim, state, steps
from kdgan_jax.train.feed import Feed
from kdgan_jax.zoo.model import Model


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


def _factor(phase: Phase) -> float:
    """Returns what the phase's learning rates are multiplied by."""
    settings = phase.settings
    rule = phase.config.optim.lr_scaling
    return optim.rate_factor(rule, settings.batch, settings.reference_batch)


def optimisers(phase: Phase) -> steps.Optimisers:
    """Returns the optimisers of the phase's players."""
    settings, factor = phase.settings, _factor(phase)
    rate = settings.learning_rate * factor
    if not settings.adversarial_weight:
        return steps.Optimisers(optim.adam(settings, rate, settings.steps))
    updates = settings.steps - settings.discriminator_warmup_steps
    return steps.Optimisers(
        optim.adam(settings, rate, updates),
        optim.adam(settings, settings.discriminator_learning_rate * factor, settings.steps),
    )


def say_rate(phase: Phase) -> None:
    """Logs how the phase's learning rates are scaled, if they are."""
    settings, factor = phase.settings, _factor(phase)
    if factor == 1:
        return
    rate = f"{settings.learning_rate:g}"
    if settings.adversarial_weight:
        rate += f" and the discriminator's {settings.discriminator_learning_rate:g}"
    logs.log.info(
        "%s: learning rate %s x %.4g (%s in batch %d over %d)",
        *(phase.name, rate, factor),
        *(phase.config.optim.lr_scaling, settings.batch, settings.reference_batch),
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


def compiled(phase: Phase, players: steps.Optimisers, feed: Feed) -> Callable[[int], devices.Step]:
    """Returns the function from a number of steps to the call that makes so many."""
    one = steps.make_step(networks(phase, devices.mean), players, phase.settings, devices.mean)
    one = steps.fed(one, feed.cut)
    return functools.cache(
        lambda count: devices.parallel(steps.repeated(one, count), phase.devices)
    )
