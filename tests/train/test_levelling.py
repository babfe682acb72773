"""Levelling: the least change of the last convolution that removes the mesh."""

import jax
import numpy as np
import pytest

from kdgan_jax import models
from kdgan_jax.inference.model import Model
from kdgan_jax.losses.pattern import pattern
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import levelling

SIZE = {"channels": 4, "depth": 1}


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (24, 30, 3), np.uint8) for _ in range(12)]


@pytest.fixture(scope="module")
def model():
    """A network of random weights, and so with a mesh."""
    params = models.init(models.generator("compact", SIZE, 2), jax.random.key(0), 8)["params"]
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda x: random.normal(0, 0.2, x.shape).astype(np.float32), params)
    return Model("compact", SIZE, 2, params)


def patterns(model, images):
    """Returns the root mean square of the pattern of images' middles, and of changes to it."""
    inner = [model.predict(image)[None, 8:-8, 8:-8] for image in images]
    return float(np.sqrt(np.mean([np.square(pattern(image, 2)) for image in inner])))


def test_more_weight_leaves_less_of_the_mesh_and_changes_more(model, images):
    before = patterns(model, images)
    after = {w: levelling.levelled(model, images, w) for w in (1.0, 10.0, 1e4)}
    left = [patterns(levelled, images) for levelled in after.values()]
    assert before > left[0] > left[1] > left[2]
    assert left[2] < 0.02 * before
    change = [
        np.square(levelled.predict(images[0]) - model.predict(images[0])).mean()
        for levelled in after.values()
    ]
    assert change[0] < change[1] < change[2]


def test_only_the_last_convolution_changes_and_0_changes_nothing(model, images):
    levelled = levelling.levelled(model, images, 10.0)
    changed = jax.tree.map(
        lambda a, b: bool(np.abs(a - b).max() > 1e-6), model.params, levelled.params
    )
    last = changed.pop("Conv_2")
    assert all(jax.tree.leaves(last))
    assert not any(jax.tree.leaves(changed))
    same = levelling.levelled(model, images, 0.0)
    jax.tree.map(np.testing.assert_array_equal, same.params, model.params)


def test_it_is_the_minimum_of_what_it_says(model, images):
    weight = 5.0
    levelled = levelling.levelled(model, images, weight)

    def cost(candidate):
        total = 0.0
        for image in levelling._parts(images):
            near = slice(2, -2)  # the mean is over what the kernel sees whole
            ours, theirs = (m.predict(image)[None, near, near] for m in (candidate, model))
            total += np.square(ours - theirs).sum(-1).mean()
            total += weight * np.square(pattern(ours, 2)).sum() / 4
        return total

    random, least = np.random.default_rng(2), cost(levelled)
    for _ in range(5):
        last = jax.tree.map(
            lambda x: x + random.normal(0, 2e-2, x.shape).astype(np.float32),
            levelled.params["Conv_2"],
        )
        assert cost(levelled.with_params(dict(levelled.params) | {"Conv_2": last})) > least
    assert cost(model) > least


@pytest.mark.parametrize(("name", "options"), [("srcnn", {}), ("compact", {"branches": True})])
def test_networks_that_cannot_be_levelled_are_refused(name, options):
    with pytest.raises(UserError, match=r"config\.train\.a\.level: .*compact"):
        levelling.check(models.generator(name, options, 2), "config.train.a.level")


def test_small_photos_are_refused(model):
    with pytest.raises(UserError, match="16 LR pixels"):
        levelling.levelled(model, [np.zeros((8, 40, 3), np.uint8)], 1.0)
