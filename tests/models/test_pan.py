import checks
import jax
import numpy as np
import pytest

from kdgan_jax import tiles

TINY = {"features": 8, "last_features": 6, "blocks": 2}


def test_parameter_count_is_the_published_one():
    assert checks.count("pan") == 272_419


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_output_is_scale_times_an_odd_size(scale):
    checks.assert_enlarges("pan", scale=scale, **TINY)


@pytest.mark.parametrize(
    ("kwargs", "scale"), [(TINY, 4), (TINY, 2), ({"features": 6, "blocks": 1}, 4)]
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("pan", scale=scale, **kwargs)


def test_a_file_for_x3_is_like_one_for_x2():
    assert checks.count("pan", scale=3) == checks.count("pan", scale=2)


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("pan", **TINY) == []


@pytest.mark.parametrize("scale", [3])  # 4 is in test_generators.py
def test_tiles_are_the_whole(scale):
    module, variables = checks.build("pan", scale=scale, **TINY)
    # Initial biases are 0, which would hide that padding differs from image inside.
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda p: p + rng.normal(0, 0.05, p.shape).astype("f4"), variables)
    apply = jax.jit(lambda lr: module.apply(variables, lr[None])[0][0])
    lr = np.asarray(checks.image(37, 41, batch=1))[0]
    tiled = tiles.run(
        lambda part: np.asarray(apply(part)),
        lr,
        scale=scale,
        tile=29,
        margin=module.receptive_radius,
    )
    np.testing.assert_allclose(tiled, apply(lr), atol=1e-5)


def test_published_weights_give_the_published_output(shared):
    assert checks.golden_error(shared, "pan_x4.pth") < 1e-5


def test_no_other_file_is_claimed(shared):
    assert checks.claimed(shared, "pan") == {"pan_x4"}
