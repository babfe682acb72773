"""A phase ready to train: its config with its networks, and its compiled steps."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from kdgan_jax import losses, models
from kdgan_jax.config import spec
from kdgan_jax.config.settings import LossConfig, PhaseConfig
from kdgan_jax.data.batches import Batch
from kdgan_jax.formats import imagenet
from kdgan_jax.inference.model import Model
from kdgan_jax.inference.reduced import Reduced, at_scale
from kdgan_jax.losses.term import Context, Term
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.extractors import vgg
from kdgan_jax.models.types import Mean, Params
from kdgan_jax.runtime import console, devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import optim, state, steps
from kdgan_jax.train.feed import Feed
from kdgan_jax.train.state import ADAPTERS, DISCRIMINATOR, GENERATOR
from kdgan_jax.workdir import checkpoint


class Extractor(NamedTuple):
    """A fixed network whose features losses compare.

    Attributes:
      check: raises a UserError if its weights are missing.
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
class PhaseSetup:
    """A phase's config together with everything that it needs from the rest of the run.

    Attributes:
      config: of the phase.
      seed: of the run.
      workdir: of the run.
      model: the generator to train; training starts from its params, or from fresh ones if they
        are None.
      teachers: by name.
      devices: number of devices to train on.
    """

    config: PhaseConfig
    seed: int
    workdir: Path
    model: Model
    teachers: Mapping[str, Model]
    devices: int

    @property
    def name(self) -> str:
        """The phase's name."""
        return self.config.name

    @property
    def folder(self) -> Path:
        """The folder of the phase's checkpoints."""
        return checkpoint.phase_folder(self.workdir, self.name)

    @property
    def key(self) -> jax.Array:
        """The PRNG key for all randomness of the phase except its batches."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(self.name.encode()))

    @property
    def batch_seed(self) -> int:
        """The seed of the phase's batches, which differ between phases."""
        return zlib.crc32(f"{self.name} {self.seed}".encode())

    @property
    def warmup(self) -> int:
        """Number of first steps in which the discriminator trains alone."""
        return self.config.discriminator.warmup_steps if self.config.discriminator else 0

    @property
    def running_teachers(self) -> dict[str, Model]:
        """The teachers that run in every step, by name; the outputs of others are stored."""
        stored = self.config.stored
        return {name: model for name, model in self.teachers.items() if name not in stored}

    def at_scale(self, name: str) -> Model | Reduced:
        """Returns a teacher at the scale of the generator."""
        return at_scale(self.teachers[name], self.model.scale, f"teacher {name!r}")

    @property
    def terms(self) -> dict[str, Term]:
        """The phase's losses by label."""
        return {
            label: spec.build(losses.TERMS, *loss.kind, label, target=loss.target)
            for label, loss in self.config.losses.items()
        }

    @property
    def extractors(self) -> list[str]:
        """Names of the extractors that the losses need."""
        needed = {name for term in self.terms.values() for name in term.needs}
        return [name for name in EXTRACTORS if name in needed]


def losses_of(setup: PhaseSetup) -> steps.Losses:
    """Returns the losses of the phase, with those of its discriminator."""

    def weighted(function: Any, loss: LossConfig) -> steps.Weighted:
        schedule = spec.build(losses.SCHEDULES, *loss.schedule, "schedule")
        return steps.Weighted(function, loss.weight, schedule)

    config = setup.config
    terms = {label: weighted(term, config.losses[label]) for label, term in setup.terms.items()}
    if config.discriminator is None:
        return steps.Losses(terms, mixup=config.mixup)
    regularizers = {
        label: weighted(spec.build(losses.REGULARIZERS, *loss.kind, label), loss)
        for label, loss in config.discriminator.regularizers.items()
    }
    adversarial = config.discriminator.adversarial_loss
    return steps.Losses(terms, adversarial, regularizers, config.mixup)


def optimizers(setup: PhaseSetup) -> dict[str, optax.GradientTransformation]:
    """Returns the optimisers of everything that the phase may train, by name."""
    config, updates = setup.config, setup.config.steps - setup.warmup
    by_name = {
        GENERATOR: optim.adam(config.optimizer, updates),
        ADAPTERS: optim.adam(config.optimizer, updates),
    }
    if config.discriminator:
        by_name[DISCRIMINATOR] = optim.adam(config.discriminator.optimizer, config.steps)
    return by_name


def log_scaled_rates(setup: PhaseSetup) -> None:
    """Logs how the phase's learning rates are scaled, if they are."""
    optimizer, discriminator = setup.config.optimizer, setup.config.discriminator
    if optimizer.factor == 1:
        return
    rates = f"{optimizer.learning_rate:g}"
    if discriminator:
        rates += f" (discriminator: {discriminator.optimizer.learning_rate:g})"
    console.log.info(
        "%s: learning rate %s x %.4g (%s)", setup.name, rates, optimizer.factor, optimizer.scaling
    )


def _discriminator(setup: PhaseSetup, mean: Mean = identity) -> nn.Module:
    assert setup.config.discriminator is not None
    name, options = setup.config.discriminator.network
    return models.discriminator(name, options, mean=mean, dtype=setup.config.dtype)


def initial_state(setup: PhaseSetup) -> state.TrainState:
    """Returns the state before the first update, with the model's weights or fresh ones."""
    generator_key, discriminator_key = jax.random.split(setup.key)
    hr_patch = setup.config.batches.hr_patch
    params = setup.model.params
    if params is None:
        lr_patch = hr_patch // setup.model.scale
        params = models.init(setup.model.module, generator_key, lr_patch)["params"]
    variables: dict[str, Params] = {GENERATOR: {"params": params}}
    if setup.config.discriminator:
        variables[DISCRIMINATOR] = models.init(_discriminator(setup), discriminator_key, hr_patch)
    by_name = optimizers(setup)
    without_adapters = state.create(setup.key, variables, by_name)
    adapters = _adapters(setup, without_adapters)
    if not adapters:
        return without_adapters
    return state.create(setup.key, {**variables, ADAPTERS: {"params": adapters}}, by_name)


def _adapters(setup: PhaseSetup, current: state.TrainState) -> dict[str, Any]:
    """Returns fresh parameters, by label, of the losses that have any."""
    terms = setup.terms
    if not _name_features(setup):
        return {}  # which saves tracing the networks

    def begun(label: str, term: Term, key: jax.Array, context: Context) -> dict[str, Any]:
        try:
            return term.init(key, context)
        except UserError as error:
            raise UserError(f"losses.{label}.kind: {error}") from None

    def fresh(current: state.TrainState, frozen: steps.Frozen) -> dict[str, Any]:
        hr_patch = setup.config.batches.hr_patch
        lr_patch = hr_patch // setup.model.scale
        image = jnp.zeros((1, hr_patch, hr_patch, 3), jnp.uint8)
        targets = dict.fromkeys(("hr", *setup.config.stored), image)
        batch = Batch(image[:, :lr_patch, :lr_patch], targets, {}, jnp.zeros(1, jnp.uint32))
        _, make_context = steps.make_context(networks(setup), current, frozen, batch)
        context = make_context(current.networks[GENERATOR].params)
        keys = {label: jax.random.fold_in(setup.key, zlib.crc32(label.encode())) for label in terms}
        return {label: begun(label, term, keys[label], context) for label, term in terms.items()}

    params_by_label = jax.jit(fresh)(current, frozen_weights(setup))
    return {label: params for label, params in params_by_label.items() if params}


def check_features(setup: PhaseSetup) -> None:
    """Checks the features that the phase names, by tracing the networks without computing.

    Teachers without params are checked as untrained networks.

    Raises:
      UserError: a network lacks a feature that is named, or two features differ in size.
    """

    def trace() -> state.TrainState:
        teachers = {}
        for name, teacher in setup.teachers.items():
            if teacher.params is None:
                params = models.init(teacher.module, setup.key, 1)["params"]
                teacher = teacher.with_params(params).folded()
            teachers[name] = teacher
        return initial_state(dataclasses.replace(setup, teachers=teachers))

    if not _name_features(setup):
        return
    try:
        jax.eval_shape(trace)
    except UserError as error:
        raise UserError(f"config.train.{setup.config.name}.{error}") from None


def _name_features(setup: PhaseSetup) -> bool:
    """Returns whether the phase names features, for which its losses may have parameters."""
    looking = (type(term).init is not Term.init for term in setup.terms.values())
    return any(looking) or setup.config.dropout is not None


def networks(setup: PhaseSetup, mean: Mean = identity) -> steps.Networks:
    """Returns the networks of the phase's step; `mean` averages over devices."""
    teachers = {
        name: (functools.partial(models.apply, model.module), setup.config.teachers[name].reads)
        for name, model in setup.running_teachers.items()
    }
    model = setup.model
    module = models.generator(model.name, model.kwargs, model.scale, dtype=setup.config.dtype)
    discriminator = None
    if setup.config.discriminator:
        discriminator = functools.partial(apply_discriminator, _discriminator(setup, mean))
    extractors = {name: EXTRACTORS[name].features for name in setup.extractors}
    generator = functools.partial(models.apply, module)
    return steps.Networks(generator, teachers, discriminator, extractors, setup.config.dropout)


def apply_discriminator(
    module: Any, variables: Params, images: jax.Array, update: bool
) -> tuple[jax.Array, dict[str, Any]]:
    """Returns the logits, and the variables that are not parameters: updated, or as they were."""
    others = {kind: tree for kind, tree in variables.items() if kind != "params"}
    if not others or not update:
        return module.apply(variables, images), others
    return module.apply(variables, images, update=True, mutable=list(others))


def frozen_weights(setup: PhaseSetup) -> dict[str, Any]:
    """Returns the weights that the phase's step reads and never changes."""
    return {
        "teachers": {name: {"params": m.params} for name, m in setup.running_teachers.items()},
        "extractors": {name: EXTRACTORS[name].weights() for name in setup.extractors},
    }


def compiled_steps(setup: PhaseSetup, feed: Feed) -> Callable[[int, bool], devices.Step]:
    """Returns a cached function from (number of steps, `warming`) to the call that makes them.

    See `steps.make_step` for `warming`.
    """

    @functools.cache
    def call(count: int, warming: bool) -> devices.Step:
        step = steps.make_step(
            networks(setup, devices.mean),
            optimizers(setup),
            losses_of(setup),
            decay=setup.config.ema_decay,
            warmup=setup.warmup,
            warming=warming,
            mean=devices.mean,
        )
        cutting = steps.with_cutting(step, feed.cut)
        return devices.parallel(steps.repeated(cutting, count), setup.devices)

    return call
