"""Patches of both pipelines, and that they are the same ones."""

import contextlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from gapped import with_gaps
from PIL import Image

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, pipeline, sampling
from kdgan_jax.data.photos import Photo
from kdgan_jax.data.pipeline import PatchSource
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

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

    def __init__(self, photos, data, scale):
        self.photos, self.scale, self.uniform_over = photos, scale, data.sampling

    def batches(self, wanted, *, seed, start=0, process=0, processes=1):
        size, share = wanted.hr_patch // self.scale, wanted.batch // processes
        known = sampling.table(self.photos.sides, size, self.uniform_over)
        arrays = jax.device_put(patches.arrays(self.photos))
        cut = jax.jit(lambda index: patches.batch(arrays, known, seed, index, size, wanted.margin))
        for step in range(start, wanted.steps):
            index = step * wanted.batch + process * share + np.arange(share, dtype=np.uint32)
            yield jax.tree.map(np.asarray, cut(index))


def make(way, photos, scale=4, uniform_over="pixels"):
    """Returns a source of patches that are cut in this way."""
    if way == "on the fly":
        return PatchSource(photos, DataConfig(sampling=uniform_over), scale)
    return of_buffers(way, buffers.build(photos, scale, 0.0)[0], scale, uniform_over)


def of_buffers(way, decoded, scale=4, uniform_over="pixels"):
    """Returns a source of patches of decoded photos."""
    kind = OnDevice if way == "on the device" else PatchSource
    return kind(decoded, DataConfig(sampling=uniform_over), scale)


def draw(source, *, seed=0, start=0, stop=1, batch=8, hr_patch=32, margin=0, **sharding):
    """Returns the batches of steps `start` to `stop` - 1 as a list."""
    wanted = BatchConfig(stop, batch, hr_patch, margin)
    stream = source.batches(wanted, seed=seed, start=start, **sharding)
    with contextlib.closing(stream) as batches:
        return list(batches)


def assert_same(one, other):
    """Checks that two lists of batches are equal, also in names and dtypes."""
    assert len(one) == len(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


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
    assert batch.targets["hr"].shape == (8, 48, 48, 3)
    assert batch.lr.shape == (8, 12, 12, 3)
    assert batch.targets["hr"].dtype == batch.lr.dtype == np.uint8
    assert (list(batch.targets), batch.valid) == (["hr"], {})


# Alignment.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_aligned_in_all_eight_orientations(way, scale):
    source = make(way, [map_photo(20, 50, scale)], scale)
    (batch,) = draw(source, batch=64, hr_patch=8 * scale)
    np.testing.assert_array_equal(batch.lr.repeat(scale, 1).repeat(scale, 2), batch.targets["hr"])
    assert {orientation(lr) for lr in batch.lr} == set(TURNS)


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
    for have_lr, have_hr in zip(batch.lr, batch.targets["hr"], strict=True):
        np.testing.assert_array_equal(have_lr, places[have_hr.tobytes()])


# Batches are a function of (seed, step).


def test_same_seed_and_step_give_the_same_batch(source):
    assert_same(draw(source, seed=3, stop=3), draw(source, seed=3, stop=3))


def test_a_later_start_gives_what_an_unbroken_run_sees(source):
    assert_same(draw(source, start=5, stop=8), draw(source, stop=8)[5:])


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize(("hr_patch", "margin"), [(16, 0), (64, 0), (16, 2), (64, 9)])
def test_all_ways_give_the_same_patches(way, photos, hr_patch, margin):
    one, other = make(WAYS[0], photos), make(way, photos)
    wanted = {"seed": 2**31, "start": 7, "stop": 12, "hr_patch": hr_patch, "margin": margin}
    assert_same(draw(one, **wanted), draw(other, **wanted))


def test_a_long_run_is_drawn_in_pieces(photos, monkeypatch):
    whole = draw(make("in memory", photos), start=1, stop=9)
    monkeypatch.setattr(pipeline, "DRAWN", 24)  # three batches
    assert_same(draw(make("in memory", photos), start=1, stop=9), whole)


def test_another_seed_gives_another_batch(source):
    ((one,), (other,)) = draw(source, seed=0), draw(source, seed=1)
    assert not np.array_equal(one.targets["hr"], other.targets["hr"])


def test_another_step_gives_another_batch(source):
    one, other = draw(source, stop=2)
    assert not np.array_equal(one.targets["hr"], other.targets["hr"])


def test_shares_of_two_processes_make_the_whole_batch(source):
    whole = draw(source, start=1, stop=3)
    shares = [draw(source, start=1, stop=3, process=i, processes=2) for i in range(2)]
    assert shares[0][0].lr.shape[0] == 4
    joined = jax.tree.map(lambda one, other: np.concatenate([one, other]), *shares)
    assert_same(joined, whole)


@pytest.mark.parametrize("start", [0, 3])
def test_samples_are_numbered_through_the_run(source, start):
    batches = draw(source, start=start, stop=5)
    index = np.concatenate([batch.index for batch in batches])
    np.testing.assert_array_equal(index, np.arange(start * 8, 5 * 8, dtype=np.uint32), strict=True)


# Photos that lack an image: the first has all, the second LR alone, the third no "teacher".

HAVING = {"hr": [0, 2], "teacher": [0]}


@pytest.fixture(scope="module")
def gaps(photos):
    return with_gaps(buffers.build(photos, 4, 0.0)[0], HAVING)


def drawn_photos(photos):
    """Returns which photo each sample of a batch of 24 is of."""
    known = sampling.table(np.array([p.size for p in photos]) // 4, 8, "images")
    return np.asarray(sampling.draw(0, np.arange(24, dtype=np.uint32), known).photo)


@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("way", WAYS[:2])
def test_an_image_that_a_photo_lacks_is_zeros_and_not_valid(way, photos, gaps, margin):
    wanted = {"batch": 24, "margin": margin}
    (batch,) = draw(of_buffers(way, gaps, uniform_over="images"), **wanted)
    (whole,) = draw(make(way, photos, uniform_over="images"), **wanted)
    photo = drawn_photos(photos)
    assert set(photo) == {0, 1, 2}
    np.testing.assert_array_equal(batch.lr, whole.lr, strict=True)
    full = {"hr": whole.targets["hr"], "teacher": whole.targets["hr"].astype(np.float32) / 2}
    assert batch.targets.keys() == batch.valid.keys() == full.keys()
    for name, images in full.items():
        there = np.isin(photo, HAVING[name])
        np.testing.assert_array_equal(batch.valid[name], there, strict=True)
        np.testing.assert_array_equal(
            batch.targets[name], images * there[:, None, None, None], strict=True
        )


@pytest.mark.parametrize("margin", [0, 3])
def test_both_ways_fill_gaps_alike(gaps, margin):
    one, other = (of_buffers(way, gaps) for way in WAYS[:2])
    wanted = {"seed": 5, "start": 2, "stop": 5, "margin": margin}
    assert_same(draw(one, **wanted), draw(other, **wanted))


@pytest.mark.parametrize("way", WAYS[:2])
def test_an_image_that_no_photo_has_is_never_valid(way, gaps):
    (batch,) = draw(of_buffers(way, gaps.select([1])), margin=1)
    assert batch.targets["hr"].shape == batch.targets["teacher"].shape == (8, 40, 40, 3)
    for name in "hr", "teacher":
        assert not batch.targets[name].any()
        assert not batch.valid[name].any()
    assert batch.lr.any()


@pytest.mark.parametrize("way", WAYS[:2])
def test_only_an_image_that_some_photo_lacks_is_marked(way, photos):
    decoded, _ = buffers.build(photos, 4, 0.0)
    some = with_gaps(decoded, {"hr": [0, 1, 2], "teacher": [1]})
    (batch,) = draw(of_buffers(way, some))
    assert list(batch.valid) == ["teacher"]


def test_without_gaps_nothing_is_masked_or_gathered_by_the_pixel(photos, gaps):
    index = np.arange(8, dtype=np.uint32)

    def program(decoded, margin=0):
        known = sampling.table(decoded.sides, 8)
        arrays = patches.arrays(decoded)
        return str(jax.make_jaxpr(lambda a: patches.batch(a, known, 0, index, 8, margin))(arrays))

    whole, _ = buffers.build(photos, 4, 0.0)
    masked = "bool[8,1,1,1]"
    assert masked in program(gaps)
    assert masked not in program(whole)
    by_pixel = f"u8[{len(whole.rows['hr'])},16,3]"
    assert by_pixel in program(whole, margin=2)
    assert by_pixel not in program(whole)


# Margins.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [2, 4])
def test_margins_are_what_surrounds_a_patch_and_the_edge_beyond_it(way, scale, photo):
    # A photo that is little larger than a patch: margins reach beyond it on all sides.
    hr = photo[100 : 100 + 10 * scale, 200 : 200 + 11 * scale]
    lr, margin = bicubic.downscale(hr, scale), 5
    source = make(way, [Photo("a", hr, None, hr.shape[:2])], scale)
    (batch,) = draw(source, batch=48, hr_patch=8 * scale, margin=margin)
    wide = np.pad(lr, [(margin, margin)] * 2 + [(0, 0)], "edge")
    far = np.pad(hr, [(margin * scale, margin * scale)] * 2 + [(0, 0)], "edge")
    side = 8 + 2 * margin
    places = {
        turned(wide[y : y + side, x : x + side], *t).tobytes(): turned(
            far[y * scale : (y + side) * scale, x * scale : (x + side) * scale], *t
        )
        for y in range(3)
        for x in range(4)
        for t in TURNS
    }
    for have_lr, have_hr in zip(batch.lr, batch.targets["hr"], strict=True):
        np.testing.assert_array_equal(have_hr, places[have_lr.tobytes()])
    assert len({have_lr.tobytes() for have_lr in batch.lr}) > 12  # they are at many places


@pytest.mark.parametrize("margin", [1, 40])
def test_the_middle_of_a_patch_with_margins_is_the_patch_without(source, margin):
    for wide, plain in zip(
        draw(source, stop=3, margin=margin), draw(source, stop=3, margin=0), strict=True
    ):
        assert wide.lr.shape == (8, 8 + 2 * margin, 8 + 2 * margin, 3)
        far = 4 * margin
        np.testing.assert_array_equal(wide.lr[:, margin:-margin, margin:-margin], plain.lr)
        hr = wide.targets["hr"]
        assert hr.shape == (8, 32 + 2 * far, 32 + 2 * far, 3)
        np.testing.assert_array_equal(hr[:, far:-far, far:-far], plain.targets["hr"])
        np.testing.assert_array_equal(wide.index, plain.index)


# Distribution: 2000 samples, bounds of 4 to 5 standard deviations.


@pytest.fixture(scope="module")
def samples():
    """LR patches of 8x8 from maps of 80x100 and of 20x30; channel 2 tells them apart."""
    large, small = map_photo(80, 100), map_photo(20, 30)
    small.lr[..., 2] = small.hr[..., 2] = 9
    source = make(WAYS[0], [large, small])
    (batch,) = draw(source, batch=2000)
    return batch.lr


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
    assert abs(np.mean(batch.lr[:, 0, 0, 2] == 9) - 0.5) < 5 * np.sqrt(0.25 / 1000)


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
    source = PatchSource([Photo("cat", path, None, (300, 448))], DataConfig(), 4)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cat\.png: truncated or damaged"):
        draw(source)


def test_photos_that_are_gone_are_named_once_and_others_taken(tmp_path, photo, caplog):
    found = []
    for i in range(4):
        Image.fromarray(photo[100 - 20 * i : 200, :120]).save(tmp_path / f"{i}.png")
        found.append(Photo(f"{i}", tmp_path / f"{i}.png", None, (100 + 20 * i, 120)))
    source = PatchSource(found, DataConfig(max_bad_fraction=0.3), 4)
    whole = draw(source, stop=3)
    (tmp_path / "1.png").unlink()
    rest = draw(source, stop=3)
    same = [
        np.array_equal(a, b)
        for x, y in zip(whole, rest, strict=True)
        for a, b in zip(x.targets["hr"], y.targets["hr"], strict=True)
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
from kdgan_jax.config.settings import BatchConfig, DataConfig
hr = np.zeros((64, 64, 3), np.uint8)
source = PatchSource([Photo("a", hr, None, (64, 64))], DataConfig(), 4)
batches = source.batches(BatchConfig(steps=10**9, batch=4, hr_patch=32), seed=0)
with contextlib.closing(batches):
    next(batches)
print("closed")
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=90
    )
    assert (result.returncode, result.stdout) == (0, "closed\n")
