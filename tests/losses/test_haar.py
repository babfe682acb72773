import numpy as np
import pytest
from contexts import context
from jax.test_util import check_grads

from kdgan_jax.losses import Haar
from kdgan_jax.losses.haar import haar
from kdgan_jax.runtime.errors import UserError

RANDOM = np.random.default_rng(0)


def matrix(size):
    """Returns Haar's transform of a signal of `size`: lows, then highs."""
    low, high = (np.kron(np.eye(size // 2), pair) for pair in ([[1, 1]], [[1, -1]]))
    return np.concatenate([low, high]) / np.sqrt(2)


def test_bands_are_those_of_the_matrix_and_keep_the_energy():
    image = RANDOM.random((2, 6, 8, 3), np.float32)
    low, high = haar(image)
    whole = np.einsum("Yy,Xx,byxc->bYXc", matrix(6), matrix(8), image)
    np.testing.assert_allclose(low, whole[:, :3, :4], atol=1e-6)
    expected = [whole[:, :3, 4:], whole[:, 3:, :4], whole[:, 3:, 4:]]
    np.testing.assert_allclose(high, np.concatenate(expected, axis=-1), atol=1e-6)
    energy = np.square(low).sum() + np.square(high).sum()
    np.testing.assert_allclose(energy, np.square(image).sum(), rtol=1e-5)
    check_grads(lambda x: haar(x)[1].sum(), (image,), 1, ["rev"], atol=1e-2, rtol=1e-2)


def test_the_distance_is_a_mean_over_levels_and_the_last_low_band():
    sr, target = RANDOM.random((2, 1, 8, 8, 3), np.float32)
    (once, high), (once_target, high_target) = haar(sr), haar(target)
    (twice, higher), (twice_target, higher_target) = haar(once), haar(once_target)
    parts = [
        np.abs(np.asarray(a) - b).mean()
        for a, b in ((high, high_target), (higher, higher_target), (twice, twice_target))
    ]
    made = context(sr=sr, images={"hr": target})
    np.testing.assert_allclose(Haar(levels=2)({}, made), [np.mean(parts[:2])], rtol=1e-5)
    np.testing.assert_allclose(Haar(levels=2, low=True)({}, made), [np.mean(parts)], rtol=1e-5)
    # Grey that is brighter by 0.1 differs in the low band alone, which doubles with every level.
    brighter = context(sr=target + 0.1, images={"hr": target})
    np.testing.assert_allclose(Haar(levels=2)({}, brighter), 0, atol=1e-6)
    np.testing.assert_allclose(Haar(levels=2, low=True)({}, brighter), 0.4 / 3, rtol=1e-4)


def test_patches_are_halved_once_a_level():
    Haar(levels=3).check(24, "field")
    for levels, patch in ((0, 24), (4, 24)):
        with pytest.raises(UserError, match=f"field: levels={levels} .*{patch}"):
            Haar(levels=levels).check(patch, "field")
