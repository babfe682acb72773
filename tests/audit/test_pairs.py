from pathlib import Path

import numpy as np
import pytest

from kdgan_jax.audit import pairs
from kdgan_jax.pictures import bicubic

HR, LR = Path("hr.png"), Path("lr.png")


def verdict(hr, lr, scale=4):
    return pairs.compare(HR, LR, hr.shape[:2], bicubic.downscale(hr, scale), lr, scale)


def mismatch(hr, lr, path, *facts):
    """Checks that a pair does not match, for a reason that names the wrong file and has `facts`."""
    kind, text = verdict(hr, lr)
    assert kind == "pair"
    assert text.startswith(f"{path}: ")
    for fact in facts:
        assert fact in text


@pytest.fixture
def lr(photo):
    return bicubic.downscale(photo, 4)


def test_matlabs_bicubic_is_the_same(photo, lr):
    assert verdict(photo, lr) == ("same", "")


def test_another_reduction_matches_with_its_distance(photo, lr):
    kind, text = verdict(photo, np.clip(lr.astype(int) + 2, 0, 255).astype(np.uint8))
    assert kind == "degradation"
    assert text.startswith("lr.png: 42.1 dB")  # 10 log10(255² / 2²)
    blurred = np.mean([lr, np.roll(lr, 1, 0), np.roll(lr, 1, 1)], axis=0)
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 10, lr.shape), 0, 255)
    assert verdict(photo, noisy.astype(np.uint8)).kind == "degradation"


@pytest.mark.parametrize(
    "change", [np.fliplr, np.flipud, lambda a: a[::-1, ::-1], lambda a: 255 - a]
)
def test_other_content(photo, lr, change):
    assert verdict(photo, np.ascontiguousarray(change(lr))) == ("content", pairs.RIGHT_SIZE)
    kind, text = verdict(photo, change(lr)[:60])
    assert kind == "content"
    assert all(size in text for size in ("112x60", "451x300", "112x75"))


def test_lr_that_is_not_reduced(photo):
    mismatch(photo, photo, LR, "not reduced", "451x300", "112x75")


@pytest.mark.parametrize("other", [2, 3, 8])
def test_lr_of_another_scale(photo, other):
    lr = bicubic.downscale(photo, other)
    mismatch(photo, lr, LR, f"x{other}, not x4", f"--scale={other}")
    rounded_up = np.zeros((-(-300 // other), -(-451 // other), 3), np.uint8)
    mismatch(photo, rounded_up, LR, f"x{other}, not x4")


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
    mismatch(photo, lr[part], LR, "LR is cropped", place)


def test_the_best_of_several_places_is_named(photo):
    smooth = bicubic.upscale(bicubic.downscale(photo, 20), 20)  # a pixel away is nearly the same
    mismatch(smooth, bicubic.downscale(smooth, 4)[2:, 2:], LR, "x=2, y=2")


def test_cropped_hr_is_the_wrong_side(photo, lr):
    mismatch(photo[:240, :400], lr, HR, "HR is cropped", "lr.png", "112x75", "x=0, y=0")
    larger = np.pad(lr, [(0, 0), (0, 1), (0, 0)], mode="edge")  # 451 / 4, rounded up
    mismatch(photo, larger, HR, "HR is cropped")


def test_both_cropped(photo, lr):
    mismatch(photo[:, :360], lr[:60], LR, "cropped differently")


@pytest.mark.parametrize(("value", "kind"), [(100, "same"), (102, "degradation"), (150, "content")])
def test_flat_pictures_match_by_their_value(value, kind):
    flat = np.full((64, 64, 3), 100, np.uint8)
    assert verdict(flat, np.full((16, 16, 3), value, np.uint8)).kind == kind
