import numpy as np
import pytest

from kdgan_jax.pictures import transparency

RED = np.uint8([230, 30, 40])


@pytest.mark.parametrize("hidden", [0, 255, 120])
def test_what_hides_is_replaced_by_the_nearest_visible_colours(hidden):
    pixels = np.full((33, 50, 3), hidden, np.uint8)
    alpha = np.zeros((33, 50, 1), np.uint8)
    pixels[5:20, 3:9], alpha[5:20, 3:9] = RED, 255
    pixels[5:20, 40:49], alpha[5:20, 40:49] = RED[::-1], 255
    filled = transparency.filled(pixels, alpha)
    np.testing.assert_array_equal(filled[5:20, :12], np.broadcast_to(RED, (15, 12, 3)))
    np.testing.assert_array_equal(filled[5:20, 38:], np.broadcast_to(RED[::-1], (15, 12, 3)))
    assert filled.min() >= 30
    assert filled.max() <= 230


def test_what_is_visible_stays_and_counts_by_how_much(photo):
    pixels, random = photo[:40, :60].astype(np.uint16) * 257, np.random.default_rng(0)
    alpha = random.integers(0, 3, (40, 60, 1)).astype(np.uint16) * 32767
    filled = transparency.filled(pixels, alpha)
    assert filled.dtype == np.uint16
    np.testing.assert_array_equal(filled[alpha[..., 0] > 0], pixels[alpha[..., 0] > 0])
    pair = np.uint8([[[0], [90], [30], [0]]])
    alpha = np.uint8([[[0], [250], [50], [0]]])
    np.testing.assert_array_equal(transparency.filled(pair, alpha)[0, :, 0], [90, 90, 30, 30])
    alpha = np.uint8([[[250], [0], [0], [50]]])
    assert transparency.filled(pair, alpha)[0, 1:3, 0].tolist() == [0, 0]


def test_all_or_nothing_visible_changes_nothing(photo):
    for value in 0, 1:
        alpha = np.full((*photo.shape[:2], 1), value, np.uint8)
        assert transparency.filled(photo, alpha) is photo
