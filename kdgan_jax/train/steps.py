"""One update of all that trains in a phase: a pure function.

It is written for one device's share of the batch; `mean` averages over devices. Under plain
`jax.jit` with the identity it is a step on one device.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kdgan_jax.data.batches import Batch
from kdgan_jax.losses.term import Context, Game, Mean, Output, per_image
from kdgan_jax.models.blocks.normalization import identity
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train.state import (
    ADAPTERS,
    DISCRIMINATOR,
    GENERATOR,
    Optimizers,
    Trained,
    TrainState,
)

Metrics = dict[str, Array]  # scalars by name
Step = Callable[[TrainState, Any, Any], tuple[TrainState, Metrics]]
Generate = Callable[..., tuple[Array, dict[str, Array]]]  # (variables, images, features)
Judge = Callable[[Any, Array, bool], tuple[Array, dict[str, Any]]]  # (variables, images, update)


class Weighted(NamedTuple):
    """A term or a regulariser, with its weight and the course of that over steps."""

    function: Any
    weight: float
    schedule: Callable[[Array], Any]


class Losses(NamedTuple):
    """What a phase minimises, by label.

    Attributes:
      terms: of the generator; their functions are `Term`s.
      game: label of the adversarial one, or "".
      regularizers: of the discriminator; their functions are `Regularizer`s.
    """

    terms: Mapping[str, Weighted]
    game: str = ""
    regularizers: Mapping[str, Weighted] = {}


class Networks(NamedTuple):
    """The functions of a phase.

    Attributes:
      generator: (variables, images, features that replace its own) to (SR, features).
      teachers: by name, the same with the image that each reads: "lr" or "hr".
      judge: (variables, images, whether to update other variables) to (logits, those variables).
      extractors: by name: (weights, images, layers) to a list of features.
    """

    generator: Generate
    teachers: Mapping[str, tuple[Generate, str]] = {}
    judge: Judge | None = None
    extractors: Mapping[str, Callable[..., list[Array]]] = {}


def ema_decay(limit: float, step: Array) -> Array:
    """Returns min(limit, (1 + step) / (10 + step)): early weights are soon forgotten."""
    return jnp.minimum(limit, (1 + step) / (10 + step))


def to_float(image: Array) -> Array:
    """Returns an image as float32: of 8 bits in [0, 1], of floats as it is."""
    scale = 255 if image.dtype == jnp.uint8 else 1
    return image.astype(jnp.float32) / scale


def _keys(state: TrainState, label: str, index: Array) -> Array:
    """Returns a key for each sample, (B,), of its number in the run and of a label alone."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), zlib.crc32(label.encode()))
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def make_context(
    networks: Networks, state: TrainState, frozen: Any, batch: Batch, mean: Mean = identity
) -> tuple[dict[str, Array], Callable[[Any], Context]]:
    """Returns (target images by name, generator's parameters -> what terms see of a step).

    Args:
      networks: of the phase.
      state: the others' weights, and the averages.
      frozen: {"teachers": variables by name, "extractors": weights by name}.
      batch: one device's share.
      mean: mean over devices.
    """
    lr = to_float(batch.lr)
    images = {name: to_float(image) for name, image in batch.targets.items()}
    read = {"lr": lr, **images}
    teachers = {}
    for name, (generate, image) in networks.teachers.items():
        weights = frozen["teachers"][name]
        run = functools.partial(generate, weights)
        output = jax.lax.stop_gradient(run(read[image]))
        teachers[name] = Output(read[image], *output, run)
        if image == "lr":
            images[name] = output[0]
    judge = None
    if networks.judge is not None:
        judge = functools.partial(_judged, networks.judge, state.networks[DISCRIMINATOR].variables)
    extract = {
        name: functools.partial(function, frozen["extractors"][name])
        for name, function in networks.extractors.items()
    }
    others = state.networks[GENERATOR].others
    ema = functools.partial(networks.generator, {"params": state.ema, **others})

    def context(params: Any) -> Context:
        run = functools.partial(networks.generator, {"params": params, **others})
        return Context(
            step=state.step,
            keys=_keys(state, "", batch.index),
            lr=lr,
            images=images,
            generator=Output(lr, *run(lr), run),
            teachers=teachers,
            ema=ema,
            judge=judge,
            extract=extract,
            mean=mean,
        )

    return images, context


def _judged(judge: Judge, variables: Any, images: Array) -> Array:
    return judge(variables, images, False)[0]


def _mean_of_valid(values: Array, valid: Array | None, mean: Mean) -> Array:
    """Returns the mean of values (B,) over samples that have the target; 0 if none has.

    The number of those differs between devices, so its mean is taken over all of them.
    """
    if valid is None:
        return values.mean()
    share = mean(valid.astype(jnp.float32).mean())
    return jnp.where(valid, values, 0).mean() / jnp.maximum(share, 1e-9)


def make_gradients(
    networks: Networks, losses: Losses, mean: Mean = identity, warming: bool = False
) -> Callable[..., tuple[dict[str, Any], dict[str, Any], Metrics, Array]]:
    """Returns the function that gives the raw gradients of one batch.

    Args:
      networks: what to call.
      losses: what to minimise.
      mean: mean over devices.
      warming: whether the discriminator trains alone; no gradient of the generator is computed.

    Returns:
      gradients(state, frozen, batch) -> (gradients by name of what trains, the discriminator's
      other variables, metrics, whether all images that serve as targets are finite). Metrics are
      scalars: every loss unweighted, and the total.
    """

    def gradients(state: TrainState, frozen: Any, batch: Batch) -> Any:
        images, context = make_context(networks, state, frozen, batch, mean)
        params = {n: t.params for n, t in state.networks.items() if n != DISCRIMINATOR}

        def loss(params: Any) -> tuple[Array, Any]:
            seen = context(params[GENERATOR])
            parts, total = {}, jnp.zeros(())
            for label, (term, weight, schedule) in losses.terms.items():
                own = seen._replace(keys=_keys(state, label, batch.index))
                values = term(params.get(ADAPTERS, {}).get(label, {}), own)
                parts[label] = _mean_of_valid(values, batch.valid.get(term.target), mean)
                total = total + weight * schedule(state.step) * parts[label]
            return total, (parts | {"total": total}, seen.sr)

        grads: dict[str, Any] = {}
        others: dict[str, Any] = {}
        metrics: Metrics = {}
        if warming:
            sr = context(params[GENERATOR]).sr
        else:
            (_, (metrics, sr)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        if losses.game:
            grads[DISCRIMINATOR], others, more = opponent(state, images, sr, batch)
            metrics |= more
        compared = {term.target for term, *_ in losses.terms.values()} & set(networks.teachers)
        finite = _finite([images[name] for name in compared if name in images and not warming])
        return mean(grads), others, mean(metrics), mean(finite.astype(jnp.float32)) == 1

    def opponent(state: TrainState, images: Mapping[str, Array], sr: Array, batch: Batch) -> Any:
        """Returns the discriminator's gradient, other variables and metrics."""
        game: Game = losses.terms[losses.game].function
        if game.target in batch.valid:
            raise UserError(
                f"the loss {losses.game!r} takes {game.target!r} for real images, and some photos"
                " have none; choose another target, or photos that all have it"
            )
        real_images, fake_images = images[game.target], jax.lax.stop_gradient(sr)
        before = state.networks[DISCRIMINATOR]

        def loss(params: Any) -> tuple[Array, Any]:
            assert networks.judge is not None
            # One update of a spectral norm's vectors in every step, by the real images.
            real, others = networks.judge({"params": params, **before.others}, real_images, True)
            judge = functools.partial(_judged, networks.judge, {"params": params, **others})
            fake = judge(fake_images)
            value = per_image(game.opponent(real, fake, mean)).mean()
            parts = {"discriminator": value, "logit_real": real.mean(), "logit_fake": fake.mean()}
            for label, (penalty, weight, schedule) in losses.regularizers.items():
                keys = _keys(state, label, batch.index)
                parts[label] = penalty(judge, real_images, fake_images, keys).mean()
                value = value + weight * schedule(state.step) * parts[label]
            return value, (parts, others)

        (_, (parts, others)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        return grads, others, parts

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

    An update is not made, and counted in metrics["skipped"], if a loss, a target, a gradient or a
    new weight is not finite: only `step` goes on, so that the next update has another batch.

    All gradients are those at the old state (see `make_gradients`); the discriminator sees the
    images of the generator before its update.

    Args:
      networks: what to call.
      optimizers: by name of what trains.
      losses: what to minimise.
      decay: limit of the decay of the averages.
      warmup: steps in which the discriminator trains alone; averages count from there.
      warming: whether this is a step of that warm-up, which leaves everything else as it is.
      mean: mean over devices.
    """
    gradients = make_gradients(networks, losses, mean, warming)

    def step(state: TrainState, frozen: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, others, metrics, finite = gradients(state, frozen, batch)
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
            share = ema_decay(decay, jnp.maximum(0, state.step - warmup))
            params = after[GENERATOR].params
            ema = jax.tree.map(lambda old, new: share * old + (1 - share) * new, ema, params)
        new = TrainState(state.step + 1, state.key, after, ema)
        good = finite & _finite((metrics, grads, after, ema))
        metrics["skipped"] = 1 - good.astype(jnp.float32)
        kept = jax.tree.map(lambda old, new: jnp.where(good, new, old), state, new)
        return kept.replace(step=new.step), metrics

    return step


def fed(step: Step, cut: Callable[[Any, Any, Array], Batch]) -> Step:
    """Returns `step` on the batch that `cut` makes of frozen["photos"] and what a call is given."""
    return lambda state, frozen, given: step(
        state, frozen, cut(frozen["photos"], given, state.step)
    )


def repeated(step: Step, count: int) -> Step:
    """Returns `count` steps as one, with the means of their metrics that are finite.

    "skipped" stays one number for every step."""
    if count == 1:
        return step

    def many(state: TrainState, frozen: Any, given: Any) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(
            lambda current, _: step(current, frozen, given), state, length=count
        )
        means = jax.tree.map(
            lambda values: jnp.mean(values, axis=0, where=jnp.isfinite(values)), metrics
        )
        return state, means | {"skipped": metrics["skipped"]}

    return many


def _finite(tree: Any) -> Array:
    """Returns whether all numbers of all arrays are finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.asarray(True), *(jnp.isfinite(x).all() for x in floats)]).all()
