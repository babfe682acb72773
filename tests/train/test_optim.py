import logging
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdgan_jax import config as configuration
from kdgan_jax.config.settings import OptimizerConfig
from kdgan_jax.inference.model import Model
from kdgan_jax.train import checks, optim, phase_setup


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({"schedule": "constant"}, [0, 50, 100], [1, 1, 1]),
        (
            {"schedule": "cosine", "final_fraction": 0.1},
            [0, 50, 100, 200],
            [1, 0.55, 0.1, 0.1],
        ),
        (
            {"schedule": "halving", "milestones": (0.5, 0.75)},
            [0, 49, 50, 74, 75, 99],
            [1, 1, 0.5, 0.5, 0.25, 0.25],
        ),
        ({"schedule": "constant", "warmup_steps": 10}, [0, 5, 10, 99], [0, 0.5, 1, 1]),
        # With a warm-up, cosine still ends with the phase, and milestones count all steps.
        ({"schedule": "cosine", "warmup_steps": 10}, [0, 5, 10, 55, 100], [0, 0.5, 1, 0.5, 0]),
        (
            {"schedule": "halving", "milestones": (0.5,), "warmup_steps": 10},
            [0, 5, 10, 49, 50],
            [0, 0.5, 1, 1, 0.5],
        ),
    ],
)
def test_learning_rates_at_steps(settings, steps, expected):
    schedule = optim.schedule(OptimizerConfig(1.0, **settings), 100)
    np.testing.assert_allclose([float(schedule(step)) for step in steps], expected, atol=1e-6)


def updates(optimizer, gradients):
    state, rows = optimizer.init(gradients[0]), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state)
        rows.append(update)
    return jnp.stack(rows)


# Their norms are 10 and 0.5: Adam does not show the scale of a single gradient.
GRADIENTS = jnp.array([[6.0, -8.0], [0.3, 0.4]])
CLIPPED = jnp.array([[0.6, -0.8], [0.3, 0.4]])


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.0, GRADIENTS), (1.0, CLIPPED)])
def test_gradients_longer_than_clip_norm_are_shortened(clip_norm, expected):
    settings = OptimizerConfig(0.1, schedule="constant", clip_norm=clip_norm, betas=(0.8, 0.9))
    np.testing.assert_allclose(
        updates(optim.adam(settings, 100), GRADIENTS),
        updates(optax.adam(0.1, 0.8, 0.9), expected),
        rtol=1e-5,
    )


def test_weight_decay_takes_its_share_of_kernels_at_the_current_rate():
    params = {"kernel": jnp.array([[2.0, -4.0]]), "bias": jnp.array([3.0])}
    gradients = {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([1.0])}
    settings = {"learning_rate": 0.1, "schedule": "constant", "warmup_steps": 2}
    after = {}
    for decay in 0.0, 0.5:
        optimizer = optim.adam(OptimizerConfig(**settings, weight_decay=decay), 100)
        state, current = optimizer.init(params), params
        for _ in range(2):  # at rates of 0 and 0.05
            changes, state = optimizer.update(gradients, state, current)
            current = optax.apply_updates(current, changes)
        after[decay] = current
    shrunk = after[0.0]["kernel"] - 0.05 * 0.5 * params["kernel"]
    np.testing.assert_allclose(after[0.5]["kernel"], shrunk, rtol=1e-6)
    np.testing.assert_array_equal(after[0.5]["bias"], after[0.0]["bias"])


# Learning rates that are scaled for another batch size.


@pytest.mark.parametrize(
    ("rule", "batch", "reference", "factor"),
    [
        ("none", 128, 16, 1),
        ("linear", 128, 16, 8),
        ("linear", 8, 16, 0.5),
        ("sqrt", 64, 16, 2),
        ("sqrt", 24, 12, 1.4142135623730951),
    ],
)
def test_factor_of_the_learning_rates(rule, batch, reference, factor):
    assert optim.rate_factor(rule, batch, reference) == factor


def make_setup(rule="none", reference=16, adversarial=True, **changes):
    """Returns the phase that a config with these fields describes."""
    losses = {
        "pixel": configuration.loss("l1", 1.0),
        "adversarial": configuration.loss("bce", float(adversarial)),
    }
    fields = {"steps": 100, "batch": 64, "reference_batch": reference, "learning_rate": 0.003}
    discriminator = configuration.discriminator(learning_rate=0.0007)
    description = configuration.phase(
        losses=losses, discriminator=discriminator, **fields | changes
    )
    config = configuration.default(phases={"adversarial": description})
    config.optim.lr_scaling = rule
    (phase,) = checks.checked(config).phases
    model = Model("compact", {"channels": 4, "depth": 1}, 4, None)
    return phase_setup.PhaseSetup(phase, 0, Path(), model, {}, 1)


@pytest.mark.parametrize(
    ("rule", "reference", "factor"),
    [("none", 7, 1), ("linear", 16, 4), ("sqrt", 16, 2), ("linear", 128, 0.5)],
)
@pytest.mark.parametrize("adversarial", [True, False])
def test_all_networks_train_with_scaled_rates(rule, reference, factor, adversarial):
    changes = {"adversarial": adversarial, "schedule": "cosine", "warmup_steps": 1}
    scaled, plain = (
        phase_setup.optimizers(make_setup(*which, **changes)) for which in ((rule, reference), ())
    )
    assert scaled.keys() == {"generator", "adapters"} | (
        {"discriminator"} if adversarial else set()
    )
    for name in scaled:
        # The factors are powers of 2, so products are exact.
        expected = updates(plain[name], GRADIENTS) * factor
        np.testing.assert_array_equal(updates(scaled[name], GRADIENTS), expected)


@pytest.mark.parametrize(
    ("rule", "changes", "facts"),
    [
        ("none", {}, []),
        ("linear", {"batch": 16}, []),
        ("linear", {}, ["adversarial", "0.003", "0.0007", "x 4 ", "linear in batch 64 over 16"]),
        (
            "sqrt",
            {"batch": 32, "adversarial": False},
            ["0.003 x 1.414", "sqrt in batch 32 over 16"],
        ),
    ],
)
def test_scaled_rates_are_logged(rule, changes, facts, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    phase_setup.log_scaled_rates(make_setup(rule, **changes))
    assert len(caplog.messages) == bool(facts)
    assert all(fact in caplog.messages[0] for fact in facts)
