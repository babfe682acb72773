"""Attention transfer, compared with values worked out by hand."""

import jax
import numpy as np
import pytest
from contexts import context
from jax.test_util import check_grads

from kdgan_jax.losses.attention import Attention, attention
from kdgan_jax.runtime.errors import UserError

TERM = Attention(target="teacher", pairs=(("a", "x"),))
random = np.random.default_rng(0)
STUDENT, TEACHER = (random.random((2, 3, 4, c), np.float32) for c in (2, 5))


def loss(student, teacher=TEACHER):
    return TERM({}, context(features={"a": student}, teacher_features={"x": teacher}))


def test_a_map_is_the_mean_of_squares_over_its_length():
    # Means of squares of the two channels: 4, 0, 3, 0; their length is 5.
    feature = np.array([[[2, 2], [0, 0]], [[6**0.5, 0], [0, 0]]], np.float32)[None]
    np.testing.assert_allclose(attention(feature), [[0.8, 0, 0.6, 0]], rtol=1e-6)


def test_the_distance_is_0_for_equal_attention_and_2_without_overlap():
    single = np.zeros((2, 3, 4, 2), np.float32)
    single[:, 0, 0, 0] = 3
    np.testing.assert_allclose(loss(single, 7 * single.repeat(3, axis=3)), 0, atol=1e-6)
    np.testing.assert_allclose(loss(single, single[:, ::-1]), 2, rtol=1e-6)
    # Two of three places agree: 1/sqrt(2) in two places against 1 in one of them.
    both = single + single[:, ::-1]
    np.testing.assert_allclose(loss(both, single), (1 - 0.5**0.5) ** 2 + 0.5, rtol=1e-5)


def test_gradients_reach_the_student_and_not_the_teacher():
    assert (jax.grad(lambda t: loss(STUDENT, t).sum())(TEACHER) == 0).all()
    check_grads(lambda s: loss(s).sum(), (STUDENT,), 1, ["rev"], atol=1e-2, rtol=1e-2)
    assert np.isfinite(jax.grad(lambda s: loss(s).sum())(0 * STUDENT)).all()


def test_features_are_looked_at_before_training(key):
    assert TERM.init(key, context(features={"a": STUDENT}, teacher_features={"x": TEACHER})) == {}
    with pytest.raises(UserError, match=r"the teacher 'teacher' has no feature 'x'.*known: y"):
        TERM.init(key, context(features={"a": STUDENT}, teacher_features={"y": TEACHER}))
    with pytest.raises(UserError, match="pairs="):
        Attention().check(96, "kind")
