import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from kdgan_jax.pictures import codec
from kdgan_jax.pictures.codec import Picture
from kdgan_jax.runtime.errors import UserError

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
GREY, ALPHA = COLOUR[..., :1], COLOUR[::-1, :, 1:2]
DEEP = RANDOM.integers(0, 65536, (5, 7, 4)).astype(np.uint16)
DEEP[0, :3, 0] = 128, 129, 65407  # just below and just above 0.5, and where v >> 8 gives 255
LOSSLESS = {"webp": {"lossless": True}}  # how a suffix is saved without loss


def saved(path, array, **options):
    """Writes an array as an image file with Pillow."""
    image = Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    image.save(path, **LOSSLESS.get(path.suffix[1:], {}), **options)
    return path


def reads(path, rgb, alpha=None, grey=False, within=0):
    """Checks what is read of a file: `rgb` (H, W, 3) or (H, W, 1), to `within` levels."""
    picture = codec.read(path)
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.shape == (*rgb.shape[:2], 3)
    assert np.abs(picture.rgb - rgb.astype(float)).max() <= within
    assert picture.grey == grey
    if grey:
        assert (picture.rgb == picture.rgb[..., :1]).all()
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert codec.size(path) == picture.rgb.shape[:2]


def refused(path, *facts, by=(codec.read, codec.size)):
    """Checks that a path is refused with a message that names it and holds one of `facts`."""
    for function in by:
        with pytest.raises(UserError) as caught:
            function(path)
        assert str(path) in str(caught.value)
        assert any(fact in str(caught.value) for fact in facts)


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


def rounded(deep):
    return np.floor(deep / 257 + 0.5).astype(np.uint8)  # 257 is odd: no v lies half-way


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16(path, values, before=b"", after=b""):
    """Writes uint16 (H, W, C) as PNG, with further chunks before and after the pixels."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    end = chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + end)
    return path


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
    tifffile.imwrite(path, planes, **options)
    refused(path, "separate planes", by=[codec.read])
    tifffile.imwrite(path, planes, compression="zlib", **options)
    reads(path, rounded(DEEP[..., :3]), within=1)


# Colour: CMYK and ICC profiles. The profiles are built here, the expected colours by formula.

D50 = (0.9642, 1.0, 0.8249)
SRGB_XYZ = np.array(  # of D50, columns R, G, B (IEC 61966-2-1, adapted by Bradford)
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
ADOBE_XYZ = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)


def fixed(*values):
    return b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def xyz(values):
    return b"XYZ " + bytes(4) + fixed(*values)


def profile(space, connection, tags):
    """Returns the bytes of an ICC profile of version 2."""
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": xyz(D50), **tags}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + fixed(*D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def srgb_curve():
    """The curve of sRGB in 1,024 entries, as cameras embed it."""
    v = np.linspace(0, 1, 1024)
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    entries = np.round(linear * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + entries


def rgb_profile(primaries, curve):
    names = b"rXYZ", b"gXYZ", b"bXYZ"
    tags = {name: xyz(primaries[:, i]) for i, name in enumerate(names)}
    return profile(b"RGB ", b"XYZ ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def cmyk_profile():
    """A press whose black ink alone counts, with L* = 100 (1 - K)."""
    ramp = bytes(range(256))
    nodes = b"".join(bytes([255 * (1 - k), 128, 128]) for _ in range(8) for k in (0, 1))  # K last
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + nodes + ramp * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": table})


def encoded(linear):
    """Returns 8-bit values, unrounded, of linear light (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


BRIGHT = rgb_profile(SRGB_XYZ, gamma(1.8))  # the colours of sRGB with another curve
BRIGHT_GREY = profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(1.8)})


def bright(values):
    return encoded((values / 255) ** 1.8)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_a_colour_profile_is_converted_to_srgb(tmp_path, suffix):
    flat, lossy = np.full((8, 8, 3), (90, 150, 60), np.uint8), suffix in ("jpg", "avif")
    icc = rgb_profile(ADOBE_XYZ, gamma(2.19921875))
    options = {"quality": 100, "subsampling": "4:4:4"} if lossy else {}
    path = saved(tmp_path / f"a.{suffix}", flat, icc_profile=icc, **options)
    linear = (flat / 255) ** 2.19921875 @ (np.linalg.inv(SRGB_XYZ) @ ADOBE_XYZ).T
    reads(path, encoded(linear), within=4 if lossy else 1.5)
    assert np.abs(encoded(linear) - flat).max() > 10  # the profile matters


def test_colours_of_every_kind_follow_their_profile(tmp_path):
    path, within = tmp_path / "a.png", 1.5  # 8 bits in between, and tables of 16 bits
    rgba = np.concatenate([COLOUR, ALPHA], axis=-1)
    reads(saved(path, rgba, icc_profile=BRIGHT), bright(COLOUR), ALPHA, within=within)
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(BRIGHT))
    path = png_16(tmp_path / "b.png", DEEP[..., :3], before=icc)
    reads(path, bright(rounded(DEEP[..., :3])), within=within)
    Image.fromarray(COLOUR).quantize(35).save(tmp_path / "c.png", icc_profile=BRIGHT)
    reads(tmp_path / "c.png", bright(COLOUR), within=within)


@pytest.mark.parametrize(
    "icc",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        rgb_profile(SRGB_XYZ, srgb_curve()),
        rgb_profile(SRGB_XYZ.round(4), srgb_curve()),  # would move colours by a level
    ],
    ids=["lcms", "camera", "rounded"],
)
def test_an_srgb_profile_leaves_the_pixels_as_they_are(tmp_path, icc, caplog):
    saturated = (np.indices((6, 6, 6), np.uint8) * 51).reshape(3, 36, 6).transpose(1, 2, 0)
    path = saved(tmp_path / "a.png", np.ascontiguousarray(saturated), icc_profile=icc)
    reads(path, saturated)
    assert caplog.text == ""


def test_grey_stays_grey_under_a_profile(tmp_path):
    path, with_alpha = tmp_path / "a.png", np.concatenate([GREY, ALPHA], axis=-1)
    for icc in (BRIGHT_GREY, BRIGHT):
        reads(saved(path, GREY, icc_profile=icc), bright(GREY), grey=True, within=1.5)
        reads(saved(path, with_alpha, icc_profile=icc), bright(GREY), ALPHA, True, within=1.5)
    tinted = rgb_profile(SRGB_XYZ * [[1.1], [1.0], [0.9]], gamma(1.8))
    reads(saved(path, GREY, icc_profile=tinted), bright(GREY), grey=True, within=15)


def test_cmyk_follows_its_profile(tmp_path):
    inks = np.zeros((5, 7, 4), np.uint8)
    inks[..., 0], inks[..., 3:] = 200, GREY  # cyan does nothing on that press
    image = Image.frombytes("CMYK", (7, 5), inks.tobytes())
    image.save(tmp_path / "a.tif", icc_profile=cmyk_profile())
    lightness = 100 * (1 - GREY / 255)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    reads(tmp_path / "a.tif", encoded(light), within=2.5)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_without_a_profile_is_mixed_from_its_inks(tmp_path, suffix):
    inks = np.full((16, 16, 4), (200, 30, 90, 0), np.uint8)
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    image.save(tmp_path / f"a.{suffix}", quality=100)
    reads(tmp_path / f"a.{suffix}", 255 - inks[..., :3], within=3)


@pytest.mark.parametrize(
    "icc",
    [b"no profile", BRIGHT[:200], BRIGHT_GREY, cmyk_profile()],
    ids=["text", "cut short", "for grey", "for CMYK"],
)
def test_an_unusable_profile_is_ignored_with_one_warning(tmp_path, icc, caplog):
    path = saved(tmp_path / "a.png", COLOUR, icc_profile=icc)
    for _ in range(2):
        reads(path, COLOUR)
    (record,) = caplog.records
    assert str(path) in record.message
    assert "profile" in record.message


# Several frames.


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_only_the_first_frame_is_read_with_one_warning(tmp_path, suffix, caplog):
    first, second = (np.full((4, 4), value, np.uint8) for value in (50, 200))
    path = saved(tmp_path / f"one.{suffix}", first)
    assert (codec.read(path).rgb == 50).all()
    assert caplog.text == ""
    frames = {"save_all": True, "append_images": [Image.fromarray(second)]}
    path = saved(tmp_path / f"two.{suffix}", first, **frames)
    for _ in range(2):
        assert (codec.read(path).rgb == 50).all()
    assert codec.size(path) == (4, 4)
    (record,) = caplog.records
    assert str(path) in record.message


def test_the_second_picture_of_a_phones_jpeg_is_ignored_without_warning(tmp_path, caplog):
    first, second = (Image.new("L", (4, 4), value) for value in (50, 200))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    reads(tmp_path / "a.jpg", np.full((4, 4, 1), 50), grey=True, within=3)
    assert caplog.text == ""


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


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "PNG", "ppm"])
def test_colour_comes_back_as_it_was_written(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    codec.write(path, Picture(COLOUR, None, False))
    with Image.open(path) as image:
        assert image.format == {"TIF": "TIFF"}.get(suffix.upper(), suffix.upper())
        np.testing.assert_array_equal(np.asarray(image), COLOUR)
    reads(path, COLOUR)


def test_transparency_and_grey_come_back(tmp_path):
    path, thrice = tmp_path / "a.png", GREY.repeat(3, axis=2)
    for rgb, alpha in ((COLOUR, ALPHA), (thrice, ALPHA), (thrice, None)):
        codec.write(path, Picture(rgb, alpha, rgb is thrice))
        reads(path, rgb, alpha, rgb is thrice)
    codec.write(path, Picture(np.array([[[10, 11, 12]]], np.uint8), None, True))
    with Image.open(path) as image:  # one channel, the mean of three
        assert (image.mode, image.getpixel((0, 0))) == ("L", 11)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    codec.write(tmp_path / "a.png", Picture(COLOUR, None, False))
    codec.write(tmp_path / "a.png", Picture(COLOUR[::-1], None, False))

    def full(self, path, **options):
        path.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        codec.write(tmp_path / "a.png", Picture(COLOUR, None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    reads(tmp_path / "a.png", COLOUR[::-1])


def test_images_are_found_at_any_depth_in_order_and_other_files_are_not(tmp_path):
    refused(tmp_path, "no image", by=[codec.find])
    refused(tmp_path / "none", "no such folder", by=[codec.find])
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", "notes.txt", "a/.f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    paths = [str(p.relative_to(tmp_path)) for p in codec.find(tmp_path)]
    assert paths == ["a/c.JPG", "a/d/e.webp", "b.png"]
