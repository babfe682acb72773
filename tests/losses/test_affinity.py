"""Spatial affinity, compared with values worked out by hand and with NumPy."""

import jax
import numpy as np
import pytest
from contexts import context
from jax.test_util import check_grads

from kdgan_jax.losses.affinity import Affinity, affinity
from kdgan_jax.runtime.errors import UserError

random = np.random.default_rng(0)
STUDENT, TEACHER = (random.normal(size=(2, 4, 6, c)).astype(np.float32) for c in (2, 5))


def features(student=STUDENT, teacher=TEACHER):
    return context(features={"a": student}, teacher_features={"x": teacher})


def term(pool=1):
    return Affinity(target="teacher", pairs=(("a", "x"),), pool=pool)


def loss(student, teacher=TEACHER, pool=1):
    return term(pool)({}, features(student, teacher))


def test_it_is_the_cosine_between_places():
    feature = np.array([[[3, 0], [0, 5]], [[1, 1], [-2, 0]]], np.float32)[None]
    half = 0.5**0.5
    expected = [[1, 0, half, -1], [0, 1, half, 0], [half, half, 1, -half], [-1, 0, -half, 1]]
    np.testing.assert_allclose(affinity(feature)[0], expected, atol=1e-6)


@pytest.mark.parametrize("pool", [1, 2])
def test_the_loss_is_that_of_numpy(pool):
    matrices = []
    for feature in STUDENT, TEACHER:
        places = feature.reshape(2, 4 // pool, pool, 6 // pool, pool, -1).mean((2, 4))
        places = places.reshape(2, 24 // pool**2, -1)
        places = places / np.linalg.norm(places, axis=-1, keepdims=True)
        matrices.append(places @ places.transpose(0, 2, 1))
    expected = np.abs(matrices[0] - matrices[1]).mean((1, 2))
    np.testing.assert_allclose(loss(STUDENT, pool=pool), expected, rtol=1e-5)


def test_gradients_reach_the_student_and_not_the_teacher():
    assert (jax.grad(lambda t: loss(STUDENT, t).sum())(TEACHER) == 0).all()
    check_grads(lambda s: loss(s).sum(), (STUDENT,), 1, ["rev"], atol=3e-2, rtol=3e-2)
    assert np.isfinite(jax.grad(lambda s: loss(s).sum())(0 * STUDENT)).all()


def test_squares_must_fit(key):
    term(2).init(key, features())
    with pytest.raises(UserError, match=r"pool=4 .*'a'.*'x', 4x6"):
        term(4).init(key, features())
    with pytest.raises(UserError, match="field: pool=0"):
        term(0).check(96, "field")
