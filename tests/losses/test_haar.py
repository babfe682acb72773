import numpy as np
import pytest
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


def test_patches_are_halved_once_a_level():
    Haar(levels=3).check(24, "field")
    for levels, patch in ((0, 24), (4, 24)):
        with pytest.raises(UserError, match=f"field: levels={levels} .*{patch}"):
            Haar(levels=levels).check(patch, "field")
