import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.inference import costs
from kdgan_jax.inference.model import Model


def untrained(name, scale=4, **kwargs):
    """A model whose parameters are shapes alone; counting needs no numbers."""
    module = models.generator(name, kwargs, scale)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    return Model(
        name, kwargs, scale, jax.eval_shape(module.init, jax.random.key(0), image)["params"]
    )


@pytest.mark.parametrize(
    ("model", "parameters", "giga"),
    [
        # Published: SRCNN 57 K and 52.7 G; EDSR-baseline 1,370 K / 316.3 G at x2, 1,518 K /
        # 114.0 to 114.5 G at x4; the origin's student by hand (METHODS.md) 36,483 and 33.5 G.
        (untrained("srcnn"), 57_281, 52.7),
        (untrained("srcnn", scale=2), 57_281, 52.7),
        (untrained("edsr", scale=2), 1_369_859, 316.3),
        (untrained("edsr"), 1_517_571, 114.2),
        (untrained("kdgan_student"), 36_483, 33.5),
    ],
    ids=lambda value: value.name if isinstance(value, Model) else str(value),
)
def test_published_counts_are_met(model, parameters, giga):
    assert model.parameters == parameters
    assert costs.multi_adds_720p(model) / 1e9 == pytest.approx(giga, abs=0.06)


def test_the_compact_network_equals_a_count_by_hand():
    weights = 3 * 24 * 9 + 4 * 24 * 24 * 9 + 24 * 48 * 9
    assert costs.multi_adds_720p(untrained("compact")) == weights * 320 * 180


def test_a_scale_that_does_not_divide_720p_is_counted_by_area():
    weights = 3 * 24 * 9 + 4 * 24 * 24 * 9 + 24 * 27 * 9
    assert costs.multi_adds_720p(untrained("compact", scale=3)) == weights * 1280 * 720 // 9


def count(function, *shapes):
    return costs.multi_adds(function, *(jax.ShapeDtypeStruct(s, np.float32) for s in shapes))


def convolve(x, kernel, **more):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **more
    )


def test_products_are_counted():
    assert count(jnp.matmul, (5, 7), (7, 3)) == 5 * 7 * 3
    assert count(jnp.matmul, (2, 5, 7), (2, 7, 3)) == 2 * 5 * 7 * 3  # a batch, as in attention
    assert count(convolve, (1, 4, 5, 6), (3, 3, 6, 8)) == 4 * 5 * 8 * 9 * 6


def test_groups_and_dilated_inputs_cost_less():
    depthwise = lambda x, k: convolve(x, k, feature_group_count=6)  # noqa: E731
    assert count(depthwise, (1, 4, 5, 6), (3, 3, 1, 6)) == 4 * 5 * 6 * 9
    transposed = nn.ConvTranspose(8, (4, 4), (2, 2), use_bias=False)
    shapes = jax.eval_shape(transposed.init, jax.random.key(0), jnp.zeros((1, 4, 5, 6)))
    image = jax.ShapeDtypeStruct((1, 4, 5, 6), np.float32)
    assert costs.multi_adds(transposed.apply, shapes, image) == 4 * 5 * 6 * 8 * 16


def test_fixed_weights_are_not_counted_wherever_they_are_made():
    fixed = np.ones((7, 3), np.float32)
    assert count(lambda x: x @ fixed, (5, 7)) == 0
    assert count(lambda x: x @ jnp.sin(jnp.ones((7, 3))), (5, 7)) == 0
    assert count(jax.jit(lambda x, k: (x @ k) @ fixed), (5, 7), (7, 7)) == 5 * 7 * 7
    inner = jax.jit(lambda x, k: x @ k)
    assert count(lambda x: inner(x, fixed), (5, 7)) == 0
    assert count(lambda x, k: inner(x, k), (5, 7), (7, 3)) == 5 * 7 * 3


def test_programs_inside_programs_are_counted_as_often_as_they_run():
    def loop(x, k):
        return jax.lax.scan(lambda carry, _: (carry @ k, None), x, None, length=6)[0]

    def from_nothing(x, k):  # the product's operand depends on the image from the second round on
        start = (jnp.zeros((5, 7)), jnp.zeros((5, 7)))
        body = lambda carry, _: ((carry[1] @ k, x), None)  # noqa: E731
        return jax.lax.scan(body, start, None, length=6)[0]

    assert count(loop, (5, 7), (7, 7)) == 6 * 5 * 7 * 7
    assert count(from_nothing, (5, 7), (7, 7)) == 6 * 5 * 7 * 7
    assert count(jax.checkpoint(jax.nn.silu), (5, 7)) == 0
    with pytest.raises(NotImplementedError, match="while"):
        count(lambda x: jax.lax.while_loop(lambda v: v.sum() < 1, lambda v: v + v @ v, x), (3, 3))
