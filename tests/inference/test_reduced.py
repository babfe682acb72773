import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.inference import reduced
from kdgan_jax.inference.ensemble import quantise
from kdgan_jax.inference.model import Model
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def model(scale, seed=0):
    kwargs = {"channels": 4, "depth": 1}
    module = models.generator("compact", kwargs, scale)
    params = models.init(module, jax.random.key(seed), 8)["params"]
    return Model("compact", kwargs, scale, params)


def test_a_model_of_the_scale_is_itself_and_one_of_a_multiple_is_reduced(photo):
    big, lr = model(4), photo[:12, :20]
    assert reduced.at_scale(big, 4, "field") is big
    half = reduced.at_scale(big, 2, "field")
    assert (half.scale, half.parameters) == (2, big.parameters)
    np.testing.assert_array_equal(half.raw(lr), bicubic.downscale(big.raw(lr), 2))
    assert half.raw(lr).shape == (24, 40, 3)
    predicted = half.predict(lr)
    assert predicted.dtype == np.float32
    np.testing.assert_array_equal(quantise(predicted), half.raw(lr))


def test_digests_are_those_of_the_weights_and_the_scale():
    digests = [model(4).digest] + [
        reduced.at_scale(big, scale, "field").digest
        for big, scale in ((model(4), 2), (model(4), 1), (model(4, seed=1), 2))
    ]
    assert len(set(digests)) == 4
    assert digests[1] == reduced.at_scale(model(4), 2, "field").digest


@pytest.mark.parametrize(("has", "wanted"), [(4, 3), (2, 4), (3, 2)])
def test_other_scales_are_refused(has, wanted):
    with pytest.raises(UserError, match=rf"^--teacher=big .*scale {has}.*scale {wanted}"):
        reduced.at_scale(model(has), wanted, "--teacher=big")
