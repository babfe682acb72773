"""Places of samples: pinned, exact to the last of 32 bits, and uniform."""

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


def draw(seed, index, table):
    """Returns the places of samples as (n, 4): photo, top, left, turn."""
    places = sampling.draw(seed, jnp.asarray(index, jnp.uint32), table)
    return np.stack([np.asarray(a) for a in places], 1)


# Places never change: runs are resumed under other versions and on other devices.


@pytest.mark.parametrize(
    ("seed", "index", "place"),
    [
        (0, 0, [2, 7293, 14886, 0]),
        (0, 1, [0, 1253, 29067, 2]),
        (7, 1000, [1, 23337, 15911, 2]),
        (2**31, 2**31, [0, 14603, 49399, 7]),
        (ONES, ONES, [2, 36745, 32901, 4]),
    ],
)
def test_places_are_those_of_all_versions(seed, index, place):
    np.testing.assert_array_equal(draw(seed, [index], sampling.tabulate(LARGE, 8)), [place])


def test_a_sample_does_not_depend_on_its_batch():
    # The last 32-bit numbers are no exception.
    index = (ONES - np.arange(200)).astype(np.uint32)
    table = sampling.tabulate(SIDES, 8)
    places = draw(3, index, table)
    np.testing.assert_array_equal(draw(3, index[::-1], table)[::-1], places)
    np.testing.assert_array_equal(draw(3, index[:1], table), places[:1])
    assert len(np.unique(places, axis=0)) == len(index)
    assert np.all((places[:, 1:3] >= 0) & (places[:, 1:3] < SIDES[places[:, 0]] - 8 + 1))


@pytest.mark.parametrize("uniform_over", ["pixels", "images"])
def test_places_are_uniform(uniform_over):
    sides = np.array([[80, 100], [47, 47]])
    places = draw(0, np.arange(4000), sampling.tabulate(sides, 8, uniform_over))
    large = places[places[:, 0] == 0]
    share = 0.5 if uniform_over == "images" else 73 * 93 / (73 * 93 + 40 * 40)
    assert abs(len(large) / 4000 - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    for column, number in ((1, 73), (2, 93), (3, 8)):
        counts = np.histogram(large[:, column], bins=8, range=(0, number))[0]
        expected = np.histogram(np.arange(number), bins=8, range=(0, number))[0]
        expected = expected / number * len(large)
        assert np.sum((counts - expected) ** 2 / expected) < 24.3  # chi-square, 7 d.o.f., p = 0.001


def test_places_are_exact_products():
    limits = np.arange(1, 65536, dtype=np.uint32)
    extremes = (0, 1, 2**16 - 1, 2**16, 2**31 - 1, 2**31, ONES - 1, ONES)
    random = np.random.default_rng(0).integers(0, 2**32, (8, len(limits)), np.uint32)
    for bits in [*(np.full_like(limits, extreme) for extreme in extremes), *random]:
        exact = (limits.astype(np.uint64) * bits >> 32).astype(np.int32)
        below = np.asarray(sampling._below(jnp.asarray(limits), jnp.asarray(bits)))
        np.testing.assert_array_equal(below, exact, strict=True)


@pytest.mark.parametrize(
    ("sides", "bits", "place"),
    [
        (SIDES[:3], 0, [0, 0, 0, 0]),
        (SIDES[:3], ONES, [2, 1, 65527, 7]),
        (SIDES[[3, 3]], 2**31 - 1, [0, 0, 0, 3]),
        (SIDES[[3, 3]], 2**31, [1, 0, 0, 4]),  # a number at a cut belongs to the next photo
    ],
)
def test_extreme_bits_give_the_first_and_the_last_place(monkeypatch, sides, bits, place):
    monkeypatch.setattr(
        sampling.jax.random, "bits", lambda key, shape, dtype: jnp.full(shape, bits, dtype)
    )
    np.testing.assert_array_equal(draw(0, [5], sampling.tabulate(sides, 8)), [place])


SIZES = st.lists(st.tuples(*[st.integers(8, 65535)] * 2), min_size=1, max_size=40).map(np.array)


@given(SIZES, st.sampled_from(["pixels", "images"]))
def test_shares_of_photos_are_exact_to_the_last_bit(sides, uniform_over):
    table = sampling.tabulate(sides, 8, uniform_over)
    np.testing.assert_array_equal(table.free, sides - 7)
    assert table.cuts.dtype == table.free.dtype == np.uint32
    weights = [int(h) * int(w) if uniform_over == "pixels" else 1 for h, w in sides - 7]
    ends = [0, *map(int, table.cuts), 2**32]
    for (begin, end), weight in zip(itertools.pairwise(ends), weights, strict=True):
        assert abs(Fraction(end - begin, 2**32) - Fraction(weight, sum(weights))) <= 2**-32


@given(SIZES, st.data())
def test_every_entry_gets_its_share_and_its_photos_theirs_of_it(sides, data):
    number = len(sides)
    uniform_over = data.draw(st.sampled_from(["pixels", "images"]))
    entries = np.array(data.draw(st.lists(st.integers(0, 3), min_size=number, max_size=number)))
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=4, max_size=4))
    table = sampling.tabulate(sides, 8, uniform_over, weights, entries)
    ends = [0, *map(int, table.cuts), 2**32]
    shares = np.diff(ends) / 2**32
    present = sum(weights[entry] for entry in set(entries.tolist()))
    areas = np.prod(sides - 7, axis=1) if uniform_over == "pixels" else np.ones(number)
    for photo, entry in enumerate(entries):
        inside = areas[photo] / areas[entries == entry].sum()
        assert shares[photo] == pytest.approx(inside * weights[entry] / present, abs=2**-31)


def test_weights_leave_draws_as_they_were_if_there_are_none_and_may_be_tiny():
    entries = np.array([0, 0, 1])
    for weights in ((), (7.0,)):
        numbers = entries if not weights else np.zeros(3, np.int64)
        table = sampling.tabulate(LARGE, 8, "pixels", weights, numbers)
        np.testing.assert_array_equal(table.cuts, sampling.tabulate(LARGE, 8).cuts)
    cuts = sampling.tabulate(LARGE, 8, "pixels", (1.0, 1e-30), entries).cuts
    assert cuts[0] < cuts[1] == ONES
