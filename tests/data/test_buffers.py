"""Photos in flat form: every row holds an LR pixel and the HR square that it stands for."""

import logging

import jax.numpy as jnp
import numpy as np
import pytest
from gapped import with_gaps
from PIL import Image

from kdgan_jax.data import buffers
from kdgan_jax.data.photos import Photo
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError

SCALES = 1, 2, 3, 4


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def of_array(name, hr, lr=None):
    return Photo(name, hr, lr, hr.shape[:2])


@pytest.fixture(scope="module")
def three(photo):
    """Three photos of different sizes; the last has an LR image of its own."""
    own = bicubic.downscale(photo[:120, :200], 4) ^ np.uint8(1)
    return [
        of_array("a", photo[:, :448]),
        of_array("b", photo[100:232, 30:94]),
        of_array("c", photo[:120, :200], own),
    ]


@pytest.fixture
def files(tmp_path, photo):
    """Five photos in files of 32x48."""
    found = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.fromarray(photo[40 * i : 40 * i + 32, :48]).save(path)
        found.append(Photo(path.stem, path, None, (32, 48)))
    return found


def damage(photo):
    photo.hr.write_bytes(photo.hr.read_bytes()[:200])


# Rows.


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("arrays", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("leading", [(), (2,), (3, 2)], ids=str)
def test_to_image_undoes_to_rows(scale, arrays, leading):
    images = noise(*leading, 5 * scale, 7 * scale, 3)
    flat = images.reshape(-1, *images.shape[-3:])
    rows = np.stack([buffers.to_rows(image, scale) for image in flat])
    assert rows.shape == (len(flat), 35, 3 * scale**2)
    back = buffers.to_image(arrays.asarray(rows.reshape(*leading, 5, 7, -1)))
    assert isinstance(back, np.ndarray if arrays is np else jnp.ndarray)
    np.testing.assert_array_equal(back, images, strict=arrays is np)


@pytest.mark.parametrize("scale", SCALES)
def test_a_row_is_the_square_of_its_lr_pixel(scale):
    hr = noise(5 * scale, 7 * scale, 3)
    rows = buffers.to_rows(hr, scale)
    for y in range(5):
        for x in range(7):
            square = hr[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            np.testing.assert_array_equal(rows[7 * y + x], square.ravel())


# Building.


def test_photos_come_back_whole(three):
    built, kept = buffers.build(three, 4, 0.0)
    assert kept == three
    for i, photo in enumerate(three):
        np.testing.assert_array_equal(built.image("hr", i), photo.hr, strict=True)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_is_matlab_bicubic_of_the_cropped_photo(photo, scale):
    height, width = 61 // scale * scale, 83 // scale * scale
    whole = Photo("a", photo[:61, :83], None, (height, width))
    built, _ = buffers.build([whole], scale, 0.0)
    hr = photo[:height, :width]
    np.testing.assert_array_equal(built.image("hr", 0), hr)
    np.testing.assert_array_equal(built.image("lr", 0), bicubic.downscale(hr, scale))


def test_given_lr_is_kept(three):
    built, _ = buffers.build(three, 4, 0.0)
    np.testing.assert_array_equal(built.image("lr", 2), three[2].lr, strict=True)


def test_photos_lie_one_after_the_other(three):
    built, _ = buffers.build(three, 4, 0.0)
    assert built.sides.tolist() == [[75, 112], [33, 16], [30, 50]]
    begins = [0, 75 * 112, 75 * 112 + 33 * 16]
    assert {name: b.tolist() for name, b in built.begins.items()} == {"lr": begins, "hr": begins}
    total = 75 * 112 + 33 * 16 + 30 * 50
    assert {name: rows.shape for name, rows in built.rows.items()} == {
        "lr": (total, 3),
        "hr": (total, 48),
    }
    assert all(rows.dtype == np.uint8 for rows in built.rows.values())
    assert built.bytes == 51 * total == buffers.size(three, 4)


def test_every_photo_is_reported_when_it_is_done(three):
    done = []
    buffers.build(three, 4, 0.0, on_photo=done.append)
    assert done == ["a", "b", "c"]


def test_damaged_photos_are_named_skipped_and_counted(files, caplog):
    damage(files[1])
    with caplog.at_level(logging.WARNING):
        built, kept = buffers.build(files, 4, 0.2, "the photos")
    assert [photo.name for photo in kept] == ["0", "2", "3", "4"]
    assert f"skipped: {files[1].hr}: truncated or damaged" in caplog.text
    assert "skipped 1 of 5 files of the photos" in caplog.text
    whole, _ = buffers.build(kept, 4, 0.0)
    np.testing.assert_array_equal(built.sides, whole.sides)
    for name in ("lr", "hr"):
        np.testing.assert_array_equal(built.begins[name], whole.begins[name])
        np.testing.assert_array_equal(built.rows[name], whole.rows[name], strict=True)


def test_too_many_damaged_photos_are_refused(files):
    damage(files[1])
    damage(files[4])
    with pytest.raises(UserError, match=r"1\.png: truncated.* 2 of 5 files cannot be used"):
        buffers.build(files, 4, 0.2)


def test_too_large_a_photo_is_refused(three, monkeypatch):
    monkeypatch.setattr(buffers, "LONGEST_SIDE", 112)
    buffers.build(three, 4, 0.0)
    monkeypatch.setattr(buffers, "LONGEST_SIDE", 111)
    with pytest.raises(UserError, match="a: is wider or higher than 444 pixels"):
        buffers.build(three, 4, 0.0)


def test_too_many_rows_are_refused_before_anything_is_decoded(files, monkeypatch):
    monkeypatch.setattr(buffers, "MOST_ROWS", 5 * 8 * 12)
    buffers.build(files, 4, 0.0)
    monkeypatch.setattr(buffers, "MOST_ROWS", 5 * 8 * 12 - 1)
    monkeypatch.setattr(buffers.sources, "load", None)
    with pytest.raises(UserError, match="the photos have 480 LR pixels, more than the 479 that"):
        buffers.build(files, 4, 0.0, "the photos")


# Selecting.


@pytest.mark.parametrize("which", [[0], [1], [2], [0, 2], [2, 0, 1]], ids=str)
def test_selected_photos_come_back_in_the_order_asked_for(three, which):
    built, _ = buffers.build(three, 4, 0.0)
    part = built.select(which)
    assert len(part.sides) == len(part.begins["lr"]) == len(part.begins["hr"]) == len(which)
    for i, photo in enumerate(which):
        for name in ("lr", "hr"):
            np.testing.assert_array_equal(part.image(name, i), built.image(name, photo))


def test_a_selection_shares_memory_up_to_the_last_row_used(three):
    built, _ = buffers.build(three, 4, 0.0)
    part = built.select([0, 1])
    for name, rows in part.rows.items():
        assert np.shares_memory(rows, built.rows[name])
        assert len(rows) == 75 * 112 + 33 * 16
    assert len(built.select([]).rows["hr"]) == 0


# Photos that lack an image.


@pytest.fixture
def gaps(three):
    """Three photos of which the second lacks all but LR; the others have "teacher", too."""
    built, _ = buffers.build(three, 4, 0.0)
    return with_gaps(built, {"hr": [0, 2], "teacher": [0, 2]})


def test_an_image_that_a_photo_lacks_takes_no_memory(gaps, three):
    pixels = 75 * 112 + 30 * 50
    assert gaps.bytes == 3 * (pixels + 33 * 16) + 48 * pixels + 4 * 48 * pixels
    assert gaps.has("lr").tolist() == [True, True, True]
    assert gaps.has("hr").tolist() == gaps.has("teacher").tolist() == [True, False, True]
    for photo in 0, 2:
        np.testing.assert_array_equal(gaps.image("hr", photo), three[photo].hr)
        np.testing.assert_array_equal(
            gaps.image("teacher", photo), three[photo].hr.astype(np.float32) / 2, strict=True
        )


def test_an_image_that_a_photo_lacks_is_not_given(gaps):
    with pytest.raises(LookupError, match="photo 1 has no image 'hr'"):
        gaps.image("hr", 1)


@pytest.mark.parametrize("which", [[0], [2, 1], [1, 0, 2]], ids=str)
def test_a_selection_keeps_what_photos_have_and_lack(gaps, which):
    part = gaps.select(which)
    assert part.has("hr").tolist() == [photo != 1 for photo in which]
    for i, photo in enumerate(which):
        for name in ("lr", "hr", "teacher") if photo != 1 else ("lr",):
            np.testing.assert_array_equal(part.image(name, i), gaps.image(name, photo))
    ends = {0: 75 * 112, 2: 75 * 112 + 30 * 50}
    assert len(part.rows["hr"]) == max(ends[photo] for photo in which if photo != 1)


def test_a_selection_of_photos_without_an_image_has_none_of_its_rows(gaps):
    part = gaps.select([1])
    assert (len(part.rows["hr"]), len(part.rows["teacher"])) == (0, 0)
    np.testing.assert_array_equal(part.image("lr", 0), gaps.image("lr", 1))
