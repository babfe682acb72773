import numpy as np
import pytest

from kdgan_jax.evaluation.metrics import METRICS
from kdgan_jax.evaluation.significance import compare


def rows(model, values, reference="HR"):
    facts = {"model": model, "dataset": "d", "reference": reference, **dict.fromkeys(METRICS)}
    return [{**facts, "image": str(i), "psnr_y": value} for i, value in enumerate(values)]


def test_difference_is_paired_and_its_interval_is_the_textbooks_for_many_images():
    random = np.random.default_rng(0)
    hard = random.normal(28, 4, 400)  # photos differ far more than models
    gain = random.normal(0.1, 0.3, 400)
    (row,) = compare(rows("a", hard + gain) + rows("b", hard), "a", "b")
    assert row["difference"] == pytest.approx(gain.mean())
    half = 1.96 * gain.std(ddof=1) / 20
    assert row["low"] == pytest.approx(gain.mean() - half, abs=0.005)
    assert row["high"] == pytest.approx(gain.mean() + half, abs=0.005)
    assert (row["images"], row["left_out"], row["metric"]) == (400, 0, "psnr_y")


def test_order_turns_the_sign_and_repeating_changes_nothing():
    both = rows("a", [3, 5, 9.0]) + rows("b", [1, 4, 2.0])
    (row,), (reversed_row,) = compare(both, "a", "b"), compare(both, "b", "a")
    assert row["difference"] == -reversed_row["difference"] == pytest.approx(10 / 3)
    assert (row["low"], row["high"]) == (1, 7)
    assert compare(both, "a", "b") == [row]


def test_images_are_matched_by_name_not_by_place():
    a, b = rows("a", [1, 2, 3.0]), rows("b", [1, 2, 3.0])
    (row,) = compare([*a, *reversed(b)], "a", "b")
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)


def test_every_set_and_measured_metric_has_a_row():
    per_image = rows("a", [1, 2.0]) + rows("b", [1, 2.0])
    per_image += [
        {**row, "dataset": "e", "ssim_y": 0.5} for row in rows("a", [1, 2.0]) + rows("b", [1, 2.0])
    ]
    keys = [(row["dataset"], row["metric"]) for row in compare(per_image, "a", "b")]
    assert keys == [("d", "psnr_y"), ("e", "psnr_y"), ("e", "ssim_y")]


def test_references_are_kept_apart_and_one_may_lack_a_model():
    truth = rows("a", [3, 5.0]) + rows("b", [1, 1.0]) + rows("c", [2, 2.0])
    to_teacher = rows("a", [7, 7.0], "c") + rows("b", [6, 6.0], "c")
    found = compare(truth + to_teacher, "a", "b")
    assert [(row["reference"], row["difference"]) for row in found] == [("HR", 3), ("c", 1)]
    assert [row["reference"] for row in compare(truth + to_teacher, "a", "c")] == ["HR"]


def test_an_exact_image_is_left_out_and_counted():
    inf = float("inf")
    (row,) = compare(rows("a", [inf, inf, 3, 5]) + rows("b", [inf, 1, 1, 1]), "a", "b")
    assert (row["images"], row["left_out"], row["difference"]) == (2, 2, 3)
    (row,) = compare(rows("a", [inf, inf, 3]) + rows("b", [inf, 1, 1]), "a", "b")
    assert (row["difference"], row["low"], row["high"]) == (2, None, None)
    (row,) = compare(rows("a", [inf]) + rows("b", [inf]), "a", "b")
    assert row["difference"] is None
