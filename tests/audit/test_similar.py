import io

import numpy as np
import pytest
from PIL import Image

from kdgan_jax.audit import similar

TURNS = {
    "": lambda a: a,
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned by 180 degrees": lambda a: np.rot90(a, 2),
    "transposed": lambda a: a.swapaxes(0, 1),
    "turned left": lambda a: np.rot90(a, 1),
    "turned right": lambda a: np.rot90(a, 3),
    "turned and mirrored": lambda a: np.rot90(a, 2).swapaxes(0, 1),
}


def thumbs(*images):
    return np.stack([similar.thumbnail(np.ascontiguousarray(image)) for image in images])


def alike(*images):
    return [(m.first, m.second, m.turn) for m in similar.matches(thumbs(*images))]


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image, factor):
    size = int(image.shape[1] * factor), int(image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture
def other(photo):
    return photo[:, 226:]


@pytest.fixture
def same(photo):
    return photo[:, :225]


def test_a_thumbnail_averages_equal_areas_and_parts_of_pixels():
    image = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    blocks = image.reshape(64, 2, 64, 3, 3).mean(axis=(1, 3)) @ (0.299, 0.587, 0.114)
    assert np.abs(similar.thumbnail(image) - blocks).max() <= 0.5 + 1e-6
    step = np.zeros((64, 96, 3), np.uint8)
    step[:, 49:] = 200  # column 32 of the thumbnail covers pixels 48 to 49.5
    assert similar.thumbnail(step)[0, 31:34].tolist() == [0, 67, 200]
    for size in ((1, 1), (5, 300), (64, 64), (1000, 700)):
        thumb = similar.thumbnail(np.full((*size, 3), 77, np.uint8))
        assert (thumb == 77).all()
        assert (thumb.shape, thumb.dtype) == ((64, 64), np.uint8)


@pytest.mark.parametrize("turn", TURNS)
def test_a_copy_in_each_turn_is_found_and_named(photo, turn):
    assert alike(photo, TURNS[turn](photo)) == [(0, 1, turn)]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: jpeg(a, 30),
        lambda a: resized(a, 0.5),
        lambda a: resized(a, 1.7),
        lambda a: a[4:, 6:],
        lambda a: np.clip(a * 1.1 + 8, 0, 255).astype(np.uint8),
    ],
    ids=["jpeg", "smaller", "larger", "cropped", "brighter"],
)
def test_a_changed_copy_is_found(photo, same, other, change):
    assert alike(same, other, change(same)) == [(0, 2, "")]


def test_the_query_is_looked_for_among_others(same, other):
    matches = list(similar.matches(thumbs(resized(other, 0.25)), thumbs(same, other)))
    assert [(m.first, m.second, m.turn) for m in matches] == [(0, 1, "")]
    assert matches[0].correlation > 0.9


def test_more_than_a_block_of_pictures_is_searched(same, other):
    noise = np.random.default_rng(0).integers(0, 256, (520, 64, 64), np.uint8)
    noise[[511, 512, 518, 519]] = thumbs(same, other, other, same)
    assert [(m.first, m.second) for m in similar.matches(noise)] == [(511, 519), (512, 518)]


def test_two_skies_are_two_pictures():
    # Brighter towards the top, with grain; small thumbnails alone would be taken for one.
    rows = np.linspace(220, 120, 256)[:, None, None] * np.ones((1, 256, 3))
    grain = np.random.default_rng(0).normal(0, 12, (2, *rows.shape))
    assert alike(*np.clip(rows + grain, 0, 255).astype(np.uint8)) == []


def test_flat_pictures_are_like_none():
    for value in (0, 100, 255):
        assert alike(*(np.full((80, 90 + i, 3), value, np.uint8) for i in range(3))) == []
    grain = np.random.default_rng(0).integers(99, 102, (4, 96, 96, 3), np.uint8)
    assert alike(*grain, *(image[:, ::-1] for image in grain)) == []


def test_copies_are_named_once_by_the_first_of_their_kind(same, other):
    images = [same, other, same, same[:, ::-1], jpeg(same, 50)]
    copies = similar.copies(["a", "b", "a", "c", "d"], list(thumbs(*images)))
    assert [(c.later, c.earlier) for c in copies] == [(2, 0), (3, 0), (4, 0)]
    assert [c.how for c in copies] == [
        "has the same pixels as",
        "is nearly the same picture (mirrored) as",
        "is nearly the same picture as",
    ]

    flat = [np.zeros((64, 64), np.uint8)] * 3
    assert [(c.later, c.earlier) for c in similar.copies(["a", "b", "b"], flat)] == [(2, 1)]
