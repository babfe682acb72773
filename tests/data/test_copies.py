"""Copies of photos: where they are cut, how they are degraded, and that both backends agree."""

import jax
import numpy as np
import pytest
from decoded import of_all_kinds

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, colours, degradations, patches, sampling
from kdgan_jax.data.photos import Box, copies, load
from kdgan_jax.data.pipeline import PatchSource
from kdgan_jax.pictures import bicubic

SCALE = 4


@pytest.fixture
def photos(photo):
    return of_all_kinds(photo)


def cut(image, box, scale):
    top, left, height, width = (side // scale for side in box)
    return image[top : top + height, left : left + width]


@pytest.mark.parametrize("crop", [0, 9, 20, 100])
def test_crops_stay_inside_and_hr_and_lr_belong_together(photos, crop):
    places = set()
    for photo in photos:
        whole = photo.part or Box(0, 0, *photo.full_size)
        for copy in copies([photo], ["none"], 12, SCALE, crop):
            box = copy.part or Box(0, 0, *photo.full_size)
            places.add((photo.name, box.top, box.left))
            assert all(side % SCALE == 0 for side in box)
            largest = crop * SCALE or 10**6
            assert copy.size == (min(whole.height, largest), min(whole.width, largest))
            assert whole.top <= box.top <= whole.top + whole.height - box.height
            assert whole.left <= box.left <= whole.left + whole.width - box.width
            images = load(copy, SCALE)
            if photo.hr is not None:
                np.testing.assert_array_equal(images["hr"], cut(photo.hr, box, 1))
            if photo.lr is None:
                np.testing.assert_array_equal(images["lr"], bicubic.downscale(images["hr"], SCALE))
            else:
                np.testing.assert_array_equal(images["lr"], cut(photo.lr, box, SCALE))
    assert (len(places) > 2 * len(photos)) == (crop in (9, 20))


@pytest.mark.parametrize("level", ["light", "strong"])
def test_lr_of_a_copy_is_its_hr_degraded_or_its_lr_if_it_has_no_hr(photos, level):
    for copy in copies(photos, ["none", level], 2, SCALE, 12)[1::2]:
        images, plain = load(copy, SCALE), load(copy._replace(copy=None), SCALE)
        image, size = plain.get("hr", plain["lr"]), plain["lr"].shape[:2]
        random = copy.copy.random("degradation")
        degraded = degradations.degrade(image, size, level, random)
        np.testing.assert_array_equal(images["lr"], degraded)
        assert np.any(degraded != plain["lr"])


def test_hr_and_lr_of_a_recoloured_copy_have_its_colours(photos):
    for copy in copies(photos, ["light"], 3, SCALE, 12, recoloured=True):
        plain = load(copy._replace(copy=copy.copy._replace(level="none", recoloured=False)), SCALE)
        images, varied = load(copy, SCALE), colours.vary(plain, copy.copy.random("colours"))
        image, size = varied.get("hr", varied["lr"]), plain["lr"].shape[:2]
        degraded = degradations.degrade(image, size, "light", copy.copy.random("degradation"))
        np.testing.assert_array_equal(images["lr"], degraded)
        if "hr" in varied:
            np.testing.assert_array_equal(images["hr"], varied["hr"])


def test_a_copy_is_the_same_whatever_other_photos_and_copies_there_are(photos):
    levels = ["light", "none"]
    many = {copy.name: copy for copy in copies(photos, levels, 4, SCALE, 10)}
    assert len(many) == 4 * len(photos)
    for copy in copies(photos[2:0:-1], levels, 2, SCALE, 10):
        assert copy == many[copy.name]
        for name, image in load(copy, SCALE).items():
            np.testing.assert_array_equal(image, load(many[copy.name], SCALE)[name])


@pytest.mark.parametrize(("degradation", "margin"), [("", 3), ("none", 0), ("light", 3)])
def test_both_backends_cut_the_same_patches_of_parts_and_copies(photos, degradation, margin):
    if degradation:
        photos = copies(photos, [degradation, "none"], 2, SCALE, 12)
    batches, data = BatchConfig(2, 24, 40, margin), DataConfig(weights=(1, 4), sampling="images")
    entries = np.array([photo.entry for photo in photos])
    decoded, _ = buffers.build(photos, SCALE, 0.0)
    table = sampling.tabulate(decoded.sides, 10, "images", data.weights, entries)
    arrays, seen = jax.device_put(patches.arrays(decoded)), set()
    ways = [PatchSource(p, data, SCALE, entries) for p in (decoded, photos)]
    for step, on_host in enumerate(
        zip(*(way.batches(batches, seed=3) for way in ways), strict=True)
    ):
        index = np.arange(24 * step, 24 * step + 24, dtype=np.uint32)
        device = patches.batch(arrays, table, 3, index, 10, margin)
        seen |= {photos[i].name for i in np.asarray(sampling.draw(3, index, table).photo)}
        for host in on_host:
            np.testing.assert_array_equal(host.lr, device.lr)
            np.testing.assert_array_equal(host.targets["hr"], device.targets["hr"])
            np.testing.assert_array_equal(host.valid["hr"], device.valid["hr"])
    assert len(seen) > len(photos) / 2
