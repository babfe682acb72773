import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdgan_jax.config import phase
from kdgan_jax.train import optim


def rates(steps, **changes):
    """Returns the learning rates at `steps` of a schedule that peaks at 1."""
    return [float(optim.schedule(phase(steps=100, **changes), 1.0, 100)(step)) for step in steps]


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
    settings = phase(schedule="constant", clip_norm=1.0)
    clipped = jnp.array([[0.6, -0.8], [0.3, 0.4]])
    np.testing.assert_allclose(
        updates(optim.adam(settings, 0.1, 100), GRADIENTS),
        updates(optax.adam(0.1, *settings.betas), clipped),
        rtol=1e-5,
    )


def test_clip_norm_0_does_not_clip():
    settings = phase(schedule="constant", clip_norm=0.0, betas=(0.8, 0.9))
    np.testing.assert_array_equal(
        updates(optim.adam(settings, 0.1, 100), GRADIENTS),
        updates(optax.adam(0.1, 0.8, 0.9), GRADIENTS),
    )
