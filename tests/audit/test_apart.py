"""No photo to train on shows what a held-out one shows, at any size."""

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.audit.apart import apart
from kdgan_jax.config.settings import DataConfig
from kdgan_jax.data import photos, sources
from kdgan_jax.data.holdout import Photos
from kdgan_jax.data.photos import Photo
from kdgan_jax.pictures import bicubic
from kdgan_jax.runtime.errors import UserError


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path)


def names(side):
    return [photo.name for photo in side]


def gather(source, holdout=2, patch=16, **changes):
    return sources.gather(DataConfig(str(source), holdout, **changes), 4, patch, apart)


@pytest.fixture
def ten(tmp_path, photo):
    """A folder of ten different pictures, a to j."""
    parts = [photo[y : y + 96, x : x + 112] for y in (0, 100, 200) for x in (0, 115, 230, 335)]
    for name, part in zip("abcdefghij", parts, strict=False):
        save(tmp_path / f"ten/{name}.png", part)
    return tmp_path / "ten"


CHANGES = {
    "same": lambda image: image,
    "half": lambda image: bicubic.downscale(image, 2),
    "double": lambda image: bicubic.upscale(image, 2),
    "mirrored": lambda image: image[:, ::-1],
    "brighter": lambda image: np.minimum(image, 235) + 20,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_of_held_out_photos_leave_training(ten, photo, caplog, change):
    plain = gather(ten)
    assert [len(side) for side in plain] == [8, 2]
    assert caplog.text == ""
    held_out, trained = plain.holdout[0], plain.train[0]
    more = ten.parent / "more"  # names of the train side, whatever the hash
    for name, of in (("copy", held_out), ("other", trained)):
        save(more / f"{name}.png", change(np.asarray(Image.open(of.hr))))
    found = sources.of_source(str(more), 4)[0]
    kept = apart(Photos([*plain.train, *found], plain.holdout))
    assert names(kept.train) == [*names(plain.train), "other"]
    assert kept.holdout == plain.holdout
    for fact in ("1 of 10 photos", f"{more}/copy.png", str(held_out.hr)):
        assert fact in caplog.text


def test_all_copies_of_an_lr_image_of_a_held_out_photo_leave(ten):
    plain = gather(ten)
    lr = ten.parent / "lr/x.png"
    save(lr, bicubic.downscale(np.asarray(Image.open(plain.holdout[1].hr)), 4))
    train = [*plain.train, *sources.of_source(f"lr:{lr.parent}", 4)[0]]
    train, holdout = (photos.copies(side, ["light"], 3, 4, 16) for side in (train, plain.holdout))
    for _ in range(2):  # as a run that is resumed finds them
        assert apart(Photos(train, holdout)) == Photos(train[:-3], holdout)


def test_a_file_that_is_hr_and_lr_or_divided_stays(ten, caplog):
    assert gather(f"hr:{ten},lr:{ten}") == sources.gather(
        DataConfig(f"hr:{ten},lr:{ten}", 2), 4, 16
    )
    for name in "cdefghij":
        (ten / f"{name}.png").unlink()
    assert [len(side) for side in gather(ten, patch=8)] == [2, 2]
    assert caplog.text == ""


def test_of_two_divided_photos_that_show_the_same_one_is_left(ten, caplog):
    for name in "defghij":
        (ten / f"{name}.png").unlink()
    save(ten / "b2.png", np.asarray(Image.open(ten / "b.png"))[::-1])
    assert [names(side) for side in gather(ten, patch=8)] == [["a", "b", "c"]] * 2
    assert f"{ten}/b2.png" in caplog.text


def test_photos_that_all_show_the_same_are_refused(tmp_path, photo):
    for side in range(60, 72):
        save(tmp_path / f"{side}.png", photo[:200, :200][:: 200 // side, :: 200 // side])
    with pytest.raises(UserError, match=f"{tmp_path}: all photos to train on.*held-out"):
        gather(tmp_path)


def test_flat_pictures_show_nothing(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", np.full((64, 64, 3), 90, np.uint8))
    assert [len(side) for side in gather(tmp_path, holdout=1)] == [4, 1]


def test_decoded_photos_are_compared_and_damaged_ones_left_to_later(photo, tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    decoded = [Photo(str(i), image, None, (64, 64)) for i, image in enumerate([photo, photo[::-1]])]
    damaged = Photo("a", tmp_path / "a.png", None, (64, 64))
    kept = apart(Photos([decoded[0], damaged], [decoded[1], damaged]))
    assert kept == Photos([damaged], [decoded[1], damaged])
