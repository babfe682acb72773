"""What is drawn: pinned, of a sample's number alone, and exact to the last bit of 32."""

import itertools
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgan_jax.data import sampling

SIDES = np.array([[80, 100], [20, 30], [9, 65535], [8, 8]])
LARGE = np.array([[60000, 50000], [50000, 60000], [40000, 65535]])
ONES = 2**32 - 1


def draw(seed, index, known=None):
    """Returns the places of samples as (n, 4): photo, top, left, turn."""
    known = sampling.table(SIDES, 8) if known is None else known
    places = sampling.draw(seed, jnp.asarray(index, jnp.uint32), known)
    return np.stack([np.asarray(a) for a in places], 1)


# What is drawn never changes: runs are resumed under other versions, and on other devices.


@pytest.mark.parametrize(
    ("seed", "index", "places"),
    [
        (0, 0, [2, 7293, 14886, 0]),
        (0, 1, [0, 1253, 29067, 2]),
        (7, 1000, [1, 23337, 15911, 2]),
        (2**31, 2**31, [0, 14603, 49399, 7]),
        (2**32 - 1, 2**32 - 1, [2, 36745, 32901, 4]),
    ],
)
def test_places_are_those_of_all_versions(seed, index, places):
    np.testing.assert_array_equal(draw(seed, [index], sampling.table(LARGE, 8)), [places])


def test_a_sample_does_not_depend_on_the_batch_that_it_is_asked_in():
    index = np.array([0, 1, 17, 2**31, ONES - 1, ONES], np.uint32)
    together = draw(3, index)
    np.testing.assert_array_equal(draw(3, index[::-1])[::-1], together)
    np.testing.assert_array_equal(np.concatenate([draw(3, [i]) for i in index]), together)
    assert len(np.unique(together, axis=0)) == len(index)


def test_samples_near_the_last_32_bit_number_are_as_others():
    index = (ONES - np.arange(200)).astype(np.uint32)
    places = draw(0, index)
    assert len(np.unique(places, axis=0)) == len(index)
    free = SIDES[places[:, 0]] - 8 + 1
    assert np.all((places[:, 1:3] >= 0) & (places[:, 1:3] < free))
    assert set(places[:, 3]) == set(range(sampling.TURNS))


# Places.


@given(st.lists(st.tuples(st.integers(1, 65535), st.integers(0, ONES)), min_size=16, max_size=16))
def test_places_are_exact_products(pairs):
    limits, bits = np.array(pairs, np.uint32).T
    exact = [limit * bit >> 32 for limit, bit in pairs]
    found = sampling._below(jnp.asarray(limits), jnp.asarray(bits))
    np.testing.assert_array_equal(found, exact)


def test_places_of_extreme_bits_are_the_first_and_the_last_one():
    limits = jnp.arange(1, 65536, dtype=jnp.uint32)
    for bits in (0, 1, 2**16 - 1, 2**16, 2**31 - 1, 2**31, ONES - 1, ONES):
        exact = [limit * bits >> 32 for limit in range(1, 65536)]
        found = np.asarray(sampling._below(limits, jnp.full_like(limits, bits)))
        np.testing.assert_array_equal(found, exact)
        assert found.dtype == np.int32
        if bits in (0, ONES):
            np.testing.assert_array_equal(found, np.asarray(limits) - 1 if bits else 0 * found)


@pytest.mark.parametrize(
    ("bits", "places"), [(0, [0, 0, 0, 0]), (ONES, [2, 1, 65527, 7])], ids=["zeros", "ones"]
)
def test_extreme_bits_give_the_first_and_the_last_patch(monkeypatch, bits, places):
    monkeypatch.setattr(
        sampling.jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, bits, dtype)
    )
    np.testing.assert_array_equal(draw(0, [5], sampling.table(SIDES[:3], 8)), [places])


# Photos.


def shares(known):
    """Returns each photo's share of the 32-bit numbers, exact."""
    ends = [0, *map(int, known["cuts"]), 2**32]
    return [Fraction(end - begin, 2**32) for begin, end in itertools.pairwise(ends)]


SIZES = st.lists(
    st.tuples(st.integers(8, 65535), st.integers(8, 65535)), min_size=1, max_size=40
).map(np.array)


@given(SIZES)
def test_shares_of_photos_are_those_of_their_places(sides):
    known = sampling.table(sides, 8)
    places = [(int(h) - 7) * (int(w) - 7) for h, w in sides]
    np.testing.assert_array_equal(known["free"], sides - 7)
    assert known["cuts"].dtype == known["free"].dtype == np.uint32
    for ours, own in zip(shares(known), places, strict=True):
        assert abs(ours - Fraction(own, sum(places))) <= Fraction(1, 2**32)


@given(SIZES)
def test_shares_of_photos_are_alike_over_images(sides):
    known = sampling.table(sides, 8, "images")
    np.testing.assert_array_equal(known["free"], sides - 7)
    for share in shares(known):
        assert abs(share - Fraction(1, len(sides))) <= Fraction(1, 2**32)


def test_a_number_at_a_cut_is_the_next_photos(monkeypatch):
    known = sampling.table(np.array([[8, 8], [8, 8]]), 8)
    assert known["cuts"].tolist() == [2**31]
    for bits, photo in ((2**31 - 1, 0), (2**31, 1)):
        monkeypatch.setattr(
            sampling.jax.random, "bits", lambda key, shape, dtype, b=bits: jnp.full(shape, b, dtype)
        )
        assert draw(0, [0], known)[0, 0] == photo
