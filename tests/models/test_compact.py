"""The compact network of branches, and the plain one that it folds into."""

import checks
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference.model import Model
from kdgan_jax.models.blocks.layers import BranchConv, Conv

TINY = {"channels": 8, "depth": 2}
BRANCHED = TINY | {"branches": True}


def folded(scale=2, **kwargs):
    """Returns (network of branches, its variables, plain network, its variables)."""
    module, variables, _ = checks.build("compact", scale, **kwargs)
    arguments, params = module.fold(variables["params"])
    return module, variables, models.generator("compact", arguments, scale), {"params": params}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (2, 2), (9, 13)])
@pytest.mark.parametrize("features", [8, 12])  # 12 is what the last convolution has at x2, too
def test_the_folded_network_computes_the_same_at_borders_too(features, height, width):
    module, variables, plain, params = folded(**BRANCHED | {"channels": features})
    lr = checks.image(height, width)
    expected, _ = module.apply(variables, lr)
    sr, _ = plain.apply(params, lr)
    np.testing.assert_allclose(sr, expected, atol=1e-5)


def test_the_folded_network_is_the_plain_one():
    _, _, plain, params = folded(**BRANCHED)
    assert plain == models.generator("compact", TINY, 2)
    shapes = foreign.shapes(plain)
    assert jax.tree.structure(params["params"]) == jax.tree.structure(shapes)
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), params["params"], shapes)
    assert plain.fold(params["params"]) is None


@pytest.mark.parametrize(("inputs", "features", "gain"), [(3, 5, 1.0), (5, 5, 1.0), (5, 5, 0.1)])
def test_a_convolution_of_branches_is_their_sum(inputs, features, gain):
    module, x = BranchConv(features, gain), checks.image(6, 7).repeat(2, -1)[..., :inputs]
    params = module.init(jax.random.key(0), x)["params"]
    params["bias"] = np.arange(features, dtype=np.float32)

    def convolved(kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected = convolved(params["kernel"]) + convolved(params["point"]) + params["bias"]
    expected = expected + x if inputs == features and gain == 1 else expected
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=1e-5)


@pytest.mark.parametrize(("inputs", "gain"), [(64, 1.0), (96, 1.0), (96, 0.01)])
def test_outputs_start_as_large_as_those_of_a_plain_convolution(inputs, gain):
    x = np.random.default_rng(0).normal(size=(1, 40, 40, inputs)).astype(np.float32)

    def mean_square(module):
        y, _ = jax.jit(module.init_with_output)(jax.random.key(1), x)
        return float((np.asarray(y)[:, 1:-1, 1:-1] ** 2).mean())

    # Of 96 * 864 random weights a mean square is off by 1 %, and that of 96 * 96 by 2 %.
    ratio = mean_square(BranchConv(96, gain)) / mean_square(Conv(96, gain=gain))
    assert ratio == pytest.approx(1, abs=0.1)


def test_every_branch_learns():
    assert checks.assert_gradients("compact", **BRANCHED) == []


def test_tiles_are_the_whole():
    checks.assert_tiles("compact", 2, **BRANCHED)


def test_pytorchs_names_are_those_of_the_plain_network(tmp_path):
    _, variables, plain, params = folded(**BRANCHED)
    foreign.save(tmp_path / "a.safetensors", Model("compact", BRANCHED, 2, variables["params"]))
    state = load_file(tmp_path / "a.safetensors")
    assert foreign.detect(state) == ("compact", {"scale": 2, **TINY})
    back = foreign.to_params(plain, state)
    jax.tree.map(np.testing.assert_array_equal, back, params["params"])
