import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.models.blocks.attention import ContrastAttention

TINY = {"channels": 32, "blocks": 2}


def test_parameter_count_is_the_published_one():
    assert checks.count("imdn") == 715_176


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("imdn", scale=scale, **TINY)


@pytest.mark.parametrize(
    ("kwargs", "scale"), [(TINY, 4), (TINY, 2), ({"channels": 8, "blocks": 3}, 3)]
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("imdn", scale=scale, **kwargs)


def test_every_parameter_has_a_gradient_that_is_finite_on_a_constant_image_too():
    without = checks.assert_gradients("imdn", **TINY)
    # One hidden channel is all that so small an attention has; its ReLU may be off at first.
    assert [path for path in without if "cca" not in path] == []


def attend(x):
    """Returns the attention's (parameters, output)."""
    module = ContrastAttention()
    variables = jax.jit(module.init)(jax.random.key(0), x)
    return variables["params"], jax.jit(module.apply)(variables, x)


def test_attention_weighs_by_population_deviation_plus_mean():
    x = np.random.default_rng(0).normal(0, 1, (2, 5, 7, 32)).astype(np.float32)
    params, found = attend(x)
    first, second = (params[f"conv_du.{i}"]["kernel"][0, 0] for i in (0, 2))  # fresh: no bias
    assert first.shape == (32, 2)
    seen = x.std(axis=(1, 2)) + x.mean(axis=(1, 2))
    logits = np.maximum(seen @ first, 0) @ second
    np.testing.assert_allclose(found, x / (1 + np.exp(-logits))[:, None, None], atol=1e-6)


def test_attention_to_a_constant_channel_has_a_finite_gradient():
    x = jnp.ones((1, 4, 4, 32))
    gradient = jax.grad(lambda x: attend(x)[1].sum())(x)
    assert jnp.isfinite(gradient).all()


def test_published_weights_give_the_published_output(shared):
    assert checks.golden_error(shared, "imdn_x4.pth") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "imdn") == {"imdn_x4"}
