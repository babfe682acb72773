"""Optimisers and learning-rate schedules from a phase's config."""

import math
from typing import Any

import jax
import optax

from kdgan_jax.config.settings import OptimizerConfig


def rate_factor(rule: str, batch: int, reference: int) -> float:
    """Returns the factor of the learning rates for a batch size.

    Args:
      rule: "none" for 1. "linear" for batch / reference, derived for SGD with momentum after a
        warm-up (Goyal et al. 2017). "sqrt" for its square root, which keeps the variance of the
        updates (Krizhevsky 2014, Hoffer et al. 2017) and suits Adam (Malladi et al. 2022).
      batch: images in an update, over all devices.
      reference: images in an update for which the learning rates are written.
    """
    ratio = batch / reference
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[rule]


def schedule(settings: OptimizerConfig, updates: int) -> optax.Schedule:
    """Returns the learning rate by update: linear warm-up, then constant, cosine or halving.

    Args:
      settings: of the schedule; its peak is learning_rate * factor.
      updates: their total number.
    """
    peak = settings.learning_rate * settings.factor
    after_warmup = max(1, updates - settings.warmup_steps)
    if settings.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, after_warmup, settings.final_fraction)
    elif settings.schedule == "halving":
        # Milestones are fractions of all updates, but `main` counts from the end of the warm-up.
        halvings = {int(f * updates) - settings.warmup_steps: 0.5 for f in settings.milestones}
        main = optax.piecewise_constant_schedule(peak, halvings)
    else:
        main = optax.constant_schedule(peak)
    if not settings.warmup_steps:
        return main
    warmup = optax.linear_schedule(0.0, peak, settings.warmup_steps)
    return optax.join_schedules([warmup, main], [settings.warmup_steps])


def adam(settings: OptimizerConfig, updates: int) -> optax.GradientTransformation:
    """Returns Adam with the settings' `schedule`, after gradient clipping if it is on.

    With weight decay it is AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
    ICLR 2019): every update also takes rate * weight_decay of the kernels. Biases and slopes stay,
    as is usual.
    """
    b1, b2 = settings.betas
    rate = schedule(settings, updates)
    optimizer = optax.adam(rate, b1=b1, b2=b2)
    if settings.weight_decay:
        optimizer = optax.adamw(
            rate, b1=b1, b2=b2, weight_decay=settings.weight_decay, mask=_kernels
        )
    if settings.clip_norm:
        return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
    return optimizer


def _kernels(params: Any) -> Any:
    """Returns a tree that tells which parameters are kernels, of convolutions and matrices."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
