import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from kdgan_jax import models
from kdgan_jax.formats import foreign
from kdgan_jax.inference import costs
from kdgan_jax.inference.model import Model


def untrained(name, scale=4, **kwargs):
    """A model whose parameters are shapes only; counting needs no numbers."""
    return Model(name, kwargs, scale, foreign.shapes(models.generator(name, kwargs, scale)))


# SRCNN and EDSR-baseline as published; the origin's student by hand (METHODS.md).
@pytest.mark.parametrize(
    ("name", "scale", "giga"),
    [("srcnn", 4, 52.7), ("edsr", 2, 316.3), ("edsr", 4, 114.2), ("kdgan_student", 4, 33.5)],
)
def test_published_counts_are_met(name, scale, giga):
    assert costs.multi_adds_720p(untrained(name, scale)) / 1e9 == pytest.approx(giga, abs=0.06)


@pytest.mark.parametrize("scale", [3, 4])  # 3 does not divide 1280 x 720: counted by area
def test_the_compact_network_equals_a_count_by_hand(scale):
    weights = 3 * 24 * 9 + 4 * 24 * 24 * 9 + 24 * 3 * scale**2 * 9
    assert costs.multi_adds_720p(untrained("compact", scale)) == weights * 1280 * 720 // scale**2


@pytest.mark.parametrize("name", models.GENERATORS)
def test_every_architecture_can_be_counted(name):
    assert costs.multi_adds_720p(untrained(name, **TINY[name])) > 1e6


def count(function, *shapes):
    return costs.multi_adds(function, *(jax.ShapeDtypeStruct(s, np.float32) for s in shapes))


def convolve(x, kernel, **options):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
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
    inner = jax.jit(lambda x, k: x @ k)
    assert count(lambda x: x @ fixed, (5, 7)) == 0
    assert count(lambda x: x @ jnp.sin(jnp.ones((7, 3))), (5, 7)) == 0
    assert count(jax.jit(lambda x, k: (x @ k) @ fixed), (5, 7), (7, 7)) == 5 * 7 * 7
    assert count(lambda x: inner(x, fixed), (5, 7)) == 0
    assert count(lambda x, k: inner(x, k), (5, 7), (7, 3)) == 5 * 7 * 3


def test_inner_programs_are_counted_as_often_as_they_run():
    def loop(x, k):
        return jax.lax.scan(lambda carry, _: (carry @ k, None), x, None, length=6)[0]

    def from_zeros(x, k):  # the product's operand depends on the image from the second round on
        start = (jnp.zeros((5, 7)), jnp.zeros((5, 7)))
        return jax.lax.scan(lambda carry, _: ((carry[1] @ k, x), None), start, None, length=6)[0]

    assert count(loop, (5, 7), (7, 7)) == count(from_zeros, (5, 7), (7, 7)) == 6 * 5 * 7 * 7
    assert count(jax.checkpoint(jax.nn.silu), (5, 7)) == 0
    with pytest.raises(NotImplementedError, match="while"):
        count(lambda x: jax.lax.while_loop(lambda v: v.sum() < 1, lambda v: v + v @ v, x), (3, 3))


def test_seconds_are_the_median_after_a_warm_up(monkeypatch):
    durations = [100, 3, 1, 9, 2, 4]
    clock, shapes = [0.0], []

    class Fake:
        scale = 3

        def raw(self, image):
            clock[0] += durations[len(shapes)]
            shapes.append(image.shape)

    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])
    assert costs.seconds_720p(Fake()) == 3
    assert set(shapes) == {(240, 427, 3)}
