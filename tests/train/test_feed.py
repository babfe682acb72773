import contextlib
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.runtime import devices
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.train import feed

BATCHES = BatchConfig(steps=3, batch=4, hr_patch=16)
BACKENDS = "device", "tfdata"


@pytest.fixture
def photos():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return [Photo("noise", noise, None, (40, 60)), Photo("part", noise[:20], None, (20, 60))]


BYTES = 3 * (60 * 60 + 60 * 60 // 16)


def test_photos_that_fit_go_to_the_device(photos, monkeypatch, caplog):
    # On a CPU every device has a copy, and half of the memory may be taken.
    caplog.set_level(logging.INFO, "kdgan_jax")
    monkeypatch.setattr(devices, "memory", lambda: 2 * 2 * BYTES)
    assert feed.source(DataConfig(), 4, photos, None, 2)(0, BATCHES).on_device
    assert caplog.messages[0].startswith(
        "patches are cut on the device (config.data.backend='auto'): photos take 0 MB (2 copies)"
    )
    monkeypatch.setattr(devices, "memory", lambda: 2 * 2 * BYTES - 2)
    assert not feed.source(DataConfig(), 4, photos, None, 2)(0, BATCHES).on_device
    assert "patches are cut by tf.data on the host" in caplog.text


def test_on_an_accelerator_one_copy_must_fit(photos, monkeypatch):
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    monkeypatch.setattr(devices, "memory", lambda: 2 * BYTES)
    assert feed.source(DataConfig(), 4, photos, None, 2)(0, BATCHES).on_device


def test_photos_that_do_not_fit_say_what_they_need(photos, monkeypatch):
    monkeypatch.setattr(devices, "memory", lambda: 2**20)
    with pytest.raises(UserError) as caught:
        feed.source(DataConfig(backend="device"), 4, photos * 100, None, 1)
    assert str(caught.value) == (
        "config.data.backend='device': photos take 1 MB, 50% of the machine's memory are 0 MB; set"
        " it to 'tfdata', or take fewer photos or devices"
    )


def drawn(data, photos, prepared=None, number=1, start=0, batches=BATCHES, also=None):
    """Returns the first batch from `start` on as a list, one share of it for each device.

    With `also`, each is (share, also(share)), computed in the same program.
    """
    found = feed.source(data, 4, photos, prepared, number)(5, batches)
    with contextlib.closing(found.given(start)) as stream:
        given = devices.to_host(next(stream))
    assert all(len(leaf) == number for leaf in jax.tree.leaves(given))

    @jax.jit
    def share(given):
        cut = found.cut(found.arrays, given, jnp.int32(start))
        return (cut, also(cut)) if also else cut

    return [share(jax.tree.map(lambda leaf, i=i: leaf[i], given)) for i in range(number)]


def joined(shares):
    return jax.tree.map(lambda *parts: np.concatenate(parts), *shares)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("memory_mb", [0, 100], ids=["on the fly", "decoded"])
def test_the_host_cuts_the_patches_of_the_device(photos, memory_mb, margin):
    batches = BatchConfig(steps=3, batch=4, hr_patch=16, margin=margin)
    (device,), (host,) = (
        drawn(DataConfig(backend=backend, memory_mb=memory_mb), photos, start=1, batches=batches)
        for backend in BACKENDS
    )
    assert device.lr.shape == (4, 4 + 2 * margin, 4 + 2 * margin, 3)
    assert_same(device, host)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_is_the_same_on_any_number_of_devices(photos, backend, number):
    data = DataConfig(backend=backend)
    (whole,) = drawn(data, photos, start=2)
    shares = drawn(data, photos, number=number, start=2)
    assert [len(share.lr) for share in shares] == [4 // number] * number
    np.testing.assert_array_equal(whole.index, np.arange(8, 12, dtype=np.uint32), strict=True)
    assert_same(joined(shares), whole)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_random_for_a_sample_is_the_same_on_any_number_of_devices(photos, backend, number):
    def noise(batch):
        key = jax.random.key(3)
        return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (2,)))(batch.index)

    data = DataConfig(backend=backend)
    numbers = [
        joined([found for _, found in drawn(data, photos, number=n, start=1, also=noise)])
        for n in (1, number)
    ]
    assert len(np.unique(numbers[0])) == 8
    np.testing.assert_array_equal(*numbers)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_index_of_the_longest_run_is_of_32_bits(photos, backend):
    # Steps are int32, so their samples pass 2**32, where both backends begin anew.
    start = 2**30 + 1
    batches = BatchConfig(steps=start + 1, batch=4, hr_patch=16)
    (batch,) = drawn(DataConfig(backend=backend), photos, start=start, batches=batches)
    np.testing.assert_array_equal(batch.index, np.arange(4, 8, dtype=np.uint32), strict=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_photos_without_hr_are_marked_on_every_device(photos, backend):
    decoded, _ = buffers.build(photos, 4, 0.0)
    gaps = decoded._replace(begins={**decoded.begins, "hr": np.array([-1, 150])})
    batches = BatchConfig(steps=3, batch=16, hr_patch=16)
    shares = drawn(DataConfig(backend=backend), photos, gaps, number=2, batches=batches)
    there = joined(shares).valid["hr"]
    assert 0 < sum(there) < 16
    hr = joined(shares).targets["hr"]
    np.testing.assert_array_equal(hr.any((1, 2, 3)), there)


def test_photos_out_of_a_file_are_taken_as_they_are(photos):
    decoded, _ = buffers.build(photos, 4, 0.0)
    gone = [photo._replace(hr="gone") for photo in photos]
    for backend in BACKENDS:
        data = DataConfig(backend=backend)
        assert_same(drawn(data, gone, decoded), drawn(data, photos))
