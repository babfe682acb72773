"""Photos that have no HR: told from their source, decoded, prepared, and cut by both backends."""

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.config.settings import BatchConfig, DataConfig
from kdgan_jax.data import buffers, patches, prepared, sampling
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import load, load_pair
from kdgan_jax.data.pipeline import PatchSource
from kdgan_jax.data.sources import folder, of_source
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

SCALE = 4


@pytest.fixture
def sources(tmp_path, photo):
    """Folders of LR alone, of HR alone, and of pairs."""
    for name in "lr", "hr", "both/HR", "both/LRx4", "only/LRx4":
        (tmp_path / name).mkdir(parents=True)
    for i in range(3):
        hr = photo[40 * i :][:96, :128]
        Image.fromarray(bicubic.downscale(hr, SCALE)).save(tmp_path / f"lr/l{i}.png")
        Image.fromarray(hr).save(tmp_path / f"hr/h{i}.png")
        Image.fromarray(hr).save(tmp_path / f"both/HR/b{i}.png")
        Image.fromarray(bicubic.downscale(hr, SCALE)).save(tmp_path / f"both/LRx4/b{i}.png")
        Image.fromarray(bicubic.downscale(hr, SCALE)).save(tmp_path / f"only/LRx4/o{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "name", "has_hr", "has_lr"),
    [
        ("", "hr", True, False),
        ("hr", "hr", True, False),
        ("lr", "lr", False, True),
        ("", "both", True, True),
        ("pairs", "both", True, True),
        ("hr", "both", True, False),
        ("lr", "both", False, True),
        ("", "only", False, True),
    ],
)
def test_a_source_is_what_it_says_or_what_is_in_it(sources, kind, name, has_hr, has_lr):
    photos, unusable = folder(sources / name, SCALE, kind)
    assert (len(photos), unusable) == (3, [])
    for photo in photos:
        assert (photo.hr is not None, photo.lr is not None) == (has_hr, has_lr)
        assert photo.size == (96, 128)
        images = load(photo, SCALE)
        assert images["lr"].shape == (24, 32, 3)
        assert images.keys() == ({"lr", "hr"} if has_hr else {"lr"})
    if not has_hr:
        with pytest.raises(UserError, match=str(photos[0].lr)):
            load_pair(photos[0], SCALE)


def test_pairs_need_both_sides(sources):
    with pytest.raises(UserError, match=r"lr.*HR/.*LRx4/"):
        folder(sources / "lr", SCALE, "pairs")


def mixed(sources):
    photos, _ = of_source(f"lr:{sources}/lr, hr:{sources}/hr", SCALE)
    return photos


def test_a_photo_without_hr_takes_no_rows_for_it(sources):
    photos = mixed(sources)
    decoded, kept = buffers.build(photos, SCALE, 0.0)
    assert [photo.name for photo in kept] == ["l0", "l1", "l2", "h0", "h1", "h2"]
    assert decoded.bytes == buffers.size(photos, SCALE)
    assert list(decoded.has("hr")) == [False] * 3 + [True] * 3
    for i, photo in enumerate(photos):
        for name, image in load(photo, SCALE).items():
            np.testing.assert_array_equal(decoded.image(name, i), image)
    alone, _ = buffers.build(photos[:3], SCALE, 0.0)
    assert alone.rows.keys() == {"lr"}


def test_prepared_photos_keep_what_they_lack(sources, tmp_path):
    photos = mixed(sources)
    data = DataConfig(source=f"lr:{sources}/lr,hr:{sources}/hr")
    split = Photos([photos[i] for i in (0, 1, 3, 4)], [photos[i] for i in (2, 5)])
    prepared.save(tmp_path / "photos.bin", split, data, SCALE)
    decoded, loaded = prepared.load(tmp_path / "photos.bin", SCALE)
    assert list(decoded.has("hr")) == [False, False, True, True]
    np.testing.assert_array_equal(decoded.image("hr", 3), load(photos[4], SCALE)["hr"])
    assert [photo.hr is None for photo in loaded.train] == [True, True, False, False]
    assert [photo.hr is None for photo in loaded.holdout] == [True, False]


def test_both_backends_cut_the_same_patches(sources):
    photos, data = mixed(sources), DataConfig()
    batches = BatchConfig(steps=2, batch=8, hr_patch=32)
    decoded, _ = buffers.build(photos, SCALE, 0.0)
    table = sampling.tabulate(decoded.sides, 8)
    arrays = patches.arrays(decoded)
    ways = [PatchSource(decoded, data, SCALE), PatchSource(photos, data, SCALE)]
    for step, on_host in enumerate(
        zip(*(way.batches(batches, seed=3) for way in ways), strict=True)
    ):
        index = np.arange(8 * step, 8 * step + 8, dtype=np.uint32)
        cut = patches.batch(arrays, table, 3, index, 8, 0)
        assert not cut.valid["hr"].all()
        for batch in on_host:
            np.testing.assert_array_equal(batch.lr, cut.lr)
            np.testing.assert_array_equal(batch.targets["hr"], cut.targets["hr"])
            np.testing.assert_array_equal(batch.valid["hr"], cut.valid["hr"])
