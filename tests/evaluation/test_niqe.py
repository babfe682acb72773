import math

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import gamma
from skimage.color import rgb2ycbcr

from kdgan_jax.evaluation import niqe
from kdgan_jax.pictures.codec import read_rgb


def fitted(values):
    """The asymmetric generalised Gaussian of some values: shape, left and right scale."""
    values = values.ravel()
    shapes = np.arange(0.2, 10.001, 0.001)
    spreads = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left, right = (
        math.sqrt(np.mean(side**2)) if side.size else math.nan
        for side in (values[values < 0], values[values > 0])
    )
    ratio = left / right
    spread = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    spread *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = shapes[np.abs(spreads - spread).argmin()]  # the first for NaN
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def of_block(block):
    """The 18 features of a block."""
    shape, left, right = fitted(block)
    features = [shape, (left + right) / 2]
    for down, across in (0, 1), (1, 0), (1, 1), (1, -1):
        other = np.roll(np.roll(block, down, axis=0), across, axis=1)
        shape, left, right = fitted(block * other)
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        features += [shape, mean, left, right]
    return features


def halved(image):
    """MATLAB's imresize(image, 0.5) along the first axis."""
    t = np.abs(np.arange(-3.5, 4)) / 2
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = np.where(t <= 1, near, far) / 2
    mirrored = np.concatenate([image[2::-1], image, image[:-4:-1]])
    return np.array([weights @ mirrored[i : i + 8] for i in range(0, len(image), 2)])


def plain(image):
    """NIQE, block by block, after Mittal et al. 2013."""
    rows, columns = image.shape[0] // 96, image.shape[1] // 96
    y = np.round(rgb2ycbcr(image)[: rows * 96, : columns * 96, 0])
    window = np.exp(-np.square(np.mgrid[-3:4, -3:4]).sum(0) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    features = []
    for side in 96, 48:
        mean = convolve(y, window, mode="nearest")
        variance = convolve(y**2, window, mode="nearest") - mean**2
        centred = np.where(np.abs(y - mean) < 1e-9, 0, y - mean)
        normal = centred / (np.sqrt(np.abs(variance)) + 1)
        blocks = [
            normal[i * side : (i + 1) * side, j * side : (j + 1) * side]
            for i in range(rows)
            for j in range(columns)
        ]
        features.append([of_block(block) for block in blocks])
        y = halved(halved(y).T).T
    features = np.concatenate(features, axis=1)
    whole = features[np.isfinite(features).all(axis=1)]
    natural = load_file(niqe.PARAMETERS)
    shift = natural["mean"] - np.nanmean(features, axis=0)
    covariance = natural["covariance"] / 2 + np.cov(whole.T) / 2
    return math.sqrt(shift @ np.linalg.pinv(covariance) @ shift)


def noise(shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("change", ["none", "flat part", "noise", "dark"])
def test_the_distance_is_that_of_the_plain_formulas(photo, change):
    image = photo[:210, :310].copy()
    if change == "flat part":
        image[:100, :100] = 77  # a block without structure
    elif change == "noise":
        image = noise(image.shape)
    elif change == "dark":
        image //= 32
    with np.errstate(invalid="ignore"):
        expected = plain(image)
    assert niqe.distance(image) == pytest.approx(expected, rel=1e-9)


def test_the_rest_beside_whole_blocks_is_left_out(photo):
    image = photo[:230, :300]
    assert niqe.distance(image) == niqe.distance(image[:192, :288])
    assert niqe.distance(image) != niqe.distance(image[1:193, :288])


def test_a_photo_is_nearer_to_natural_ones_than_what_is_made_of_it(photo):
    blurred = gaussian_filter(photo, (2, 2, 0))
    natural = niqe.distance(photo)
    assert 2 < natural < 6
    assert niqe.distance(blurred) > natural + 1
    assert niqe.distance(noise(photo.shape)) > natural + 10


def test_without_structure_in_two_blocks_there_is_no_figure(photo):
    image = np.full((200, 300, 3), 77, np.uint8)
    assert math.isnan(niqe.distance(image))
    image[8:88, 8:88] = photo[8:88, 8:88]
    assert math.isnan(niqe.distance(image))
    image[8:88, 104:184] = photo[8:88, 104:184]
    assert niqe.distance(image) > 0


def test_baboon_has_matlabs_figure(shared):
    baboon = read_rgb(shared / "benchmark/Set14/HR/baboon.png")
    assert niqe.distance(baboon) == pytest.approx(5.72957, abs=1e-4)  # R2021a, as BasicSR says
