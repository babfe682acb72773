import checks
import jax
import numpy as np
import pytest

from kdgan_jax.models.blocks.attention import ESA

TINY = {"channels": 8, "inner": 12, "blocks": 2, "attention": 4}
S = {"channels": 48}
NTIRE = {"channels": 46, "inner": 48, "blocks": 4}
FILES = {"rlfn_x4": {}, "rlfn_s_x4": S, "rlfn_ntire_x4": NTIRE}


@pytest.mark.parametrize(
    ("kwargs", "published"), [({}, 543_740), (S, 470_208), (NTIRE, 317_218)], ids=FILES
)
def test_parameter_count_is_the_published_one(kwargs, published):
    assert checks.count("rlfn", **kwargs) == published


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("rlfn", scale=scale, **TINY)


@pytest.mark.parametrize(
    ("kwargs", "scale"), [(TINY, 4), (TINY, 2), ({"channels": 6, "blocks": 1}, 3)]
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("rlfn", scale=scale, **kwargs)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("rlfn", **TINY) == []


def test_attention_on_the_smallest_map_is_that_of_its_one_maximum():
    x = np.random.default_rng(0).normal(0, 1, (1, 15, 15, 3)).astype(np.float32)
    module = ESA(2)
    variables = checks.compiled(module.init)(jax.random.key(0), x)
    kernels = {name: part["kernel"] for name, part in variables["params"].items()}
    narrow = x @ kernels["conv1"][0, 0]
    windows = np.lib.stride_tricks.sliding_window_view(narrow, (3, 3), (1, 2))[:, ::2, ::2]
    coarse = np.einsum("byxihw,hwio->byxo", windows, kernels["conv2"]).max(axis=(1, 2))
    coarse = coarse @ kernels["conv3"][1, 1]  # the rest of this kernel lies on the padding
    logits = (narrow @ kernels["conv_f"][0, 0] + coarse[:, None, None]) @ kernels["conv4"][0, 0]
    found = checks.compiled(module.apply)(variables, x)
    np.testing.assert_allclose(found, x / (1 + np.exp(-logits)), atol=1e-5)


@pytest.mark.parametrize(("stem", "kwargs"), FILES.items())
def test_published_weights_give_the_published_output(shared, stem, kwargs):
    error = checks.golden_error(
        shared, f"{stem}.pth", to_ours=lambda x: x / 255, to_theirs=lambda y: y * 255
    )
    assert error < 3e-3  # their own float32 and float64 differ by 4.5e-4 of 255


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "rlfn") == set(FILES)
