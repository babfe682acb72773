import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.perceptual import feature_distance

generator = np.random.default_rng(0)
SHAPES = (2, 6, 6, 4), (2, 3, 3, 8)
A = [generator.random(shape, np.float32) for shape in SHAPES]
B = [a + generator.choice([-0.5, 0.5], a.shape).astype(np.float32) * (1 + a) for a in A]


def test_value_is_the_mean_over_layers_of_numpys_l1_per_image():
    first, second = (np.abs(a - b).mean((1, 2, 3)) for a, b in zip(A, B, strict=True))
    values = jax.jit(feature_distance)(A, B)
    assert values.shape == (2,)
    np.testing.assert_allclose(values, (first + second) / 2, rtol=1e-5)


def test_equal_features_are_at_distance_0():
    np.testing.assert_array_equal(feature_distance(A, A), 0)


def test_gradient_is_the_numerical_one():
    check_grads(lambda a: feature_distance(a, B).sum(), (A,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_another_number_of_layers_is_refused():
    with pytest.raises(ValueError, match="zip"):
        feature_distance(A, B[:1])


def test_two_shapes_that_would_broadcast_are_refused():
    with pytest.raises(AssertionError, match="shape"):
        feature_distance(A, [b[:1] for b in B])
