"""Samples whose LR patch is degraded on the fly."""

import contextlib
import dataclasses

import numpy as np
import pytest
from decoded import of_all_kinds, turned

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, sampling, sources
from kdgan_jax.data.photos import Photo, load
from kdgan_jax.data.pipeline import PatchSource

SCALE, PATCH = 4, 48
LIGHT = DataConfig(copies=0, degradation="light", sampling="images")


@pytest.fixture
def photos(photo):
    return of_all_kinds(photo)


def draw(photos, data=LIGHT, *, decoded=True, start=0, stop=1, batch=32, margin=0, **sharding):
    """Returns the batches of steps `start` to `stop` - 1 as one."""
    source = PatchSource(buffers.build(photos, SCALE, 0.0)[0] if decoded else photos, data, SCALE)
    config = BatchConfig(stop, batch, PATCH, margin)
    batches = source.batches(config, seed=7, start=start, **sharding)
    with contextlib.closing(batches):
        drawn = list(batches)
    return {
        "lr": np.concatenate([b.lr for b in drawn]),
        "hr": np.concatenate([b.targets["hr"] for b in drawn]),
        "has_hr": np.concatenate([b.valid.get("hr", np.ones(len(b.lr), bool)) for b in drawn]),
        "index": np.concatenate([b.index for b in drawn]),
    }


def places(photos, number):
    """Returns where the samples 0 to `number` - 1 are cut."""
    sides = np.array([photo.size for photo in photos]) // SCALE
    table = sampling.tabulate(sides, PATCH // SCALE, LIGHT.sampling)
    drawn = sampling.draw(7, np.arange(number, dtype=np.uint32), table)
    return sampling.Places(*map(np.asarray, drawn))


def assert_same(a, b):
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)


@pytest.mark.parametrize("margin", [0, 9])
def test_a_sample_is_the_same_in_any_process_after_a_resume_and_in_memory(photos, margin):
    data = dataclasses.replace(LIGHT, degradation="light,none,strong")
    whole = draw(photos, data, stop=3, batch=8, margin=margin)
    on_the_fly = draw(photos, data, stop=3, batch=8, margin=margin, decoded=False)
    assert_same(on_the_fly, whole)
    for process in 0, 1:
        own = (whole["index"] // 4 % 2 == process) & (whole["index"] >= 8)
        share = draw(
            photos, data, start=1, stop=3, batch=8, margin=margin, process=process, processes=2
        )
        assert_same(share, {name: array[own] for name, array in whole.items()})


def test_samples_of_one_place_differ_in_lr_alone(photos):
    hr = photos[0].hr[:PATCH, :PATCH]
    drawn = draw([Photo("a", hr, None, (PATCH, PATCH))])
    turns = places([photos[0]._replace(full_size=(PATCH, PATCH))], 32).turn
    assert set(turns) == set(range(8))
    for image, turn in zip(drawn["hr"], turns, strict=True):
        np.testing.assert_array_equal(image, turned(hr, turn))
    upright = {turned_back(lr, turn).tobytes() for lr, turn in zip(drawn["lr"], turns, strict=True)}
    assert len(upright) == 32


def turned_back(image, turn):
    """Undoes `turned`."""
    image = image.transpose(1, 0, 2) if turn & 4 else image
    return turned(image, turn & 3)


def plain(photos, number):
    """Returns the LR patches of the samples 0 to `number` - 1 without degradation."""
    lr, size, patches = [load(photo, SCALE)["lr"] for photo in photos], PATCH // SCALE, []
    for photo, top, left, turn in zip(*places(photos, number), strict=True):
        patches.append(turned(lr[photo][top : top + size, left : left + size], turn))
    return np.stack(patches)


def test_lr_is_the_degraded_patch_turned_like_hr(photos):
    drawn, exact = draw(photos, batch=64), plain(photos, 64).astype(float)
    which = places(photos, 64).photo
    assert set(which) == set(range(6))
    np.testing.assert_array_equal(drawn["has_hr"], which % 3 != 2)
    assert not drawn["hr"][which % 3 == 2].any()
    for lr, hr in zip(drawn["lr"][drawn["has_hr"]], drawn["hr"][drawn["has_hr"]], strict=True):
        assert np.abs(lr.mean((0, 1)) - hr.mean((0, 1))).max() < 8
    errors = np.abs(drawn["lr"][:, None].astype(float) - exact).mean((2, 3, 4))
    assert (errors.argmin(axis=1) == np.arange(64)).mean() > 0.9  # some are of nearly one place
    middle = slice(1, -1)
    shifted = {
        (y, x): np.abs(np.roll(drawn["lr"], (y, x), (1, 2)) - exact)[:, middle, middle].mean()
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert min(shifted, key=shifted.get) == (0, 0)


def test_samples_take_the_levels_in_turn(photos):
    drawn = draw(photos, dataclasses.replace(LIGHT, degradation="none, light"))
    same = (drawn["lr"] == plain(photos, 32)).all((1, 2, 3))
    np.testing.assert_array_equal(same, np.arange(32) % 2 == 0)


def test_photos_without_any_hr_are_degraded_at_their_own_size(photos):
    for decoded in True, False:
        drawn = draw(photos[2:3], decoded=decoded)
        assert not drawn["has_hr"].any()
        errors = np.abs(drawn["lr"].astype(float) - plain(photos[2:3], 32)).mean((1, 2, 3))
        assert 0 < errors.min() <= errors.mean() < 8


def test_photos_stay_whole_and_held_out_ones_have_a_fixed_copy():
    data = dataclasses.replace(LIGHT, source="embedded", degradation="strong,light")
    fresh = sources.gather(data, SCALE, PATCH)
    copied = sources.gather(dataclasses.replace(data, copies=1), SCALE, PATCH)
    assert fresh.holdout == copied.holdout
    assert {photo.copy.level for photo in fresh.holdout} == {"strong"}
    assert [(p.copy, p.part) for p in fresh.train] == [(None, None)] * len(copied.train)
