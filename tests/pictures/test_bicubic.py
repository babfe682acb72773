from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgan_jax.pictures import bicubic, codec


def cubic(t):
    t = abs(t)
    if t <= 1:
        return Fraction(3, 2) * t**3 - Fraction(5, 2) * t**2 + 1
    return -t * t * t / 2 + Fraction(5, 2) * t**2 - 4 * t + 2 if t <= 2 else Fraction(0)


def exact_line(line, scale):
    """Returns imresize of a list of integers by a fraction, in exact arithmetic."""
    n, shrink = len(line), min(scale, Fraction(1))
    mirrored, reach, out = line + line[::-1], 2 / shrink, []
    for x in range(1, ceil(n * scale) + 1):
        u = x / scale + (1 - 1 / scale) / 2
        places = range(floor(u - reach), ceil(u + reach) + 1)
        weights = [cubic(shrink * (u - i)) for i in places]
        total = sum(w * mirrored[(i - 1) % (2 * n)] for w, i in zip(weights, places, strict=True))
        out.append(min(255, max(0, floor(total / sum(weights) + Fraction(1, 2)))))
    return out


def exact(image, scale):
    """Returns imresize of (H, W, C): the rows' pass first, both passes rounded to uint8."""
    for axis in (0, 1):
        image = np.apply_along_axis(lambda v: exact_line([int(x) for x in v], scale), axis, image)
    return image.astype(np.uint8)


def noise(seed, height, width, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14)])
def test_matlabs_files_are_reproduced_without_a_differing_pixel(shared, name, count):
    folder = shared / "benchmark" / name
    files = sorted((folder / "LRx4").iterdir())
    assert len(files) == count
    for file in files:
        hr = codec.read_rgb(folder / "HR" / f"{file.stem.removesuffix('x4')}.png")
        np.testing.assert_array_equal(bicubic.downscale(hr, 4), codec.read_rgb(file), str(file))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
def test_both_ways_equal_exact_arithmetic(scale):
    for seed, (height, width) in enumerate([(8, 17), (13, 9)]):
        hr = noise(seed, height, width, 1)
        cropped = hr[: height // scale * scale, : width // scale * scale]
        lr = exact(cropped, Fraction(1, scale))
        np.testing.assert_array_equal(bicubic.downscale(hr, scale), lr)
        lr = lr[:4, :3]
        np.testing.assert_array_equal(bicubic.upscale(lr, scale), exact(lr, Fraction(scale)))


@pytest.mark.long
@given(st.integers(0, 10**6), st.integers(5, 17), st.integers(5, 17), st.sampled_from([2, 3, 4]))
def test_images_of_any_size_equal_exact_arithmetic(seed, height, width, scale):
    hr = noise(seed, height, width)
    cropped = hr[: height // scale * scale, : width // scale * scale]
    lr = exact(cropped, Fraction(1, scale))
    np.testing.assert_array_equal(bicubic.downscale(hr, scale), lr)
    np.testing.assert_array_equal(bicubic.upscale(lr, scale), exact(lr, Fraction(scale)))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_constant_image_stays_constant(scale):
    for value in (0, 1, 128, 255):
        image = np.full((11, 14, 3), value, np.uint8)
        small = bicubic.downscale(image, scale)
        assert small.shape == (11 // scale, 14 // scale, 3)
        assert (small == value).all()
        assert (bicubic.upscale(image, scale) == value).all()


def test_halves_are_rounded_up_and_negatives_saturate():
    # At x2 a pixel has weights 111/128, 29/128, -9/128 and -3/128 in its neighbourhood.
    line = np.array([0, 0, 0, 64, 0, 0, 0], np.uint8)
    lr = np.broadcast_to(line[:, None, None], (7, 5, 1))
    expected = [0, 0, 0, 0, 0, 15, 56, 56, 15, 0, 0, 0, 0, 0]  # 14.5 and 55.5 rounded up
    assert bicubic.upscale(lr, 2)[:, 3, 0].tolist() == expected


def test_cropping_takes_from_the_bottom_and_the_right():
    image = noise(0, 11, 9)
    np.testing.assert_array_equal(bicubic.crop_to_multiple(image, 4), image[:8, :8])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_matrix_is_upscale_without_its_rounding(scale):
    lr = noise(scale, 9, 12, 1) // 2 + 64  # overshoot stays within 0 to 255
    unrounded = bicubic.matrix(9, scale) @ lr[..., 0] @ bicubic.matrix(12, scale).T
    levels = np.abs(np.round(unrounded) - bicubic.upscale(lr, scale)[..., 0])
    assert levels.max() <= 1
    assert levels.mean() < 0.25
    np.testing.assert_allclose(bicubic.matrix(1, scale), np.ones((scale, 1)), atol=1e-6)
