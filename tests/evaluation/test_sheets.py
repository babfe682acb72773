import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from PIL import Image

from kdgan_jax.evaluation import measure, sheets
from kdgan_jax.pictures import bicubic


@pytest.mark.parametrize(("top", "left"), [(0, 0), (12, 40), (48, 64), (28, 4)])
def test_the_planted_window_is_found(top, left):
    same = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    other = same.copy()
    other[top : top + 16, left : left + 16] ^= 128
    assert sheets.most_different([same, other, same], side=16, step=4) == (top, left)


def test_the_window_may_be_the_whole_picture():
    image = np.zeros((16, 16, 3), np.uint8)
    assert sheets.most_different([image, image + np.uint8(1)], side=16, step=4) == (0, 0)


def example(photo, side):
    hr = np.ascontiguousarray(photo[100 : 100 + side, 100 : 100 + side])
    return measure.Example("a/cat", hr, bicubic.downscale(hr, 4))


def row(model, image="a/cat", ssim=0.8, reference="HR"):
    return {
        "model": model,
        "reference": reference,
        "image": image,
        "psnr_y": 28.5,
        "ssim_y": ssim,
        "lpips_alex": None if ssim is None else 0.1234,
    }


def lines(shown, results, **more):
    """The line of a sheet, with figures that are the same for all."""
    rows = [row(model) for model in results] + [row(model, "a/dog") for model in results]
    return [sheets.line(shown, results, rows, scale=4, **more)]


def upscaled(shown):
    return {
        "nearest": shown.lr.repeat(4, axis=0).repeat(4, axis=1),
        "bicubic": bicubic.upscale(shown.lr, 4),
    }


def written(path):
    """Returns a PNG's pixels, which fails unless the file is a whole PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_a_sheet_is_a_png_with_the_photo_in_it(tmp_path, photo):
    shown = example(photo, 40)
    sheets.sheet(tmp_path / "sheet.png", lines(shown, upscaled(shown)))
    pixels = written(tmp_path / "sheet.png")
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500  # the photo
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]
    # A second photo makes it higher, and so do more models than fit into one row of crops.
    many = upscaled(shown) | {f"model {i}": shown.reference for i in range(8)}
    for more in lines(shown, upscaled(shown)) * 2, lines(shown, many):
        sheets.sheet(tmp_path / "more.png", more)
        height, width, _ = written(tmp_path / "more.png").shape
        assert height > 1.6 * len(pixels)
        assert abs(width - pixels.shape[1]) < 0.05 * width  # as wide as a page


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (128, 128, 128), (214, 39, 40)])
def test_the_boxs_frame_is_seen_on_any_colour_and_at_the_edge(tmp_path, photo, colour):
    shown = example(photo, 120)
    shown.reference[:] = colour
    shown = shown._replace(lr=shown.reference[::4, ::4])
    pixels = []
    for left in (0, 40, 80):
        box = sheets.Box(left, 80, 40, 40)
        sheets.sheet(tmp_path / "box.png", lines(shown, {"same": shown.reference}, box=box))
        pixels.append(written(tmp_path / "box.png").astype(int))
    width = min(image.shape[1] for image in pixels)  # a frame at the edge sticks out
    for one, other in itertools.combinations([image[-290:, -width:] for image in pixels], 2):
        assert (np.abs(one - other).max(axis=-1) > 100).sum() > 200


def test_a_given_box_is_shown(tmp_path, photo):
    shown = example(photo, 120)
    shown.reference[:], shown.reference[20:40, 60:100] = 255, (0, 200, 0)
    green = []
    for box in (sheets.Box(60, 20, 40, 20), sheets.Box(0, 60, 40, 20)):
        sheets.sheet(tmp_path / "box.png", lines(shown, {"same": shown.reference}, box=box))
        pixels = written(tmp_path / "box.png").astype(int)
        green.append((np.abs(pixels - (0, 200, 0)).max(axis=-1) < 8).mean())
    assert green[0] > 5 * green[1] > 0  # it is in the whole photo, and fills the crops of its box


@pytest.mark.parametrize("side", [40, 300])  # smaller and larger than the crop
def test_a_chosen_box_is_inside_the_photo(photo, side):
    shown = example(photo, side)
    box = sheets.choose_box(shown, list(upscaled(shown).values()), 4)
    assert box.width == box.height == min(sheets.CROP, side // 4 * 4)
    assert max(box.left, box.top) + box.width <= side


def test_a_line_has_the_models_figures_and_their_crops(photo):
    shown, box = example(photo, 120), sheets.Box(10, 21, 30, 17)
    rows = [row("nearest"), row("bicubic", ssim=0.9), row("nearest", "a/dog")]
    line = sheets.line(shown, upscaled(shown), rows, scale=4, box=box)
    assert (line.name, line.box) == ("a/cat", box)
    np.testing.assert_array_equal(line.reference, shown.reference)
    assert [(title, below) for title, _, below in line.panels] == [
        ("LR", ""),
        ("nearest", "28.50 / 0.8000 / 0.123"),
        ("bicubic", "28.50 / 0.9000 / 0.123"),
        ("HR", "PSNR / SSIM / LPIPS"),
    ]
    for title, crop, _ in line.panels[1:]:
        whole = {**upscaled(shown), "HR": shown.reference}[title]
        np.testing.assert_array_equal(crop, whole[21:38, 10:40])
    np.testing.assert_array_equal(line.panels[0][1], shown.lr[5:10, 2:10])
    rows = [row(model, ssim=None) for model in ("nearest", "bicubic")]
    panels = sheets.line(shown, upscaled(shown), rows, scale=4).panels
    assert [below for _, _, below in panels] == ["", "28.50", "28.50", "PSNR"]


@pytest.mark.parametrize(("reference", "ssim"), [("HR", "0.8000"), ("big", "0.7000")])
def test_the_figures_are_those_to_the_reference_that_is_shown(photo, reference, ssim):
    shown = example(photo, 120)._replace(reference_name=reference)
    rows = [row("same"), row("same", ssim=0.7, reference="big")]
    panels = sheets.line(shown, {"same": shown.reference}, rows, scale=4).panels
    assert [(name, below) for name, _, below in panels[1:]] == [
        ("same", f"28.50 / {ssim} / 0.123"),
        (reference, "PSNR / SSIM / LPIPS"),
    ]


def test_without_a_reference_the_sheet_has_no_panel_for_it(tmp_path, photo):
    shown = measure.alone("a/cat", photo[:20, :30], 4)
    rows = [
        {**row("nearest", reference=None), "niqe": 4.126, "mesh": 0.314},
        {**row("nearest", "a/dog", reference=None), "niqe": 9.0, "mesh": 9.0},
    ]
    nearest = upscaled(shown)["nearest"]
    (line,) = [sheets.line(shown, {"nearest": nearest}, rows, scale=4)]
    assert [(title, below) for title, _, below in line.panels] == [
        ("LR", "NIQE / mesh"),
        ("nearest", "4.13 / 0.31"),
    ]
    np.testing.assert_array_equal(line.reference, bicubic.upscale(photo[:20, :30], 4))
    sheets.sheet(tmp_path / "sheet.png", [line])
    written(tmp_path / "sheet.png")


def test_long_names_stay_above_their_crops(tmp_path, photo, monkeypatch):
    drawn, title = [], Axes.set_title
    monkeypatch.setattr(
        Axes, "set_title", lambda *args, **more: drawn.append(title(*args, **more)) or drawn[-1]
    )
    shown = example(photo, 120)
    names = ["runs/a-long-name/" * 4, "a word " * 9, "$5_000 for $2", "M" * 60]
    sheets.sheet(tmp_path / "sheet.png", lines(shown, dict.fromkeys(names, shown.reference)))
    assert len(drawn) == 1 + 1 + len(names) + 1  # of the photo, LR, the models, HR
    boxes = [text.get_window_extent() for text in drawn]
    crops = [text.axes.get_window_extent() for text in drawn]
    for box, own in zip(boxes[1:5], crops[1:5], strict=True):
        assert box.width < 1.05 * own.width
    for box, other in itertools.permutations([*boxes, *crops], 2):
        shared = Bbox.intersection(box, other)
        assert not shared or shared.width * shared.height < 1
