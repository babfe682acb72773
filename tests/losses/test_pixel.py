import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.pixel import charbonnier, l1, l2, rmse

random = np.random.default_rng(0)
A = random.random((3, 4, 5, 2), np.float32)
# At least 0.1 away from A everywhere, and so from the kink of L1.
B = (A + random.choice([-1, 1], A.shape) * random.uniform(0.1, 0.9, A.shape)).astype(np.float32)
NUMPY = {
    l1: lambda d: np.abs(d).mean((1, 2, 3)),
    l2: lambda d: (d**2).mean((1, 2, 3)),
    rmse: lambda d: np.sqrt((d**2).mean((1, 2, 3))),
    charbonnier: lambda d: np.sqrt(d**2 + 1e-6).mean((1, 2, 3)),
}
every_distance = pytest.mark.parametrize("distance", NUMPY)


@every_distance
def test_values_are_those_of_numpy_and_gradients_the_numerical_ones(distance):
    np.testing.assert_allclose(distance(A, B), NUMPY[distance](A.astype(np.float64) - B), rtol=1e-5)
    check_grads(lambda a: distance(a, B).sum(), (A,), 1, ["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("distance", "smallest"), [(l1, 0), (l2, 0), (rmse, 1e-6), (charbonnier, 1e-3)]
)
def test_equal_images_have_the_smallest_value_and_a_finite_gradient(distance, smallest):
    np.testing.assert_allclose(distance(A, A), smallest, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda a: distance(a, A).sum())(A)).all()


@every_distance
def test_two_shapes_that_would_broadcast_are_refused(distance):
    with pytest.raises(AssertionError, match="shape"):
        distance(A, B[:1])
