import logging
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdgan_jax import config as base
from kdgan_jax.config.settings import OptimizerConfig
from kdgan_jax.inference.model import Model
from kdgan_jax.train import checks, optim
from kdgan_jax.train import phase as phases


def rates(steps, **changes):
    """Returns the learning rates at `steps` of a schedule that peaks at 1."""
    return [float(optim.schedule(OptimizerConfig(1.0, **changes), 100)(step)) for step in steps]


def test_constant_stays():
    assert rates([0, 50, 100], schedule="constant") == [1, 1, 1]


def test_cosine_goes_from_the_peak_through_the_middle_to_the_final_rate():
    found = rates([0, 50, 100, 200], schedule="cosine", final_fraction=0.1)
    np.testing.assert_allclose(found, [1, 0.55, 0.1, 0.1], rtol=1e-5)


def test_halving_halves_at_its_milestones():
    found = rates([0, 49, 50, 74, 75, 99], schedule="halving", milestones=(0.5, 0.75))
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "halving"])
def test_warm_up_rises_from_0_to_the_peak(schedule):
    found = rates([0, 5, 10], schedule=schedule, warmup_steps=10)
    np.testing.assert_allclose(found, [0, 0.5, 1], rtol=1e-6)


def test_cosine_after_warm_up_still_ends_with_the_phase():
    found = rates([55, 100], schedule="cosine", warmup_steps=10)
    np.testing.assert_allclose(found, [0.5, 0], atol=1e-6)


def test_milestones_are_fractions_of_all_steps_even_after_warm_up():
    assert rates([49, 50], schedule="halving", milestones=(0.5,), warmup_steps=10) == [1, 0.5]


def updates(optimiser, gradients):
    state, found = optimiser.init(gradients[0]), []
    for gradient in gradients:
        update, state = optimiser.update(gradient, state)
        found.append(update)
    return jnp.stack(found)


# The first has norm 10, the second 0.5. Adam hides the scale of a single one.
GRADIENTS = jnp.array([[6.0, -8.0], [0.3, 0.4]])


def test_clipping_shortens_gradients_longer_than_the_norm():
    settings = OptimizerConfig(0.1, schedule="constant", clip_norm=1.0)
    clipped = jnp.array([[0.6, -0.8], [0.3, 0.4]])
    np.testing.assert_allclose(
        updates(optim.adam(settings, 100), GRADIENTS),
        updates(optax.adam(0.1, *settings.betas), clipped),
        rtol=1e-5,
    )


def test_clip_norm_0_does_not_clip():
    settings = OptimizerConfig(0.1, schedule="constant", clip_norm=0.0, betas=(0.8, 0.9))
    np.testing.assert_array_equal(
        updates(optim.adam(settings, 100), GRADIENTS),
        updates(optax.adam(0.1, 0.8, 0.9), GRADIENTS),
    )


# Learning rates for another batch than the one that they are written for.


@pytest.mark.parametrize(
    ("rule", "batch", "reference", "factor"),
    [
        ("none", 128, 16, 1),
        ("linear", 128, 16, 8),
        ("linear", 8, 16, 0.5),
        ("linear", 16, 16, 1),
        ("sqrt", 64, 16, 2),
        ("sqrt", 4, 16, 0.5),
        ("sqrt", 24, 12, 1.4142135623730951),
    ],
)
def test_rates_are_multiplied_by(rule, batch, reference, factor):
    assert optim.rate_factor(rule, batch, reference) == factor


def a_phase(rule="none", reference=16, game=True, **changes):
    """Returns the phase that a config with such fields describes."""
    losses = {"pixel": base.loss("l1", 1.0), "adversarial": base.loss("bce", float(game))}
    fields = {"steps": 100, "batch": 64, "reference_batch": reference, "learning_rate": 0.003}
    described = base.phase(
        losses=losses, discriminator=base.discriminator(learning_rate=0.0007), **fields | changes
    )
    config = base.default(phases={"adversarial": described})
    config.optim.lr_scaling = rule
    (own,) = checks.checked(config).phases
    model = Model("compact", {"channels": 4, "depth": 1}, 4, None)
    return phases.Phase(own, 0, Path(), model, {}, 1)


def both(given):
    """Returns the updates of both players."""
    players = phases.optimizers(given)
    return np.stack([updates(players[name], GRADIENTS) for name in ("generator", "discriminator")])


@pytest.mark.parametrize(
    ("rule", "reference", "factor"), [("linear", 16, 4), ("sqrt", 16, 2), ("linear", 128, 0.5)]
)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "halving"])
def test_scaled_rates_are_those_of_both_players(rule, reference, factor, schedule):
    # A power of 2, so the product is exact wherever it is made.
    assert (
        both(a_phase(rule, reference, schedule=schedule))
        == both(a_phase(schedule=schedule)) * factor
    ).all()


@pytest.mark.parametrize(("rule", "factor"), [("linear", 16), ("sqrt", 4)])
def test_scaled_rates_are_the_peak_after_the_warm_up(rule, factor):
    own = a_phase(rule, reference=4, warmup_steps=10).config
    for settings, rate in (own.optimizer, 0.003), (own.discriminator.optimizer, 0.0007):
        found = [float(optim.schedule(settings, 100)(step)) for step in (0, 5, 10)]
        assert found == pytest.approx([0, 0.5 * rate * factor, rate * factor], rel=1e-6)


def test_a_phase_without_discriminator_has_no_optimizer_for_it():
    scaled, plain = (phases.optimizers(a_phase(rule, game=False)) for rule in ("linear", "none"))
    assert scaled.keys() == {"generator", "adapters"}
    for name in scaled:
        ours, theirs = (updates(players[name], GRADIENTS) for players in (scaled, plain))
        assert (ours == 4 * theirs).all()


def test_none_changes_no_bit_whatever_the_batch():
    ours, plain = a_phase("none", reference=7), a_phase("none", reference=64)
    assert (both(ours) == both(plain)).all()


@pytest.mark.parametrize(
    ("rule", "changes", "facts"),
    [
        ("none", {}, []),
        ("linear", {"batch": 16}, []),
        ("linear", {}, ["adversarial", "0.003", "0.0007", "x 4 ", "linear in batch 64 over 16"]),
        ("sqrt", {"batch": 32, "game": False}, ["0.003 x 1.414", "sqrt in batch 32 over 16"]),
    ],
)
def test_scaled_rates_are_said_once(rule, changes, facts, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    phases.say_rate(a_phase(rule, **changes))
    assert len(caplog.messages) == bool(facts)
    assert all(fact in caplog.messages[0] for fact in facts)
