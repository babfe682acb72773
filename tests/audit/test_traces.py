import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from kdgan_jax.audit import traces
from kdgan_jax.data import photos, sources
from kdgan_jax.pictures import bicubic, colour


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def look(image):
    return traces.look(colour.luma(image))


@pytest.fixture(scope="module")
def small(photo):
    return bicubic.downscale(photo, 2)


def test_a_photo_has_neither(photo, small):
    assert look(photo) == look(small) == (False, False)


@pytest.mark.parametrize("quality", [30, 50, 75])
def test_jpeg_blocks_are_seen_wherever_they_begin(photo, quality):
    image = jpeg(photo, quality)
    assert look(image) == look(image[3:, 5:]) == (True, False)


def test_columns_that_blocks_make_uneven_are_not_enlargement():
    (camera,) = sources.installed(["skimage/data/camera.png"], 1)  # uneven by more than 1.12
    assert look(jpeg(photos.pixels(camera.hr), 30)) == (True, False)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarged_by_bicubic(small, scale):
    assert look(bicubic.upscale(small, scale)) == (False, True)


@pytest.mark.parametrize(
    ("kind", "factor"),
    [("BILINEAR", 2), ("BILINEAR", 4), ("LANCZOS", 2), ("LANCZOS", 2.5), ("LANCZOS", 4)],
)
def test_enlarged_otherwise(small, kind, factor):
    size = int(small.shape[1] * factor), int(small.shape[0] * factor)
    image = Image.fromarray(small).resize(size, Image.Resampling[kind])
    assert look(np.asarray(image)).enlarged


def test_enlarged_then_jpeg_is_both(small):
    assert look(jpeg(bicubic.upscale(small, 2), 90)) == (True, True)


def test_a_regular_pattern_is_not_enlargement():
    x = np.arange(256)
    stripes = 128 + 60 * np.sin(x / 2) + 3 * np.random.default_rng(0).standard_normal((256, 256))
    assert traces.look(stripes) == (False, False)


def test_flat_and_small_pictures_have_no_traces(small):
    for noise in (0, 0.6):
        flat = 100 + noise * np.random.default_rng(0).standard_normal((200, 300))
        assert traces.look(np.round(flat)) == (False, False)
    assert look(bicubic.upscale(jpeg(small, 30), 2)[:63]) == (False, False)


def test_lossless_drawings_show_no_blocks_and_their_jpegs_do():
    found = []
    for seed in range(12):
        random, image = np.random.default_rng(seed), Image.new("RGB", (200, 160), "white")
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            (x, y), size = random.integers(0, 150, 2).tolist(), int(random.integers(10, 60))
            colour_of_shape = tuple(random.integers(0, 256, 3).tolist())
            draw.rectangle([x, y, x + size, y + size], fill=colour_of_shape, outline="black")
        lossless = np.asarray(image)
        assert look(lossless) == (False, False)
        found.append(look(jpeg(lossless, 50)).blocks)
    assert any(found)


def test_the_middle_is_a_view_of_at_most_1024_pixels():
    image = np.arange(1030 * 3000 * 3, dtype=np.int32).reshape(1030, 3000, 3)
    part = traces.middle(image)
    np.testing.assert_array_equal(part, image[3:1027, 988:2012])
    assert part.base is not None
    assert traces.middle(image[:10, :20]).shape == (10, 20, 3)
