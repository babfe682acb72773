import checks
import jax
import numpy as np
import pytest
import recorded

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.models.generators import edsr, rcan

TINY = {"channels": 8, "groups": 2, "blocks": 3, "reduction": 4}
BARE = {**TINY, "mean_shift": False}
RECORDED = {"rcan_x4": (4, TINY), "rcan_x3": (3, BARE)}


def test_parameter_count_is_the_published_one():
    assert checks.count("rcan", mean_shift=False) == 15_592_355
    assert checks.count("rcan") == 15_592_379  # two mean shifts of 12 numbers more


@pytest.mark.parametrize("scale", models.SCALES)
def test_output_is_scale_times_an_odd_sized_input(scale):
    checks.assert_enlarges("rcan", scale, **TINY)


@pytest.mark.parametrize(("kwargs", "scale"), [(TINY, 4), (BARE, 3), ({**TINY, "groups": 1}, 2)])
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("rcan", scale, **kwargs)


def test_every_parameter_but_the_mean_has_a_finite_gradient():
    kwargs = {"channels": 8, "groups": 1, "blocks": 1, "reduction": 1}
    still = checks.assert_gradients("rcan", 2, **kwargs)
    shifts = "add_mean", "sub_mean"
    assert sorted(still) == [f"{shift}/{part}" for shift in shifts for part in ("bias", "kernel")]


def test_a_fresh_mean_shift_adds_its_offset():
    x = np.random.default_rng(0).random((1, 2, 3, 3), np.float32)
    shifted, _ = rcan.MeanShift((1.0, 2.0, 3.0)).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(shifted, x + np.array([1, 2, 3]), atol=1e-6)


def test_mean_shifts_are_div2ks():
    module = models.generator("rcan", TINY, 2)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), foreign.shapes(module))
    state = recorded.state("rcan_x4")
    for name in "sub_mean", "add_mean":
        params[name]["kernel"] = np.eye(3, dtype=np.float32)[None, None]
        params[name]["bias"] = state[f"{name}.bias"]  # PyTorch's, in half precision
    grey, _ = module.apply({"params": params}, np.zeros((1, 2, 2, 3), np.float32))
    np.testing.assert_allclose(grey[0, 0, 0], edsr.MEAN, atol=3e-4)
    np.testing.assert_allclose(params["sub_mean"]["bias"], -255 * np.array(edsr.MEAN), atol=0.05)


@pytest.mark.parametrize("stem", RECORDED)
def test_random_weights_give_what_pytorch_gives(stem):
    scale, kwargs = RECORDED[stem]
    name, found, error, top = recorded.compare(stem)
    assert (name, found) == ("rcan", {"scale": scale, "mean_shift": True, **kwargs})
    assert error < 1e-5 * max(top, 1)


def test_no_published_file_is_claimed(shared):
    assert checks.claimed(shared, "rcan") == set()
