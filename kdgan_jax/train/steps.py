"""One update of everything that a phase trains, as a pure function.

The step is written for one device's share of the batch; `mean` averages over devices. With the
identity as `mean`, it runs on one device under plain `jax.jit`.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kdgan_jax.data.batches import Batch
from kdgan_jax.losses.term import (
    EMA,
    Adversarial,
    Context,
    FeatureExtractor,
    Output,
    Regularizer,
    Term,
    per_image,
)
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.models.types import Mean, Params
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.regularization import drop_channels, mixed, to_float
from kdgan_jax.train.state import (
    ADAPTERS,
    DISCRIMINATOR,
    GENERATOR,
    Optimizers,
    Trained,
    TrainState,
)

Metrics = dict[str, Array]  # scalars by name
Frozen = Mapping[str, Any]  # {"teachers": ..., "extractors": ...}: weights by name; "photos"
Step = Callable[[TrainState, Frozen, Any], tuple[TrainState, Metrics]]
# (variables, images, features that replace the network's own) to (SR, features)
ApplyGenerator = Callable[..., tuple[Array, dict[str, Array]]]
# (variables, images, whether to update variables that are not parameters) to (logits, those)
ApplyDiscriminator = Callable[[Any, Array, bool], tuple[Array, dict[str, Any]]]
# (state, frozen, batch) to what `make_gradients` describes
Gradients = Callable[
    [TrainState, Frozen, Batch], tuple[dict[str, Any], dict[str, Any], Metrics, Array]
]


Function = TypeVar("Function", Term, Regularizer)


class Weighted(NamedTuple, Generic[Function]):
    """A loss or a regulariser with its weight, and a factor of the weight by step."""

    function: Function
    weight: float
    schedule: Callable[[Array], Any]


class Losses(NamedTuple):
    """The losses of a phase, by label.

    Attributes:
      terms: of the generator.
      adversarial: label of the adversarial term, or "".
      regularizers: of the discriminator.
      mixup: alpha of `regularization.mixed`; 0 does not mix.
    """

    terms: Mapping[str, Weighted[Term]]
    adversarial: str = ""
    regularizers: Mapping[str, Weighted[Regularizer]] = {}
    mixup: float = 0.0

    @property
    def targets(self) -> set[str]:
        """Names of all images and teachers that the terms compare with."""
        return {name for term, *_ in self.terms.values() for name in term.targets}


class Networks(NamedTuple):
    """The networks of a phase, as functions.

    Attributes:
      generator: the one that is trained.
      teachers: by name, each with the image that it reads, "lr" or "hr".
      discriminator: None in a phase without one.
      extractors: by name, (weights, images, layers) to a list of features.
      dropout: in training, a feature of the generator and the rate at which its channels are
        dropped; None drops none.
    """

    generator: ApplyGenerator
    teachers: Mapping[str, tuple[ApplyGenerator, str]] = {}
    discriminator: ApplyDiscriminator | None = None
    extractors: Mapping[str, Callable[..., list[Array]]] = {}
    dropout: tuple[str, float] | None = None


def ema_decay(limit: float, step: Array) -> Array:
    """Returns min(limit, (1 + step) / (10 + step)), which soon forgets the first weights."""
    return jnp.minimum(limit, (1 + step) / (10 + step))


def _keys(state: TrainState, label: str, index: Array) -> Array:
    """Returns a PRNG key for each sample, (B,), which depends on its `index` and on `label`."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), zlib.crc32(label.encode()))
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def make_context(
    networks: Networks,
    state: TrainState,
    frozen: Frozen,
    batch: Batch,
    mean: Mean = identity,
    averaged: bool = False,
) -> tuple[dict[str, Array], Callable[[Params], Context]]:
    """Returns (target images by name, function from the generator's parameters to the context).

    Args:
      networks: of the phase.
      state: holds the weights of the discriminator, and the averaged ones of the generator.
      frozen: {"teachers": variables by name, "extractors": weights by name}.
      batch: one device's share.
      mean: mean over devices.
      averaged: whether the image of the averaged generator is a target.
    """
    lr = to_float(batch.lr)
    images = {name: to_float(image) for name, image in batch.targets.items()}
    inputs = {"lr": lr, **images}
    teachers = {}
    for name, (apply, reads) in networks.teachers.items():
        teacher = functools.partial(apply, frozen["teachers"][name])
        sr, features = jax.lax.stop_gradient(teacher(inputs[reads]))
        teachers[name] = Output(inputs[reads], sr, features, teacher)
        if reads == "lr":
            images[name] = sr
    discriminator = None
    if networks.discriminator is not None:
        variables = state.networks[DISCRIMINATOR].variables
        discriminator = functools.partial(_logits, networks.discriminator, variables)
    extractors: dict[str, FeatureExtractor] = {
        name: functools.partial(function, frozen["extractors"][name])
        for name, function in networks.extractors.items()
    }
    others = state.networks[GENERATOR].others
    ema = functools.partial(networks.generator, {"params": state.ema, **others})
    if averaged:
        images[EMA] = jax.lax.stop_gradient(ema(lr)[0])

    def context(params: Params) -> Context:
        generator = functools.partial(networks.generator, {"params": params, **others})
        sr, features = generator(lr)
        if networks.dropout:
            keys = _keys(state, "phase.dropout", batch.index)
            sr = drop_channels(generator, lr, features, keys, *networks.dropout)
        return Context(
            step=state.step,
            keys=_keys(state, "", batch.index),
            lr=lr,
            images=images,
            generator=Output(lr, sr, features, generator),
            teachers=teachers,
            ema=ema,
            discriminator=discriminator,
            extractors=extractors,
            mean=mean,
        )

    return images, context


def _logits(discriminator: ApplyDiscriminator, variables: Params, images: Array) -> Array:
    return discriminator(variables, images, False)[0]


def _mean_of_valid(values: Array, parts: list[Array], mean: Mean) -> Array:
    """Returns the mean of values (B,) over the samples that have all targets; 0 if none has.

    The number of these samples differs between devices, so it is averaged over them.
    """
    if not parts:
        return values.mean()
    valid = functools.reduce(jnp.logical_and, parts)
    share = mean(valid.astype(jnp.float32).mean())
    return jnp.where(valid, values, 0).mean() / jnp.maximum(share, 1e-9)


def make_gradients(
    networks: Networks, losses: Losses, mean: Mean = identity, warming: bool = False
) -> Gradients:
    """Returns the function that computes the raw gradients of one batch.

    Args:
      networks: of the phase.
      losses: to minimise.
      mean: mean over devices.
      warming: whether the discriminator trains alone; then no gradient of the generator is
        computed.

    Returns:
      gradients(state, frozen, batch) -> (gradients by the name of what they train, the
      discriminator's variables that are not parameters, metrics, whether all target images are
      finite). Metrics are scalars: every unweighted loss, and the weighted total.
    """

    def gradients(
        state: TrainState, frozen: Frozen, batch: Batch
    ) -> tuple[dict[str, Any], dict[str, Any], Metrics, Array]:
        if losses.mixup:
            batch = mixed(batch, _keys(state, "phase.mixup", batch.index), losses.mixup)
        averaged = EMA in losses.targets
        images, context = make_context(networks, state, frozen, batch, mean, averaged)
        params = {n: t.params for n, t in state.networks.items() if n != DISCRIMINATOR}

        def total_loss(params: Params) -> tuple[Array, tuple[Metrics, Array]]:
            shared = context(params[GENERATOR])
            parts, total = {}, jnp.zeros(())
            for label, (term, weight, schedule) in losses.terms.items():
                term_context = shared._replace(keys=_keys(state, label, batch.index))
                values = term(params.get(ADAPTERS, {}).get(label, {}), term_context)
                there = [batch.valid[name] for name in term.targets if name in batch.valid]
                parts[label] = _mean_of_valid(values, there, mean)
                total = total + weight * schedule(state.step) * parts[label]
            return total, (parts | {"total": total}, shared.sr)

        grads: dict[str, Any] = {}
        others: dict[str, Any] = {}
        metrics: Metrics = {}
        if warming:
            sr = context(params[GENERATOR]).sr
        else:
            (_, (metrics, sr)), grads = jax.value_and_grad(total_loss, has_aux=True)(params)
        if losses.adversarial:
            grads[DISCRIMINATOR], others, parts = discriminator_gradient(state, images, sr, batch)
            metrics |= parts
        compared = losses.targets & set(networks.teachers)
        finite = _finite([images[name] for name in compared if name in images and not warming])
        return mean(grads), others, mean(metrics), mean(finite.astype(jnp.float32)) == 1

    def discriminator_gradient(
        state: TrainState, images: Mapping[str, Array], sr: Array, batch: Batch
    ) -> tuple[Any, dict[str, Any], Metrics]:
        """Returns the gradient, the variables that are not parameters, and the metrics."""
        term = cast(Adversarial, losses.terms[losses.adversarial].function)
        assert networks.discriminator is not None
        apply = networks.discriminator
        if term.target in batch.valid:
            raise UserError(
                f"the loss {losses.adversarial!r} uses {term.target!r} as real images, which some"
                " photos lack; choose another target, or photos that all have it"
            )
        real_images, fake_images = images[term.target], jax.lax.stop_gradient(sr)
        before = state.networks[DISCRIMINATOR]

        def loss(params: Params) -> tuple[Array, tuple[Metrics, dict[str, Any]]]:
            # The real images update a spectral norm's vectors, once in every step.
            real, others = apply({"params": params, **before.others}, real_images, True)
            discriminator = functools.partial(_logits, apply, {"params": params, **others})
            fake = discriminator(fake_images)
            value = per_image(term.discriminator_loss(real, fake, mean)).mean()
            parts = {"discriminator": value, "logit_real": real.mean(), "logit_fake": fake.mean()}
            for label, (penalty, weight, schedule) in losses.regularizers.items():
                keys = _keys(state, label, batch.index)
                parts[label] = penalty(discriminator, real_images, fake_images, keys).mean()
                value = value + weight * schedule(state.step) * parts[label]
            return value, (parts, others)

        (_, (parts, others)), gradient = jax.value_and_grad(loss, has_aux=True)(before.params)
        return gradient, others, parts

    return gradients


def make_step(
    networks: Networks,
    optimizers: Optimizers,
    losses: Losses,
    *,
    decay: float = 0.999,
    warmup: int = 0,
    warming: bool = False,
    mean: Mean = identity,
) -> Step:
    """Returns step(state, frozen, batch) -> (new state, metrics).

    All gradients are taken at the old state (see `make_gradients`): the discriminator sees images
    of the generator before its update.

    If a loss, a target, a gradient or a new weight is not finite, the update is skipped and
    metrics["skipped"] is 1: only `step` advances, so that the next update has another batch.

    Args:
      networks: of the phase.
      optimizers: by the name of what they train.
      losses: to minimise.
      decay: limit of the decay of the moving average.
      warmup: steps in which the discriminator trains alone; the moving average starts after them.
      warming: whether this is a step of that warm-up, which updates the discriminator only.
      mean: mean over devices.
    """
    gradients = make_gradients(networks, losses, mean, warming)

    def step(state: TrainState, frozen: Frozen, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, others, metrics, targets_finite = gradients(state, frozen, batch)
        after = dict(state.networks)
        for name, grad in grads.items():
            before = state.networks[name]
            updates, optimizer = optimizers[name].update(grad, before.optimizer, before.params)
            params = optax.apply_updates(before.params, updates)
            after[name] = Trained(
                params, others if name == DISCRIMINATOR else before.others, optimizer
            )
        ema = state.ema
        if not warming:
            metrics["gradient_norm"] = optax.tree.norm(grads[GENERATOR])
            kept = ema_decay(decay, jnp.maximum(0, state.step - warmup))
            params = after[GENERATOR].params
            ema = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, ema, params)
        updated = TrainState(state.step + 1, state.key, after, ema)
        good = targets_finite & _finite((metrics, grads, after, ema))
        metrics["skipped"] = 1 - good.astype(jnp.float32)
        chosen = jax.tree.map(lambda old, new: jnp.where(good, new, old), state, updated)
        return chosen.replace(step=updated.step), metrics

    return step


def with_cutting(step: Step, cut: Callable[[Any, Any, Array], Batch]) -> Step:
    """Returns `step` on the batches that `cut` makes from frozen["photos"] and a feed's items."""
    return lambda state, frozen, item: step(state, frozen, cut(frozen["photos"], item, state.step))


def repeated(step: Step, count: int) -> Step:
    """Returns a function that makes `count` steps, with the means of their finite metrics.

    Its metric "skipped" has one number per step, (count,).
    """
    if count == 1:
        return step

    def steps(state: TrainState, frozen: Frozen, item: Any) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(
            lambda current, _: step(current, frozen, item), state, length=count
        )
        means = jax.tree.map(
            lambda values: jnp.mean(values, axis=0, where=jnp.isfinite(values)), metrics
        )
        return state, means | {"skipped": metrics["skipped"]}

    return steps


def _finite(tree: Any) -> Array:
    """Returns whether all floating-point numbers of a tree are finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.asarray(True), *(jnp.isfinite(x).all() for x in floats)]).all()
