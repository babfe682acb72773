"""Decoded photos: every row holds an LR pixel and the HR square that it covers."""

import jax.numpy as jnp
import numpy as np
import pytest
from decoded import SIDES, three_photos, with_gaps
from PIL import Image

from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

LENGTHS = [height * width for height, width in SIDES]  # rows of each photo


@pytest.fixture(scope="module")
def three(photo):
    return three_photos(photo)


@pytest.fixture(scope="module")
def built(three):
    return buffers.build(three, 4, 0.0)[0]


@pytest.fixture(scope="module")
def gaps(built):
    """The second photo lacks all images but LR; the others also have "teacher"."""
    return with_gaps(built, {"hr": [0, 2], "teacher": [0, 2]})


@pytest.fixture
def files(tmp_path, photo):
    """Five photos in files of 32x48, of which the second is damaged."""
    photos = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.fromarray(photo[40 * i : 40 * i + 32, :48]).save(path)
        photos.append(Photo(path.stem, path, None, (32, 48)))
    photos[1].hr.write_bytes(photos[1].hr.read_bytes()[:200])
    return photos


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_row_is_the_square_of_its_lr_pixel(scale):
    images = np.random.default_rng(0).integers(0, 256, (3, 5 * scale, 7 * scale, 3), np.uint8)
    rows = np.stack([buffers.to_rows(image, scale) for image in images])
    for y in range(5):
        for x in range(7):
            square = images[:, y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            np.testing.assert_array_equal(rows[:, 7 * y + x], square.reshape(3, -1))
    grid = rows.reshape(3, 5, 7, -1)
    np.testing.assert_array_equal(buffers.to_image(grid), images, strict=True)
    np.testing.assert_array_equal(buffers.to_image(grid[0]), images[0], strict=True)
    np.testing.assert_array_equal(buffers.to_image(jnp.asarray(grid[None])), images[None])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_photos_come_back_cropped_with_their_lr_or_matlab_bicubic(photo, scale):
    photos, done = three_photos(photo, scale), []
    built, kept = buffers.build(photos, scale, 0.0, on_photo=done.append)
    assert kept == photos
    assert done == ["a", "b", "c"]
    assert built.sides.tolist() == [list(sides) for sides in SIDES]
    assert built.bytes == 3 * (1 + scale**2) * sum(LENGTHS) == buffers.size(photos, scale)
    for i, photo in enumerate(photos):
        hr = photo.hr[: photo.size[0], : photo.size[1]]
        lr = bicubic.downscale(hr, scale) if photo.lr is None else photo.lr
        np.testing.assert_array_equal(built.image("hr", i), hr, strict=True)
        np.testing.assert_array_equal(built.image("lr", i), lr, strict=True)


def test_damaged_photos_are_named_skipped_and_counted(files, caplog):
    built, kept = buffers.build(files, 4, 0.2, "the photos")
    assert [photo.name for photo in kept] == ["0", "2", "3", "4"]
    assert str(files[1].hr) in caplog.text
    assert "1 of 5 files of the photos" in caplog.text
    sound, _ = buffers.build(kept, 4, 0.0)
    np.testing.assert_array_equal(built.sides, sound.sides)
    for name in ("lr", "hr"):
        np.testing.assert_array_equal(built.begins[name], sound.begins[name])
        np.testing.assert_array_equal(built.rows[name], sound.rows[name], strict=True)
    with pytest.raises(UserError, match=r"1\.png: .*1 of 5 files .*max_bad_fraction=0.1"):
        buffers.build(files, 4, 0.1)


def test_photos_beyond_the_limits_are_refused_before_they_are_decoded(files, monkeypatch):
    monkeypatch.setattr(buffers, "MAX_ROWS", 5 * 8 * 12)
    monkeypatch.setattr(buffers, "MAX_SIDE", 12)
    buffers.build(files, 4, 0.2)
    files[0].hr.unlink()
    monkeypatch.setattr(buffers, "MAX_SIDE", 11)
    with pytest.raises(UserError, match=r"^0: .* 44 pixels"):
        buffers.build(files, 4, 0.0)
    monkeypatch.setattr(buffers, "MAX_ROWS", 5 * 8 * 12 - 1)
    with pytest.raises(UserError, match=r"the photos .*480 LR pixels.* 479 .*data\.backend"):
        buffers.build(files, 4, 0.0, "the photos")


def test_an_image_that_a_photo_lacks_takes_no_memory(gaps, built):
    present = LENGTHS[0] + LENGTHS[2]
    assert gaps.bytes == 3 * sum(LENGTHS) + 48 * present + 4 * 48 * present
    assert gaps.has("lr").tolist() == [True, True, True]
    assert gaps.incomplete().keys() == {"hr", "teacher"}
    for name in ("hr", "teacher"):
        assert gaps.has(name).tolist() == gaps.incomplete()[name].tolist() == [True, False, True]
    for photo in 0, 2:
        hr = built.image("hr", photo)
        np.testing.assert_array_equal(gaps.image("hr", photo), hr, strict=True)
        half = hr.astype(np.float32) / 2
        np.testing.assert_array_equal(gaps.image("teacher", photo), half, strict=True)
    with pytest.raises(LookupError, match="photo 1 has no image 'hr'"):
        gaps.image("hr", 1)


@pytest.mark.parametrize("indices", [[0], [1], [2, 1], [0, 1], [2, 0, 1], []], ids=str)
def test_a_selection_keeps_its_photos_and_shares_rows_up_to_the_last_one(built, gaps, indices):
    for decoded, present in ((built, {0, 1, 2}), (gaps, {0, 2})):
        part = decoded.select(indices)
        assert len(part.sides) == len(indices)
        assert part.has("hr").tolist() == [photo in present for photo in indices]
        assert ("hr" in part.incomplete()) == (not present.issuperset(indices))
        for i, photo in enumerate(indices):
            for name in decoded.rows if photo in present else ("lr",):
                np.testing.assert_array_equal(part.image(name, i), decoded.image(name, photo))
        for name, rows in part.rows.items():
            ends = [b + n for b, n in zip(decoded.begins[name], LENGTHS, strict=True)]
            used = [ends[photo] for photo in indices if decoded.has(name)[photo]]
            assert len(rows) == max(used, default=0)
            assert not len(rows) or np.shares_memory(rows, decoded.rows[name])
