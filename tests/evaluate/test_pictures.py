import numpy as np
import pytest
from PIL import Image

from kdgan_jax import bicubic
from kdgan_jax.evaluate import measure, pictures


@pytest.mark.parametrize(("top", "left"), [(0, 0), (12, 40), (48, 64), (28, 4)])
def test_the_planted_window_is_found(top, left):
    same = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    other = same.copy()
    other[top : top + 16, left : left + 16] ^= 128
    assert pictures.most_different([same, other, same], side=16, step=4) == (top, left)


def test_the_window_may_be_the_whole_picture():
    image = np.zeros((16, 16, 3), np.uint8)
    assert pictures.most_different([image, image + np.uint8(1)], side=16, step=4) == (0, 0)


def example(photo, side):
    hr = np.ascontiguousarray(photo[100 : 100 + side, 100 : 100 + side])
    return measure.Example("a/cat", hr, bicubic.downscale(hr, 4))


def made(shown):
    return {
        "nearest": shown.lr.repeat(4, axis=0).repeat(4, axis=1),
        "bicubic": bicubic.upscale(shown.lr, 4),
    }


def written(path):
    """Returns a PNG's pixels, which fails unless the file is a whole PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("side", [40, 120])  # smaller and larger than the crop
def test_a_sheet_is_a_png_with_the_photo_in_it(tmp_path, photo, side):
    shown = example(photo, side)
    pictures.sheet(tmp_path / "sheet.png", [shown], [made(shown)], scale=4)
    pixels = written(tmp_path / "sheet.png")
    ink = np.array([int(pictures.INK[i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(pixels.astype(int) - ink).max(axis=-1) < 8).sum() > 20  # the box
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500  # the photo
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_a_sheet_has_a_line_per_photo_and_a_column_per_model(tmp_path, photo):
    shown = example(photo, 64)
    results = made(shown)
    pictures.sheet(tmp_path / "one.png", [shown], [results], scale=4)
    pictures.sheet(tmp_path / "two.png", [shown] * 2, [results] * 2, scale=4)
    pictures.sheet(tmp_path / "wide.png", [shown], [results | {"x": shown.hr}], scale=4)
    one, two, wide = (written(tmp_path / f"{name}.png").shape for name in ("one", "two", "wide"))
    assert two[0] > 1.6 * one[0]
    assert wide[1] > 1.1 * one[1]


def row(phase, step, **scalars):
    return {"phase": phase, "step": step, **scalars}


def test_curves_are_a_png_with_the_points_in_it(tmp_path):
    rows = [row("teacher", s, pixel=1 / s, holdout_psnr_y=20 + s) for s in range(1, 9)]
    pictures.curves(tmp_path / "one.png", rows)
    one = written(tmp_path / "one.png")
    pictures.curves(tmp_path / "two.png", [*rows, row("distill", 5, pixel=0.1, distill=0.2)])
    assert written(tmp_path / "two.png").shape[1] > 1.5 * one.shape[1]  # a column per phase
    pictures.curves(tmp_path / "fewer.png", [{**r, "holdout_psnr_y": 21} for r in rows])
    assert (written(tmp_path / "fewer.png") != one).any()


def test_curves_do_without_evaluation_and_with_a_loss_of_zero(tmp_path):
    pictures.curves(tmp_path / "curves.png", [row("gan", 1, pixel=0.0, adversarial=0.7)])
    assert written(tmp_path / "curves.png").size
