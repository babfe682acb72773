import jax
import numpy as np
import pytest
from skimage.color import rgb2ycbcr

from kdgan_jax.pictures import colour

RGB = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def test_ycbcr_is_that_of_scikit_image_and_luma_its_unrounded_y():
    ycbcr = rgb2ycbcr(RGB)
    np.testing.assert_allclose(colour.rgb_to_ycbcr(RGB / 255) * 255, ycbcr, atol=1e-9)
    np.testing.assert_allclose(colour.luma(RGB), ycbcr[..., 0], atol=1e-9)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_there_and_back_gives_the_same_rgb_in_its_dtype(dtype, atol):
    image = (RGB / 255).astype(dtype)
    back = colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(image))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, image, atol=atol)


def test_grey_has_luma_of_219_steps_from_16_and_no_chroma():
    v = np.arange(256)
    grey = np.repeat(v[:, None, None], 3, axis=2).astype(np.uint8)
    np.testing.assert_allclose(colour.luma(grey)[:, 0], 16 + 219 * v / 255, atol=1e-9)
    chroma = colour.rgb_to_ycbcr(grey / 255)[..., 1:] * 255
    np.testing.assert_allclose(chroma, 128, atol=1e-9)


def test_jax_arrays_and_batches_are_taken():
    batch = np.stack([RGB, RGB[::-1]]) / np.float32(255)
    ycbcr = jax.jit(colour.rgb_to_ycbcr)(batch)
    np.testing.assert_allclose(ycbcr, colour.rgb_to_ycbcr(batch), atol=1e-6)
