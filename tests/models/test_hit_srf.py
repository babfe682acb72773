import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.models.blocks import correlation

TINY = {"channels": 32, "groups": 1, "heads": 2, "windows": (4, 8, 16)}


def test_parameter_count_is_the_published_one():
    assert checks.count("hit_srf") == 866_420


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("hit_srf", scale=scale, **TINY)


@pytest.mark.parametrize("scale", models.SCALES)
def test_a_state_is_recognised_and_comes_back(scale):
    checks.assert_round_trip("hit_srf", scale=scale, **TINY)


def test_other_arguments_are_recognised():
    checks.assert_round_trip(
        "hit_srf", channels=48, groups=2, heads=4, windows=(16, 8), expansion=3
    )


def test_every_parameter_is_used():
    assert checks.assert_gradients("hit_srf", **TINY) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 3)])
def test_sides_far_below_the_largest_window_are_possible(size):
    _, variables, apply = checks.build("hit_srf", **TINY | {"windows": (64,)})
    sr, _ = apply(variables, checks.image(*size))
    assert sr.shape == (2, 4 * size[0], 4 * size[1], 3)
    assert np.isfinite(sr).all()


@pytest.mark.parametrize("size", [5, 9, 33])
def test_padding_mirrors_as_often_as_needed(size):
    # Two goes of PyTorch's reflection: by the side less one, then the rest.
    line = np.arange(size)
    twice = np.concatenate([line, line[-2::-1], line[1:]])
    padded = jnp.pad(jnp.asarray(line), (0, len(twice) - size), "reflect")
    np.testing.assert_array_equal(padded, twice)


@pytest.mark.parametrize("window", [4, 8, 16, 48])
def test_position_bias_is_the_mean_over_pairs_of_pixels(window):
    cells = min(window, 8)
    step = window // cells
    module = correlation.PositionBias(heads=2, window=window, step=step, width=3)
    random = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda leaf: leaf + random.normal(0, 1, leaf.shape).astype(np.float32),
        checks.compiled(module.init)(jax.random.key(0)),
    )
    found = checks.compiled(module.apply)(variables)
    assert found.shape == (window**2, cells**2, 2)

    def score(offset):
        p = variables["params"]
        x = offset @ p["pos_proj"]["kernel"] + p["pos_proj"]["bias"]
        for i in 1, 2, 3:
            norm, linear = p[f"pos{i}.0"], p[f"pos{i}.2"]
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = np.maximum(x * norm["scale"] + norm["bias"], 0) @ linear["kernel"] + linear["bias"]
        return x

    rng = np.random.default_rng(0)
    for _ in range(5):
        pixel, cell = rng.integers(0, window, 2), rng.integers(0, cells, 2)
        inside = np.stack(np.meshgrid(*(step * c + np.arange(step) for c in cell), indexing="ij"))
        offsets = (pixel[:, None, None] - inside).reshape(2, -1).T.astype(np.float32)
        expected = score(offsets).mean(axis=0)
        at = found[pixel[0] * window + pixel[1], cell[0] * cells + cell[1]]
        np.testing.assert_allclose(at, expected, rtol=1e-4, atol=1e-4)


def test_only_its_own_files_are_claimed(shared):
    assert checks.claimed(shared, "hit_srf") == {"hit_srf_x4"}


@pytest.mark.slow
def test_published_weights_give_published_outputs(shared):
    # The same network in float64 differs from the file's float32 outputs by up to 3e-6.
    assert checks.golden_error(shared, "hit_srf_x4.pth") < 1e-5
