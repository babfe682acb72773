"""Intervals, compared with values worked out by hand or known from tables."""

import numpy as np
import pytest

from kdgan_jax.evaluation.metrics import METRICS
from launch.ablation.statistics import Mean, crossing, over_images, over_seeds


def test_the_interval_over_seeds_is_that_of_student_s_t():
    # Mean 2, standard deviation 1, t of 2 degrees of freedom 4.3027: 4.3027 / sqrt(3) = 2.4842.
    assert over_seeds([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 2.4842, 2 + 2.4842, 3), abs=1e-4)
    # Two values: half of their difference times 12.7062.
    assert over_seeds([1.0, 2.0]).low == pytest.approx(1.5 - 0.5 * 12.7062, abs=1e-4)


def test_without_two_values_there_is_no_interval():
    assert over_seeds([]) == Mean(None, None, None, 0)
    assert over_seeds([3.0]) == Mean(3.0, None, None, 1)
    assert over_seeds([3.0, np.inf, np.nan]) == Mean(3.0, None, None, 1)


def rows(**psnr):
    empty = dict.fromkeys(METRICS)
    of_set = {"model": "student", "dataset": "five", "reference": "HR"}
    return [{**empty, **of_set, "image": name, "psnr_y": value} for name, value in psnr.items()]


def test_the_interval_over_images_is_of_means_over_seeds():
    seeds = [(rows(x=31.0, y=32.0), rows(x=30.0, y=30.0)), (rows(x=33.0, y=30.0), rows(x=30, y=30))]
    (row,) = over_images(seeds)  # the images gain 2 and 1
    assert (row["difference"], row["images"]) == (pytest.approx(1.5), 2)
    assert (row["low"], row["high"]) == (pytest.approx(1.0), pytest.approx(2.0))
    (row,) = over_images([(rows(x=31.0, z=1.0), rows(x=30.0, y=30.0))])
    assert (row["difference"], row["images"], row["low"]) == (1.0, 1, None)


def test_a_curve_reaches_a_level_between_its_points():
    curve = [(10, 28.0), (20, 30.0), (30, 29.0), (40, 31.0)]
    assert crossing(curve, 29.0) == 15.0
    assert crossing(curve, 30.5) == 37.5
    assert crossing(curve, 28.0) == 10
    assert crossing(curve, 31.1) is None
    assert crossing([], 1.0) is None
