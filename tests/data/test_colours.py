import numpy as np
import pytest

from kdgan_jax.data import colours
from kdgan_jax.data.degradations import generator


@pytest.fixture(scope="module")
def varied():
    """200 variations of a picture of few colours: the picture, and HR and LR of each."""
    random = np.random.default_rng(0)
    lr = random.integers(80, 176, (6, 5, 3)).astype(np.uint8)
    hr = lr.repeat(2, axis=0).repeat(2, axis=1)
    many = [colours.vary({"hr": hr, "lr": lr}, generator(1, i)) for i in range(200)]
    return lr, many


def test_hr_and_lr_change_alike(varied):
    for images in varied[1]:
        np.testing.assert_array_equal(images["hr"][::2, ::2], images["lr"])
        assert images["lr"].dtype == np.uint8
        assert images["lr"].flags.c_contiguous


def test_some_have_other_channels_alone_most_have_more_contrast(varied):
    lr, many = varied
    coloured = [images["lr"] for images in many if np.ptp(images["lr"], axis=-1).any()]
    assert len(coloured) / len(many) == pytest.approx(1 - colours.GREYED, abs=0.06)
    values = np.sort(lr.reshape(-1))
    same = [np.array_equal(np.sort(image.reshape(-1)), values) for image in coloured]
    assert np.mean(same) == pytest.approx(1 - colours.CONTRASTED, abs=0.1)
    kept = np.array([image for image, is_same in zip(coloured, same, strict=True) if is_same])
    firsts = [[np.array_equal(image[..., 0], lr[..., c]) for c in range(3)] for image in kept]
    np.testing.assert_allclose(np.mean(firsts, axis=0), 1 / 3, atol=0.12)
    spread = [image.std() for image, is_same in zip(coloured, same, strict=True) if not is_same]
    assert np.mean(np.array(spread) > lr.std()) > 0.9
    assert max(spread) > 2.5 * lr.std()


def test_colours_are_a_function_of_their_numbers(varied):
    lr, many = varied
    again = colours.vary({"lr": lr}, generator(1, 7))
    np.testing.assert_array_equal(again["lr"], many[7]["lr"])
