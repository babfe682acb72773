import checks
import jax
import numpy as np
import pytest
import recorded

from kdgan_jax.formats import foreign
from kdgan_jax.models.generators import rrdb

TINY = {"channels": 8, "blocks": 2, "growth": 4}
PLAIN = {**TINY, "unshuffle": 1}
# What PyTorch has been recorded for: scale, and arguments.
RECORDED = {"rrdb_x4": (4, PLAIN), "rrdb_x2_plain": (2, PLAIN)}
RECORDED["rrdb_x2"] = (2, {**TINY, "unshuffle": 2})


def test_parameter_count_is_the_published_one():
    assert checks.count("rrdb") == 16_697_987
    assert checks.count("rrdb", 2) == 16_703_171  # RealESRGAN_x2plus


def test_output_is_twice_an_odd_sized_input_though_pairs_of_pixels_go_together():
    checks.assert_enlarges("rrdb", 2, **TINY | {"blocks": 1})


@pytest.mark.parametrize(
    ("scale", "grid"), [(1, 1), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1), (8, 1)]
)
def test_output_is_scale_times_the_input(scale, grid):
    module = rrdb.RRDBNet(scale, **TINY, unshuffle=grid)
    lr = jax.ShapeDtypeStruct((2, 17, 23, 3), np.float32)
    (sr, taps), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), lr)
    assert sr.shape == (2, 17 * scale, 23 * scale, 3)
    assert {tap.shape for tap in taps.values()} == {(2, -(-17 // grid), -(-23 // grid), 8)}


@pytest.mark.parametrize("size", [(17, 23), (1, 1)])
def test_scale_1_restores(size):
    module = rrdb.RRDBNet(1, **{**TINY, "blocks": 1})
    lr = np.random.default_rng(0).random((1, *size, 3), np.float32)
    sr, _ = jax.jit(module.apply)({"params": checks.drawn(module)}, lr)
    assert sr.shape == lr.shape
    assert np.isfinite(sr).all()


@pytest.mark.parametrize(
    ("kwargs", "scale"),
    [({**TINY, "unshuffle": 1}, 4), ({**TINY, "unshuffle": 2}, 2), ({**PLAIN, "blocks": 1}, 2)],
)
def test_weights_are_recognised_and_come_back(kwargs, scale):
    checks.assert_round_trip("rrdb", scale, **kwargs)


def test_scale_1_is_recognised():
    state = foreign.to_state(rrdb.RRDBNet(1, **TINY), checks.drawn(rrdb.RRDBNet(1, **TINY)))
    assert foreign.detect(state) == ("rrdb", {"scale": 1, **TINY, "unshuffle": 4})


def test_every_parameter_has_a_finite_gradient():
    assert checks.assert_gradients("rrdb", 2, **TINY | {"blocks": 1}) == []


@pytest.mark.parametrize(("kwargs", "scale"), [(PLAIN, 2), (TINY, 4), (TINY, 2)])
def test_tiles_that_start_on_the_grid_give_the_whole(kwargs, scale):
    checks.assert_tiles("rrdb", scale, **kwargs | {"blocks": 1})


def test_nothing_beyond_the_radius_matters_at_x2():
    checks.assert_radius("rrdb", 2, **TINY | {"blocks": 1})


@pytest.mark.parametrize("stem", RECORDED)
def test_random_weights_give_what_pytorch_gives(stem):
    scale, kwargs = RECORDED[stem]
    name, found, error, top = recorded.compare(stem, rrdb.modern_keys)
    assert (name, found) == ("rrdb", {"scale": scale, **kwargs})
    assert error < 1e-5 * max(top, 1)


@pytest.mark.parametrize("stem", ["rrdb_x4", "rrdb_x2_plain"])
def test_older_names_become_modern(stem):
    old = recorded.state(stem)
    new = rrdb.modern_keys(old)
    assert len(new) == len(old)
    assert checks.restore(new)[0] == "rrdb"  # with no entry left over
    assert rrdb.modern_keys(new) == new
    # A reader may have taken "model." for the prefix of a wrapper.
    assert (
        rrdb.modern_keys({k.removeprefix("model."): v for k, v in old.items()}).keys() == new.keys()
    )


def test_other_states_keep_their_names():
    state = {"model.0.weight": 1, "HRconv.weight": 2, "body.0.conv1.weight": 3}
    assert rrdb.modern_keys(state) == state


def test_esrgan_plus_is_not_taken_for_it():
    state = recorded.state("rrdb_x4")
    extra = {"model.1.sub.0.RDB1.conv1x1.weight": np.zeros((4, 8, 1, 1), np.float32)}
    assert foreign.detect(rrdb.modern_keys(state | extra)) is None


def test_no_published_file_is_claimed(shared):
    assert checks.claimed(shared, "rrdb") == set()
