import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from kdgan_jax.inference import tiles
from kdgan_jax.inference.tiles import Tiling


def network(radius, grid=1):
    """Returns (function at x2, shapes that it was called with).

    It sums channels, squares of the grid and then neighbourhoods, padded with zeros as in networks.
    """
    shapes = []

    def predict(parts):
        shapes.append(parts.shape)
        height, width = parts.shape[1:3]
        x = np.pad(parts.sum(-1), [(0, 0), (0, -height % grid), (0, -width % grid)])
        x = x.reshape(len(x), x.shape[1] // grid, grid, -1, grid).sum((2, 4))
        x = x.repeat(grid, 1).repeat(grid, 2)[:, :height, :width]
        x = np.pad(x, [(0, 0), (radius, radius), (radius, radius)])
        x = sliding_window_view(x, (2 * radius + 1,) * 2, axis=(1, 2)).sum((-2, -1))
        return x.repeat(2, 1).repeat(2, 2)[..., None]

    return predict, shapes


def picture(height, width):
    return np.random.default_rng(0).integers(1, 256, (height, width, 3))


@given(st.data())
def test_tiles_give_what_the_whole_image_gives(data):
    radius, grid = data.draw(st.integers(0, 3)), data.draw(st.sampled_from([1, 2, 4]))
    margin = radius + grid - 1
    tile = (-(-2 * margin // grid) + data.draw(st.integers(1, 5))) * grid
    lr = picture(data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    largest, batch = data.draw(st.sampled_from([0, 32])), data.draw(st.integers(1, 4))
    tiling = Tiling(tile, margin, grid, largest)
    predict, shapes = network(radius, grid)
    passed = []
    sr = tiles.run(
        predict, lr, scale=2, tiling=tiling, batch=batch, on_tile=lambda: passed.append(1)
    )
    places = list(tiles.positions(lr.shape[:2], tiling))
    assert len(passed) == len(places)
    # One shape is compiled; only a grid makes the last tile of an axis another one.
    sizes = {(rows.size, columns.size) for rows, columns in places}
    assert len(sizes) == 1 or grid > 1
    assert set(shapes) == {(batch if len(places) > 1 else 1, *size, 3) for size in sizes}
    least = 0 if largest else min(tile, *lr.shape[:2])
    assert all(least < side + grid <= max(tile, largest) + grid for s in sizes for side in s)
    np.testing.assert_array_equal(sr, predict(lr[None])[0], strict=True)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (100, [100]),  # at most `tile`
        (256, [256]),  # a multiple of 16
        (270, [144] * 2),
        (272, [272]),
        (960, [496] * 2),
        (1920, [496] * 4),
    ],
)
def test_large_tiles_are_few_and_of_shared_sizes(size, sides):
    found = tiles.spans(size, Tiling(128, 6, largest=512))
    assert [span.size for span in found] == sides
    assert sum(span.keep_to - span.keep_from for span in found) == size


@pytest.mark.parametrize("margin", [0, 1])
def test_a_margin_smaller_than_the_radius_shows_seams(margin):
    predict, _ = network(radius=2)
    lr = picture(33, 29)
    sr = tiles.run(predict, lr, scale=2, tiling=Tiling(12, margin))
    assert (sr != predict(lr[None])[0]).any()


def test_a_tile_without_an_inside_is_refused():
    for tiling in (Tiling(10, 5), Tiling(12, 5, grid=4)):
        with pytest.raises(ValueError, match=f"tile={tiling.tile} .*margin=5"):
            tiles.spans(100, tiling)
