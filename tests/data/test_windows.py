"""Windows that are degraded; those of plain patches are tested in test_pipeline.py."""

import functools

import numpy as np
import pytest

from kdgan_jax.data import degradations, windows
from kdgan_jax.data.windows import BORDER

SIDES = 40, 50  # of the LR image


@pytest.fixture
def reduce(monkeypatch):
    """Has degradations keep one pixel of each square, and returns the sizes of what they get."""
    sizes = []

    def degrade(image, size, level, random):
        assert level == "strong"
        sizes.append(size)
        scale = image.shape[0] // size[0]
        assert image.shape[:2] == (size[0] * scale, size[1] * scale)
        return image[::scale, ::scale]

    monkeypatch.setattr(degradations, "degrade", degrade)
    return sizes


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("window", [[(16, 24), (17, 27)], [(0, 9), (40, 50)], [(0, 40), (0, 50)]])
def test_a_degraded_window_lies_where_it_is_cut(reduce, scale, window):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (SIDES[0] * scale, SIDES[1] * scale, 3), np.uint8)
    cut = functools.partial(windows.inside, image, scale)
    for _ in range(50):
        lr = windows.degraded(cut, window, SIDES, "strong", random)
        np.testing.assert_array_equal(lr, windows.inside(image[::scale, ::scale], 1, window))
    for axis, (start, stop) in enumerate(window):
        drawn = {size[axis] - (stop - start) for size in reduce}
        if start >= BORDER and SIDES[axis] - stop >= BORDER:
            assert drawn == {BORDER}
        else:  # as far as the photo reaches
            assert max(drawn) <= min(BORDER, SIDES[axis] - (stop - start))
            assert len(drawn) > 1 or stop - start == SIDES[axis]


def test_the_border_is_divided_at_random():
    starts = set()

    def cut(window):
        starts.add(tuple(first for first, _ in window))
        return np.zeros((*(4 * (stop - start) for start, stop in window), 3), np.uint8)

    for i in range(200):
        windows.degraded(cut, [(20, 24)] * 2, (60, 60), "light", degradations.generator(0, i))
    for axis in 0, 1:
        assert {start[axis] for start in starts} == set(range(20 - BORDER, 21))
