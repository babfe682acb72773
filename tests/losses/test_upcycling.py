"""Data upcycling: changes and their inverse, and losses of networks that are easy to follow."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contexts import context

from kdgan_jax.losses.upcycling import Consistency, ZoomIn, changed, draw, restored
from kdgan_jax.runtime.errors import UserError

random = np.random.default_rng(0)
LR = random.random((16, 4, 4, 3), np.float32)
ALL = np.array(list(itertools.product([False, True], repeat=4))).T  # every choice of changes


def enlarge(images):
    return images.repeat(2, axis=1).repeat(2, axis=2)


def test_every_sequence_of_changes_is_undone():
    images = changed(jnp.asarray(LR), ALL)
    np.testing.assert_allclose(restored(images, ALL), LR, atol=1e-6)
    for number, (inverted, mirrored, upside_down, transposed) in enumerate(ALL.T):
        expected = 1 - LR[number] if inverted else LR[number]
        expected = expected[:, ::-1] if mirrored else expected
        expected = expected[::-1] if upside_down else expected
        expected = expected.transpose(1, 0, 2) if transposed else expected
        np.testing.assert_allclose(images[number], expected, atol=1e-6)


def test_each_change_is_drawn_with_its_probability(key):
    drawn = draw(jax.random.split(key, 4000), 0.3)
    assert drawn.shape == (4, 4000)
    np.testing.assert_allclose(drawn.mean(axis=1), 0.3, atol=0.03)
    assert len({tuple(row) for row in np.asarray(drawn).T}) == 16


def consistency(key, apply):
    keys = jax.random.split(key, 16)
    made = context(lr=LR, images={"hr": enlarge(LR)}, keys=keys, apply=apply)
    return Consistency(probability=0.5)({}, made), draw(keys, 0.5)


def test_a_network_that_commutes_with_the_changes_is_consistent(key):
    np.testing.assert_allclose(consistency(key, enlarge)[0], 0, atol=1e-6)


def test_one_that_does_not_pays_for_what_it_does_to_changed_images(key):
    def brighter(images):
        return enlarge(images) + 0.25

    values, _ = consistency(key, brighter)
    np.testing.assert_allclose(values, 0.25, rtol=1e-4)  # whichever sign it has after inversion

    def mirror(images):  # right where this and the change to the image cancel
        return enlarge(images)[:, :, ::-1]

    values, drawn = consistency(key, mirror)
    assert drawn.any(axis=1).all()
    assert (values > 0.01).all()


@pytest.fixture
def zoom(key):
    """Returns a function from the student's gain to the loss and its tiles."""
    seen = []

    def teach(tiles):
        seen.append(tiles)
        return enlarge(tiles)

    def value(gain, probability=0.5):
        keys = jax.random.split(key, 16)
        hr = np.arange(16 * 8 * 8 * 3, dtype=np.float32).reshape(16, 8, 8, 3) / 3072
        made = context(
            lr=LR,
            images={"hr": jnp.asarray(hr)},
            keys=keys,
            apply=lambda x: gain * enlarge(x),
            teach=teach,
        )
        return ZoomIn(target="teacher", probability=probability)({}, made), seen, hr

    return value


def test_tiles_of_hr_are_what_teacher_and_student_see(zoom):
    values, (tiles,), hr = zoom(1.0)
    np.testing.assert_allclose(values, 0, atol=1e-5)
    grid = [hr[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
    which = [[np.array_equal(tiles[i], tile[i]) for tile in grid].index(True) for i in range(16)]
    assert set(which) == {0, 1, 2, 3}
    values, *_ = zoom(0.5, probability=0.0)
    np.testing.assert_allclose(values, tiles.mean((1, 2, 3)) / 2, rtol=1e-4)


def test_gradients_reach_the_student_alone(zoom):
    assert jax.grad(lambda gain: zoom(gain)[0].sum())(0.5) != 0
    assert ZoomIn(target="teacher").targets == ("teacher", "hr")

    def total(gain):  # of the teacher
        made = context(
            lr=LR[:1],
            images={"hr": jnp.ones((1, 8, 8, 3))},
            keys=jax.random.split(jax.random.key(0), 1),
            apply=enlarge,
            teach=lambda x: gain * enlarge(x),
        )
        return ZoomIn(target="teacher")({}, made).sum()

    assert total(0.5) > 0
    assert jax.grad(total)(0.5) == 0


@pytest.mark.parametrize(
    ("term", "wrong"), [(Consistency, 0.0), (Consistency, 1.5), (ZoomIn, -0.1)]
)
def test_probabilities_are_checked(term, wrong):
    with pytest.raises(UserError, match=f"field: probability={wrong}"):
        term(probability=wrong).check(96, "field")
