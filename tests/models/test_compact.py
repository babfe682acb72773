"""The compact network of branches, and the plain network into which it folds."""

import checks
import jax
import numpy as np
import pytest
from conftest import TINY
from safetensors.numpy import load_file

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference.model import Model


def folded(branches=True, **kwargs):
    """Returns (network of branches, its parameters, plain network, its parameters) at x2."""
    module, variables, _ = checks.build("compact", 2, branches=branches, **kwargs)
    arguments, params = module.fold(variables["params"])
    return module, variables["params"], models.generator("compact", arguments, 2), params


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 13)])
@pytest.mark.parametrize("channels", [8, 12])  # 12 is the number of the last convolution, too
@pytest.mark.parametrize("kind", [{}, {"expansion": 2}, {"branches": False, "expansion": 2}])
def test_the_folded_network_computes_the_same_at_borders_too(channels, size, kind):
    module, params, plain, plain_params = folded(channels=channels, **kind)
    lr = checks.image(*size)
    expected, _ = module.apply({"params": params}, lr)
    sr, _ = plain.apply({"params": plain_params}, lr)
    np.testing.assert_allclose(sr, expected, atol=1e-5)


def test_the_folded_network_is_the_plain_one_and_pytorchs_names_are_its_own(tmp_path):
    _, params, plain, plain_params = folded()
    assert plain == models.generator("compact", TINY["compact"], 2)
    shapes = foreign.shapes(plain)
    assert jax.tree.map(np.shape, plain_params) == jax.tree.map(np.shape, shapes)
    assert plain.fold(plain_params) is None
    model = Model("compact", TINY["compact"] | {"branches": True}, 2, params)
    foreign.save(tmp_path / "a.safetensors", model)
    state = load_file(tmp_path / "a.safetensors")
    assert checks.claims(state) == [("compact", {"scale": 2, **TINY["compact"]})]
    jax.tree.map(np.testing.assert_array_equal, foreign.to_params(plain, state), plain_params)


def test_every_branch_learns():
    module, variables, _ = checks.build("compact", branches=True, expansion=2)
    lr = checks.image()
    loss = lambda params: (module.apply({"params": params}, lr)[0] ** 2).mean()  # noqa: E731
    gradient = checks.paths(checks.compiled(jax.grad(loss), checks.HASTE)(variables["params"]))
    assert [path for path, leaf in gradient.items() if not leaf.any()] == []
