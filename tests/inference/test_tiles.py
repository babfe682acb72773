import functools

import jax
import numpy as np
import pytest
from conftest import HASTE, TINY, TRIED
from hypothesis import given
from hypothesis import strategies as st

from kdgan_jax import models
from kdgan_jax.inference import tiles
from kdgan_jax.inference.tiles import Tiling


@st.composite
def cuts(draw):
    margin, grid = draw(st.integers(0, 20)), draw(st.sampled_from([1, 1, 2, 4]))
    tile = -(-draw(st.integers(2 * margin + grid, 2 * margin + 60)) // grid) * grid
    return draw(st.integers(1, 400)), Tiling(tile, margin, grid)


@given(cuts())
def test_kept_parts_cover_each_pixel_once_and_in_order(cut):
    size, tiling = cut
    kept = [
        pixel
        for span in tiles.spans(size, tiling)
        for pixel in range(span.start + span.keep_from, span.start + span.keep_to)
    ]
    assert kept == list(range(size))


@given(cuts())
def test_tiles_lie_inside_on_the_grid_and_are_of_one_size(cut):
    size, tiling = cut
    for span in tiles.spans(size, tiling):
        assert span.start % tiling.grid == 0
        assert min(tiling.tile, size) - tiling.grid < span.size <= tiling.tile
        if span.start + span.size < size or tiling.grid == 1:
            assert span.size == min(tiling.tile, size)
        assert 0 <= span.start <= size - span.size
        assert 0 <= span.keep_from < span.keep_to <= span.size


@given(cuts())
def test_what_is_kept_lies_a_margin_from_every_edge_inside_the_image(cut):
    size, tiling = cut
    for span in tiles.spans(size, tiling):
        if span.start > 0:
            assert span.keep_from >= tiling.margin
        if span.start + span.size < size:
            assert span.size - span.keep_to >= tiling.margin


def test_a_tile_without_an_inside_is_refused():
    with pytest.raises(ValueError, match="tile=10 must be more than twice the margin 5"):
        tiles.spans(100, Tiling(10, 5))


@functools.cache
def network(name, scale):
    """Returns (receptive radius, function from images (n, h, w, 3) float32 to SR)."""
    module = models.generator(name, TINY[name], scale)
    init = jax.jit(lambda key: models.init(module, key, 8), compiler_options=HASTE)
    fresh = jax.device_get(init(jax.random.key(0)))["params"]
    # Initial biases are 0, which would hide that padding differs from image inside.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + rng.normal(0, 0.05, p.shape).astype(np.float32), fresh)
    apply = jax.jit(lambda lr: module.apply({"params": params}, lr)[0], compiler_options=HASTE)
    return module.receptive_radius, lambda lr: np.asarray(apply(lr))


def picture(height, width):
    return np.random.default_rng(0).random((height, width, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(n, s) for n, s in TRIED if not getattr(models.GENERATORS[n], "whole_image", False)],
)
def test_a_network_in_tiles_is_the_network_on_the_whole(name, scale):
    radius, predict = network(name, scale)
    tile = max(24, 2 * radius + 6)
    lr = picture(tile + 9, tile + 5)
    passed = []
    tiled = tiles.run(
        predict, lr, scale=scale, tiling=Tiling(tile, radius), on_tile=lambda: passed.append(1)
    )
    assert len(passed) >= 4
    np.testing.assert_allclose(tiled, predict(lr[None])[0], atol=1e-5)


def test_a_margin_of_nothing_shows_seams():
    _, predict = network("compact", 4)
    lr = picture(33, 29)
    seams = tiles.run(predict, lr, scale=4, tiling=Tiling(24, 0)) - predict(lr[None])[0]
    assert np.abs(seams).max() > 1e-2


@pytest.mark.parametrize("name", ["compact", "edsr", "srresnet"])
def test_a_margin_smaller_than_the_radius_shows_seams(name):
    # These radii are tight, up to rounding to whole LR pixels of what lies at HR size.
    radius, predict = network(name, 2)
    lr = picture(2 * radius + 30, 2 * radius + 30)
    short = Tiling(2 * radius + 6, radius // 2)
    seams = tiles.run(predict, lr, scale=2, tiling=short) - predict(lr[None])[0]
    assert np.abs(seams).max() > 1e-5


def test_the_result_is_of_the_networks_dtype_and_channels():
    lr = np.arange(30 * 20 * 3, dtype=np.int32).reshape(30, 20, 3)
    twice = tiles.run(
        lambda parts: parts[..., :1].repeat(2, 1).repeat(2, 2), lr, scale=2, tiling=Tiling(8, 2)
    )
    assert twice.dtype == np.int32
    np.testing.assert_array_equal(twice, lr[..., :1].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("grid", [1, 4])
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_batches_of_tiles_give_what_single_ones_give(batch, grid):
    lr, shapes, passed = picture(45, 57), set(), []

    def predict(parts):
        shapes.add(parts.shape)
        # What a pixel is depends on its neighbours, so that a tile in the wrong place shows.
        return (parts + 2 * np.roll(parts, 1, axis=1)).repeat(2, 1).repeat(2, 2)

    tiling = Tiling(16, 2, grid)
    found = tiles.run(
        predict, lr, scale=2, tiling=tiling, batch=batch, on_tile=lambda: passed.append(1)
    )
    places = list(tiles.positions(lr.shape[:2], tiling))
    assert len(passed) == len(places) >= 20
    sizes = {(rows.size, columns.size) for rows, columns in places}
    assert len(sizes) == (1 if grid == 1 else 4)
    assert shapes == {(batch, *size, 3) for size in sizes}  # the last batch is of no other size
    single = tiles.run(predict, lr, scale=2, tiling=tiling)
    np.testing.assert_array_equal(found, single)
    whole = predict(lr[None])[0]
    np.testing.assert_array_equal(found[2:], whole[2:])  # the first row is rolled


def test_an_image_that_is_not_cut_goes_alone():
    shapes = []
    tiles.run(
        lambda parts: shapes.append(parts.shape) or parts,
        picture(9, 7),
        scale=1,
        tiling=Tiling(16, 2),
        batch=8,
    )
    assert shapes == [(1, 9, 7, 3)]
