"""Feature distillation through 1x1 adapters, against values made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses.fitnet import FitNet
from kdgan_jax.losses.term import Context, Output
from kdgan_jax.runtime.errors import UserError

TERM = FitNet(target="teacher", pairs=(("a", "x"), ("b", "y")))
generator = np.random.default_rng(0)
OURS = {n: generator.random((2, 3, 4, c), np.float32) for n, c in (("a", 2), ("b", 5))}
THEIRS = {n: generator.random((2, 3, 4, c), np.float32) for n, c in (("x", 3), ("y", 5))}


def context(ours=OURS, theirs=THEIRS):
    image, none = np.zeros((2, 3, 4, 3), np.float32), lambda *_: None
    teacher = Output(image, image, theirs, none)
    student = Output(image, image, ours, none)
    return Context(0, None, image, {}, student, {"teacher": teacher}, none, None, {}, none)


@pytest.fixture
def adapters(key):
    made = TERM.init(key, context())
    # Biases start at 0, where a missing one would not be seen.
    return jax.tree.map(lambda x: x + 0.1, made)


def by_hand(ours, theirs, adapters):
    total = 0
    for ours_name, theirs_name in TERM.pairs:
        adapter = adapters[f"{ours_name}-{theirs_name}"]
        adapted = np.einsum("bhwc,cd->bhwd", ours[ours_name], adapter["kernel"][0, 0])
        difference = adapted + adapter["bias"] - theirs[theirs_name]
        total = total + 0.5 * (difference**2).mean((1, 2, 3))
    return total / 2


def test_an_adapter_maps_channels_to_channels(key):
    shapes = jax.tree.map(jnp.shape, TERM.init(key, context()))
    assert shapes == {
        "a-x": {"kernel": (1, 1, 2, 3), "bias": (3,)},
        "b-y": {"kernel": (1, 1, 5, 5), "bias": (5,)},
    }


def test_value_per_image_is_made_by_hand(adapters):
    values = jax.jit(lambda a: TERM(a, context()))(adapters)
    assert values.shape == (2,)
    np.testing.assert_allclose(values, by_hand(OURS, THEIRS, adapters), rtol=1e-5)


def test_gradients_reach_features_and_adapters_and_not_the_teacher(adapters):
    def total(adapters, ours, theirs):
        return TERM(adapters, context(ours, theirs)).sum()

    ours, student, theirs = jax.grad(total, argnums=(0, 1, 2))(adapters, OURS, THEIRS)
    assert all((leaf != 0).any() for leaf in jax.tree.leaves((ours, student)))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(theirs))
    without = lambda a, o: total(a, o, THEIRS)  # noqa: E731
    check_grads(without, (adapters, OURS), 1, ["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ((("c", "x"),), "'c' (known: a, b)"),
        ((("a", "z"),), "'z' (known: x, y)"),
    ],
)
def test_a_feature_that_is_not_there_is_named(key, pairs, said):
    with pytest.raises(UserError) as caught:
        FitNet(target="teacher", pairs=pairs).init(key, context())
    assert said in str(caught.value)


def test_features_of_two_sizes_are_refused(key):
    with pytest.raises(UserError, match=r"differ in size \(\(3, 4\) and \(2, 4\)\)"):
        TERM.init(key, context(theirs={n: x[:, :2] for n, x in THEIRS.items()}))


@pytest.mark.parametrize("pairs", [(), ("a",), (("a", "x", "y"),)])
def test_pairs_are_pairs(pairs):
    with pytest.raises(UserError, match="pairs="):
        FitNet(pairs=pairs).check(96, "kind")
