"""Levelling: the least change of the last convolution that removes the mesh."""

import weakref

import jax
import numpy as np
import pytest
from PIL import Image

from kdgan_jax import models
from kdgan_jax.data import buffers, sources
from kdgan_jax.data.photos import load
from kdgan_jax.inference.model import Model
from kdgan_jax.losses.pattern import pattern
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import levelling
from kdgan_jax.train.run import _finished as finished

SIZE = {"channels": 4, "depth": 1}


@pytest.fixture(scope="module")
def pairs():
    """LR and HR; the photos have patterns of their own, slopes inside blocks."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(12):
        lr = random.integers(0, 200, (24, 30, 3), np.uint8)
        slopes = random.integers(0, 50, (2, 2, 3), np.uint8)
        found.append((lr, lr.repeat(2, 0).repeat(2, 1) + np.tile(slopes, (24, 30, 1))))
    return found


def level(model, pairs, weight):
    """Returns the model levelled with squares as large as the photos have room for."""
    chosen, side = levelling.chosen([hr.shape[:2] for _, hr in pairs], 2)
    return levelling.levelled(model, one_by_one(pairs[i] for i in chosen), weight, side)


def one_by_one(pairs):
    """Yields copies of pairs; fails where more than the one before is held."""
    made = []
    for lr, hr in pairs:
        assert sum(image() is not None for image in made) < 2
        copies = lr.copy(), hr.copy()
        made.append(weakref.ref(copies[0]))
        yield copies
        del copies


@pytest.fixture(scope="module")
def model():
    """A network of random weights, and so with a mesh."""
    params = models.init(models.generator("compact", SIZE, 2), jax.random.key(0), 8)["params"]
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda x: random.normal(0, 0.2, x.shape).astype(np.float32), params)
    return Model("compact", SIZE, 2, params)


def distance(model, pairs):
    """Returns the root mean square of what tells images' patterns from those of HR."""
    near = slice(2, -2)  # the mean is over what the kernel sees whole
    lack = [model.predict(lr) - hr / np.float32(255) for lr, hr in map(square, pairs)]
    return float(np.sqrt(np.mean([np.square(pattern(x[None, near, near], 2)) for x in lack])))


def square(pair):
    """Returns the square of 24x24 LR pixels that is looked at in a photo of 24x30, and its HR."""
    lr, hr = pair
    return lr[:, :24], hr[:, :48]


def test_more_weight_brings_the_pattern_nearer_to_that_of_hr_and_changes_more(model, pairs):
    before = distance(model, pairs)
    after = {w: level(model, pairs, w) for w in (1.0, 10.0, 1e6)}
    left = [distance(levelled, pairs) for levelled in after.values()]
    assert before > left[0] > left[1] > left[2]
    assert left[2] < 0.02 * before
    lr, _ = pairs[0]
    change = [
        np.square(levelled.predict(lr) - model.predict(lr)).mean() for levelled in after.values()
    ]
    assert change[0] < change[1] < change[2]


def test_only_the_last_convolution_changes_and_0_changes_nothing(model, pairs):
    levelled = level(model, pairs, 10.0)
    changed = jax.tree.map(
        lambda a, b: bool(np.abs(a - b).max() > 1e-6), model.params, levelled.params
    )
    last = changed.pop("Conv_2")
    assert all(jax.tree.leaves(last))
    assert not any(jax.tree.leaves(changed))
    same = level(model, pairs, 0.0)
    jax.tree.map(np.testing.assert_array_equal, same.params, model.params)


def test_it_is_the_minimum_of_what_it_says(model, pairs):
    weight = 5.0
    levelled = level(model, pairs, weight)

    def cost(candidate):
        total, near = 0.0, slice(2, -2)
        for lr, hr in map(square, pairs):
            ours, theirs = (m.predict(lr)[None, near, near] for m in (candidate, model))
            total += np.square(ours - theirs).sum(-1).mean()
            lack = ours - hr[None, near, near] / np.float32(255)
            total += weight * np.square(pattern(lack, 2)).sum() / 4
        return total

    random, least = np.random.default_rng(2), cost(levelled)
    for _ in range(5):
        last = jax.tree.map(
            lambda x: x + random.normal(0, 2e-2, x.shape).astype(np.float32),
            levelled.params["Conv_2"],
        )
        assert cost(levelled.with_params(dict(levelled.params) | {"Conv_2": last})) > least
    assert cost(model) > least


def test_small_photos_are_passed_over(model, pairs):
    small = [(lr[:16, :16], hr[:32, :32] // 2) for lr, hr in pairs[:2]]
    only, with_small = (level(model, p, 10.0) for p in (pairs, [*small, *pairs]))
    jax.tree.map(np.testing.assert_array_equal, only.params, with_small.params)


def test_large_photos_are_looked_at_in_squares(model):
    random = np.random.default_rng(3)
    lr = random.integers(0, 256, (64, 150, 3), np.uint8)
    hr = random.integers(0, 256, (128, 300, 3), np.uint8)
    squares = [(lr[:, i : i + 64], hr[:, 2 * i : 2 * i + 128]) for i in (0, 64)]
    whole, cut = (level(model, pairs, 10.0) for pairs in ([(lr, hr)], squares))
    jax.tree.map(np.testing.assert_array_equal, whole.params, cut.params)


@pytest.mark.parametrize(("name", "options"), [("srcnn", {}), ("compact", {"branches": True})])
def test_networks_that_cannot_be_levelled_are_refused(name, options):
    with pytest.raises(UserError, match=r"config\.train\.a\.level: .*compact"):
        levelling.check(models.generator(name, options, 2), "config.train.a.level")


def test_small_photos_are_refused():
    with pytest.raises(UserError, match="16 LR pixels"):
        levelling.chosen([(16, 80), (31, 31)], 2)
    assert levelling.chosen([(16, 80), (32, 34)], 2) == ([1], 16)


def test_of_many_photos_some_are_looked_at_of_those_that_are_large_enough():
    sizes = [(16, 16)] * 700
    sizes[401] = 40, 40
    assert levelling.chosen(sizes, 2) == ([401], 20)
    chosen, side = levelling.chosen([(300, 200)] * 700, 2)
    assert (chosen[:3], len(chosen), side) == ([0, 3, 6], 234, 64)


@pytest.mark.parametrize("fits", [True, False])
def test_photos_are_read_from_memory_or_one_by_one(tmp_path, model, pairs, fits):
    for i, (_, hr) in enumerate(pairs):
        Image.fromarray(hr).save(tmp_path / f"{i:02}.png")
    photos = sources.folder(tmp_path, 2)[0]
    decoded = buffers.build(photos, 2, 0.0)[0] if fits else None
    ours = finished(model, 10.0, photos, decoded)
    made = [(load(photo, 2)["lr"], hr) for photo, (_, hr) in zip(photos, pairs, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, ours.params, level(model, made, 10.0).params)
