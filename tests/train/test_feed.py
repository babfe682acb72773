import contextlib
import logging

import numpy as np
import pytest

from kdgan_jax import config as configuration
from kdgan_jax import devices
from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.errors import UserError
from kdgan_jax.train import feed

SETTINGS = configuration.phase(steps=3, batch=4, hr_patch=16)


@pytest.fixture
def config():
    return configuration.default()


@pytest.fixture
def photos():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return [Photo("noise", noise, None, (40, 60)), Photo("part", noise[:20], None, (20, 60))]


BYTES = 3 * (60 * 60 + 60 * 60 // 16)


def test_photos_that_fit_go_to_the_device(config, photos, monkeypatch, caplog):
    # On a CPU every device has a copy, and half of the memory may be taken.
    caplog.set_level(logging.INFO, "kdgan_jax")
    monkeypatch.setattr(devices, "memory", lambda: 2 * 2 * BYTES)
    assert feed.source(config, photos, None, 2)(0, SETTINGS).on_device
    assert caplog.messages[0].startswith(
        "patches are cut on the device (config.data.backend='auto'): photos take 0 MB (2 copies)"
    )
    monkeypatch.setattr(devices, "memory", lambda: 2 * 2 * BYTES - 2)
    assert not feed.source(config, photos, None, 2)(0, SETTINGS).on_device
    assert "patches are cut by tf.data on the host" in caplog.text


def test_on_an_accelerator_one_copy_must_fit(config, photos, monkeypatch):
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    monkeypatch.setattr(devices, "memory", lambda: 2 * BYTES)
    assert feed.source(config, photos, None, 2)(0, SETTINGS).on_device


def test_photos_that_do_not_fit_say_what_they_need(config, photos, monkeypatch):
    config.data.backend = "device"
    monkeypatch.setattr(devices, "memory", lambda: 2**20)
    photos *= 100
    with pytest.raises(UserError) as caught:
        feed.source(config, photos, None, 1)
    assert str(caught.value) == (
        "config.data.backend='device': photos take 1 MB, 50% of the machine's memory are 0 MB; set"
        " it to 'tfdata', or take fewer photos or devices"
    )


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_the_host_cuts_the_patches_of_the_device(config, photos, memory_mb):
    config.data.memory_mb = memory_mb  # decoded on the fly, or once
    batches = {}
    for backend in "device", "tfdata":
        config.data.backend = backend
        found = feed.source(config, photos, None, 1)(5, SETTINGS)
        with contextlib.closing(found.given(1)) as stream:
            given = next(stream)
        if backend == "device":
            given = {name: array[0] for name, array in given.items()}
        batch = found.cut(found.arrays, given, np.int32(1))
        batches[backend] = {name: np.asarray(image) for name, image in batch.items()}
    for name, image in batches["tfdata"].items():
        np.testing.assert_array_equal(image[0], batches["device"][name])


def test_photos_out_of_a_file_are_taken_as_they_are(config, photos):
    decoded, _ = buffers.build(photos, 4, 0.0)
    for backend in "device", "tfdata":
        config.data.backend = backend
        gone = [photo._replace(hr="gone") for photo in photos]
        found = feed.source(config, gone, decoded, 1)(5, SETTINGS)
        with contextlib.closing(found.given(0)) as stream:
            next(stream)
