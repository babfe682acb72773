import checks
import pytest

from kdgan_jax import models

TINY = {"channels": 8, "last_channels": 6, "blocks": 2}


def test_parameter_count_is_the_published_one():
    assert checks.count("pan") == 272_419


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("pan", scale=scale, **TINY)


@pytest.mark.parametrize(
    ("kwargs", "scale"), [(TINY, 4), (TINY, 2), ({"channels": 6, "blocks": 1}, 4)]
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("pan", scale=scale, **kwargs)


def test_a_file_for_x3_is_like_one_for_x2():
    assert checks.count("pan", scale=3) == checks.count("pan", scale=2)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("pan", **TINY) == []


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_are_the_whole(scale):
    checks.assert_tiles("pan", scale, **TINY)


def test_published_weights_give_the_published_output(shared):
    assert checks.golden_error(shared, "pan_x4.pth") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "pan") == {"pan_x4"}
