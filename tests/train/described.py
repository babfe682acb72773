"""Phases described in a line, for tests."""

from kdgan_jax.config import spec
from kdgan_jax.config.settings import BatchConfig, LossConfig, OptimizerConfig, PhaseConfig, Spec


def loss(kind="l1", weight=1.0, target="hr", schedule="constant"):
    return LossConfig(spec.parse(kind, "kind"), weight, spec.parse(schedule, "schedule"), target)


def phase_config(name="teacher", steps=6, batch=4, hr_patch=16, **changes):
    """Returns a phase that trains a tiny network by L1."""
    fields = {
        "name": name,
        "network": name,
        "spec": Spec("compact", {"channels": 4, "depth": 1}),
        "checkpoint": "",
        "start": "",
        "teachers": {},
        "losses": {"pixel": loss()},
        "discriminator": None,
        "batches": BatchConfig(steps, batch, hr_patch),
        "optimizer": OptimizerConfig(1e-3),
    }
    return PhaseConfig(**{**fields, **changes})
