import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.perceptual import feature_distance

random = np.random.default_rng(0)
A = [random.random(shape, np.float32) for shape in ((2, 6, 6, 4), (2, 3, 3, 8))]
B = [a + random.choice([-0.5, 0.5], a.shape).astype(np.float32) * (1 + a) for a in A]


def test_it_is_the_mean_over_layers_of_l1_per_image():
    first, second = (np.abs(a - b).mean((1, 2, 3)) for a, b in zip(A, B, strict=True))
    np.testing.assert_allclose(feature_distance(A, B), (first + second) / 2, rtol=1e-5)
    check_grads(lambda a: feature_distance(a, B).sum(), (A,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_other_layers_and_sizes_are_refused():
    with pytest.raises(ValueError, match="zip"):
        feature_distance(A, B[:1])
    with pytest.raises(AssertionError, match="shape"):
        feature_distance(A, [b[:1] for b in B])
