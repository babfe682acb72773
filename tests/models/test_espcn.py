import checks
import pytest

from kdgan_jax import models

TINY = {"channels": (8, 4)}


def test_parameter_count_is_the_published_one():
    assert checks.count("espcn") == 24_752


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_sized_input(scale):
    checks.assert_enlarges("espcn", scale, **TINY)


@pytest.mark.parametrize(("kwargs", "scale"), [({}, 4), (TINY, 3), ({"channels": (6, 10)}, 2)])
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("espcn", scale, **kwargs)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("espcn", 2, **TINY) == []


@pytest.mark.parametrize("scale", models.SCALES)
def test_tiles_give_the_whole(scale):
    checks.assert_tiles("espcn", scale, **TINY)


def test_published_weights_give_the_published_output(shared):
    name, module, _ = checks.published(shared, "espcn_x4.pb")
    assert (name, module) == ("espcn", models.generator("espcn", {}, 4))
    assert checks.golden_error(shared, "espcn_x4.pb") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "espcn") == {"espcn_x4"}
