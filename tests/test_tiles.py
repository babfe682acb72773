import functools

import jax
import numpy as np
import pytest
from conftest import HASTE, TINY, TRIED
from hypothesis import given
from hypothesis import strategies as st

from kdgan_jax import models, tiles
from kdgan_jax.tiles import Tiling


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
    """Returns (receptive radius, function from one image (h, w, 3) float32 to SR)."""
    module = models.generator(name, TINY[name], scale)
    init = jax.jit(lambda key: models.init(module, key, 8), compiler_options=HASTE)
    fresh = jax.device_get(init(jax.random.key(0)))
    # Initial biases are 0, which would hide that padding differs from image inside.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + rng.normal(0, 0.05, p.shape).astype(np.float32), fresh)
    apply = jax.jit(lambda lr: module.apply({"params": params}, lr)[0], compiler_options=HASTE)
    return module.receptive_radius, lambda lr: np.asarray(apply(lr[None])[0])


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
    np.testing.assert_allclose(tiled, predict(lr), atol=1e-5)


def test_a_margin_of_nothing_shows_seams():
    _, predict = network("compact", 4)
    lr = picture(33, 29)
    seams = tiles.run(predict, lr, scale=4, tiling=Tiling(24, 0)) - predict(lr)
    assert np.abs(seams).max() > 1e-2


@pytest.mark.parametrize("name", ["compact", "edsr", "srresnet"])
def test_a_margin_smaller_than_the_radius_shows_seams(name):
    # These radii are tight, up to rounding to whole LR pixels of what lies at HR size.
    radius, predict = network(name, 2)
    lr = picture(2 * radius + 30, 2 * radius + 30)
    short = Tiling(2 * radius + 6, radius // 2)
    assert np.abs(tiles.run(predict, lr, scale=2, tiling=short) - predict(lr)).max() > 1e-5


def test_the_result_is_of_the_networks_dtype_and_channels():
    lr = np.arange(30 * 20 * 3, dtype=np.int32).reshape(30, 20, 3)
    twice = tiles.run(
        lambda part: part[..., :1].repeat(2, 0).repeat(2, 1), lr, scale=2, tiling=Tiling(8, 2)
    )
    assert twice.dtype == np.int32
    np.testing.assert_array_equal(twice, lr[..., :1].repeat(2, 0).repeat(2, 1))
