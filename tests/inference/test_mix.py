import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.inference import mix
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError

KWARGS = {"channels": 4, "depth": 1}


def model(seed, **kwargs):
    kwargs = KWARGS | kwargs
    module = models.generator("compact", kwargs, 4)
    return Model("compact", kwargs, 4, models.init(module, jax.random.key(seed), 8)["params"])


def test_weights_are_the_weighted_mean():
    a, b = model(0), model(1)
    mixed = mix.average([a, b], [0.2, 0.8])
    for x, y, z in zip(*(jax.tree.leaves(m.params) for m in (a, b, mixed)), strict=True):
        np.testing.assert_allclose(z, 0.2 * x + 0.8 * y, rtol=1e-6, atol=1e-7)
        assert z.dtype == np.float32
    assert mixed.spec == a.spec
    assert mixed.about["made"] == "mean of weights: 0.2, 0.8"


def test_the_ends_of_an_interpolation_are_the_models():
    a, b = model(0), model(1)
    for weights, end in (([1, 0], a), ([0, 1], b)):
        for x, y in zip(
            jax.tree.leaves(mix.average([a, b], weights).params),
            jax.tree.leaves(end.params),
            strict=True,
        ):
            np.testing.assert_array_equal(x, y)


def test_without_weights_all_count_alike():
    several = [model(seed) for seed in range(3)]
    mean = jax.tree.leaves(mix.average(several).params)[0]
    first = [jax.tree.leaves(m.params)[0] for m in several]
    np.testing.assert_allclose(mean, np.mean(first, axis=0), rtol=1e-6, atol=1e-7)


def test_models_that_differ_are_refused():
    with pytest.raises(UserError, match="models differ"):
        mix.average([model(0), model(0, channels=5)])
