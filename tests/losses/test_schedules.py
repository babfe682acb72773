import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.losses.schedules import Between, Constant, Cosine, Linear


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1, 1, 1]),
        (Linear(begin=10, end=30), [0, 0, 0.5, 1, 1]),
        (Linear(first=1, last=0.2, begin=10, end=30), [1, 1, 0.6, 0.2, 0.2]),
        (Cosine(begin=10, end=30), [1, 1, 0.5, 0, 0]),
        (Cosine(first=0, last=2, begin=10, end=30), [0, 0, 1, 2, 2]),
        (Between(begin=10), [0, 1, 1, 1, 1]),
        (Between(end=20), [1, 1, 0, 0, 0]),
        (Between(begin=10, end=30), [0, 1, 1, 0, 0]),
    ],
)
def test_factor_at_steps_0_10_20_30_40(schedule, expected):
    factors = [float(schedule(jnp.int32(step))) for step in (0, 10, 20, 30, 40)]
    np.testing.assert_allclose(factors, expected, atol=1e-6)
