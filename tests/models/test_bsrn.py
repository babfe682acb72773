import checks
import pytest

from kdgan_jax import models

FULL = {"channels": 64, "blocks": 8}
TINY = {"channels": 32, "blocks": 2}
SMALL = {"channels": 48, "blocks": 5, "small": True}  # BSRN-S
TINY_SMALL = {"channels": 16, "blocks": 2, "small": True}
FILES = {"bsrn_x4": FULL, "bsrn_s_x4": SMALL}


@pytest.mark.parametrize(("kwargs", "published"), [({}, 352_400), (SMALL, 156_288)], ids=FILES)
def test_parameter_count_is_the_published_one(kwargs, published):
    assert checks.count("bsrn", **kwargs) == published


@pytest.mark.parametrize("kwargs", [TINY, TINY_SMALL], ids=FILES)
@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale, kwargs):
    checks.assert_enlarges("bsrn", scale=scale, **kwargs)


@pytest.mark.parametrize(("kwargs", "scale"), [(TINY, 2), (TINY_SMALL, 3), (TINY_SMALL, 4)])
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("bsrn", scale=scale, **kwargs)


@pytest.mark.parametrize("kwargs", [TINY, TINY_SMALL], ids=FILES)
def test_every_parameter_has_a_gradient_that_is_finite_on_a_constant_image_too(kwargs):
    assert checks.assert_gradients("bsrn", **kwargs | {"blocks": 1}) == []


@pytest.mark.parametrize(("stem", "kwargs"), FILES.items())
def test_published_weights_give_the_published_output(shared, stem, kwargs):
    name, module, _ = checks.published(shared, f"{stem}.pth")
    assert (name, module) == ("bsrn", models.generator("bsrn", kwargs, 4))
    assert checks.golden_error(shared, f"{stem}.pth") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "bsrn") == set(FILES)
