"""JPEG: the pixels decide, with or without an end mark and whatever the metadata."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from pictured import refused
from PIL import Image

from kdgan_jax.pictures import codec

RANDOM = np.random.default_rng(0)
SMOOTH = (np.indices((61, 75)).sum(axis=0)[..., None] * [1, 1, 2] % 256).astype(np.uint8)
END = b"\xff\xd9"


def saved(array=SMOOTH, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", **options)
    return file.getvalue()


def with_segment(data, marker, body, length=None):
    """Returns a file with another segment behind the first one."""
    place = 4 + int.from_bytes(data[4:6], "big")
    size = struct.pack(">H", len(body) + 2 if length is None else length)
    return data[:place] + bytes([0xFF, marker]) + size + body + data[place:]


def exif(orientation=1, thumbnail=b""):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return b"Exif\0\0" + tags.tobytes().removeprefix(b"Exif\0\0") + thumbnail


KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "fine": {"subsampling": 0, "quality": 100},
    "restarts": {"restart_marker_blocks": 3},
    "grey": {},
}


def of_kind(kind):
    return saved(SMOOTH[..., 0] if kind == "grey" else SMOOTH, **KINDS[kind])


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def equal(path, data, expected):
    path.write_bytes(data)
    np.testing.assert_array_equal(codec.read(path).pixels, expected)
    assert codec.size(path) == expected.shape[:2]


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_end_mark_the_picture_is_read_if_all_of_it_is_there(tmp_path, kind, caplog):
    sound, path = of_kind(kind), tmp_path / "a.jpg"
    for number, tail in enumerate((b"", b"\xff", bytes(1), bytes(1000), b"\xff\x00")):
        path = tmp_path / f"{number}.jpg"
        equal(path, sound[:-2] + tail, pixels(sound))
        assert sum(str(path) in record.message for record in caplog.records) == 1
    assert len(caplog.records) == number + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [b"", bytes(1000)], ids=["cut", "zeros"])
def test_a_picture_that_is_cut_is_refused(tmp_path, kind, tail):
    sound, path = of_kind(kind), tmp_path / "a.jpg"
    for part in (0.3, 0.6, 0.9, 0.97):
        path.write_bytes(sound[: int(len(sound) * part)] + tail)
        refused(path, "truncated or damaged", by=[codec.read])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"progressive"}))
def test_a_picture_that_is_cut_and_closed_is_refused(tmp_path, kind):
    sound, path = of_kind(kind), tmp_path / "a.jpg"
    for part in (0.6, 0.8):
        path.write_bytes(sound[: int(len(sound) * part)] + END)
        refused(path, "truncated or damaged", by=[codec.read])


def test_a_picture_that_is_cut_between_restarts_is_refused(tmp_path):
    sound, path = of_kind("restarts"), tmp_path / "a.jpg"
    marks = [i for i in range(len(sound)) if sound[i] == 0xFF and 0xD0 <= sound[i + 1] <= 0xD7]
    for place in marks[-8:]:
        for end in (place, place + 2):
            for tail in (b"", bytes(9), END):
                path.write_bytes(sound[:end] + tail)
                refused(path, "truncated or damaged", by=[codec.read])


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_an_even_picture_is_whole(tmp_path, value, kind, caplog):
    even = np.full_like(SMOOTH, value)
    sound = saved(even[..., 0] if kind == "grey" else even, **KINDS[kind])
    equal(tmp_path / "a.jpg", sound, even)
    assert caplog.text == ""


def test_a_progressive_picture_without_its_last_scans_is_warned_of(tmp_path, caplog):
    sound, path = of_kind("progressive"), tmp_path / "a.jpg"
    path.write_bytes(sound[: sound.rindex(b"\xff\xda")] + END)
    codec.read(path)
    (record,) = caplog.records
    assert str(path) in record.message
    assert "scans" in record.message


def test_a_progressive_picture_that_lacks_whole_scans_is_refused(tmp_path):
    sound, path = of_kind("progressive"), tmp_path / "a.jpg"
    scan = sound.rindex(b"\xff\xda")
    tables = sound.rindex(b"\xff\xc4", 0, scan)
    for place in (scan, tables):
        path.write_bytes(sound[:place])
        refused(path, "truncated or damaged", by=[codec.read])


THUMBNAIL = saved(RANDOM.integers(0, 256, (16, 16, 3), np.uint8))
SEGMENTS = {
    "EXIF": (0xE1, b"Exif\0\0junkjunk", None),
    "EXIF that is too short": (0xE1, b"Exif\0\0", None),
    "EXIF that is longer than stated": (0xE1, exif(thumbnail=THUMBNAIL), 20),
    "EXIF that is shorter than stated": (0xE1, exif(thumbnail=THUMBNAIL), 2000),
    "length beyond the file": (0xE1, exif(thumbnail=THUMBNAIL), 65535),
    "length of nothing": (0xE1, exif(), 0),
    "part of a profile": (0xE2, b"ICC_PROFILE\0\2\2" + bytes(200), None),
    "profile": (0xE2, b"ICC_PROFILE\0\1\1" + bytes(200), None),
    "pictures of a phone": (0xE2, b"MPF\0junk", None),
    "Photoshop": (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff", None),
    "comment": (0xFE, b"\xff\xfe\xff", None),
    "unknown": (0xEC, bytes(range(256)), None),
}
SILENT = {"pictures of a phone", "Photoshop", "comment", "unknown"}


@pytest.mark.parametrize("name", SEGMENTS)
def test_damaged_segments_do_not_refuse_a_picture(tmp_path, name, caplog):
    sound = saved()
    equal(tmp_path / "a.jpg", with_segment(sound, *SEGMENTS[name]), pixels(sound))
    assert len(caplog.records) == (name not in SILENT)
    assert all(str(tmp_path / "a.jpg") in record.message for record in caplog.records)


def test_a_segment_that_hides_the_tables_does_not_refuse_a_picture(tmp_path):
    sound = with_segment(saved(), 0xE1, exif(thumbnail=THUMBNAIL))
    place = sound.index(b"\xff\xe1") + 2
    stated = int.from_bytes(sound[place : place + 2], "big")
    for other in (stated + 1, stated - 1, stated + 3, stated - 7):
        data = sound[:place] + struct.pack(">H", other) + sound[place + 2 :]
        equal(tmp_path / "a.jpg", data, pixels(saved()))


@pytest.mark.parametrize("tail", [bytes(100), b"noise", saved(SMOOTH[::-1])], ids=["0", "n", "jpg"])
def test_what_follows_the_end_is_ignored(tmp_path, tail, caplog):
    equal(tmp_path / "a.jpg", saved() + tail, pixels(saved()))
    assert caplog.text == ""


@pytest.mark.parametrize("size", [2**17, 2**20])
def test_long_metadata_before_the_pixels(tmp_path, size):
    sound = data = saved()
    for _ in range(size // 2**16 + 3):
        data = with_segment(data, 0xEC, bytes(65000))
    equal(tmp_path / "a.jpg", with_segment(data, 0xE1, exif(thumbnail=THUMBNAIL)), pixels(sound))


def test_the_orientation_is_followed_once(tmp_path):
    data = with_segment(saved(), 0xE1, exif(6))
    equal(tmp_path / "a.jpg", data, np.rot90(pixels(saved()), -1))


def test_bytes_between_segments_are_skipped(tmp_path):
    sound = saved()
    place = sound.index(b"\xff\xdb")
    equal(tmp_path / "a.jpg", sound[:place] + b"\xff\xff" + sound[place:], pixels(sound))
    equal(tmp_path / "a.jpg", sound[:place] + bytes(5) + sound[place:], pixels(sound))


@pytest.mark.parametrize("transform", [None, 0, 1])
def test_colours_are_those_of_the_marks_that_say_how(tmp_path, transform):
    sound = saved(SMOOTH, keep_rgb=True) if transform == 0 else saved()
    if transform is not None:
        place = 4 + int.from_bytes(sound[4:6], "big")
        adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])
        sound = sound[:2] + adobe + (sound[2:] if sound[3] == 0xEE else sound[place:])
    equal(tmp_path / "a.jpg", sound, pixels(sound))


@pytest.mark.parametrize("bits", [12, 16])
def test_jpegs_of_more_than_8_bits(tmp_path, bits):
    values = (SMOOTH[..., :3].astype(np.uint16) << (bits - 8)) + SMOOTH.astype(np.uint16) % 2 ** (
        bits - 8
    )
    data = imagecodecs.jpeg_encode(
        values, 100, bitspersample=bits, lossless=bits == 16, subsampling="444"
    )
    path = tmp_path / "a.jpg"
    path.write_bytes(with_segment(data, 0xE1, exif(6)))
    expected = np.rot90(values / (2**bits - 1) * 65535, -1)
    picture = codec.read(path)
    assert picture.pixels.dtype == np.uint16
    assert np.abs(picture.pixels - expected).max() <= 65535 * 10 / 4095
    assert codec.size(path) == picture.pixels.shape[:2]
    path.write_bytes(data[:-2])
    np.testing.assert_array_equal(codec.read(path).pixels, np.rot90(picture.pixels))
    path.write_bytes(data[: len(data) * 9 // 10])
    refused(path, "truncated or damaged", by=[codec.read])
