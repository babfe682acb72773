import itertools
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from kdgan_jax.evaluation import plots


def written(path):
    """Returns a PNG's pixels, which fails unless the file is a whole PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def row(phase, step, **scalars):
    return {"phase": phase, "step": step, **scalars}


def test_curves_are_a_png_with_the_points_in_it(tmp_path):
    rows = [row("teacher", s, pixel=1 / s, holdout_psnr_y=20 + s) for s in range(1, 9)]
    plots.curves(tmp_path / "one.png", rows)
    one = written(tmp_path / "one.png")
    # A loss may be zero, and a phase not yet evaluated.
    plots.curves(tmp_path / "two.png", [*rows, row("gan", 5, pixel=0.0, adversarial=0.2)])
    two = written(tmp_path / "two.png")
    assert two.shape[1] > 1.5 * one.shape[1]  # a column per phase
    plots.curves(tmp_path / "other.png", [{**r, "holdout_psnr_y": 21} for r in rows])
    assert (written(tmp_path / "other.png") != one).any()


def result(model, psnr, params=50_000, multi_adds=3_000_000_000):
    return {
        "model": model,
        "dataset": "Set5",
        "reference": "HR",
        "scale": 4,
        "psnr_y": psnr,
        "params": params,
        "multi_adds_720p": multi_adds,
    }


def distance(text, other):
    """Returns how many pixels the point of a text lies outside the box of another."""
    box, (x, y) = Text.get_window_extent(text), text.axes.transData.transform(other.xy)
    return math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))


def test_every_model_is_named_at_its_point_and_names_do_not_overlap(tmp_path, monkeypatch):
    drawn, annotate = [], Axes.annotate
    monkeypatch.setattr(
        Axes, "annotate", lambda *args, **more: drawn.append(annotate(*args, **more)) or drawn[-1]
    )
    rows = [result("bicubic", 28.4, 0, 0), result("forest", 30, 10**6, None)]
    rows += [result(f"student {i}", 30 + 0.05 * i) for i in range(9)]  # all close together
    plots.tradeoff(tmp_path / "t.png", rows)
    written(tmp_path / "t.png")
    texts = [text for text in drawn if text.figure]  # others were tried and removed
    students = [f"student {i}" for i in range(9)]
    names = ["bicubic", *students] * 2 + ["forest"]  # one cost is unknown
    assert sorted(text.get_text() for text in texts) == sorted(names)
    for first, second in itertools.combinations(texts, 2):
        box, other = Text.get_window_extent(first), Text.get_window_extent(second)
        shared = Bbox.intersection(box, other)
        if first.axes is second.axes and shared:
            assert shared.width * shared.height < 0.05 * box.width * box.height
    led = [text for text in texts if text.arrow_patch]
    assert led  # so many names have no place beside their points
    for text in set(texts) - set(led):
        own = distance(text, text)
        assert own < 12
        others = [t for t in texts if t.axes is text.axes and t is not text]
        away = [distance(text, other) for other in others if other.get_text() != "bicubic"]
        assert own < min(away)  # no other point could be meant


def test_a_model_that_is_exact_and_a_set_without_networks_do_no_harm(tmp_path):
    plots.tradeoff(tmp_path / "t.png", [result("oracle", float("inf")), result("a", 30)])
    written(tmp_path / "t.png")
    for rows in [result("nearest", 26, 0, 0)], [result("oracle", float("inf"))]:
        plots.tradeoff(tmp_path / "none.png", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["t.png"]


def test_a_cost_that_no_model_has_gets_no_plot(tmp_path):
    plots.tradeoff(tmp_path / "both.png", [result("a", 30)])
    plots.tradeoff(
        tmp_path / "one.png", [result("bicubic", 28, 0, 0), result("forest", 30, 9, None)]
    )
    both, one = (written(tmp_path / f"{name}.png").shape[1] for name in ("both", "one"))
    assert one < 0.6 * both


def test_curves_without_points_are_left_out(tmp_path):
    train = [row("a", s, pixel=1.0) for s in (1, 2)]
    heights = {}
    for name, rows in {"losses": train, "both": [*train, row("a", 2, holdout_psnr_y=20.0)]}.items():
        plots.curves(tmp_path / f"{name}.png", rows)
        heights[name] = written(tmp_path / f"{name}.png").shape[0]
    assert heights["losses"] < 0.6 * heights["both"]
    nothing = [row("a", 1, pixel=0.0, skipped=1, not_finite="pixel"), row("b", 1)]
    plots.curves(tmp_path / "none.png", nothing)
    assert not (tmp_path / "none.png").exists()


def test_long_names_stay_in_their_place(tmp_path, monkeypatch):
    drawn, annotate = [], Axes.annotate
    monkeypatch.setattr(
        Axes, "annotate", lambda *args, **more: drawn.append(annotate(*args, **more)) or drawn[-1]
    )
    plots.tradeoff(tmp_path / "t.png", [result("runs/" + "a-long-name/" * 8, 30), result("b", 31)])
    names = [text for text in drawn if text.figure and text.get_text() != "b"]
    axes = names[0].axes.get_window_extent()
    assert len(names) == 2
    for text in names:
        assert text.get_window_extent().width < axes.width / 2


def image_rows(model, values):
    return [
        {"model": model, "dataset": "d", "reference": "t", "image": str(i), "psnr_y": value}
        for i, value in enumerate(values)
    ]


def test_where_every_image_is_exact_there_is_no_plot_of_gains(tmp_path):
    inf = [float("inf")] * 2
    plots.gains(tmp_path / "g.png", image_rows("bicubic", inf) + image_rows("a", inf), "bicubic")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [[28.0, 29, 33], [28.0, float("inf"), 27], [30.0]])
def test_gains_are_taken_over_the_reference(tmp_path, monkeypatch, values):
    drawn = []
    monkeypatch.setattr(Axes, "boxplot", lambda self, x, **more: drawn.append((x, more)))
    rows = image_rows("bicubic", [27.0, 28, 29][: len(values)]) + image_rows("student", values)
    plots.gains(tmp_path / "g.png", rows, "bicubic")
    ((gains,), more) = drawn[0]
    assert more["tick_labels"] == ["student"]
    expected = [v - b for v, b in zip(values, (27, 28, 29), strict=False) if np.isfinite(v)]
    assert gains.tolist() == expected


def test_gains_are_a_png_with_a_line_per_model(tmp_path):
    rows = image_rows("bicubic", [27.0, 28]) + image_rows("a", [28.0, 29])
    plots.gains(tmp_path / "one.png", rows, "bicubic")
    plots.gains(tmp_path / "two.png", rows + image_rows("b", [30.0, 31]), "bicubic")
    assert written(tmp_path / "two.png").shape[0] > written(tmp_path / "one.png").shape[0]
