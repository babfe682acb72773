import json

import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kdgan_jax.data import photos, sources
from kdgan_jax.evaluation import metrics
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def shaved(image, shave):
    return image[shave : len(image) - shave, shave : image.shape[1] - shave]


@pytest.fixture(scope="module")
def pair(photo):
    hr = photo[60:157, 100:217]
    return noisy(hr), hr


@pytest.mark.parametrize("shave", [0, 2, 4])
def test_psnr_is_scikit_images(pair, shave):
    sr, hr = (shaved(rgb2ycbcr(image)[..., 0], shave) for image in pair)
    expected = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert metrics.psnr_y(*pair, shave) == pytest.approx(expected, abs=1e-9)
    sr, hr = (shaved(image, shave) for image in pair)
    expected = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert metrics.psnr_rgb(*pair, shave) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "degrade", [noisy, lambda image: 255 - image, lambda image: image // 2], ids=["noise", "-", "/"]
)
@pytest.mark.parametrize("size", [(97, 117), (127, 138), (130, 266)])  # SSIM is padded to 128
def test_ssim_y_is_scikit_images_on_the_valid_region(photo, size, degrade):
    hr = photo[: size[0], : size[1]]
    for shave in (0, 4):
        _, full = structural_similarity(
            *(shaved(rgb2ycbcr(image)[..., 0], shave) for image in (degrade(hr), hr)),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            full=True,
        )
        expected = full[5:-5, 5:-5].mean()
        assert metrics.ssim_y(degrade(hr), hr, shave) == pytest.approx(expected, abs=1e-4)


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


@pytest.mark.parametrize("metric", ["lpips_alex", "lpips_vgg", "dists"])
def test_what_compares_features_leaves_nothing_out(photo, metric):
    hr, measure = photo[:64, :96], metrics.METRICS[metric]
    corner = hr.copy()
    corner[:4, :4] ^= 255
    assert measure(corner, hr, 4) > measure(hr, hr, 4) + 1e-4


def test_the_smallest_side_is_that_of_the_pickiest_metric():
    assert metrics.smallest_side(["psnr_y"], 4) == 9
    assert metrics.smallest_side(["psnr_y", "ssim_y"], 4) == 19
    assert metrics.smallest_side(["psnr_y", "lpips_vgg"], 2) == 16
    assert metrics.smallest_side(["psnr_y", "lpips_alex", "dists"], 4) == 31
    assert metrics.smallest_side(metrics.METRICS, 4) == 192
    for side, names in {18: ["psnr_y"], 30: ["psnr_y", "ssim_y"], 31: ["psnr_y", "ssim_y"]}.items():
        more = ["lpips_alex"] if side == 31 else []
        assert metrics.measurable(["psnr_y", "ssim_y", "lpips_alex"], side, 4) == names + more


@pytest.mark.parametrize("metric", ["psnr_y", "psnr_rgb", "ssim_y", "dists", "niqe", "mesh"])
def test_an_image_that_is_too_small_is_refused(metric):
    smallest = metrics.smallest_side([metric], 4)
    image = np.zeros((200, smallest, 3), np.uint8)
    metrics.METRICS[metric](image, image, 4)
    with pytest.raises(UserError, match=f"{smallest - 1}x200 .*{smallest}"):
        metrics.METRICS[metric](image[:, 1:], image[:, 1:], 4)


def test_figures_are_the_metrics_of_each_image_and_no_reference_is_none(photo):
    hr = photo[:200, :200]
    images = [noisy(hr), hr]
    names = ["psnr_y", "lpips_alex", "dists", *metrics.NO_REFERENCE]
    rows = metrics.figures(images, hr, 4, names)
    for row, image in zip(rows, images, strict=True):
        for name in names:
            assert row[name] == pytest.approx(metrics.METRICS[name](image, hr, 4), abs=1e-12)
            changed = metrics.METRICS[name](image, 255 - hr, 4) != row[name]
            assert changed == (name not in metrics.NO_REFERENCE)


def test_one_level_of_all_pixels_is_48_decibels_whichever_comes_first():
    hr = np.full((20, 20, 3), 100, np.uint8)
    for pair in ((hr + np.uint8(1), hr), (hr, hr + np.uint8(1))):
        assert metrics.psnr_rgb(*pair, 2) == pytest.approx(20 * np.log10(255))
        assert metrics.psnr_y(*pair, 2) == pytest.approx(20 * np.log10(255**2 / 219))


LR_IS_MADE = "BSD100", "Urban100"  # sets of 100 photos; the others come with LR
WHOLE = [pytest.param(name, 100, marks=pytest.mark.long) for name in LR_IS_MADE]


@pytest.mark.parametrize(
    ("name", "number"), [("Set5", 5), ("Set14", 14), *((name, 2) for name in LR_IS_MADE), *WHOLE]
)
def test_bicubic_has_the_known_figures(shared, name, number):
    known = json.loads((shared / "benchmark" / "bicubic.json").read_text())[name]["4"]
    found, unusable = sources.folder(shared / "benchmark" / name, 4)
    assert (len(found), unusable) == (known["images"], [])
    figures = []
    for photo in found[:number]:
        hr, lr = photos.load_pair(photo, 4)
        sr, expected = bicubic.upscale(lr, 4), known["per_image"][photo.name]
        figures.append((metrics.psnr_y(sr, hr, 4), metrics.ssim_y(sr, hr, 4)))
        assert figures[-1][0] == pytest.approx(expected["psnr_y"], abs=0.005), photo.name
        assert figures[-1][1] == pytest.approx(expected["ssim_y"], abs=0.0005), photo.name
    if number == len(found):
        psnr, ssim = np.mean(figures, axis=0)
        assert psnr == pytest.approx(known["psnr_y"], abs=0.005)
        assert ssim == pytest.approx(known["ssim_y"], abs=0.0005)
