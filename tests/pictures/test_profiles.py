"""Colour: CMYK and ICC profiles, built here; the expected colours are by formula."""

import struct
import zlib

import numpy as np
import pytest
from pictured import ALPHA, COLOUR, DEEP, GREY, chunk, png_16, reads, rounded, saved
from PIL import Image, ImageCms

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
