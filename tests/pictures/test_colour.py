import numpy as np
import pytest

from kdgan_jax.pictures import colour


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def test_luma_is_the_y_of_rgb_to_ycbcr(rgb):
    y = colour.rgb_to_ycbcr(rgb / 255)[..., 0] * 255
    np.testing.assert_allclose(colour.luma(rgb), y, atol=1e-9)


def test_ycbcr_is_that_of_scikit_image(rgb):
    from skimage.color import rgb2ycbcr

    np.testing.assert_allclose(colour.rgb_to_ycbcr(rgb / 255) * 255, rgb2ycbcr(rgb), atol=1e-9)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_there_and_back_gives_the_same_rgb_in_its_dtype(rgb, dtype, atol):
    image = (rgb / 255).astype(dtype)
    back = colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(image))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, image, atol=atol)


def test_grey_has_luma_of_219_steps_from_16_and_no_chroma():
    v = np.arange(256)
    grey = np.repeat(v[:, None, None], 3, axis=2).astype(np.uint8)
    np.testing.assert_allclose(colour.luma(grey)[:, 0], 16 + 219 * v / 255, atol=1e-9)
    chroma = colour.rgb_to_ycbcr(grey / 255)[..., 1:] * 255
    np.testing.assert_allclose(chroma, 128, atol=1e-9)


def test_luma_is_not_rounded():
    assert colour.luma(np.array([[[1, 0, 0]]], np.uint8)) == pytest.approx(16 + 65.481 / 255)


def test_jax_arrays_and_batches_are_taken(rgb):
    import jax

    batch = np.stack([rgb, rgb[::-1]]) / np.float32(255)
    np.testing.assert_allclose(
        jax.jit(colour.rgb_to_ycbcr)(batch), colour.rgb_to_ycbcr(batch), atol=1e-6
    )
