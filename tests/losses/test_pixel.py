import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses import pixel

PIXEL = {n: getattr(pixel, n) for n in ("l1", "l2", "rmse", "charbonnier")}

every_kind = pytest.mark.parametrize("kind", PIXEL)
generator = np.random.default_rng(0)
A = generator.random((3, 4, 5, 2), np.float32)
B = A + generator.choice([-1, 1], A.shape) * generator.uniform(0.1, 0.9, A.shape)
B = B.astype(np.float32)  # nowhere nearer to A than 0.1: away from kinks

NUMPY = {
    "l1": lambda d: np.abs(d).mean((1, 2, 3)),
    "l2": lambda d: (d**2).mean((1, 2, 3)),
    "rmse": lambda d: np.sqrt((d**2).mean((1, 2, 3))),
    "charbonnier": lambda d: np.sqrt(d**2 + 1e-6).mean((1, 2, 3)),
}


@every_kind
def test_value_per_image_is_numpys(kind):
    values = jax.jit(PIXEL[kind])(A, B)
    assert values.shape == (3,)
    np.testing.assert_allclose(values, NUMPY[kind](A.astype(np.float64) - B), rtol=1e-5)


@every_kind
def test_an_images_value_does_not_depend_on_its_neighbours(kind):
    np.testing.assert_allclose(PIXEL[kind](A, B)[1:2], PIXEL[kind](A[1:2], B[1:2]), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "smallest"), [("l1", 0), ("l2", 0), ("rmse", 1e-6), ("charbonnier", 1e-3)]
)
def test_equal_images_are_at_the_smallest_value(kind, smallest):
    np.testing.assert_allclose(PIXEL[kind](A, A), smallest, rtol=1e-5)


@every_kind
def test_two_shapes_that_would_broadcast_are_refused(kind):
    with pytest.raises(AssertionError, match="shape"):
        PIXEL[kind](A, B[:1])


@every_kind
def test_gradient_is_the_numerical_one(kind):
    check_grads(lambda a: PIXEL[kind](a, B).sum(), (A,), 1, ["rev"], atol=1e-2, rtol=1e-2)


@every_kind
def test_gradient_is_finite_between_equal_images(kind):
    gradient = jax.jit(jax.grad(lambda a: PIXEL[kind](a, A).sum()))(A)
    assert np.isfinite(gradient).all()


def test_charbonnier_nears_l1_as_epsilon_falls():
    near = PIXEL["charbonnier"](A, B, epsilon=1e-6)
    np.testing.assert_allclose(near, PIXEL["l1"](A, B), rtol=1e-5)
