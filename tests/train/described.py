"""Short descriptions of phases, and quick compilation, for tests."""

import jax
import pytest

from kdgan_jax.config import spec
from kdgan_jax.config.settings import BatchConfig, LossConfig, OptimizerConfig, PhaseConfig, Spec


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Compiles all programs of a module without most optimizations, in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def loss(kind="l1", weight=1.0, target="hr", schedule="constant"):
    return LossConfig(spec.parse(kind, "kind"), weight, spec.parse(schedule, "schedule"), target)


def phase_config(name="teacher", steps=6, batch=4, hr_patch=16, **changes):
    """Returns a phase that trains a tiny network with L1."""
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
