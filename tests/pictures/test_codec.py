import struct

import numpy as np
import pytest
import tifffile
from pictured import (
    ALPHA,
    COLOUR,
    DEEP,
    GREY,
    chunk,
    png_16,
    reads,
    reads_deep,
    refused,
    rounded,
    saved,
)
from PIL import Image

from kdgan_jax.pictures import codec


@pytest.mark.parametrize(
    ("array", "grey"),
    [
        (GREY, GREY),
        (np.eye(4, dtype=bool), 255 * np.eye(4)),
        (np.array([[0, 128, 129, 256, 65279, 65535]], np.uint16), [[0, 0, 1, 1, 254, 255]]),
        (np.array([[-3.0, 0.6, 128.4, 300.0]], np.float32), [[0, 1, 128, 255]]),
    ],
    ids=["8 bits", "black and white", "16 bits", "floats"],
)
def test_grey_becomes_three_equal_channels_and_is_remembered(tmp_path, array, grey):
    path = tmp_path / ("a.tif" if array.dtype == np.float32 else "a.png")
    reads(saved(path, array), np.reshape(grey, (*array.shape[:2], 1)), grey=True)


def test_transparency(tmp_path):
    path = tmp_path / "a.png"
    reads(saved(path, np.concatenate([GREY, ALPHA], axis=-1)), GREY, ALPHA, grey=True)
    clear = ALPHA * (ALPHA > 100)  # colours of pixels that are not seen are kept
    reads(saved(path, np.concatenate([COLOUR, clear], axis=-1)), COLOUR, clear)
    key = np.full_like(ALPHA, 255)
    key[1, 2] = 0
    reads(saved(path, COLOUR, transparency=tuple(map(int, COLOUR[1, 2]))), COLOUR, key)


@pytest.mark.parametrize("transparency", [None, bytes(range(100, 135))])
def test_a_palette(tmp_path, transparency):
    image = Image.fromarray(COLOUR).quantize(35)  # as many colours as pixels
    image.save(tmp_path / "a.png", transparency=transparency)
    index = np.asarray(image)
    rgb = np.array(image.getpalette()).reshape(-1, 3)[index]
    alpha = index[..., None] + 100 if transparency else None
    reads(tmp_path / "a.png", rgb, alpha)


# 16 bits: 65535 becomes 255, so v becomes v / 257 rounded.


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_rounded(tmp_path, channels):
    eight = rounded(DEEP[..., :channels])
    colours, alpha = (eight, None) if channels % 2 else np.split(eight, [-1], axis=-1)
    reads(png_16(tmp_path / "a.png", DEEP[..., :channels]), colours, alpha, channels < 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_value_that_stands_for_transparency(tmp_path, channels):
    values = DEEP[..., :channels].copy()
    values[3, 4] = values[1, 2] ^ 1  # the same but for the lowest bit
    key = chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in values[1, 2]))
    alpha = np.full_like(ALPHA, 255)
    alpha[1, 2] = 0
    reads(png_16(tmp_path / "a.png", values, before=key), rounded(values), alpha, channels == 1)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">", "rowsperstrip": 2},
        {"compression": "zlib"},
        {"compression": "zlib", "byteorder": ">", "predictor": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded(tmp_path, channels, options):
    kind = "minisblack" if channels == 1 else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    values = DEEP[..., :channels].squeeze()
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=kind, **options, **extra)
    eight = rounded(DEEP[..., :channels])
    alpha = eight[..., 3:] if channels == 4 else None
    reads(tmp_path / "a.tif", eight[..., :3], alpha, channels == 1)


def test_16_bit_tiff_whose_0_is_white_or_in_planes(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP[..., 0], photometric="miniswhite")
    reads(path, rounded(65535 - DEEP[..., :1]), grey=True)
    planes = DEEP[..., :3].transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    for packing in (None, "zlib"):
        tifffile.imwrite(path, planes, compression=packing, **options)
        reads_deep(path, DEEP[..., :3])


# Several frames.


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_only_the_first_frame_is_read_with_one_warning(tmp_path, suffix, caplog):
    first, second = (np.full((4, 4), value, np.uint8) for value in (50, 200))
    path = saved(tmp_path / f"one.{suffix}", first)
    assert (codec.read_rgb(path) == 50).all()
    assert caplog.text == ""
    frames = {"save_all": True, "append_images": [Image.fromarray(second)]}
    path = saved(tmp_path / f"two.{suffix}", first, **frames)
    for _ in range(2):
        assert (codec.read_rgb(path) == 50).all()
    assert codec.size(path) == (4, 4)
    (record,) = caplog.records
    assert str(path) in record.message


def test_the_second_picture_of_a_phones_jpeg_is_ignored_without_warning(tmp_path, caplog):
    first, second = (Image.new("L", (4, 4), value) for value in (50, 200))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    reads(tmp_path / "a.jpg", np.full((4, 4, 1), 50), grey=True, within=3)
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_several_damages_are_said_in_one_warning(tmp_path, suffix, caplog):
    damaged = {"icc_profile": b"no profile" * 20, "exif": b"Exif\0\0junkjunk"}
    path = saved(tmp_path / f"a.{suffix}", COLOUR, **damaged)
    codec.read_rgb(path)
    (record,) = caplog.records
    assert "EXIF" in record.message
    assert "profile" in record.message


# Size and turns.

# What numpy does to the array in the file, by the meaning of the EXIF values.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", TURNS)
def test_the_exif_orientation_is_followed(tmp_path, orientation):
    turn, exif = TURNS[orientation], turned(orientation)
    for suffix in ("png", "webp", "tif"):
        reads(saved(tmp_path / f"a.{suffix}", COLOUR, exif=exif), turn(COLOUR))
    rgba = np.concatenate([COLOUR, ALPHA], axis=-1)
    reads(saved(tmp_path / "b.png", rgba, exif=exif), turn(COLOUR), turn(ALPHA))
    ramp = np.linspace(0, 200, 16 * 24).reshape(16, 24, 1).astype(np.uint8)
    for suffix in ("jpg", "avif"):
        path = saved(tmp_path / f"a.{suffix}", ramp.repeat(3, 2), exif=exif, quality=100)
        reads(path, turn(ramp), within=8)


@pytest.mark.parametrize("side", ["before", "after"])
def test_an_orientation_before_or_after_the_pixels_of_a_png(tmp_path, side):
    exif = chunk(b"eXIf", turned(6).tobytes().removeprefix(b"Exif\0\0"))
    path = png_16(tmp_path / "a.png", DEEP[..., :3], **{side: exif})
    reads(path, np.rot90(rounded(DEEP[..., :3]), -1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif", "ppm"])
def test_size_reads_the_header_and_a_truncated_file_is_refused(tmp_path, photo, suffix):
    path = saved(tmp_path / f"a.{suffix}", photo[:200, :240])
    assert codec.size(path) == (200, 240)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix not in ("webp", "avif", "tif"):  # these open whole; a TIFF's header may be its end
        assert codec.size(path) == (200, 240)
    refused(path, "truncated or damaged", "cannot be read", by=[codec.read])


@pytest.mark.parametrize(("box", "byte"), [(b"pitm", 9), (b"mdat", 4)])  # on opening, on decoding
def test_a_damaged_avif_is_named(tmp_path, photo, box, byte):
    # Pillow raises RuntimeError here, which is neither OSError nor ValueError.
    path = saved(tmp_path / "a.avif", photo[:64, :64])
    data = bytearray(path.read_bytes())
    data[data.index(box) + byte] ^= 255
    path.write_bytes(data)
    refused(path, "truncated or damaged", "cannot be read", by=[codec.read])


def test_what_is_not_an_image_is_named(tmp_path):
    path = tmp_path / "a.png"
    refused(path, "no such file")
    for text in ("", "not a picture"):
        path.write_text(text)
        refused(path, "cannot be read as an image")


@pytest.mark.parametrize("limit", [34, 20, 10])  # Pillow warns above it, refuses above twice it
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, monkeypatch, limit):
    path = saved(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refused(path, f"{limit} pixels")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    reads(path, COLOUR)
