from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from kdgan_jax.losses import Pattern
from kdgan_jax.losses.pattern import pattern
from kdgan_jax.runtime.errors import UserError

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((2, 16, 24, 3), np.float32)


def loss(sr, target, **options):
    return Pattern(**options)({}, SimpleNamespace(sr=sr, images={"hr": target}))


def test_the_pattern_is_what_repeats():
    cell = RANDOM.random((2, 4, 4, 3), np.float32)
    tiled = np.tile(cell, (1, 4, 6, 1))
    expected = cell - cell.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(pattern(tiled, 4), expected, atol=1e-6)
    np.testing.assert_allclose(pattern(np.zeros((1, 8, 8, 3)), 4), 0)


def test_an_added_pattern_costs_its_sum_and_a_ramp_of_the_target_nothing():
    cell = RANDOM.random((1, 4, 4, 3), np.float32)
    added = IMAGE + np.tile(cell, (2, 4, 6, 1))
    expected = np.abs(cell - cell.mean((1, 2), keepdims=True)).sum()
    for window in 0, 8:
        np.testing.assert_allclose(loss(added, IMAGE, window=window), expected, rtol=1e-4)
    np.testing.assert_allclose(loss(IMAGE + 0.25, IMAGE), 0, atol=1e-5)


def test_patterns_that_cancel_over_the_patch_are_seen_in_windows():
    board = np.indices((16, 16)).sum(0)[None, ..., None] % 2 - np.float32(0.5)
    board = board.repeat(3, axis=-1)
    board[:, 8:] *= -1
    np.testing.assert_allclose(loss(board, 0 * board), 0, atol=1e-6)
    np.testing.assert_allclose(loss(board, 0 * board, window=8), 16 * 3 * 0.5)


def test_its_gradient_is_that_of_the_formula():
    target = jax.numpy.asarray(IMAGE[::-1])
    check_grads(
        lambda x: loss(x, target, window=8).sum(), (IMAGE,), 1, ["rev"], atol=0.05, rtol=0.05
    )


@pytest.mark.parametrize(
    ("options", "patch"),
    [({"period": 1}, 16), ({"window": 6}, 24), ({"window": 2}, 16), ({"window": 8}, 20), ({}, 18)],
)
def test_windows_that_do_not_fit_are_refused(options, patch):
    with pytest.raises(UserError, match=f"field: .*HR patch {patch}"):
        Pattern(**options).check(patch, "field")
