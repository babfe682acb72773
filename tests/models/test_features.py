"""Networks that continue from one of their features."""

import checks
import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.runtime.errors import UserError


@pytest.mark.parametrize("name", models.GENERATORS)
def test_a_network_continues_from_each_of_its_features(name):
    module, variables, _ = checks.build(name, 2)
    lr = checks.image(15, 16)  # the smallest that all networks accept

    def run(noise):
        """Returns SR and features, and both again with each feature replaced by a noisy one."""
        sr, features = models.apply(module, variables, lr)
        noisy = {feature: features[feature] + noise[feature] for feature in features}
        return sr, noisy, {f: models.apply(module, variables, lr, {f: noisy[f]}) for f in noisy}

    shapes = jax.eval_shape(module.apply, variables, lr)[1]
    random, fast = np.random.default_rng(0), checks.compiled(run, checks.HASTE)
    noise = {f: random.normal(size=x.shape).astype(np.float32) for f, x in shapes.items()}
    sr, _, same = fast(jax.tree.map(np.zeros_like, noise))
    _, noisy, others = fast(noise)
    for feature in shapes:
        np.testing.assert_allclose(same[feature][0], sr, atol=1e-5)
        changed, features = others[feature]
        assert np.abs(changed - sr).max() > 1e-4, feature
        assert features.keys() == shapes.keys()
        np.testing.assert_array_equal(features[feature], noisy[feature])


def test_layers_before_a_replaced_feature_are_not_computed():
    module, variables, _ = checks.build("compact", 2)
    lr = checks.image()
    _, features = models.apply(module, variables, lr)

    def flops(replaced):
        run = jax.jit(lambda lr, replaced: models.apply(module, variables, lr, replaced)[0])
        return run.lower(lr, replaced).compile().cost_analysis()["flops"]

    saved = flops({}) - flops({"conv3": features["conv3"]})
    first_three = 2 * 9 * (3 * 8 + 8 * 8 + 8 * 8) * lr[..., 0].size
    assert saved == pytest.approx(first_three, rel=0.1)


def test_an_unknown_feature_or_shape_is_refused():
    module, variables, _ = checks.build("compact", 2)
    lr = checks.image()
    with pytest.raises(UserError, match=r"'conv9'.*conv1, conv2, conv3"):
        models.apply(module, variables, lr, {"conv9": lr})
    with pytest.raises(ValueError, match=r"'conv2'.*\(2, 17, 23, 8\).*\(2, 17, 23, 3\)"):
        models.apply(module, variables, lr, {"conv2": lr})
