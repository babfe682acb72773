"""One phase of training: what it is made of, and its compiled step."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdgan_jax import losses, models
from kdgan_jax.config import spec
from kdgan_jax.config.settings import LossConfig, PhaseConfig
from kdgan_jax.data.batches import Batch
from kdgan_jax.formats import imagenet
from kdgan_jax.inference.model import Model
from kdgan_jax.losses.term import Term
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.extractors import vgg
from kdgan_jax.runtime import console, devices
from kdgan_jax.train import optim, state, steps
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.state import ADAPTERS, DISCRIMINATOR, GENERATOR
from kdgan_jax.workdir import checkpoint


class Extractor(NamedTuple):
    """A fixed network whose features losses compare.

    Attributes:
      check: raises a UserError if its weights are not here.
      weights: reads them.
      features: (weights, images, layers) to a list of arrays.
    """

    check: Callable[[], Any]
    weights: Callable[[], Any]
    features: Callable[..., list[jax.Array]]


EXTRACTORS = {
    "vgg": Extractor(lambda: imagenet.weight_file("vgg16.ckpt"), imagenet.vgg16, vgg.features)
}


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a phase is made of.

    Attributes:
      config: what it is to do.
      seed: of the run.
      workdir: of the run.
      model: the generator to train; its params are the start, None draws fresh ones.
      teachers: the trained teachers by name.
      devices: how many to train on.
    """

    config: PhaseConfig
    seed: int
    workdir: Path
    model: Model
    teachers: Mapping[str, Model]
    devices: int

    @property
    def name(self) -> str:
        """The user's name for it."""
        return self.config.name

    @property
    def folder(self) -> Path:
        """Where the phase's checkpoints lie."""
        return checkpoint.phase_folder(self.workdir, self.name)

    @property
    def key(self) -> jax.Array:
        """The PRNG key of all that is random in the phase but its batches."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.name.encode()))

    @property
    def batch_seed(self) -> int:
        """The seed of the phase's batches: phases see other batches than each other."""
        return zlib.crc32(f"{self.name} {self.seed}".encode())

    @property
    def warmup(self) -> int:
        """Steps in which the discriminator trains alone."""
        return self.config.discriminator.warmup_steps if self.config.discriminator else 0

    @property
    def terms(self) -> dict[str, Term]:
        """The phase's losses by label."""
        return {
            label: spec.build(losses.TERMS, *loss.kind, label, target=loss.target)
            for label, loss in self.config.losses.items()
        }

    @property
    def extractors(self) -> list[str]:
        """Names of the extractors that its losses need."""
        needed = {name for term in self.terms.values() for name in term.needs}
        return [name for name in EXTRACTORS if name in needed]


def losses_of(phase: Phase) -> steps.Losses:
    """Returns what the phase minimises."""

    def weighted(function: Any, loss: LossConfig) -> steps.Weighted:
        schedule = spec.build(losses.SCHEDULES, *loss.schedule, "schedule")
        return steps.Weighted(function, loss.weight, schedule)

    terms = {label: weighted(t, phase.config.losses[label]) for label, t in phase.terms.items()}
    other = phase.config.discriminator
    if other is None:
        return steps.Losses(terms)
    regularizers = {
        label: weighted(spec.build(losses.REGULARIZERS, *loss.kind, label), loss)
        for label, loss in other.regularizers.items()
    }
    return steps.Losses(terms, other.game, regularizers)


def optimizers(phase: Phase) -> dict[str, Any]:
    """Returns the optimisers of all that may train in the phase, by name."""
    own, updates = phase.config.optimizer, phase.config.steps - phase.warmup
    found = {GENERATOR: optim.adam(own, updates), ADAPTERS: optim.adam(own, updates)}
    if phase.config.discriminator:
        other = phase.config.discriminator.optimizer
        found[DISCRIMINATOR] = optim.adam(other, phase.config.steps)
    return found


def say_rate(phase: Phase) -> None:
    """Logs how the phase's learning rates are scaled, if they are."""
    own, other = phase.config.optimizer, phase.config.discriminator
    if own.factor == 1:
        return
    rate = f"{own.learning_rate:g}"
    if other:
        rate += f" and the discriminator's {other.optimizer.learning_rate:g}"
    console.log.info("%s: learning rate %s x %.4g (%s)", phase.name, rate, own.factor, own.scaling)


def _discriminator(phase: Phase, mean: Callable[[Any], Any] = identity) -> Any:
    assert phase.config.discriminator is not None
    name, options = phase.config.discriminator.network
    return models.discriminator(name, options, mean=mean, dtype=phase.config.dtype)


def initial(phase: Phase) -> state.TrainState:
    """Returns the state before the first update, of the phase's model or of fresh weights."""
    own_key, other_key = jax.random.split(phase.key)
    patch = phase.config.batches.hr_patch
    params = phase.model.params
    if params is None:
        lr_patch = patch // phase.model.scale
        params = models.init(phase.model.module, own_key, lr_patch)["params"]
    variables = {GENERATOR: {"params": params}}
    if phase.config.discriminator:
        variables[DISCRIMINATOR] = models.init(_discriminator(phase), other_key, patch)
    players = optimizers(phase)
    current = state.create(phase.key, variables, players)
    adapters = _adapters(phase, current)
    if not adapters:
        return current
    return state.create(phase.key, {**variables, ADAPTERS: {"params": adapters}}, players)


def _adapters(phase: Phase, current: state.TrainState) -> dict[str, Any]:
    """Returns fresh parameters of the losses that have some, by label."""
    terms = phase.terms
    if not _have_parameters(terms):
        return {}  # no network has to be traced

    def fresh(current: state.TrainState, frozen: Any) -> dict[str, Any]:
        patch, scale = phase.config.batches.hr_patch, phase.model.scale
        size = patch // scale
        image = jnp.zeros((1, patch, patch, 3), jnp.uint8)
        batch = Batch(image[:, :size, :size], {"hr": image}, {}, jnp.zeros(1, jnp.uint32))
        _, context = steps.make_context(networks(phase), current, frozen, batch)
        seen = context(current.networks[GENERATOR].params)
        keys = {label: jax.random.fold_in(phase.key, zlib.crc32(label.encode())) for label in terms}
        return {label: term.init(keys[label], seen) for label, term in terms.items()}

    made = jax.jit(fresh)(current, frozen(phase))
    return {label: params for label, params in made.items() if params}


def check(phase: Phase) -> None:
    """Traces what the phase's losses need of its networks; nothing is computed.

    Teachers that are not trained yet have no params.

    Raises:
      UserError: a loss names a feature that a network does not have, or one of another size.
    """

    def trace() -> Any:
        teachers = {}
        for name, teacher in phase.teachers.items():
            if teacher.params is None:
                params = models.init(teacher.module, phase.key, 1)["params"]
                teacher = teacher.with_params(params).folded()
            teachers[name] = teacher
        return initial(dataclasses.replace(phase, teachers=teachers))

    if _have_parameters(phase.terms):
        jax.eval_shape(trace)


def _have_parameters(terms: Mapping[str, Term]) -> bool:
    return any(type(term).init is not Term.init for term in terms.values())


def networks(phase: Phase, mean: Callable[[Any], Any] = identity) -> steps.Networks:
    """Returns the functions that the phase's step calls; `mean` averages over devices."""

    def generate(module: Any) -> steps.Generate:
        return functools.partial(models.apply, module)

    teachers = {
        name: (generate(model.module), phase.config.teachers[name].reads)
        for name, model in phase.teachers.items()
    }
    model = phase.model
    own = models.generator(model.name, model.kwargs, model.scale, dtype=phase.config.dtype)
    judge = None
    if phase.config.discriminator:
        judge = functools.partial(_judge, _discriminator(phase, mean))
    extractors = {name: EXTRACTORS[name].features for name in phase.extractors}
    return steps.Networks(generate(own), teachers, judge, extractors)


def _judge(
    module: Any, variables: Any, images: jax.Array, update: bool
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the logits and the variables that are no parameters, updated or as they were."""
    others = {kind: tree for kind, tree in variables.items() if kind != "params"}
    if not others or not update:
        return module.apply(variables, images), others
    return module.apply(variables, images, update=True, mutable=list(others))


def frozen(phase: Phase) -> dict[str, Any]:
    """Returns the weights that the phase's step reads and never changes."""
    return {
        "teachers": {name: {"params": m.params} for name, m in phase.teachers.items()},
        "extractors": {name: EXTRACTORS[name].weights() for name in phase.extractors},
    }


Calls = Callable[[int, bool], devices.Step]


def compiled(phase: Phase, feed: Feed) -> Calls:
    """Returns the function from (a number of steps, whether the discriminator trains alone) to
    the call that makes them.
    """

    @functools.cache
    def call(count: int, warming: bool) -> devices.Step:
        one = steps.make_step(
            networks(phase, devices.mean),
            optimizers(phase),
            losses_of(phase),
            decay=phase.config.ema_decay,
            warmup=phase.warmup,
            warming=warming,
            mean=devices.mean,
        )
        return devices.parallel(steps.repeated(steps.fed(one, feed.cut), count), phase.devices)

    return call
