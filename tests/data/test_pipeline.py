"""Patches of both pipelines, and that they are the same ones."""

import contextlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from kdgan_jax import bicubic
from kdgan_jax.data import buffers, patches, pipeline, sampling
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.pipeline import PatchSource
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.errors import UserError

WAYS = "on the device", "in memory", "on the fly"
TURNS = [(flip, turns) for flip in (False, True) for turns in range(4)]


def map_photo(height, width, scale=4):
    """A photo whose LR pixel (y, x) is (y, x, 7), and whose HR repeats it."""
    lr = np.full((height, width, 3), 7, np.uint8)
    lr[..., 0], lr[..., 1] = np.mgrid[:height, :width]
    hr = lr.repeat(scale, 0).repeat(scale, 1)
    return Photo("map", hr, lr, hr.shape[:2])


def turned(image, flip, turns):
    return np.rot90(image[:, ::-1] if flip else image, turns)


def orientation(lr):
    """Which of the eight turns of an upright piece of `map_photo` the patch `lr` is."""
    top, left = lr[..., 0].min(), lr[..., 1].min()
    upright = np.full_like(lr, 7)
    upright[..., 0], upright[..., 1] = np.mgrid[: lr.shape[0], : lr.shape[1]]
    upright += np.array([top, left, 0], np.uint8)
    (found,) = [t for t in TURNS if np.array_equal(turned(upright, *t), lr)]
    return found


class OnDevice:
    """Patches cut by JAX, with the signature of `PatchSource`."""

    def __init__(self, photos, scale, uniform_over):
        self.photos, self.scale, self.uniform_over = photos, scale, uniform_over

    def batches(self, *, seed, start, stop, batch, hr_patch, process=0, processes=1):
        size, share = hr_patch // self.scale, batch // processes
        known = sampling.table(self.photos.sides, size, self.uniform_over)
        arrays = jax.device_put(patches.arrays(self.photos))
        cut = jax.jit(lambda index: patches.batch(arrays, known, seed, index, size))
        for step in range(start, stop):
            index = step * batch + process * share + np.arange(share, dtype=np.uint32)
            yield {name: np.asarray(image) for name, image in cut(index).items()}


def make(way, photos, scale=4, uniform_over="pixels"):
    """Returns a source of patches that are cut in this way."""
    if way == "on the fly":
        return PatchSource(photos, scale, uniform_over)
    decoded, _ = buffers.build(photos, scale, 0.0)
    return (OnDevice if way == "on the device" else PatchSource)(decoded, scale, uniform_over)


def draw(source, *, seed=0, start=0, stop=1, batch=8, hr_patch=32, **sharding):
    """Returns the batches of steps `start` to `stop` - 1 as a list."""
    with contextlib.closing(
        source.batches(
            seed=seed, start=start, stop=stop, batch=batch, hr_patch=hr_patch, **sharding
        )
    ) as batches:
        return list(batches)


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a["lr"], b["lr"])
        np.testing.assert_array_equal(a["hr"], b["hr"])


@pytest.fixture(scope="module")
def photos(photo):
    """Three photos of different sizes; the last has an LR image of its own."""
    own = bicubic.downscale(photo[:120, :200], 4) ^ np.uint8(1)
    return [
        Photo("a", photo, None, (300, 448)),
        Photo("b", photo[100:232, 30:94], None, (132, 64)),
        Photo("c", photo[:120, :200], own, (120, 200)),
    ]


@pytest.fixture(scope="module", params=WAYS)
def source(request, photos):
    return make(request.param, photos)


def test_tensorflow_sees_no_gpu():
    assert tf.config.get_visible_devices("GPU") == []


def test_batches_are_uint8_of_the_asked_size(source):
    (batch,) = draw(source, batch=8, hr_patch=48)
    assert batch["hr"].shape == (8, 48, 48, 3)
    assert batch["lr"].shape == (8, 12, 12, 3)
    assert batch["hr"].dtype == batch["lr"].dtype == np.uint8


# Alignment.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_aligned_in_all_eight_orientations(way, scale):
    source = make(way, [map_photo(20, 50, scale)], scale)
    (batch,) = draw(source, batch=64, hr_patch=8 * scale)
    np.testing.assert_array_equal(batch["lr"].repeat(scale, 1).repeat(scale, 2), batch["hr"])
    assert {orientation(lr) for lr in batch["lr"]} == set(TURNS)


@pytest.mark.parametrize("way", WAYS)
def test_lr_is_matlab_bicubic_of_the_whole_photo(photo, way):
    # A patch at the photo's border has the photo's border, one inside has what surrounds it.
    hr = photo[:80, :96]
    lr = bicubic.downscale(hr, 4)
    source = make(way, [Photo("a", hr, None, (80, 96))])
    (batch,) = draw(source, batch=32, hr_patch=32)
    places = {
        turned(hr[4 * y : 4 * y + 32, 4 * x : 4 * x + 32], *t).tobytes(): turned(
            lr[y : y + 8, x : x + 8], *t
        )
        for y in range(13)
        for x in range(17)
        for t in TURNS
    }
    for have_lr, have_hr in zip(batch["lr"], batch["hr"], strict=True):
        np.testing.assert_array_equal(have_lr, places[have_hr.tobytes()])


# Batches are a function of (seed, step).


def test_same_seed_and_step_give_the_same_batch(source):
    assert_same(draw(source, seed=3, stop=3), draw(source, seed=3, stop=3))


def test_a_later_start_gives_what_an_unbroken_run_sees(source):
    assert_same(draw(source, start=5, stop=8), draw(source, stop=8)[5:])


@pytest.mark.parametrize("way", WAYS[1:])
def test_all_ways_give_the_same_patches(way, photos):
    one, other = make(WAYS[0], photos), make(way, photos)
    for hr_patch in 16, 64:
        assert_same(
            draw(one, seed=2**31, start=7, stop=12, hr_patch=hr_patch),
            draw(other, seed=2**31, start=7, stop=12, hr_patch=hr_patch),
        )


def test_a_long_run_is_drawn_in_pieces(photos, monkeypatch):
    whole = draw(make("in memory", photos), start=1, stop=9)
    monkeypatch.setattr(pipeline, "DRAWN", 24)  # three batches
    assert_same(draw(make("in memory", photos), start=1, stop=9), whole)


def test_another_seed_gives_another_batch(source):
    ((one,), (other,)) = draw(source, seed=0), draw(source, seed=1)
    assert not np.array_equal(one["hr"], other["hr"])


def test_another_step_gives_another_batch(source):
    one, other = draw(source, stop=2)
    assert not np.array_equal(one["hr"], other["hr"])


def test_shares_of_two_processes_make_the_whole_batch(source):
    whole = draw(source, start=1, stop=3)
    shares = [draw(source, start=1, stop=3, process=i, processes=2) for i in range(2)]
    assert shares[0][0]["hr"].shape[0] == 4
    joined = [
        {name: np.concatenate([one[name], other[name]]) for name in one}
        for one, other in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


# Distribution: 2000 samples, bounds of 4 to 5 standard deviations.


@pytest.fixture(scope="module")
def samples():
    """LR patches of 8x8 from maps of 80x100 and of 20x30; channel 2 tells them apart."""
    large, small = map_photo(80, 100), map_photo(20, 30)
    small.lr[..., 2] = small.hr[..., 2] = 9
    source = make(WAYS[0], [large, small])
    (batch,) = draw(source, batch=2000)
    return batch["lr"]


def test_photos_are_drawn_in_proportion_to_their_patches(samples):
    places = 73 * 93, 13 * 23
    share = places[1] / sum(places)  # 4 %, where one per photo would be 50 %
    drawn = np.mean(samples[:, 0, 0, 2] == 9)
    assert abs(drawn - share) < 5 * np.sqrt(share * (1 - share) / len(samples))


@pytest.mark.parametrize("way", WAYS)
def test_photos_are_drawn_alike_if_that_is_wanted(way):
    large, small = map_photo(80, 100), map_photo(20, 30)
    small.lr[..., 2] = small.hr[..., 2] = 9
    (batch,) = draw(make(way, [large, small], uniform_over="images"), batch=1000)
    assert abs(np.mean(batch["lr"][:, 0, 0, 2] == 9) - 0.5) < 5 * np.sqrt(0.25 / 1000)


def test_places_in_a_photo_are_uniform(samples):
    large = samples[samples[..., 2].max((1, 2)) == 7]
    for channel, free in ((0, 73), (1, 93)):
        first = large[..., channel].min((1, 2))
        assert (first.min(), first.max()) == (0, free - 1)
        counts = np.histogram(first, bins=8, range=(0, free))[0]
        expected = np.histogram(np.arange(free), bins=8, range=(0, free))[0] / free * len(large)
        assert np.sum((counts - expected) ** 2 / expected) < 24.3  # chi-square, 7 d.o.f., p = 0.001


def test_orientations_are_equally_likely(samples):
    large = samples[samples[..., 2].max((1, 2)) == 7]
    found = [orientation(lr) for lr in large]
    counts = np.array([found.count(t) for t in TURNS])
    expected = len(large) / 8
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected * 7 / 8))


# Ending.


def test_a_photo_damaged_after_the_start_is_named(tmp_path, photo):
    path = tmp_path / "cat.png"
    Image.fromarray(photo).save(path)
    source = PatchSource([Photo("cat", path, None, (300, 448))], 4, "pixels")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cat\.png: truncated or damaged"):
        draw(source)


def test_photos_that_are_gone_are_named_once_and_others_taken(tmp_path, photo, caplog):
    found = []
    for i in range(4):
        Image.fromarray(photo[100 - 20 * i : 200, :120]).save(tmp_path / f"{i}.png")
        found.append(Photo(f"{i}", tmp_path / f"{i}.png", None, (100 + 20 * i, 120)))
    source = PatchSource(found, 4, "pixels", 0.3)
    whole = draw(source, stop=3)
    (tmp_path / "1.png").unlink()
    rest = draw(source, stop=3)
    same = [
        np.array_equal(a, b)
        for x, y in zip(whole, rest, strict=True)
        for a, b in zip(x["hr"], y["hr"], strict=True)
    ]
    assert 0 < sum(same) < len(same)
    (said,) = caplog.messages
    assert said.startswith(f"skipped from now on: {tmp_path}/1.png: ")
    (tmp_path / "2.png").unlink()
    with pytest.raises(UserError) as caught:
        draw(source, stop=3)
    assert str(caught.value).startswith(f"{tmp_path}/2.png: ")
    assert "2 of 4 photos can no longer be read, more than" in str(caught.value)


def test_closing_early_ends_at_once_when_decoding_on_the_fly():
    program = """
import contextlib
import numpy as np
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.pipeline import PatchSource
hr = np.zeros((64, 64, 3), np.uint8)
source = PatchSource([Photo("a", hr, None, (64, 64))], 4, "pixels")
batches = source.batches(seed=0, start=0, stop=10**9, batch=4, hr_patch=32)
with contextlib.closing(batches):
    next(batches)
print("closed")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=90
    )
    assert (result.returncode, result.stdout) == (0, "closed\n")
