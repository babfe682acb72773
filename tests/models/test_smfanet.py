import checks
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.generators import smfanet

TINY = {"channels": 8, "blocks": 1}
PLUS = {"channels": 48, "blocks": 12}


def test_parameter_counts_are_the_published_ones():
    assert checks.count("smfanet") == 197_328
    counts = [checks.count("smfanet", scale=scale, **PLUS) for scale in models.SCALES]
    assert counts == [480_300, 486_795, 495_888]


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("smfanet", scale=scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_a_state_is_recognised_and_comes_back(scale):
    checks.assert_round_trip("smfanet", scale=scale, **TINY)
    checks.assert_round_trip("smfanet", scale=scale, channels=4, blocks=2, expansion=3)


def test_every_parameter_is_used():
    assert checks.assert_gradients("smfanet", **TINY) == []


@pytest.mark.parametrize("size", [8, 15, 16, 23, 33, 45])
@pytest.mark.parametrize("axis", [1, 2])
def test_maxima_are_of_overlapping_cells(size, axis):
    x = np.random.default_rng(size).random((2, size, size, 3), np.float32)
    cells = size // 8
    expected = [
        x.take(range(i * size // cells, -(-(i + 1) * size // cells)), axis).max(axis)
        for i in range(cells)
    ]
    found = smfanet._cell_maxima(jnp.asarray(x), axis)
    np.testing.assert_array_equal(found, np.stack(expected, axis))


@pytest.mark.parametrize("size", [5, 8, 15, 33, 45, 64])
def test_enlarging_repeats_cells_as_pytorch_does(size):
    cells = max(1, size // 8)
    x = jnp.arange(cells, dtype=jnp.float32).reshape(1, 1, cells, 1)
    step = np.float32(cells) / np.float32(size)  # PyTorch multiplies in float32
    expected = np.floor(np.arange(size, dtype=np.float32) * step)
    np.testing.assert_array_equal(smfanet._nearest(x, size, 2).ravel(), expected)


@pytest.mark.parametrize("size", [(2, 2), (3, 11)])
def test_sides_below_a_cell_are_possible(size):
    module, variables, apply = checks.build("smfanet", **TINY)
    assert min(size) >= module.smallest
    sr, _ = apply(variables, checks.image(*size))
    assert sr.shape == (2, 4 * size[0], 4 * size[1], 3)
    assert np.isfinite(sr).all()


def test_a_far_pixel_matters_but_no_other_image():
    _, variables, apply = checks.build("smfanet", **TINY)
    before, after = checks.image(64, 64), checks.image(64, 64)
    after[0, 0, 0] += 1
    changed = apply(variables, before)[0] != apply(variables, after)[0]
    assert changed[0, -8:, -8:].any()
    assert not changed[1].any()


def test_only_its_own_files_are_claimed(shared):
    own = {"smfanet_x4", "smfanet_plus_x2", "smfanet_plus_x3", "smfanet_plus_x4"}
    assert checks.claimed(shared, "smfanet") == own


# The same networks in float64 differ from the files' float32 outputs by up to 3e-6.
@pytest.mark.parametrize("file", ["x4", "plus_x2", "plus_x3", "plus_x4"])
def test_published_weights_give_published_outputs(shared, file):
    assert checks.golden_error(shared, f"smfanet_{file}.pth") < 1e-5
