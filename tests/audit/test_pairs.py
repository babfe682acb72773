from pathlib import Path

import numpy as np
import pytest

from kdgan_jax.audit import pairs
from kdgan_jax.pictures import bicubic

HR, LR = Path("hr.png"), Path("lr.png")


def verdict(hr, lr, scale=4):
    return pairs.compare(HR, LR, hr.shape[:2], bicubic.downscale(hr, scale), lr, scale)


@pytest.fixture
def lr(photo):
    return bicubic.downscale(photo, 4)


def blurred(image):
    return np.mean([image, np.roll(image, 1, 0), np.roll(image, 1, 1)], axis=0).astype(np.uint8)


def test_matlab_s_bicubic_is_the_same(photo, lr):
    assert verdict(photo, lr) == ("same", "")


def test_another_reduction_matches_and_its_distance_is_said(photo, lr):
    other = np.clip(lr.astype(int) + 2, 0, 255).astype(np.uint8)
    kind, text = verdict(photo, other)
    assert kind == "degradation"
    assert text.startswith("lr.png: 42.1 dB")  # 10 log10(255² / 2²)


def test_strong_degradation_still_matches(photo, lr):
    noise = np.random.default_rng(0).normal(0, 10, lr.shape)
    assert (
        verdict(photo, np.clip(blurred(lr) + noise, 0, 255).astype(np.uint8)).kind == "degradation"
    )


@pytest.mark.parametrize(
    "change", [np.fliplr, np.flipud, lambda a: a[::-1, ::-1], lambda a: 255 - a]
)
def test_other_content_of_the_right_size(photo, lr, change):
    assert verdict(photo, np.ascontiguousarray(change(lr))) == ("content", pairs.RIGHT_SIZE)


def test_lr_that_is_not_reduced(photo):
    kind, text = verdict(photo, photo)
    assert kind == "pair"
    assert "lr.png: is not reduced at all, 451x300 where HR of 451x300 gives 112x75" in text


@pytest.mark.parametrize("other", [2, 3, 8])
def test_lr_of_another_scale(photo, other):
    kind, text = verdict(photo, bicubic.downscale(photo, other))
    assert kind == "pair"
    assert f"lr.png: is reduced x{other}, not x4" in text
    assert f"--scale={other}" in text


def test_lr_of_another_scale_that_was_rounded_up(photo):
    assert "is reduced x2, not x4" in verdict(photo, np.zeros((150, 226, 3), np.uint8)).text


@pytest.mark.parametrize(
    ("part", "place"),
    [
        (np.s_[:60, :100], "x=0, y=0"),
        (np.s_[15:, 12:], "x=12, y=15"),
        (np.s_[7:-8, 6:-6], "x=6, y=7"),
    ],
    ids=["top left", "bottom right", "middle"],
)
def test_cropped_lr_is_the_wrong_side(photo, lr, part, place):
    kind, text = verdict(photo, lr[part])
    assert kind == "pair"
    assert text.startswith("lr.png: LR is cropped")
    assert place in text


def test_the_best_of_several_places_is_named(photo):
    smooth = bicubic.upscale(bicubic.downscale(photo, 20), 20)  # a step aside is nearly the same
    kind, text = verdict(smooth, bicubic.downscale(smooth, 4)[2:, 2:])
    assert kind == "pair"
    assert "x=2, y=2" in text


def test_cropped_hr_is_the_wrong_side(photo, lr):
    kind, text = verdict(photo[:240, :400], lr)
    assert kind == "pair"
    assert text.startswith("hr.png: HR is cropped, lr.png shows more: 112x75")
    assert "x=0, y=0 of LR" in text


def test_lr_of_an_hr_that_was_not_cropped_to_a_multiple_shows_more(photo, lr):
    larger = np.pad(lr, [(0, 0), (0, 1), (0, 0)], mode="edge")  # 451 / 4, rounded up
    assert verdict(photo, larger).text.startswith("hr.png: HR is cropped")


def test_both_cropped(photo, lr):
    kind, text = verdict(photo[:, :360], lr[:60])
    assert kind == "pair"
    assert "HR and LR are cropped differently" in text


def test_other_content_of_another_size(photo, lr):
    assert verdict(photo, 255 - lr[:60]) == ("content", "112x60 where HR of 451x300 gives 112x75")


def test_flat_pictures_match_by_their_value():
    flat = np.full((64, 64, 3), 100, np.uint8)
    assert verdict(flat, np.full((16, 16, 3), 100, np.uint8)).kind == "same"
    assert verdict(flat, np.full((16, 16, 3), 102, np.uint8)).kind == "degradation"
    assert verdict(flat, np.full((16, 16, 3), 150, np.uint8)).kind == "content"
