"""Contrastive distillation in features that are easy to follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contexts import context
from jax.test_util import check_grads

from kdgan_jax.losses.contrastive import Contrastive
from kdgan_jax.runtime.errors import UserError

TERM = Contrastive(layers=("conv1_1", "conv1_2"), weights=(1.0, 0.5))


def extract(images, layers):
    """Returns the images, and half of them less 0.1: ReLU cuts off what is dark."""
    return [images, images / 2 - 0.1][: len(layers)]


def loss(sr, target, lr, term=TERM):
    shape = len(sr), 4, 4, 3
    sr, target, lr = (
        jnp.broadcast_to(jnp.reshape(jnp.asarray(grey, jnp.float32), (-1, 1, 1, 1)), size)
        for grey, size in ((sr, shape), (target, shape), (lr, (len(sr), 2, 2, 3)))
    )
    return term({}, context(lr=lr, sr=sr, images={"hr": target}, extractors={"vgg": extract}))


def test_it_is_the_distance_to_the_target_over_that_to_enlarged_lr():
    # In the second layer, 0.5, 0.8 and 0.1 become 0.15, 0.3 and, below 0, 0.
    expected = 0.3 / 0.4 + 0.5 * 0.15 / 0.15
    np.testing.assert_allclose(loss([0.5, 0.5], [0.8, 0.5], [0.1, 0.1]), [expected, 0], rtol=1e-5)


def test_further_negatives_are_the_next_images_of_the_batch():
    term = Contrastive(layers=("conv1_1",), weights=(1.0,), negatives=2)
    values = loss([0.5, 0.5, 0.5], [0.8, 0.8, 0.8], [0.4, 0.2, 0.0], term)
    # Distances of 0.5 to the own LR and to the next: 0.1 and 0.3, 0.3 and 0.5, 0.5 and 0.1.
    np.testing.assert_allclose(values, [0.3 / 0.2, 0.3 / 0.4, 0.3 / 0.3], rtol=1e-5)


def test_the_gradient_is_that_of_the_whole_ratio():
    def total(sr):
        return loss(sr, [0.8, 0.7], [0.1, 0.2]).sum()

    check_grads(total, (jnp.array([0.5, 0.4]),), 1, ["rev"], atol=2e-2, rtol=2e-2)
    assert np.isfinite(jax.grad(total)(jnp.array([0.8, 0.2]))).all()


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"layers": ("conv9_1",), "weights": (1.0,)}, "'conv9_1'"),
        ({"weights": (1.0,)}, r"weights=\(1.0,\).* 5 layers"),
        ({"weights": (1.0, 1.0, 1.0, 1.0, -1.0)}, "weights="),
        ({"negatives": 0}, "negatives=0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, fact):
    with pytest.raises(UserError, match=f"field: .*{fact}"):
        Contrastive(**options).check(96, "field")


def test_a_device_must_have_the_negatives():
    Contrastive(negatives=2).check_batch(2, "field")
    with pytest.raises(UserError, match=r"field: negatives=3 .* which has 2;"):
        Contrastive(negatives=3).check_batch(2, "field")
