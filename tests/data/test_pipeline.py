"""Patches of both backends, compared with patches that NumPy cuts."""

import contextlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from decoded import three_photos, turned, with_gaps
from PIL import Image

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, pipeline, sampling
from kdgan_jax.data.photos import Photo, load_pair
from kdgan_jax.data.pipeline import PatchSource
from kdgan_jax.data.tensorflow import tf
from kdgan_jax.runtime.errors import UserError

WAYS = "on the device", "in memory", "on the fly"


class OnDevice:
    """Patches cut by JAX, with the interface of `PatchSource`."""

    def __init__(self, photos, data, scale):
        self.photos, self.scale, self.uniform_over = photos, scale, data.sampling

    def batches(self, config, *, seed, start=0):
        size = config.hr_patch // self.scale
        table = sampling.tabulate(self.photos.sides, size, self.uniform_over)
        arrays = jax.device_put(patches.arrays(self.photos))
        cut = jax.jit(lambda index: patches.batch(arrays, table, seed, index, size, config.margin))
        for step in range(start, config.steps):
            index = step * config.batch + np.arange(config.batch, dtype=np.uint32)
            yield jax.tree.map(np.asarray, cut(index))


def draw(source, *, seed=0, start=0, stop=1, batch=8, hr_patch=32, margin=0, **sharding):
    """Returns the batches of steps `start` to `stop` - 1 as a list."""
    config = BatchConfig(stop, batch, hr_patch, margin)
    with contextlib.closing(source.batches(config, seed=seed, start=start, **sharding)) as batches:
        return list(batches)


def expected(photos, index, *, scale=4, size=8, seed=0, margin=0, uniform_over="pixels"):
    """Returns (index of each sample's photo, LR patches, HR patches), cut by NumPy."""
    pairs = [load_pair(photo, scale) for photo in photos]
    sides = np.array([lr.shape[:2] for _, lr in pairs])
    table = sampling.tabulate(sides, size, uniform_over)
    places = [np.asarray(a) for a in sampling.draw(seed, index, table)]

    def cut(image, top, left, turn, factor):
        widths = [(margin * factor, margin * factor)] * 2
        padded = np.pad(image, [*widths, (0, 0)], "edge")
        side = (size + 2 * margin) * factor
        top, left = top * factor, left * factor
        return turned(padded[top : top + side, left : left + side], turn)

    lr, hr = (
        np.stack([cut(pairs[p][i], *place, factor) for p, *place in zip(*places, strict=True)])
        for i, factor in ((1, 1), (0, scale))
    )
    return places[0], lr, hr


def assert_is(batch, index, lr, **targets):
    """Checks a batch of which all images are valid."""
    assert (batch.targets.keys(), batch.valid) == (targets.keys(), {})
    np.testing.assert_array_equal(batch.index, index, strict=True)
    np.testing.assert_array_equal(batch.lr, lr, strict=True)
    for name, images in targets.items():
        np.testing.assert_array_equal(batch.targets[name], images, strict=True)


@pytest.fixture(scope="module")
def photos(photo):
    return three_photos(photo)


def test_tensorflow_sees_no_gpu():
    assert tf.config.get_visible_devices("GPU") == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("scale", "margin", "uniform_over"), [(2, 1, "pixels"), (3, 0, "images"), (4, 11, "images")]
)
def test_patches_are_those_of_the_photos(photo, way, scale, margin, uniform_over):
    # Photos are little larger than a patch, so that margins extend beyond them on all sides.
    photos, data = three_photos(photo, scale), DataConfig(sampling=uniform_over)
    if way == "on the fly":
        source = PatchSource(photos, data, scale)
    else:
        kind = OnDevice if way == "on the device" else PatchSource
        source = kind(buffers.build(photos, scale, 0.0)[0], data, scale)
    index = np.arange(24, 48, dtype=np.uint32)
    options = {"seed": 2**31, "margin": margin}
    which, lr, hr = expected(photos, index, scale=scale, uniform_over=uniform_over, **options)
    assert set(which) == {0, 1, 2}
    (batch,) = draw(source, start=1, stop=2, batch=24, hr_patch=8 * scale, **options)
    assert_is(batch, index, lr, hr=hr)


def test_batches_are_those_of_an_unbroken_run_in_one_process(photos, monkeypatch):
    monkeypatch.setattr(pipeline, "DRAWN_AT_ONCE", 8)  # two shares of a batch
    source = PatchSource(buffers.build(photos, 4, 0.0)[0], DataConfig(), 4)
    index = np.arange(3 * 8, 6 * 8, dtype=np.uint32).reshape(3, 8)
    for process in 0, 1:
        shares = draw(source, start=3, stop=6, process=process, processes=2)
        for share, numbers in zip(shares, index[:, 4 * process : 4 * process + 4], strict=True):
            _, lr, hr = expected(photos, numbers)
            assert_is(share, numbers, lr, hr=hr)


# Photos that lack an image: the first has all, the second only LR, the third has no "teacher".


@pytest.mark.parametrize("margin", [0, 3])
@pytest.mark.parametrize("kind", [OnDevice, PatchSource])
def test_an_image_that_a_photo_lacks_is_zeros_and_not_valid(kind, photos, margin):
    present = {"hr": [0, 2], "teacher": [0]}
    gaps = with_gaps(buffers.build(photos, 4, 0.0)[0], present)
    data = DataConfig(sampling="images")
    (batch,) = draw(kind(gaps, data, 4), batch=24, margin=margin)
    index = np.arange(24, dtype=np.uint32)
    which, lr, hr = expected(photos, index, margin=margin, uniform_over="images")
    assert set(which) == {0, 1, 2}
    np.testing.assert_array_equal(batch.lr, lr, strict=True)
    images = {"hr": hr, "teacher": hr.astype(np.float32) / 2}
    assert batch.targets.keys() == batch.valid.keys() == images.keys()
    for name, whole in images.items():
        valid = np.isin(which, present[name])
        np.testing.assert_array_equal(batch.valid[name], valid, strict=True)
        masked = whole * valid[:, None, None, None]
        np.testing.assert_array_equal(batch.targets[name], masked, strict=True)

    (batch,) = draw(kind(gaps.select([1, 2]), data, 4), margin=margin)  # no photo has "teacher"
    side = 32 + 8 * margin
    assert batch.targets["teacher"].shape == (8, side, side, 3)
    assert not batch.targets["teacher"].any()
    assert not batch.valid["teacher"].any()


# Endings.


def test_photos_that_become_unreadable_are_named_once_and_replaced(tmp_path, photo, caplog):
    photos = []
    for i in range(4):
        Image.fromarray(photo[40 * i : 40 * i + 40, :60]).save(tmp_path / f"{i}.png")
        photos.append(Photo(f"{i}", tmp_path / f"{i}.png", None, (40, 60)))
    source = PatchSource(photos, DataConfig(max_bad_fraction=0.3), 4)
    index = np.arange(16, dtype=np.uint32)
    which, lr, hr = expected(photos, index)
    (tmp_path / "1.png").unlink()
    (batch,) = draw(source, batch=16)
    same = [
        np.array_equal(batch.lr[i], lr[i]) and np.array_equal(batch.targets["hr"][i], hr[i])
        for i in range(16)
    ]
    assert same == (which != 1).tolist()
    assert set(which) == {0, 1, 2, 3}
    (message,) = caplog.messages
    assert f"{tmp_path}/1.png: " in message
    (tmp_path / "2.png").write_bytes(b"damaged")
    with pytest.raises(UserError) as caught:
        draw(source, batch=16)
    assert str(caught.value).startswith(f"{tmp_path}/2.png: ")
    assert "2 of 4 photos" in str(caught.value)
    assert "config.data.max_bad_fraction=0.3" in str(caught.value)


def test_a_process_ends_after_closing_what_decodes_on_the_fly():
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
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert (result.returncode, result.stdout) == (0, "closed\n")
