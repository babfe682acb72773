"""Feature distillation through 1x1 adapters, compared with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contexts import context as made
from jax.test_util import check_grads

from kdgan_jax.losses.fitnet import FitNet
from kdgan_jax.runtime.errors import UserError

TERM = FitNet(target="teacher", pairs=(("a", "x"), ("b", "y")))
random = np.random.default_rng(0)
STUDENT = {name: random.random((2, 3, 4, c), np.float32) for name, c in (("a", 2), ("b", 5))}
TEACHER = {name: random.random((2, 3, 4, c), np.float32) for name, c in (("x", 3), ("y", 5))}


def context(student=STUDENT, teacher=TEACHER):
    return made(features=student, teacher_features=teacher)


@pytest.fixture
def adapters(key):
    params = TERM.init(key, context())
    assert jax.tree.map(jnp.shape, params) == {
        "a-x": {"kernel": (1, 1, 2, 3), "bias": (3,)},
        "b-y": {"kernel": (1, 1, 5, 5), "bias": (5,)},
    }
    return jax.tree.map(lambda x: x + 0.1, params)  # so that biases are not 0


def test_values_are_those_of_numpy(adapters):
    expected = 0
    for student_name, teacher_name in TERM.pairs:
        adapter = adapters[f"{student_name}-{teacher_name}"]
        adapted = np.einsum("bhwc,cd->bhwd", STUDENT[student_name], adapter["kernel"][0, 0])
        difference = adapted + adapter["bias"] - TEACHER[teacher_name]
        expected = expected + 0.25 * (difference**2).mean((1, 2, 3))
    np.testing.assert_allclose(TERM(adapters, context()), expected, rtol=1e-5)


def test_gradients_reach_features_and_adapters_but_not_the_teacher(adapters):
    def total(adapters, student, teacher=TEACHER):
        return TERM(adapters, context(student, teacher)).sum()

    trained = jax.grad(total, argnums=(0, 1))(adapters, STUDENT)
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(trained))
    fixed = jax.grad(total, argnums=2)(adapters, STUDENT, TEACHER)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(fixed))
    check_grads(total, (adapters, STUDENT), 1, ["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("pairs", "cut", "facts"),
    [
        ((("c", "x"),), 3, ["'c'", "a, b"]),
        ((("a", "z"),), 3, ["'z'", "x, y"]),
        ((("a", "x"),), 2, ["'a'", "'x'", "(3, 4) and (2, 4)"]),
    ],
)
def test_features_must_exist_and_have_the_same_size(key, pairs, cut, facts):
    teacher = {name: feature[:, :cut] for name, feature in TEACHER.items()}
    with pytest.raises(UserError) as caught:
        FitNet(target="teacher", pairs=pairs).init(key, context(teacher=teacher))
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize("pairs", [(), ("a",), (("a", "x", "y"),)])
def test_pairs_are_pairs(pairs):
    with pytest.raises(UserError, match="pairs="):
        FitNet(pairs=pairs).check(96, "kind")
