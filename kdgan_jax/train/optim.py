"""Optimisers out of a phase's config."""

import math

import optax

from kdgan_jax.config.settings import OptimizerConfig


def rate_factor(rule: str, batch: int, reference: int) -> float:
    """Returns what learning rates are multiplied by.

    Args:
      rule: "none": 1. "linear": batch / reference, found for SGD with momentum after a warm-up
        (Goyal et al. 2017). "sqrt": its square root, which keeps the variance of the updates
        (Krizhevsky 2014, Hoffer et al. 2017), and is what fits Adam (Malladi et al. 2022).
      batch: images of an update, over all devices.
      reference: those that the learning rates are written for.
    """
    ratio = batch / reference
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[rule]


def schedule(settings: OptimizerConfig, updates: int) -> optax.Schedule:
    """Returns the learning rate by update: linear warm-up, then constant, cosine or halving.

    Args:
      settings: what the schedule is; its peak is the rate for the batch as it is.
      updates: how many there are in all.
    """
    peak = settings.learning_rate * settings.factor
    after = max(1, updates - settings.warmup_steps)
    if settings.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, after, settings.final_fraction)
    elif settings.schedule == "halving":
        # Fractions of all updates; the schedule after the warm-up counts from its end.
        marks = {int(f * updates) - settings.warmup_steps: 0.5 for f in settings.milestones}
        main = optax.piecewise_constant_schedule(peak, marks)
    else:
        main = optax.constant_schedule(peak)
    if not settings.warmup_steps:
        return main
    warmup = optax.linear_schedule(0.0, peak, settings.warmup_steps)
    return optax.join_schedules([warmup, main], [settings.warmup_steps])


def adam(settings: OptimizerConfig, updates: int) -> optax.GradientTransformation:
    """Returns Adam with the `schedule` of the settings, after clipping where it is set."""
    b1, b2 = settings.betas
    optimizer = optax.adam(schedule(settings, updates), b1=b1, b2=b2)
    if settings.clip_norm:
        return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
    return optimizer
