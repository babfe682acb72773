"""One update of the generator and, where there is one, of the discriminator: a pure function.

It is written for one device's share of the batch; `mean` averages over devices. Under plain
`jax.jit` with the identity it is a step on one device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from kdgan_jax import losses
from kdgan_jax.config import PARTS
from kdgan_jax.models import vgg
from kdgan_jax.models.discriminator import identity
from kdgan_jax.train.state import TrainState

Apply = Callable[[Any, Array], Any]
Step = Callable[[TrainState, Any, Any], tuple[TrainState, dict[str, Array]]]


class Networks(NamedTuple):
    """The functions of a phase: (parameters, images) to outputs; absent ones are None."""

    generator: Apply  # (params, lr) -> (sr, features)
    teacher: Apply | None = None  # (params, lr) -> (sr, features)
    discriminator: Apply | None = None  # (params, images) -> logits (B,)


class Optimisers(NamedTuple):
    """Optimisers of the generator and of the discriminator."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation | None = None


def ema_decay(limit: float, step: Array) -> Array:
    """Returns min(limit, (1 + step) / (10 + step)): early weights are soon forgotten."""
    return jnp.minimum(limit, (1 + step) / (10 + step))


def to_float(batch: dict[str, Array]) -> tuple[Array, Array]:
    """Returns (lr, hr) of a uint8 batch as float32 in [0, 1]."""
    return batch["lr"].astype(jnp.float32) / 255, batch["hr"].astype(jnp.float32) / 255


def make_gradients(
    networks: Networks, settings: Any, mean: Callable[[Any], Any] = identity
) -> Callable[..., tuple[Any, Any, dict[str, Array]]]:
    """Returns the function that gives the raw gradients of one batch.

    Args:
      networks: what to call; `teacher` where `settings` weigh its output, `discriminator` where
        the adversarial weight is not 0.
      settings: the phase's settings: kinds and weights of the loss parts.
      mean: mean over devices.

    Returns:
      gradients(state, frozen, batch) -> (generator's, discriminator's or {}, metrics). `frozen`
      is {"teacher": params, "vgg": params}; `batch` is {"lr": (B, h, w, 3), "hr": (B, H, W, 3)}
      uint8. Metrics are scalars: every loss part unweighted, and the total.
    """
    weights = {part: settings[f"{part}_weight"] for part in PARTS}
    used = [part for part in PARTS if weights[part]]
    game = losses.ADVERSARIAL[settings.adversarial]
    discriminate = networks.discriminator

    def per_image(part: str, sr: Array, hr: Array, teacher_sr: Any, state: Any, frozen: Any) -> Any:
        if part == "pixel":
            return losses.PIXEL[settings.pixel](sr, hr)
        if part == "distill":
            return losses.PIXEL[settings.distill](sr, teacher_sr)
        if part == "blend":
            return losses.blend(sr, hr, teacher_sr, alpha=settings.blend_alpha)
        if part == "perceptual":
            layers = settings.perceptual_layers
            return losses.feature_distance(
                vgg.features(frozen["vgg"], sr, layers), vgg.features(frozen["vgg"], hr, layers)
            )
        assert discriminate is not None
        params = state.discriminator["params"]
        return game.generator(discriminate(params, hr), discriminate(params, sr), mean)

    def gradients(state: TrainState, frozen: Any, batch: dict[str, Array]) -> Any:
        lr, hr = to_float(batch)
        teacher_sr = None
        if networks.teacher is not None:
            teacher_sr = jax.lax.stop_gradient(networks.teacher(frozen["teacher"], lr)[0])

        def generator_loss(params: Any) -> tuple[Array, Any]:
            sr, _ = networks.generator(params, lr)
            parts = {p: per_image(p, sr, hr, teacher_sr, state, frozen).mean() for p in used}
            total = sum((weights[p] * parts[p] for p in used), start=jnp.zeros(()))
            return total, (parts | {"total": total}, sr)

        (_, (metrics, sr)), grads = jax.value_and_grad(generator_loss, has_aux=True)(state.params)
        if discriminate is None:
            return mean(grads), {}, mean(metrics)

        fake_images = jax.lax.stop_gradient(sr)

        def discriminator_loss(params: Any) -> tuple[Array, Any]:
            real, fake = discriminate(params, hr), discriminate(params, fake_images)
            loss = game.discriminator(real, fake, mean).mean()
            logits = {"logit_real": real.mean(), "logit_fake": fake.mean()}
            return loss, {"discriminator": loss, **logits}

        d_params = state.discriminator["params"]
        (_, more), d_grads = jax.value_and_grad(discriminator_loss, has_aux=True)(d_params)
        return mean(grads), mean(d_grads), mean(metrics | more)

    return gradients


def make_step(
    networks: Networks,
    optimisers: Optimisers,
    settings: Any,
    mean: Callable[[Any], Any] = identity,
) -> Step:
    """Returns step(state, frozen, batch) -> (new state, metrics).

    An update whose gradients or new weights are not finite is not made, and counted in
    metrics["skipped"]: only `step` goes on, so that the next one has another batch.

    Both players' gradients are those at the old state (see `make_gradients`); the discriminator
    sees the images of the generator before its update. While `step` is below
    `settings.discriminator_warmup_steps` the generator is left as it is.
    """
    gradients = make_gradients(networks, settings, mean)
    warmup = settings.discriminator_warmup_steps if optimisers.discriminator else 0

    def step(
        state: TrainState, frozen: Any, batch: dict[str, Array]
    ) -> tuple[TrainState, dict[str, Array]]:
        grads, d_grads, metrics = gradients(state, frozen, batch)
        params, optimizer = _update(optimisers.generator, grads, state.params, state.optimizer)
        metrics["gradient_norm"] = optax.tree.norm(grads)

        adversary = state.discriminator
        if optimisers.discriminator is not None:
            weights, moments = _update(
                optimisers.discriminator, d_grads, adversary["params"], adversary["optimizer"]
            )
            adversary = {"params": weights, "optimizer": moments}

        k = jnp.maximum(0, state.step - warmup)
        decay = ema_decay(settings.ema_decay, k)
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
        ours = (params, ema, optimizer)
        if warmup:
            warming = state.step < warmup
            before = (state.params, state.ema, state.optimizer)
            ours = jax.tree.map(lambda old, new: jnp.where(warming, old, new), before, ours)
        new = TrainState(state.step + 1, state.key, *ours, adversary)
        good = _finite((grads, d_grads, new.params, new.ema, new.optimizer, new.discriminator))
        metrics["skipped"] = 1 - good.astype(jnp.float32)
        kept = jax.tree.map(lambda old, new: jnp.where(good, new, old), state, new)
        return kept.replace(step=new.step), metrics

    return step


def fed(step: Step, cut: Callable[[Any, Any, Array], dict[str, Array]]) -> Step:
    """Returns `step` on the batch that `cut` makes of frozen["photos"] and what a call is given."""
    return lambda state, frozen, given: step(
        state, frozen, cut(frozen["photos"], given, state.step)
    )


def repeated(step: Step, count: int) -> Step:
    """Returns `count` steps as one, with the means of their metrics that are finite.

    "skipped" stays one number for every step."""
    if count == 1:
        return step

    def many(state: TrainState, frozen: Any, given: Any) -> tuple[TrainState, dict[str, Array]]:
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
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in floats]))


def _update(
    optimiser: optax.GradientTransformation, grads: Any, params: Any, optimizer: Any
) -> tuple[Any, Any]:
    updates, optimizer = optimiser.update(grads, optimizer, params)
    return optax.apply_updates(params, updates), optimizer
