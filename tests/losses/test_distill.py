import functools

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.distill import blend
from kdgan_jax.losses.pixel import rmse

SR, HR, TEACHER = np.random.default_rng(0).random((3, 2, 4, 5, 3), np.float32)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_value_per_image_is_numpys(alpha):
    truth, teacher = (np.sqrt(((SR - x) ** 2).mean((1, 2, 3))) for x in (HR, TEACHER))
    values = jax.jit(functools.partial(blend, alpha=alpha))(SR, HR, TEACHER)
    assert values.shape == (2,)
    np.testing.assert_allclose(values, (1 - alpha) * truth + alpha * teacher, rtol=1e-5)


@pytest.mark.parametrize(("alpha", "target"), [(0, HR), (1, TEACHER)])
def test_alpha_0_is_the_truth_alone_and_1_the_teacher_alone(alpha, target):
    np.testing.assert_array_equal(blend(SR, HR, TEACHER, alpha=alpha), rmse(SR, target))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradient_is_finite_where_all_three_are_equal(alpha):
    assert np.isfinite(jax.grad(lambda sr: blend(sr, SR, SR, alpha=alpha).sum())(SR)).all()


def test_gradient_is_the_numerical_one():
    loss = lambda sr: blend(sr, HR, TEACHER, alpha=0.3).sum()  # noqa: E731
    check_grads(loss, (SR,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_two_shapes_that_would_broadcast_are_refused():
    for images in [(SR, HR[:1], TEACHER), (SR, HR, TEACHER[:1])]:
        with pytest.raises(AssertionError, match="shape"):
            blend(*images, alpha=0.5)
