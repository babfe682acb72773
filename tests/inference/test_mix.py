import jax
import numpy as np
import pytest

from kdgan_jax.inference import mix
from kdgan_jax.inference.model import Model
from kdgan_jax.runtime.errors import UserError


def model(seed, channels=4):
    random = np.random.default_rng(seed)
    params = {name: random.normal(size=(3, 5)).astype(np.float32) for name in ("kernel", "bias")}
    return Model("compact", {"channels": channels}, 4, params)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [([0.2, 0.3, 0.5], (0.2, 0.3, 0.5)), (None, (1 / 3,) * 3), ([0, 1, 0], (0, 1, 0))],
)
def test_weights_are_the_weighted_mean(weights, shares):
    facts = {"source": "here", "figures": "28 dB", "made_by": "a run"}
    several = [model(seed).with_about(**facts) for seed in range(3)]
    mixed = mix.average(several, weights)
    for mean, *leaves in zip(*(jax.tree.leaves(m.params) for m in (mixed, *several)), strict=True):
        expected = sum(share * leaf for share, leaf in zip(shares, leaves, strict=True))
        np.testing.assert_allclose(mean, expected, rtol=1e-6, atol=1e-7)
        assert mean.dtype == np.float32
    assert mixed.spec == several[0].spec
    assert ", ".join(f"{share:g}" for share in shares) in mixed.about["made"]
    assert mixed.about["source"] == "here"
    assert not {"figures", "made_by"} & mixed.about.keys()  # those of one model


def test_the_name_that_the_width_had_before_is_no_difference():
    older = Model("compact", {"features": 4}, 4, model(1).params)
    assert older.spec == model(0).spec
    assert mix.average([model(0), older]).spec == model(0).spec


def test_models_that_differ_are_refused():
    with pytest.raises(UserError, match=r"models differ: .*4.*5"):
        mix.average([model(0), model(0, channels=5)])
