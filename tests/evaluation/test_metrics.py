import json

import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kdgan_jax.data import photos
from kdgan_jax.evaluation import metrics
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def noisy(image, deviation=12.0):
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def shaved_y(image, shave):
    y = rgb2ycbcr(image)[..., 0]
    return y[shave : y.shape[0] - shave, shave : y.shape[1] - shave]


@pytest.fixture(scope="module")
def pair(photo):
    hr = photo[60:157, 100:217]
    return noisy(hr), hr


@pytest.mark.parametrize("shave", [0, 2, 4])
def test_psnr_y_is_scikit_images(pair, shave):
    sr, hr = (shaved_y(image, shave) for image in pair)
    expected = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert metrics.psnr_y(*pair, shave) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shave", [0, 3])
def test_psnr_rgb_is_scikit_images(pair, shave):
    sr, hr = (image[shave : len(image) - shave, shave : 117 - shave] for image in pair)
    expected = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert metrics.psnr_rgb(*pair, shave) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shave", [0, 4])
@pytest.mark.parametrize("degrade", [noisy, lambda image: 255 - image, lambda image: image // 2])
def test_ssim_y_is_scikit_images_on_the_valid_region(pair, shave, degrade):
    hr = pair[1]
    sr = degrade(hr)
    _, full = structural_similarity(
        shaved_y(sr, shave),
        shaved_y(hr, shave),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    expected = full[5:-5, 5:-5].mean()
    assert metrics.ssim_y(sr, hr, shave) == pytest.approx(expected, abs=1e-4)


def test_identical_images_have_infinite_psnr_and_ssim_1(pair):
    hr = pair[1]
    assert metrics.psnr_y(hr, hr.copy(), 4) == float("inf")
    assert metrics.psnr_rgb(hr, hr.copy(), 4) == float("inf")
    assert metrics.ssim_y(hr, hr.copy(), 4) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("metric", ["psnr_y", "ssim_y", "psnr_rgb"])
def test_the_border_is_left_out_and_no_more(pair, metric):
    hr, measure = pair[1], metrics.METRICS[metric]
    border = hr.copy()
    border[:4], border[-4:], border[:, :4], border[:, -4:] = 0, 0, 0, 0
    assert measure(border, hr, 4) == measure(hr, hr, 4)
    for line in np.s_[4, :], np.s_[-5, :], np.s_[:, 4], np.s_[:, -5]:
        inside = hr.copy()
        inside[line] ^= 255
        assert measure(inside, hr, 4) < measure(hr, hr, 4) - 1e-5


@pytest.mark.parametrize("metric", ["lpips_alex", "lpips_vgg"])
def test_lpips_leaves_nothing_out(pair, metric):
    hr = pair[1]
    corner = hr.copy()
    corner[:4, :4] ^= 255
    assert metrics.METRICS[metric](corner, hr, 4) > metrics.METRICS[metric](hr, hr, 4) + 1e-4


@pytest.mark.parametrize("size", [(11, 11), (127, 128), (129, 138), (130, 266)])
def test_ssim_does_not_depend_on_the_size_it_was_compiled_for(photo, size, monkeypatch):
    hr = photo[: size[0], : size[1]]
    padded = metrics.ssim_y(noisy(hr), hr, 0)
    monkeypatch.setattr(metrics, "BUCKET", 1)
    metrics._window.cache_clear()
    # One pixel of 11x11 moments in float32; means over more pixels agree better.
    assert metrics.ssim_y(noisy(hr), hr, 0) == pytest.approx(padded, abs=2e-5)
    metrics._window.cache_clear()


def test_ssim_is_compiled_for_few_sizes(photo):
    before = metrics._ssim._cache_size()
    for side in range(160, 200, 5):
        metrics.ssim_y(photo[:side, :side], photo[:side, :side], 0)
    assert metrics._ssim._cache_size() <= before + 1


def test_the_smallest_side_is_that_of_the_pickiest_metric():
    assert metrics.smallest_side(["psnr_y"], 4) == 9
    assert metrics.smallest_side(["psnr_y", "ssim_y"], 4) == 19
    assert metrics.smallest_side(["psnr_y", "lpips_vgg"], 2) == 16
    assert metrics.smallest_side(metrics.METRICS, 4) == 31


def test_unknown_metrics_and_missing_weights_are_named(monkeypatch):
    with pytest.raises(UserError, match="metric='psnr' is unknown; did you mean 'psnr_"):
        metrics.check(["psnr"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    metrics.check(["psnr_y", "ssim_y"])
    with pytest.raises(UserError, match=r"alexnet\.ckpt are missing"):
        metrics.check(["psnr_y", "lpips_alex"])


@pytest.mark.parametrize(("metric", "least"), [("psnr_y", 9), ("psnr_rgb", 9), ("ssim_y", 19)])
def test_an_image_too_small_for_the_border_is_refused(metric, least):
    for side in (least, least - 1):
        image = np.zeros((40, side, 3), np.uint8)
        if side == least:
            metrics.METRICS[metric](image, image, 4)
        else:
            with pytest.raises(UserError, match=f"{side}x40 is too small.*at least {least}"):
                metrics.METRICS[metric](image, image, 4)


def test_one_level_of_all_pixels_is_48_decibels():
    hr = np.full((20, 20, 3), 100, np.uint8)
    assert metrics.psnr_rgb(hr + np.uint8(1), hr, 2) == pytest.approx(20 * np.log10(255))
    assert metrics.psnr_y(hr + np.uint8(1), hr, 2) == pytest.approx(20 * np.log10(255**2 / 219))


def test_the_order_of_the_two_uint8_images_does_not_matter(pair):
    sr, hr = pair
    assert metrics.psnr_rgb(sr, hr, 4) == metrics.psnr_rgb(hr, sr, 4)
    assert metrics.psnr_y(sr, hr, 4) == metrics.psnr_y(hr, sr, 4)


def check_bicubic(shared, name):
    """Compares bicubic on a whole set with the figures written down."""
    figures = json.loads((shared / "benchmark" / "bicubic.json").read_text())[name]["4"]
    found, bad = photos.folder(shared / "benchmark" / name, 4)
    assert not bad
    assert len(found) == figures["images"]
    rows = {}
    for photo in found:
        hr, lr = photos.load(photo, 4)
        sr = bicubic.upscale(lr, 4)
        rows[photo.name] = metrics.psnr_y(sr, hr, 4), metrics.ssim_y(sr, hr, 4)
    for image, (psnr, ssim) in rows.items():
        own = figures["per_image"][image]
        assert psnr == pytest.approx(own["psnr_y"], abs=0.005), image
        assert ssim == pytest.approx(own["ssim_y"], abs=0.0005), image
    psnr, ssim = np.mean(list(rows.values()), axis=0)
    assert psnr == pytest.approx(figures["psnr_y"], abs=0.005)
    assert ssim == pytest.approx(figures["ssim_y"], abs=0.0005)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_has_the_known_figures(shared, name):
    check_bicubic(shared, name)


@pytest.mark.slow  # decodes and enlarges 100 photos
@pytest.mark.parametrize("name", ["BSD100", "Urban100"])
def test_bicubic_has_the_known_figures_where_lr_is_made(shared, name):
    check_bicubic(shared, name)
