import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.distill import blend

SR, HR, TEACHER = np.random.default_rng(0).random((3, 2, 4, 5, 3), np.float32)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_values_are_those_of_numpy_and_gradients_the_numerical_ones(alpha):
    to_hr, to_teacher = (np.sqrt(((SR - x) ** 2).mean((1, 2, 3))) for x in (HR, TEACHER))
    expected = (1 - alpha) * to_hr + alpha * to_teacher
    np.testing.assert_allclose(blend(SR, HR, TEACHER, alpha=alpha), expected, rtol=1e-5)

    def total(sr):
        return blend(sr, HR, TEACHER, alpha=alpha).sum()

    check_grads(total, (SR,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_the_gradient_is_finite_between_equal_images():
    assert np.isfinite(jax.grad(lambda sr: blend(sr, SR, SR, alpha=0.5).sum())(SR)).all()
