import contextlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.config import default, teacher
from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import checks
from kdgan_jax.train.feed import feed_factory

BATCHES = BatchConfig(steps=3, batch=4, hr_patch=16)
every_backend = pytest.mark.parametrize("backend", ["device", "tfdata"])
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
PHOTOS = [Photo("noise", NOISE, None, (40, 60)), Photo("part", NOISE[:20], None, (20, 60))]
BYTES = 3 * (60 * 60 + 60 * 60 // 16)


def test_photos_go_to_the_devices_if_they_take_at_most_half_of_the_memory(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "kdgan_jax")
    # CPU devices need a copy each.
    for spare, on_device, place in (0, True, "on the device"), (-2, False, "by tf.data"):
        monkeypatch.setattr(devices, "memory", lambda spare=spare: 2 * 2 * BYTES + spare)
        feed = feed_factory(DataConfig(), 4, PHOTOS, None, 2)(0, BATCHES)
        assert feed.on_device == on_device
        assert place in caplog.text
        assert "2 copies" in caplog.text
        caplog.clear()
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    monkeypatch.setattr(devices, "memory", lambda: 2 * BYTES)
    assert feed_factory(DataConfig(), 4, PHOTOS, None, 2)(0, BATCHES).on_device


def test_photos_that_do_not_fit_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr(devices, "memory", lambda: 2 * 2**20)
    with pytest.raises(UserError) as caught:
        feed_factory(DataConfig(backend="device"), 4, PHOTOS * 200, None, 1)
    for fact in ("config.data.backend='device'", "2 MB", "1 MB", "'tfdata'"):
        assert fact in str(caught.value)


def shares(backend, number=1, start=0, batches=BATCHES, prepared=None, photos=PHOTOS, **settings):
    """Returns each device's share of the batch at step `start`."""
    data = DataConfig(backend=backend, **settings)
    feed = feed_factory(data, 4, photos, prepared, number)(5, batches)
    with contextlib.closing(feed.stream(start)) as stream:
        item = devices.to_host(next(stream))
    assert all(len(leaf) == number for leaf in jax.tree.leaves(item))
    cut = jax.jit(lambda item: feed.cut(feed.arrays, item, jnp.int32(start)))
    return [cut(jax.tree.map(lambda leaf, i=i: leaf[i], item)) for i in range(number)]


def joined(parts):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y, strict=True)


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("memory_mb", [0, 100], ids=["on the fly", "decoded"])
def test_the_host_cuts_the_patches_of_the_device(memory_mb, margin):
    batches = BatchConfig(steps=3, batch=4, hr_patch=16, margin=margin)
    (device,), (host,) = (
        shares(backend, start=1, batches=batches, memory_mb=memory_mb)
        for backend in ("device", "tfdata")
    )
    assert device.lr.shape == (4, 4 + 2 * margin, 4 + 2 * margin, 3)
    assert_same(device, host)


@every_backend
def test_a_batch_and_its_numbers_are_the_same_on_any_number_of_devices(backend):
    (whole,) = shares(backend, start=2)
    np.testing.assert_array_equal(whole.index, np.arange(8, 12, dtype=np.uint32), strict=True)
    for number in 2, 4:
        parts = shares(backend, number, start=2)
        assert [len(part.lr) for part in parts] == [4 // number] * number
        assert_same(joined(parts), whole)


@pytest.mark.parametrize(("backend", "memory_mb"), [("device", 0), ("tfdata", 0), ("tfdata", 100)])
def test_entries_get_the_shares_of_their_weights(backend, memory_mb):
    photos = [PHOTOS[0], PHOTOS[1]._replace(entry=1)]
    for i, weights in enumerate([(1, 1e-12), (1e-12, 1)]):
        assert_same(
            shares(backend, photos=photos, weights=weights, memory_mb=memory_mb),
            shares(backend, photos=photos[i : i + 1], memory_mb=memory_mb),
        )


@every_backend
def test_numbers_of_samples_wrap_around_at_32_bits(backend):
    start = 2**30 + 1
    batches = BatchConfig(steps=start + 1, batch=4, hr_patch=16)
    (batch,) = shares(backend, start=start, batches=batches)
    np.testing.assert_array_equal(batch.index, np.arange(4, 8, dtype=np.uint32), strict=True)


@every_backend
def test_photos_without_hr_are_marked_on_every_device(backend):
    decoded, _ = buffers.build(PHOTOS, 4, 0.0)
    gaps = decoded._replace(begins={**decoded.begins, "hr": np.array([-1, 150])})
    batches = BatchConfig(steps=3, batch=16, hr_patch=16)
    batch = joined(shares(backend, 2, prepared=gaps, batches=batches))
    assert 0 < sum(batch.valid["hr"]) < 16
    np.testing.assert_array_equal(batch.targets["hr"].any((1, 2, 3)), batch.valid["hr"])


@every_backend
def test_prepared_photos_need_no_files(backend):
    decoded, _ = buffers.build(PHOTOS, 4, 0.0)
    without_files = [photo._replace(hr="missing") for photo in PHOTOS]
    assert_same(shares(backend, prepared=decoded, photos=without_files), shares(backend))


# Samples whose LR is degraded on the fly.


def test_degraded_samples_come_from_the_host_and_are_the_same_on_any_number_of_devices():
    fresh = {"copies": 0, "degradation": "light"}
    feed = feed_factory(DataConfig(**fresh), 4, PHOTOS, None, 1)(5, BATCHES)
    assert not feed.on_device
    (whole,), (clean,) = shares("auto", start=2, **fresh), shares("tfdata", start=2)
    np.testing.assert_array_equal(whole.targets["hr"], clean.targets["hr"], strict=True)
    assert (whole.lr != clean.lr).any((1, 2, 3)).all()
    for number in 2, 4:
        assert_same(joined(shares("auto", number, start=2, **fresh)), whole)


def test_samples_are_degraded_out_of_hr_even_if_no_phase_reads_it():
    data = DataConfig(copies=0, degradation="strong")
    decoded, _ = buffers.build(PHOTOS, 4, 0.0)
    batches = []
    for prepared in None, decoded:
        for with_hr in True, False:
            feed = feed_factory(data, 4, PHOTOS, prepared, 1, with_hr=with_hr)(5, BATCHES)
            with contextlib.closing(feed.stream(0)) as stream:
                batches.append(devices.to_host(next(stream)).lr)
    for lr in batches[1:]:
        np.testing.assert_array_equal(lr, batches[0], strict=True)


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("data.backend", "device", "tfdata"),
        ("data.crop", 96, "0"),
        ("data.recolour", True, "False"),
        ("data.degradation", "none, none", "strong"),
        ("steps_per_call", 4, "copies"),
        ("train.distill.teachers.teacher", teacher("teacher", stored="uint8"), "''"),
    ],
)
def test_what_does_not_go_with_degraded_samples_is_refused(field, value, advice):
    config = default()
    config.data.update(copies=0, degradation="light")
    checks.checked(config)
    part, _, last = field.rpartition(".")
    inner = config[part] if part else config
    inner[last] = value
    with pytest.raises(UserError) as caught:
        checks.checked(config)
    shown = ".stored='uint8'" if last == "teacher" else f"={value!r}"
    for fact in (f"config.{field}{shown}", advice):
        assert fact in str(caught.value)
    assert last == "steps_per_call" or "config.data.copies=0" in str(caught.value)
