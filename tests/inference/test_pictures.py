import numpy as np
import pytest

from kdgan_jax import load
from kdgan_jax.inference import pictures
from kdgan_jax.inference.ensemble import quantise, self_ensemble
from kdgan_jax.inference.load import SHIPPED
from kdgan_jax.pictures import bicubic
from kdgan_jax.pictures.picture import Details, Picture


@pytest.fixture(scope="module")
def model():
    return load("clean_x4")


def jitter(grey, by):
    return np.clip(grey + np.random.default_rng(0).integers(0, by + 1, (24, 30, 3)), 0, 255)


@pytest.mark.parametrize("name", SHIPPED)
def test_grey_stays_grey_as_an_image_and_as_a_picture(photo, name):
    model, grey = load(name), photo[:24, :30, :1].repeat(3, axis=2)
    for image in grey, grey.astype(np.uint16) * 257, jitter(grey.astype(int), 2).astype(np.uint8):
        picture = pictures.enlarged(model, Picture(image, None))
        for sr in model.upscale(image), picture.pixels:
            assert sr.dtype == image.dtype
            assert (sr == sr[..., :1]).all()
    tinted = jitter(grey.astype(int), 3).astype(np.uint8)
    np.testing.assert_array_equal(model.upscale(tinted), model.raw(tinted))
    assert np.ptp(model.raw(grey).astype(int), axis=-1).max() > 0  # the rule matters


def test_16_bits_stay_and_are_those_of_the_network(model, photo):
    lr = photo[:24, :30].astype(np.uint16) * 257
    sr = pictures.enlarged(model, Picture(lr)).pixels
    assert sr.dtype == np.uint16
    same = quantise(model.predict(photo[:24, :30]), np.uint16)
    assert np.abs(sr.astype(int) - same).max() <= 1  # v / 65535 may be rounded unlike v / 255
    assert np.abs(sr / 257 - model.raw(photo[:24, :30])).max() < 0.51
    ramp = np.broadcast_to(np.arange(32000, 32030, dtype=np.uint16)[:, None], (24, 30, 3))
    assert len(np.unique(pictures.enlarged(model, Picture(ramp)).pixels)) > 25


@pytest.mark.parametrize("name", ["clean_x4", "photo_soft_x4"])
def test_what_transparency_hides_changes_nothing(name, photo):
    model = load(name)
    alpha = np.zeros((24, 30, 1), np.uint8)
    alpha[6:18, 8:22] = 255
    results = []
    for hidden in 0, 255, 77:
        pixels = np.where(alpha > 0, photo[:24, :30], np.uint8(hidden))
        results.append(pictures.enlarged(model, Picture(pixels, alpha)))
        np.testing.assert_array_equal(results[-1].alpha, bicubic.upscale(alpha, 4))
    for other in results[1:]:
        np.testing.assert_array_equal(other.pixels, results[0].pixels)
    flat = np.where(alpha > 0, np.uint8([230, 30, 40]), np.uint8(0))
    sr = pictures.enlarged(model, Picture(flat, alpha))
    seen = sr.pixels[sr.alpha[..., 0] > 0].astype(int)
    assert np.abs(seen - [230, 30, 40]).max() <= 4


@pytest.mark.parametrize("name", SHIPPED)
def test_means_are_kept_on_request(name, photo):
    model = load(name)
    board = np.uint8(255 * (np.indices((48, 48)).sum(0)[..., None].repeat(3, axis=2) % 2))
    for lr in board, photo[:40, :60]:
        sr = pictures.enlarged(model, Picture(lr), keep_colour=True).pixels
        assert np.abs(sr.mean((0, 1)) - lr.mean((0, 1))).max() < 2
    assert np.abs(model.raw(board).mean((0, 1)) - 127.5).max() > 2  # the request matters


def test_means_are_kept_over_neighbourhoods_and_details_stay(photo):
    lr = photo[:64, :96]
    sr = bicubic.upscale(lr, 4) / np.float32(255)
    spoilt = sr * np.linspace(0.8, 1.1, 384, dtype=np.float32)[:, None]
    kept = pictures.keep_means(spoilt, lr)
    near = kept.reshape(8, 32, 12, 32, 3).mean((1, 3)) - sr.reshape(8, 32, 12, 32, 3).mean((1, 3))
    assert np.abs(near).max() < 0.02
    assert np.abs(kept - sr).mean() < 0.2 * np.abs(spoilt - sr).mean()


def test_other_facts_stay_and_flips_are_averaged(model, photo):
    picture = Picture(photo[:9, :12], None, False, b"profile", Details(exif=b"exif"))
    sr = pictures.enlarged(model, picture, ensemble=True)
    expected = quantise(self_ensemble(model.predict, photo[:9, :12]))
    np.testing.assert_array_equal(sr.pixels, expected)
    assert sr[1:] == picture[1:]
