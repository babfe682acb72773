"""PNG: the pixels decide, transparent samples at every depth, chunks that are no pixels."""

import struct
import zlib

import numpy as np
import pytest
from pictured import ALPHA, COLOUR, DEEP, chunk, png_16, reads, reads_deep, refused
from PIL import Image

from kdgan_jax.pictures import codec

KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour types by channels
END = chunk(b"IEND", b"")


def parts(values, depth=8, kind=None):
    """Returns the header and the pixels of integers (H, W, C) as chunks."""
    height, width, channels = values.shape
    rows = b""
    for row in values.reshape(height, -1):
        text = "".join(f"{int(v):0{depth}b}" for v in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    kind = KINDS[channels] if kind is None else kind
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return header, chunk(b"IDAT", zlib.compress(rows))


def png(path, *chunks):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def broken(sound):
    """Returns a chunk with another checksum."""
    return sound[:-1] + bytes([sound[-1] ^ 1])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_that_is_transparent_is_compared_before_scaling(tmp_path, depth):
    levels = np.arange(min(2**depth, 16)).reshape(1, -1, 1)
    header, pixels = parts(levels, depth)
    for key in range(levels.size):
        mark = chunk(b"tRNS", struct.pack(">H", key | (0 if depth == 16 else 1 << depth)))
        picture = codec.read(png(tmp_path / "a.png", header, mark, pixels, END))
        full = 65535 if depth == 16 else 255
        expected = np.where(levels == key, 0, full)
        np.testing.assert_array_equal(picture.alpha, expected)
        assert picture.grey
        step = full // (2**depth - 1)
        np.testing.assert_array_equal(picture.pixels[..., :1], levels * step)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_colour_that_is_transparent(tmp_path, depth):
    values = COLOUR.astype(int) if depth == 8 else DEEP[..., :3].astype(int)
    values[3, 4] = values[1, 2] ^ [0, 0, 1]
    header, pixels = parts(values, depth)
    mark = chunk(b"tRNS", struct.pack(">3H", *values[1, 2]))
    picture = codec.read(png(tmp_path / "a.png", header, mark, pixels, END))
    expected = np.full_like(ALPHA, 2**depth - 1, dtype=int)
    expected[1, 2] = 0
    np.testing.assert_array_equal(picture.alpha, expected)
    np.testing.assert_array_equal(picture.pixels, values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_kept(tmp_path, channels):
    values = DEEP[..., :channels]
    colour, alpha = (values, None) if channels % 2 else (values[..., :-1], values[..., -1:])
    reads_deep(png_16(tmp_path / "a.png", values), colour, alpha, channels < 3)


HEADER, PIXELS = parts(COLOUR)
TEXT = chunk(b"tEXt", b"Comment\0hello")
DAMAGE = {
    "checksum of a text": [HEADER, broken(TEXT), PIXELS, END],
    "checksum after the pixels": [HEADER, PIXELS, broken(TEXT), END],
    "time": [HEADER, broken(chunk(b"tIME", b"1234567")), PIXELS, END],
    "a text without keyword": [HEADER, chunk(b"tEXt", b""), PIXELS, END],
    "a packed text": [HEADER, chunk(b"zTXt", b"a\0\0no zlib"), PIXELS, END],
    "a long text": [HEADER, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))), PIXELS, END],
    "a longer text": [HEADER, chunk(b"tEXt", b"a\0" + bytes(2**21)), PIXELS, END],
    "long XMP": [
        HEADER,
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(10**7))),
        PIXELS,
        END,
    ],
    "an international text": [HEADER, chunk(b"iTXt", b"a\0\1\0\0\0no zlib"), PIXELS, END],
    "EXIF": [HEADER, chunk(b"eXIf", b"junkjunkjunk"), PIXELS, END],
    "EXIF after the pixels": [HEADER, PIXELS, chunk(b"eXIf", b"noise"), END],
    "checksum of EXIF": [HEADER, broken(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0")), PIXELS, END],
    "profile": [HEADER, chunk(b"iCCP", b"a\0\0no zlib"), PIXELS, END],
    "checksum of the profile": [HEADER, broken(chunk(b"iCCP", b"a\0\0abc")), PIXELS, END],
    "gamma": [HEADER, broken(chunk(b"gAMA", bytes(4))), PIXELS, END],
    "animation": [HEADER, chunk(b"acTL", b"1"), PIXELS, END],
    "no end": [HEADER, PIXELS],
    "half an end": [HEADER, PIXELS, END[:7]],
    "checksum of the end": [HEADER, PIXELS, broken(END)],
    "noise instead of the end": [HEADER, PIXELS, b"\x80noise" * 9],
    "the last checksum": [HEADER, PIXELS[:-2]],
    "the length of a text": [HEADER, b"\x7f" + TEXT[1:], PIXELS, END],
    "a text that is longer than stated": [HEADER, b"\0\0\0\1" + TEXT[4:], PIXELS, END],
    "zeros after the header": [HEADER, bytes(100), PIXELS, END],
}
SILENT = {"time", "animation", "a text without keyword", "checksum of the end", "gamma"}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_beside_the_pixels_does_not_refuse_a_picture(tmp_path, name, caplog):
    path = png(tmp_path / "a.png", *DAMAGE[name])
    reads(path, COLOUR)
    assert len(caplog.records) == 1 or name in SILENT
    assert all(str(path) in record.message for record in caplog.records)
    deep = dict(zip((HEADER, PIXELS), parts(DEEP[..., :3], 16), strict=True))
    if PIXELS in DAMAGE[name]:
        reads_deep(png(path, *(deep.get(c, c) for c in DAMAGE[name])), DEEP[..., :3])


@pytest.mark.parametrize(
    "chunks",
    [
        [broken(HEADER), PIXELS, END],
        [HEADER, broken(PIXELS), END],
        [HEADER, END],
        [HEADER, PIXELS[:-20]],
        [HEADER, chunk(b"IDAT", PIXELS[8:-40]), END],
        [HEADER, TEXT],
        [PIXELS, END],
    ],
    ids=["header", "pixels", "none", "cut", "cut and closed", "text alone", "no header"],
)
def test_damaged_pixels_are_refused(tmp_path, chunks):
    refused(png(tmp_path / "a.png", *chunks), "truncated or damaged", by=[codec.read])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rows_that_are_missing_are_refused_though_nothing_is_cut(tmp_path, depth, channels):
    values = DEEP[..., :channels] >> (16 - depth)
    sound = parts(values, depth)
    path = png(tmp_path / "a.png", *sound, END)
    assert codec.read(path).pixels.shape == (5, 7, 3)
    for rows in (1, 4):
        refused(
            png(path, sound[0], parts(values[:rows], depth)[1], END),
            "truncated or damaged",
            by=[codec.read],
        )
    values = np.zeros_like(values)  # all rows are there, and black
    picture = codec.read(png(path, *parts(values, depth), END))
    assert not picture.pixels.any()


def test_an_interlaced_picture_is_whole_or_refused(tmp_path):
    # Two rows of one pixel, of which the last pass holds the second.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 2, 8, 0, 0, 0, 1))
    rows = [b"\0\x07", b"\0\0"]
    whole, part = (chunk(b"IDAT", zlib.compress(b"".join(rows[:n]))) for n in (2, 1))
    reads(
        png(tmp_path / "a.png", header, whole, END), np.array([[[7]], [[0]]], np.uint8), grey=True
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 8, 8, 0, 0, 0, 1))
    black = chunk(b"IDAT", zlib.compress(b"\0\0" * 8))
    reads(png(tmp_path / "a.png", header, black, END), np.zeros((8, 1, 1), np.uint8), grey=True)
    refused(png(tmp_path / "a.png", header, part, END), "rows", by=[codec.read])


def test_a_png_for_apples_devices_is_named(tmp_path):
    path = png(tmp_path / "a.png", chunk(b"CgBI", bytes(4)), HEADER, PIXELS, END)
    refused(path, "Apple", by=[codec.read])
    with pytest.raises(ValueError, match="save"):
        codec.read(path)


def test_primaries_mean_nothing_to_grey(tmp_path, caplog):
    of_p3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    chunks = chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cHRM", of_p3)
    header, data = parts(COLOUR[..., :1])
    reads(png(tmp_path / "a.png", header, *chunks, data, END), COLOUR[..., :1], grey=True)
    assert codec.read(png(tmp_path / "b.png", HEADER, *chunks, PIXELS, END)).icc
    assert caplog.text == ""


def test_what_is_sound_is_read_without_a_warning(tmp_path, caplog):
    reads(
        png(tmp_path / "a.png", HEADER, TEXT, PIXELS[:4] + PIXELS[4:], TEXT, END, b"more"), COLOUR
    )
    half = len(PIXELS) // 2
    first, second = chunk(b"IDAT", PIXELS[8:half]), chunk(b"IDAT", PIXELS[half:-4])
    reads(png(tmp_path / "a.png", HEADER, first, chunk(b"IDAT", b""), second, END), COLOUR)
    assert caplog.text == ""


def test_a_text_of_the_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    for packed in (
        chunk(b"tEXt", b"Raw profile type exif\0" + text),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    ):
        reads(png(tmp_path / "a.png", HEADER, packed, PIXELS, END), np.rot90(COLOUR, -1))


def test_linear_light_is_encoded(tmp_path):
    values = np.full((4, 4, 3), 128)
    header, pixels = parts(values)
    path = png(tmp_path / "a.png", header, chunk(b"gAMA", struct.pack(">I", 100_000)), pixels, END)
    assert np.abs(codec.read(path).pixels.astype(int) - 188).max() <= 1
    path = png(tmp_path / "a.png", header, chunk(b"gAMA", struct.pack(">I", 45455)), pixels, END)
    reads(path, values)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_frames_are_as_they_are_seen(tmp_path, mode, caplog):
    pictures = [Image.fromarray(np.roll(COLOUR, i, axis=0)).convert(mode) for i in range(3)]
    pictures[0].save(tmp_path / "a.png", duration=40, save_all=True, append_images=pictures[1:])
    assert codec.frame_count(tmp_path / "a.png") == 3
    found = [picture for picture, duration in codec.frames(tmp_path / "a.png") if duration == 40]
    assert len(found) == 3
    for picture, image in zip(found, pictures, strict=True):
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
        assert picture.alpha is None
        assert picture.grey == (mode == "L")
    assert caplog.text == ""


def test_a_picture_for_other_programs_is_no_frame(tmp_path):
    pictures = [Image.fromarray(np.roll(COLOUR, i, axis=0)) for i in range(3)]
    options = {"save_all": True, "default_image": True}
    pictures[0].save(tmp_path / "a.png", append_images=pictures[1:], **options)
    reads(tmp_path / "a.png", COLOUR)
    assert codec.frame_count(tmp_path / "a.png") == 2
    for (picture, _), image in zip(codec.frames(tmp_path / "a.png"), pictures[1:], strict=True):
        np.testing.assert_array_equal(picture.pixels, np.asarray(image))


def test_a_still_picture_is_one_frame(tmp_path):
    path = png_16(tmp_path / "a.png", DEEP[..., :3])
    assert codec.frame_count(path) == 1
    ((picture, duration),) = codec.frames(path)
    assert duration == 0
    np.testing.assert_array_equal(picture.pixels, DEEP[..., :3])
