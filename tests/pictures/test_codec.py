import logging
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from kdgan_jax.pictures import codec
from kdgan_jax.pictures.codec import Picture
from kdgan_jax.runtime.errors import UserError


@pytest.fixture
def colour():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def grey(colour):
    return colour[..., 0]


def saved(path, array, mode=None, **options):
    """Writes an array as an image file with Pillow, converted to `mode`."""
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def thrice(grey):
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_8_bit_colour_is_read_as_it_is(tmp_path, colour, suffix):
    rgb, alpha, is_grey = codec.read(saved(tmp_path / f"a.{suffix}", colour))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, colour)
    assert (alpha, is_grey) == (None, False)


def test_grey_becomes_three_equal_channels_and_is_remembered(tmp_path, grey):
    rgb, alpha, is_grey = codec.read(saved(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(rgb, thrice(grey))
    assert (alpha, is_grey) == (None, True)


def test_16_bit_grey_is_scaled_to_8_bits_not_clipped(tmp_path):
    deep = np.array([[0, 128, 129, 256], [257, 32896, 65279, 65535]], np.uint16)
    rgb, _, is_grey = codec.read(saved(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(rgb, thrice(np.array([[0, 0, 1, 1], [1, 128, 254, 255]])))
    assert is_grey


def test_float_grey_is_rounded_and_clipped(tmp_path):
    values = np.array([[-3.0, 0.6, 128.4, 300.0]], np.float32)
    rgb = codec.read(saved(tmp_path / "a.tif", values)).rgb
    np.testing.assert_array_equal(rgb, thrice(np.array([[0, 1, 128, 255]])))


def test_black_and_white_is_0_and_255(tmp_path):
    rgb, _, is_grey = codec.read(saved(tmp_path / "a.png", np.eye(4, dtype=bool)))
    np.testing.assert_array_equal(rgb, thrice(255 * np.eye(4, dtype=int)))
    assert is_grey


def test_grey_with_alpha(tmp_path, colour, grey):
    rgb, alpha, is_grey = codec.read(saved(tmp_path / "a.png", colour[..., :2]))
    np.testing.assert_array_equal(rgb, thrice(grey))
    np.testing.assert_array_equal(alpha, colour[..., 1:2])
    assert is_grey


def test_colour_with_alpha_keeps_the_colour_of_clear_pixels(tmp_path, colour):
    alpha = np.zeros((5, 7, 1), np.uint8)
    alpha[2:] = 200
    found = codec.read(saved(tmp_path / "a.png", np.concatenate([colour, alpha], axis=-1)))
    np.testing.assert_array_equal(found.rgb, colour)
    np.testing.assert_array_equal(found.alpha, alpha)
    assert not found.grey


def test_a_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    rgb, alpha, is_grey = codec.read(tmp_path / "a.png")
    assert rgb[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert alpha[..., 0].tolist() == [[0, 128, 255], [255, 128, 0]]
    assert not is_grey


def test_a_colour_that_stands_for_transparency(tmp_path, colour):
    key = tuple(map(int, colour[1, 2]))
    rgb, alpha, _ = codec.read(saved(tmp_path / "a.png", colour, transparency=key))
    np.testing.assert_array_equal(rgb, colour)
    np.testing.assert_array_equal(np.argwhere(alpha[..., 0] == 0), [[1, 2]])


# 16 bits: 65535 becomes 255, so v becomes v / 257 rounded.


@pytest.fixture
def deep():
    values = np.random.default_rng(1).integers(0, 65536, (5, 7, 4)).astype(np.uint16)
    values[0, :3, 0] = 128, 129, 65407  # just below, just above, and where v >> 8 gives 255
    return values


def rounded(deep):
    return np.floor(deep / 257 + 0.5).astype(np.uint8)  # 257 is odd: no v lies half-way


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16(path, values, before=b"", after=b""):
    """Writes uint16 (H, W, C) as PNG, with further chunks before and after the pixels."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + (chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)))
        + (after + chunk(b"IEND", b""))
    )
    return path


def test_16_bit_colour_png_is_rounded(tmp_path, deep):
    rgb, alpha, is_grey = codec.read(png_16(tmp_path / "a.png", deep[..., :3]))
    np.testing.assert_array_equal(rgb, rounded(deep[..., :3]))
    assert (alpha, is_grey) == (None, False)


def test_16_bit_colour_with_alpha(tmp_path, deep):
    found = codec.read(png_16(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(found.rgb, rounded(deep[..., :3]))
    np.testing.assert_array_equal(found.alpha, rounded(deep[..., 3:]))


def test_16_bit_grey_with_alpha(tmp_path, deep):
    found = codec.read(png_16(tmp_path / "a.png", deep[..., :2]))
    np.testing.assert_array_equal(found.rgb, rounded(thrice(deep[..., 0])))
    np.testing.assert_array_equal(found.alpha, rounded(deep[..., 1:2]))
    assert found.grey


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_value_that_stands_for_transparency(tmp_path, deep, channels):
    values = deep[..., :channels]
    values[3, 4] = values[1, 2] ^ 1  # the same but for the lowest bit
    key = chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in values[1, 2]))
    found = codec.read(png_16(tmp_path / "a.png", values, before=key))
    np.testing.assert_array_equal(found.rgb, np.broadcast_to(rounded(values), (5, 7, 3)))
    np.testing.assert_array_equal(np.argwhere(found.alpha[..., 0] == 0), [[1, 2]])
    assert found.grey == (channels == 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"rowsperstrip": 2},
        {"compression": "zlib"},
        {"compression": "zlib", "byteorder": ">", "predictor": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded(tmp_path, deep, channels, options):
    kind = "minisblack" if channels == 1 else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    values = deep[..., :channels].squeeze()
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=kind, **options, **extra)
    found = codec.read(tmp_path / "a.tif")
    colours = rounded(deep[..., : min(channels, 3)])
    np.testing.assert_array_equal(found.rgb, np.broadcast_to(colours, (5, 7, 3)))
    assert found.grey == (channels == 1)
    if channels == 4:
        np.testing.assert_array_equal(found.alpha, rounded(deep[..., 3:]))


def test_16_bit_tiff_whose_0_is_white(tmp_path, deep):
    tifffile.imwrite(tmp_path / "a.tif", deep[..., 0], photometric="miniswhite")
    expected = thrice(rounded(65535 - deep[..., 0]))
    np.testing.assert_array_equal(codec.read(tmp_path / "a.tif").rgb, expected)


def test_16_bit_tiff_in_planes_is_refused_or_right_to_a_level(tmp_path, deep):
    planes = deep[..., :3].transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "raw.tif", planes, **options)
    refused(tmp_path / "raw.tif", "16 bits in separate planes", codec.read)
    tifffile.imwrite(tmp_path / "zip.tif", planes, compression="zlib", **options)
    np.testing.assert_array_equal(codec.read(tmp_path / "zip.tif").rgb, deep[..., :3] >> 8)


def test_a_palette_of_colours_without_transparency(tmp_path, colour):
    image = Image.fromarray(colour).quantize(35)  # as many colours as pixels
    image.save(tmp_path / "a.png")
    expected = np.array(image.getpalette()).reshape(-1, 3)[np.asarray(image)]
    rgb, alpha, is_grey = codec.read(tmp_path / "a.png")
    np.testing.assert_array_equal(rgb, expected)
    assert (alpha, is_grey) == (None, False)


# Colour: CMYK and ICC profiles. The profiles are built here, the expected colours by formula.

D50 = (0.9642, 1.0, 0.8249)
SRGB_XYZ = np.array(  # of D50, columns R, G, B (IEC 61966-2-1, adapted by Bradford)
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def fixed(*values):
    return b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def profile(space, connection, tags):
    """Returns the bytes of an ICC profile of version 2."""
    kind = {b"GRAY": b"mntr", b"RGB ": b"mntr", b"CMYK": b"prtr"}[space]
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


def xyz(values):
    return b"XYZ " + bytes(4) + fixed(*values)


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def srgb_curve():
    """The curve of sRGB in 1,024 entries, as cameras embed it."""
    v = np.linspace(0, 1, 1024)
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    entries = np.round(linear * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + entries


def rgb_profile(primaries, curve):
    tags = {b"rXYZ": 0, b"gXYZ": 1, b"bXYZ": 2}
    tags = {tag: xyz(primaries[:, i]) for tag, i in tags.items()}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(b"RGB ", b"XYZ ", tags | curves)


def grey_profile(exponent):
    return profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(exponent)})


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


def close(found, expected):
    assert np.abs(found - expected).max() <= 1.5  # 8 bits in between, 16-bit tables


ADOBE_XYZ = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg", "avif"])
def test_a_colour_profile_is_converted_to_srgb(tmp_path, suffix):
    flat = np.full((8, 8, 3), (90, 150, 60), np.uint8)
    options = {"lossless": True} if suffix == "webp" else {"quality": 100}
    options |= {"subsampling": "4:4:4"} if suffix in ("jpg", "avif") else {}
    path = tmp_path / f"a.{suffix}"
    saved(path, flat, icc_profile=rgb_profile(ADOBE_XYZ, gamma(2.19921875)), **options)
    linear = np.linalg.inv(SRGB_XYZ) @ ADOBE_XYZ @ (flat[0, 0] / 255) ** 2.19921875
    found = codec.read(path).rgb
    assert np.abs(found - encoded(linear)).max() <= (1.5 if suffix in ("png", "tif", "webp") else 4)
    assert np.abs(encoded(linear) - flat[0, 0]).max() > 10  # the profile matters


def test_every_colour_inside_srgb_follows_the_profile(tmp_path, colour):
    path = saved(tmp_path / "a.png", colour, icc_profile=rgb_profile(SRGB_XYZ, gamma(1.8)))
    close(codec.read(path).rgb, encoded((colour / 255) ** 1.8))


def test_16_bit_colour_follows_its_profile(tmp_path, deep):
    icc = chunk(b"iCCP", b"x\0\0" + zlib.compress(rgb_profile(SRGB_XYZ, gamma(1.8))))
    path = png_16(tmp_path / "a.png", deep[..., :3], before=icc)
    close(codec.read(path).rgb, encoded((rounded(deep[..., :3]) / 255) ** 1.8))


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
    np.testing.assert_array_equal(codec.read(path).rgb, saturated)
    assert caplog.text == ""


def test_transparency_is_no_colour(tmp_path, colour):
    rgba = np.concatenate([colour, colour[..., :1]], axis=-1)
    path = saved(tmp_path / "a.png", rgba, icc_profile=rgb_profile(SRGB_XYZ, gamma(1.8)))
    found = codec.read(path)
    close(found.rgb, encoded((colour / 255) ** 1.8))
    np.testing.assert_array_equal(found.alpha, colour[..., :1])


@pytest.mark.parametrize("icc", [grey_profile(1.8), rgb_profile(SRGB_XYZ, gamma(1.8))])
@pytest.mark.parametrize("has_alpha", [True, False])
def test_grey_stays_grey_under_a_profile(tmp_path, colour, grey, icc, has_alpha):
    array = colour[..., :2] if has_alpha else grey
    rgb, alpha, is_grey = codec.read(saved(tmp_path / "a.png", array, icc_profile=icc))
    close(rgb, encoded((thrice(grey) / 255) ** 1.8))
    np.testing.assert_array_equal(rgb, thrice(rgb[..., 0]))
    assert is_grey
    if has_alpha:
        np.testing.assert_array_equal(alpha, colour[..., 1:2])


def test_a_profile_whose_greys_are_tinted_makes_no_colour_of_grey(tmp_path, grey):
    icc = rgb_profile(SRGB_XYZ * [[1.1], [1.0], [0.9]], gamma(1.8))
    rgb, _, is_grey = codec.read(saved(tmp_path / "a.png", grey, icc_profile=icc))
    np.testing.assert_array_equal(rgb, thrice(rgb[..., 0]))
    assert is_grey


def test_cmyk_follows_its_profile(tmp_path, grey):
    inks = np.zeros((*grey.shape, 4), np.uint8)
    inks[..., 0], inks[..., 3] = 200, grey  # the cyan does nothing on that press
    path = tmp_path / "a.tif"
    Image.frombytes("CMYK", grey.shape[::-1], inks.tobytes()).save(path, icc_profile=cmyk_profile())
    lightness = 100 * (1 - grey / 255)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    rgb, alpha, is_grey = codec.read(path)
    assert np.abs(rgb - thrice(encoded(light))).max() <= 2.5
    assert (alpha, is_grey) == (None, False)


def test_a_palette_follows_its_profile(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 120, 230, 40, 50, 60])
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(SRGB_XYZ, gamma(1.8)))
    expected = encoded((np.array([[[10, 120, 230], [40, 50, 60]]]) / 255) ** 1.8)
    close(codec.read(tmp_path / "a.png").rgb, expected)


@pytest.mark.parametrize(
    "icc",
    [b"no profile", rgb_profile(SRGB_XYZ, gamma(1.8))[:200], grey_profile(1.8), cmyk_profile()],
    ids=["text", "cut short", "for grey", "for CMYK"],
)
def test_a_profile_that_cannot_be_used_is_ignored_and_said_once(tmp_path, colour, icc, caplog):
    path = saved(tmp_path / "a.png", colour, icc_profile=icc)
    with caplog.at_level(logging.WARNING, logger="kdgan_jax"):
        for _ in range(2):
            np.testing.assert_array_equal(codec.read(path).rgb, colour)
    assert caplog.text.count(f"{path}: its colour profile cannot be used") == 1


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_without_a_profile_is_mixed_from_its_inks(tmp_path, suffix):
    inks = np.full((16, 16, 4), (200, 30, 90, 0), np.uint8)
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    image.save(tmp_path / f"a.{suffix}", quality=100)
    rgb, alpha, is_grey = codec.read(tmp_path / f"a.{suffix}")
    assert np.abs(rgb - (255.0 - inks[..., :3])).max() <= 3
    assert (alpha, is_grey) == (None, False)


# Several frames.


def frames(path, **options):
    kinds = (np.full((4, 4), value, np.uint8) for value in (50, 200))
    first, second = (Image.fromarray(kind) for kind in kinds)
    first.save(path, save_all=True, append_images=[second], **options)
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_only_the_first_frame_is_read_and_that_is_said_once(tmp_path, suffix, caplog):
    options = {"lossless": True} if suffix == "webp" else {}
    path = frames(tmp_path / f"a.{suffix}", **options)
    with caplog.at_level(logging.WARNING, logger="kdgan_jax"):
        assert (codec.read(path).rgb == 50).all()
        assert (codec.read(path).rgb == 50).all()
    assert caplog.text.count(f"{path}: holds several pictures") == 1
    assert codec.size(path) == (4, 4)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "jpg"])
def test_nothing_is_said_of_a_single_picture(tmp_path, grey, suffix, caplog):
    codec.read(saved(tmp_path / f"a.{suffix}", grey))
    assert caplog.text == ""


def test_the_second_picture_of_a_phone_s_jpeg_is_not_worth_a_word(tmp_path, caplog):
    assert np.abs(codec.read(frames(tmp_path / "a.jpg", format="MPO")).rgb - 50.0).max() < 3
    assert caplog.text == ""


# Size and turns.


# What numpy does to the upright array that the file holds, by the meaning of the EXIF values.
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
@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_the_exif_orientation_is_followed(tmp_path, colour, suffix, orientation):
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", colour, exif=turned(orientation), **options)
    np.testing.assert_array_equal(codec.read(path).rgb, TURNS[orientation](colour))


def test_a_jpeg_is_turned_too(tmp_path, photo):
    path = saved(tmp_path / "a.jpg", photo, exif=turned(6), quality=95)
    assert np.abs(codec.read(path).rgb - np.rot90(photo, -1).astype(float)).mean() < 4


def test_transparency_turns_with_the_colour(tmp_path, colour):
    rgba = np.concatenate([colour, colour[..., :1]], axis=-1)
    found = codec.read(saved(tmp_path / "a.png", rgba, exif=turned(5)))
    np.testing.assert_array_equal(found.alpha, colour[..., :1].swapaxes(0, 1))


@pytest.mark.parametrize("side", ["before", "after"])
def test_an_orientation_before_or_after_the_pixels_of_a_png(tmp_path, deep, side):
    exif = chunk(b"eXIf", turned(6).tobytes().removeprefix(b"Exif\0\0"))
    path = png_16(tmp_path / "a.png", deep[..., :3], **{side: exif})
    assert codec.size(path) == (7, 5)
    np.testing.assert_array_equal(codec.read(path).rgb, np.rot90(rounded(deep[..., :3]), -1))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif", "ppm"])
def test_size_reads_the_header_alone(tmp_path, photo, suffix):
    path = saved(tmp_path / f"a.{suffix}", photo)
    content = path.read_bytes()
    if suffix not in ("webp", "avif", "tif"):  # these open whole; a TIFF's header may be its end
        path.write_bytes(content[: len(content) // 2])
    assert codec.size(path) == (300, 451)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_size_is_that_of_what_is_read(tmp_path, colour, suffix, orientation):
    path = saved(tmp_path / f"a.{suffix}", colour, exif=turned(orientation))
    assert codec.size(path) == codec.read(path).rgb.shape[:2]
    assert codec.size(path) == ((5, 7) if orientation < 5 else (7, 5))


def refused(path, message, *functions):
    for function in functions or (codec.read, codec.size):
        with pytest.raises(UserError, match=message) as caught:
            function(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif"])
def test_a_truncated_file_is_named(tmp_path, photo, suffix):
    path = saved(tmp_path / f"a.{suffix}", photo[:64, :64])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, r"truncated or damaged|cannot be read|no image", codec.read)


@pytest.mark.parametrize(("box", "byte"), [(b"pitm", 9), (b"mdat", 4)])  # on opening, on decoding
def test_a_damaged_avif_is_named(tmp_path, photo, box, byte):
    # Pillow raises RuntimeError here, which is neither OSError nor ValueError.
    path = saved(tmp_path / "a.avif", photo[:64, :64])
    data = bytearray(path.read_bytes())
    data[data.index(box) + byte] ^= 255
    path.write_bytes(data)
    refused(path, r"truncated or damaged|cannot be read", codec.read)


def test_text_named_png_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("not a picture")
    refused(path, "is no image")


def test_an_empty_file_is_no_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    refused(path, "is no image")


def test_a_missing_file_is_named(tmp_path):
    refused(tmp_path / "a.png", "no such file")


@pytest.mark.parametrize("limit", [34, 20, 10])  # Pillow warns above it, refuses above twice it
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, colour, monkeypatch, limit):
    path = saved(tmp_path / "a.png", colour)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refused(path, f"more than {limit} pixels")


def test_an_image_of_just_the_limit_is_read(tmp_path, colour, monkeypatch):
    path = saved(tmp_path / "a.png", colour)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    assert codec.read(path).rgb.shape == (5, 7, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "PNG"])
def test_colour_comes_back_as_it_was_written(tmp_path, colour, suffix):
    codec.write(tmp_path / f"a.{suffix}", Picture(colour, None, False))
    back = codec.read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(back.rgb, colour)
    assert (back.alpha, back.grey) == (None, False)


@pytest.mark.parametrize("is_grey", [True, False])
@pytest.mark.parametrize("has_alpha", [True, False])
def test_kind_and_pixels_come_back(tmp_path, colour, grey, is_grey, has_alpha):
    rgb = thrice(grey) if is_grey else colour
    alpha = colour[::-1, :, 1:2] if has_alpha else None
    codec.write(tmp_path / "a.png", Picture(rgb, alpha, is_grey))
    back = codec.read(tmp_path / "a.png")
    np.testing.assert_array_equal(back.rgb, rgb)
    np.testing.assert_array_equal(back.alpha, alpha)
    assert back.grey == is_grey


def test_grey_is_written_with_one_channel_the_mean_of_three(tmp_path):
    codec.write(tmp_path / "a.png", Picture(np.array([[[10, 11, 12]]], np.uint8), None, True))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert image.getpixel((0, 0)) == 11


def test_the_format_is_that_of_the_suffix(tmp_path, colour):
    codec.write(tmp_path / "a.jpg", Picture(colour, None, False))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"


def test_writing_leaves_the_file_and_nothing_else(tmp_path, colour):
    codec.write(tmp_path / "a.png", Picture(colour, None, False))
    codec.write(tmp_path / "a.png", Picture(colour[::-1], None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(codec.read(tmp_path / "a.png").rgb, colour[::-1])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, colour, monkeypatch):
    codec.write(tmp_path / "a.png", Picture(colour, None, False))
    before = (tmp_path / "a.png").read_bytes()

    def full(self, path, **options):
        path.write_bytes(b"half a picture")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        codec.write(tmp_path / "a.png", Picture(colour[::-1], None, False))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_images_are_found_at_any_depth_in_order_and_other_files_are_not(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", "notes.txt", "a/.f.png.part"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [str(p.relative_to(tmp_path)) for p in codec.find(tmp_path)]
    assert found == ["a/c.JPG", "a/d/e.webp", "b.png"]


def test_a_folder_that_is_missing_or_without_image_is_named(tmp_path):
    refused(tmp_path / "none", "no such folder", codec.find)
    refused(tmp_path, "holds no image", codec.find)
