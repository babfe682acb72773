import io

import numpy as np
import pytest
from PIL import Image
from scipy import special, stats

from kdgan_jax.data import degradations
from kdgan_jax.data.degradations import LEVELS, degrade, generator
from kdgan_jax.runtime.errors import UserError

POSITIONS = np.stack(np.mgrid[:21, :21], axis=-1)[..., ::-1] - 10.0  # (x, y)

# torch.nn.functional.interpolate of 0, 1, 4, 9, 16, 25, 9 along one axis (PyTorch 2.13.0).
PYTORCH = {
    ("area", 4): [0.5, 4.66667, 16.66667, 17.0],
    ("area", 9): [0.0, 0.5, 2.5, 6.5, 9.0, 12.5, 20.5, 17.0, 9.0],
    ("area", 13): [0.0, 0.5, 1.0, 2.5, 4.0, 6.5, 9.0, 12.5, 16.0, 20.5, 25.0, 17.0, 9.0],
    ("bilinear", 4): [0.375, 4.625, 15.125, 15.0],
    ("bilinear", 9): [0.0, 0.66667, 2.33333, 5.11111, 9.0, 14.44445, 21.0, 19.66666, 9.0],
    ("bilinear", 13): [
        0.0,
        0.30769,
        0.84615,
        2.15385,
        3.76923,
        6.30769,
        9.0,
        12.76923,
        16.69231,
        21.53847,
        22.53846,
        13.92307,
        9.0,
    ],
    ("bicubic", 4): [0.1626, 4.66602, 14.67383, 15.35889],
    ("bicubic", 9): [
        -0.06584,
        0.35185,
        2.00411,
        5.09191,
        9.0,
        13.84911,
        23.28395,
        20.96296,
        7.9465,
    ],
    ("bicubic", 13): [
        -0.10241,
        0.13974,
        0.62085,
        1.88075,
        3.5726,
        5.9827,
        9.00001,
        12.32955,
        16.96678,
        23.88712,
        23.64247,
        14.03778,
        7.3614,
    ],
}


def covariance(sigma, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag(np.square(sigma)) @ turn.T


def squares(sigma, angle):
    inverse = np.linalg.inv(covariance(sigma, angle))
    return np.einsum("yxi,ij,yxj->yx", POSITIONS, inverse, POSITIONS)


@pytest.mark.parametrize(("sigma", "angle"), [((1.5, 1.5), 0.0), ((3.0, 0.8), 0.7)])
def test_kernels_are_those_of_the_formulas(sigma, angle):
    density = stats.multivariate_normal(cov=covariance(sigma, angle)).pdf(POSITIONS)
    kernel = degradations.gaussian(21, sigma, angle)
    np.testing.assert_allclose(kernel, density / density.sum(), rtol=1e-9)
    for beta in 0.5, 3.0:
        expected = np.exp(-0.5 * squares(sigma, angle) ** beta)
        kernel = degradations.gaussian(21, sigma, angle, beta)
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-9, atol=1e-300)
        expected = 1 / (squares(sigma, angle) ** beta + 1)
        kernel = degradations.plateau(21, sigma, angle, beta)
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-9)


def test_a_sinc_kernel_passes_low_frequencies_and_no_others():
    kernel, cutoff = degradations.sinc(21, 1.2), 1.2
    radius = np.hypot(*np.moveaxis(POSITIONS, -1, 0))
    radius[10, 10] = 1e-9  # the limit of the formula
    expected = cutoff * special.j1(cutoff * radius) / (2 * np.pi * radius)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-6)
    response = np.abs(np.fft.fft(degradations.sinc(201, cutoff).sum(axis=0), 2000))
    frequency = 2 * np.pi * np.arange(2000) / 2000
    assert response[frequency < 1.0] == pytest.approx(1, abs=0.1)
    assert response[(frequency > 1.4) & (frequency < np.pi)].max() < 0.1


def test_kernels_are_drawn_with_their_probabilities():
    kinds, random = [], np.random.default_rng(0)
    settings = LEVELS["strong"].passes[0]
    for _ in range(3000):
        kernel = degradations.draw_kernel(settings, random)
        assert kernel.sum() == pytest.approx(1)
        kinds.append((kernel.min() < 0, kernel.shape[0]))
    ringing, sizes = np.array(kinds).T
    assert ringing.mean() == pytest.approx(0.1, abs=0.02)
    assert set(sizes) == {7, 9, 11, 13, 15, 17, 19, 21}


def test_blur_is_a_correlation_with_mirrored_borders(photo):
    image, random = photo[:20, :24] / np.float32(255), np.random.default_rng(0)
    kernel = random.random((7, 7))
    found = degradations.blur(image, kernel)
    padded = np.pad(image, [(3, 3), (3, 3), (0, 0)], mode="reflect")
    expected = sum(
        kernel[y, x] * padded[y : y + 20, x : x + 24] for y in range(7) for x in range(7)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("mode", degradations.MODES)
@pytest.mark.parametrize("size", [4, 9, 13])
def test_resizing_is_that_of_pytorch(mode, size):
    values = np.array([0, 1, 4, 9, 16, 25, 9], np.float32)
    found = degradations.resize(values[:, None, None], (size, 1), mode)[:, 0, 0]
    np.testing.assert_allclose(found, PYTORCH[mode, size], atol=1e-4)


@pytest.mark.parametrize("grey", [False, True])
def test_noise_has_its_moments(grey):
    image = np.full((200, 300, 3), 0.5, np.float32)
    noisy = degradations.add_gaussian_noise(image, 12.0, grey, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(0.5, abs=1e-3)
    assert noisy.std() == pytest.approx(12 / 255, rel=0.02)
    assert (np.ptp(noisy, axis=2) == 0).all() == grey
    # 128 different values: counts have variance v / 128.
    image[..., :] = (np.arange(300) % 128 / 255)[:, None]
    noisy = degradations.add_poisson_noise(image, 0.5, grey, np.random.default_rng(0))
    column = noisy[:, 100] - image[:, 100]
    assert column.std() == pytest.approx(0.5 * (100 / 255 / 128) ** 0.5, rel=0.1)
    assert (np.ptp(noisy - image, axis=2) < 1e-6).all() == grey


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_has_the_error_of_pillow(photo, quality):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    reference = np.asarray(Image.open(file)).astype(float)
    found = degradations.jpeg(photo / np.float32(255), quality) * 255
    errors = [np.sqrt(np.mean((x - photo) ** 2)) for x in (found, reference)]
    assert 0.9 < errors[0] / errors[1] < 1.1


def test_a_quality_above_100_compresses_nothing(photo):
    image = photo / np.float32(255)
    np.testing.assert_array_equal(degradations.jpeg(image, 101), image)
    assert np.any(degradations.jpeg(image, 100) != image)


@pytest.mark.parametrize("level", ["light", "noisy", "strong"])
def test_a_copy_is_a_function_of_its_numbers(photo, level):
    image = photo[:96, :128]
    one, same, other = (
        degrade(image, (24, 32), level, generator(*numbers)) for numbers in [(2, 3), (2, 3), (2, 4)]
    )
    assert one.shape == (24, 32, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_strong_copies_keep_the_picture_but_lose_detail(photo):
    image = photo[:160, :192]
    reduced = image.reshape(40, 4, 48, 4, 3).mean(axis=(1, 3))
    copies = [degrade(image, (40, 48), "strong", generator(0, i)) for i in range(12)]
    errors = [np.abs(copy - reduced).mean() for copy in copies]
    assert 4 < np.mean(errors) < 40  # of 255
    assert np.abs(np.mean(copies, axis=0) - reduced).mean() < np.mean(errors) * 0.8


def test_noisy_copies_have_noise_as_fine_as_their_pixels():
    ramp = np.linspace(64, 192, 160).astype(np.uint8)[None, :, None].repeat(160, 0).repeat(3, 2)
    random = np.random.default_rng(0)
    copies = [degrade(ramp, (40, 40), "noisy", random)[:, :, 1] for _ in range(200)]
    noise = [copy - copy.mean(axis=0) for copy in copies]
    sigma = [one.std() for one in noise]
    assert np.quantile(sigma, 0.05) < 5
    assert np.quantile(sigma, 0.95) > 30
    # White noise: neighbours are not correlated, where JPEG has not smoothed them.
    correlations = [abs(np.corrcoef(one[1:].ravel(), one[:-1].ravel())[0, 1]) for one in noise]
    assert np.quantile(correlations, 0.4) < 0.05


def test_a_level_that_does_nothing_is_refused(photo):
    with pytest.raises(UserError, match="none"):
        degrade(photo, (75, 112), "none", generator(0, 0))
