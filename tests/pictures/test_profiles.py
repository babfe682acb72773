"""Colour: CMYK and ICC profiles, built here; the expected colours are by formula."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictured import COLOUR, DEEP, GREY, chunk, png_16, rounded, saved
from PIL import Image, ImageCms
from skimage import color

from kdgan_jax.pictures import codec, icc, profiles
from kdgan_jax.runtime import console

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


PATH = "a photo"


def say(remark):
    console.warn_once(f"{PATH}: {remark}")


LINEAR = rgb_profile(SRGB_XYZ, gamma(1.0))
BRIGHT = rgb_profile(SRGB_XYZ, gamma(1.8))  # the colours of sRGB with another curve
BRIGHT_GREY = profile(b"GRAY", b"XYZ ", {b"kTRC": gamma(1.8)})
ADOBE = rgb_profile(ADOBE_XYZ, gamma(2.19921875))
TINTED = rgb_profile(SRGB_XYZ * [[1.1], [1.0], [0.9]], gamma(1.8))
P3 = icc.matrix_of([(0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)])
BT2020 = icc.matrix_of([(0.3127, 0.329), (0.708, 0.292), (0.17, 0.797), (0.131, 0.046)])


def printer_profile(space=b"RGB "):
    """A table and no curves: the colours of a device that turns everything half-way to grey."""
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * 127.5 + 63.75
    nodes = np.floor(color.rgb2lab(corners / 255) * [2.55, 1, 1] + [0, 128, 128]).astype(np.uint8)
    ramp = bytes(range(256))
    head = b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(space, b"Lab ", {b"A2B0": head + ramp * 3 + nodes.tobytes() + ramp * 3})


@pytest.fixture(autouse=True)
def _each_warning_again():
    console.warn_once.cache_clear()


def by_little_cms(samples, mode, profile):
    """Returns 8-bit sRGB by Pillow's own ways, as this package has converted from the start."""
    image = Image.fromarray(samples[..., 0] if mode == "L" else samples)
    if mode in ("CMYK", "LAB"):
        image = Image.frombytes(mode, samples.shape[1::-1], samples.tobytes())
    if profile is None:
        return np.asarray(image.convert("RGB"))
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    if mode == "L" and profile[16:20] == b"RGB ":
        image = image.convert("RGB")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(source, target, image.mode, "RGB", intent, flags)
    moved = np.asarray(ImageCms.applyTransform(image, transform))
    return moved[..., 1:2].repeat(3, axis=2) if mode == "L" else moved


SAMPLES = {"L": GREY, "RGB": COLOUR, "CMYK": rounded(DEEP), "LAB": COLOUR}
CONVERTED = [
    ("L", None),
    ("L", BRIGHT_GREY),
    ("L", BRIGHT),
    ("L", TINTED),
    ("L", printer_profile()),
    ("RGB", None),
    ("RGB", BRIGHT),
    ("RGB", LINEAR),
    ("RGB", rgb_profile(ADOBE_XYZ, gamma(1.0))),
    ("RGB", rgb_profile(ADOBE_XYZ, gamma(4.0))),
    ("RGB", printer_profile()),
    ("CMYK", None),
    ("CMYK", cmyk_profile()),
    ("LAB", None),
]


@pytest.mark.parametrize(("mode", "profile"), CONVERTED)
def test_what_is_converted(mode, profile, caplog):
    samples = SAMPLES[mode]
    pixels, kept = profiles.as_rgb(samples, mode, profile, say)
    np.testing.assert_array_equal(pixels, by_little_cms(samples, mode, profile))
    assert kept is None
    deep = samples.astype(np.uint16) * 257
    if mode == "LAB":  # signed
        deep[..., 1:] = samples[..., 1:].view(np.int8).astype(np.int16).view(np.uint16) << 8
    same, kept = profiles.as_rgb(deep, mode, profile, say)
    assert (same.dtype, same.shape, kept) == (np.uint16, pixels.shape, None)
    if mode != "LAB":  # in which most of these samples are out of bounds
        table = (mode == "CMYK" and profile) or profile == printer_profile()
        assert np.abs(same / 257 - pixels).max() <= (4 if table else 1.6)
    if mode == "L":
        assert (same == same[..., :1]).all()
        assert (pixels == pixels[..., :1]).all()
    assert caplog.text == ""


def test_16_bits_are_converted_in_16_bits():
    dark = np.arange(3 * 400, dtype=np.uint16).reshape(20, 20, 3)  # below five levels of 8 bits
    light = np.linspace(0, 65535, 1200).round().astype(np.uint16).reshape(20, 20, 3)
    for deep in (dark, light):
        pixels, _ = profiles.as_rgb(deep, "RGB", icc.build("linear", icc.SRGB_MATRIX, (1,)), say)
        assert np.abs(pixels - encoded(deep / 65535) * 257).max() <= 1
        grey, _ = profiles.as_rgb(deep[..., :1], "L", LINEAR, say)
        assert np.abs(grey - encoded(deep[..., :1] / 65535) * 257).max() <= 1
    neutral = np.repeat(dark[..., :1], 3, axis=2)
    inexact = rgb_profile(SRGB_XYZ * 0.998, gamma(1))  # of a white that is none
    pixels, _ = profiles.as_rgb(neutral, "RGB", inexact, say)
    assert (pixels == pixels[..., :1]).all()
    white, _ = profiles.as_rgb(np.full((1, 1, 1), 65535, np.uint16), "L", inexact, say)
    assert (white == 65535).all()
    assert len(np.unique(pixels)) == 400
    all_greys = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    for display in (LINEAR, rgb_profile(ADOBE_XYZ, gamma(1))):
        pixels, _ = profiles.as_rgb(all_greys, "RGB", display, say)
        assert (pixels == pixels[..., :1]).all()


def test_lab_of_16_bits():
    rgb = np.random.default_rng(0).uniform(0, 1, (9, 9, 3))
    lab = color.xyz2lab(decoded(rgb) @ SRGB_XYZ.T, illuminant="D50")
    stored = np.concatenate([lab[..., :1] * 655.35, lab[..., 1:] * 256], axis=-1).round()
    samples = stored.astype(np.int32).astype(np.uint16)
    pixels, _ = profiles.as_rgb(samples, "LAB", None, say)
    assert np.abs(pixels / 65535 - rgb).max() < 3e-3
    same = profiles.as_rgb(lab_8(lab), "LAB", None, say)[0]
    assert np.median(np.abs(same / 255 - rgb)) < 0.01


def lab_8(lab):
    return np.concatenate(
        [
            np.round(lab[..., :1] * 2.55).astype(np.uint8),
            np.round(lab[..., 1:]).astype(np.int8).view(np.uint8),
        ],
        axis=-1,
    )


@pytest.mark.parametrize(
    "profile",
    [
        ADOBE,
        rgb_profile(ADOBE_XYZ, gamma(1.8)),
        rgb_profile(P3, srgb_curve()),
        icc.build("P3", P3, icc.SRGB_CURVE),
        icc.build("BT.2020", BT2020, icc.BT709_CURVE),
    ],
    ids=["Adobe RGB", "gamma 1.8", "camera's P3", "parametric P3", "BT.2020"],
)
def test_colours_beyond_srgb_keep_their_values_and_their_profile(tmp_path, profile, caplog):
    for samples in (COLOUR, DEEP[..., :3]):
        pixels, kept = profiles.as_rgb(samples, "RGB", profile, say)
        np.testing.assert_array_equal(pixels, samples)
        assert kept == profile
    srgb = profiles.to_srgb(COLOUR, profile, say)
    np.testing.assert_array_equal(srgb, by_little_cms(COLOUR, "RGB", profile))
    for suffix in ("png", "tif", "webp"):
        path = saved(tmp_path / f"a.{suffix}", COLOUR, icc_profile=profile)
        picture = codec.read(path)
        np.testing.assert_array_equal(picture.pixels, COLOUR)
        assert picture.icc == profile
        np.testing.assert_array_equal(codec.read_rgb(path), srgb)
    assert caplog.text == ""


def test_colours_follow_the_formula():
    linear = (COLOUR / 255) ** 2.19921875 @ (np.linalg.inv(SRGB_XYZ) @ ADOBE_XYZ).T
    assert np.abs(profiles.to_srgb(COLOUR, ADOBE, say) - encoded(linear)).max() <= 1.5
    assert np.abs(encoded(linear) - COLOUR).max() > 10  # the profile matters
    for profile in (BRIGHT, BRIGHT_GREY):
        pixels, _ = profiles.as_rgb(GREY, "L", profile, say)
        assert np.abs(pixels - encoded((GREY / 255) ** 1.8)).max() <= 1.5
    inks = np.zeros((5, 7, 4), np.uint8)
    inks[..., 0], inks[..., 3:] = 200, GREY  # cyan does nothing on that press
    lightness = 100 * (1 - GREY / 255)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    for samples, white in ((inks, 255), (inks.astype(np.uint16) * 257, 65535)):
        pixels, _ = profiles.as_rgb(samples, "CMYK", cmyk_profile(), say)
        assert np.abs(pixels * (255 / white) - encoded(light)).max() <= 2.5


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        rgb_profile(SRGB_XYZ, srgb_curve()),
        rgb_profile(SRGB_XYZ.round(4), srgb_curve()),  # would move colours by a level
        icc.build("sRGB", icc.SRGB_MATRIX, icc.SRGB_CURVE),
    ],
    ids=["lcms", "camera", "rounded", "own"],
)
def test_an_srgb_profile_leaves_the_pixels_as_they_are(profile, caplog):
    saturated = (np.indices((6, 6, 6), np.uint8) * 51).reshape(3, 36, 6).transpose(1, 2, 0)
    for samples in (saturated, saturated.astype(np.uint16) * 257):
        pixels, kept = profiles.as_rgb(samples, "RGB", profile, say)
        assert pixels is samples
        assert kept is None
    own = icc.build_grey("sRGB grey", icc.SRGB_CURVE)
    for samples in (GREY, DEEP[..., :1]):
        for tag in (profile, own):
            pixels, kept = profiles.as_rgb(samples, "L", tag, say)
            np.testing.assert_array_equal(pixels, samples.repeat(3, axis=2))
            assert kept is None
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_without_a_profile_is_mixed_from_its_inks(tmp_path, suffix):
    inks = np.full((16, 16, 4), (200, 30, 90, 0), np.uint8)
    image = Image.frombytes("CMYK", (16, 16), inks.tobytes())
    image.save(tmp_path / f"a.{suffix}", quality=100)
    found = codec.read_rgb(tmp_path / f"a.{suffix}")
    assert np.abs(found - (255.0 - inks[..., :3])).max() <= 3


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile"),
        ("RGB", BRIGHT[:200]),
        ("RGB", BRIGHT_GREY),
        ("RGB", cmyk_profile()),
        ("L", cmyk_profile()),
        ("CMYK", ADOBE),
    ],
)
def test_an_unusable_profile_is_ignored_with_one_warning(mode, profile, caplog):
    for samples in (SAMPLES[mode], SAMPLES[mode].astype(np.uint16) * 257):
        pixels, kept = profiles.as_rgb(samples, mode, profile, say)
        np.testing.assert_array_equal(pixels, profiles.as_rgb(samples, mode, None, say)[0])
        assert kept is None
    (record,) = caplog.records
    assert PATH in record.message
    assert "profile" in record.message


@given(st.data())
def test_a_damaged_profile_never_raises(choice):
    sound = {
        "RGB": [ADOBE, LINEAR, icc.build("P3", P3, (2.2,)), printer_profile()],
        "L": [BRIGHT_GREY, BRIGHT],
        "CMYK": [cmyk_profile()],
    }
    mode = choice.draw(st.sampled_from(sorted(sound)))
    profile = bytearray(choice.draw(st.sampled_from(sound[mode])))
    for _ in range(choice.draw(st.integers(1, 4))):
        profile[choice.draw(st.integers(0, len(profile) - 1))] = choice.draw(st.integers(0, 255))
    for samples in (SAMPLES[mode], SAMPLES[mode].astype(np.uint16) * 257):
        pixels, kept = profiles.as_rgb(samples, mode, bytes(profile), say)
        assert (pixels.shape, pixels.dtype) == ((5, 7, 3), samples.dtype)
        assert kept in (None, bytes(profile))


# What PNG says without a profile.


def number(value):
    return round(value * 100_000).to_bytes(4, "big")


def chrm(*xy):
    return b"".join(number(v) for v in xy)


SRGB_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB, ICCP = {b"sRGB": b"\0"}, {b"iCCP": b"x\0\0" + zlib.compress(ADOBE)}
USUAL, ONE = {b"gAMA": number(0.45455)}, {b"gAMA": number(1.0)}


@pytest.mark.parametrize(
    ("chunks", "means"),
    [
        ({}, None),
        (USUAL, None),
        ({b"gAMA": number(0.45)}, None),
        (USUAL | {b"cHRM": SRGB_CHRM}, None),
        ({b"cHRM": ADOBE_CHRM}, None),
        (ONE | SRGB, None),
        (ICCP | SRGB | ONE, ADOBE),
        (ICCP | {b"cICP": bytes([1, 13, 0, 1])}, b"sRGB"),
        (ICCP | {b"cICP": bytes([2, 2, 0, 1])}, ADOBE),  # unspecified
        ({b"gAMA": bytes(4)}, None),
        ({b"gAMA": b"\xff\xff\xff\xff"}, None),
        ({b"gAMA": b"1"}, None),
    ],
)
def test_which_chunk_counts(chunks, means):
    found = profiles.of_png(chunks)
    if means == b"sRGB":
        pixels, kept = profiles.as_rgb(COLOUR, "RGB", found, say)
        np.testing.assert_array_equal(pixels, COLOUR)
        assert kept is None
    else:
        assert found == means


@pytest.mark.parametrize("stored", [1.0, 0.7, 0.55556, 0.35])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gama_is_applied(stored, mode, caplog):
    for extra in ({}, {b"cHRM": SRGB_CHRM}, {b"cHRM": bytes(32)}):
        profile = profiles.of_png({b"gAMA": number(stored), **extra})
        for samples, white in (
            (SAMPLES[mode], 255),
            (SAMPLES[mode].astype(np.uint16) * 257, 65535),
        ):
            pixels, kept = profiles.as_rgb(samples, mode, profile, say)
            expected = encoded((samples / white) ** (1 / stored))
            assert np.abs(pixels * (255 / white) - expected).max() <= 1.5
            assert kept is None
    if stored == 1:
        middle = np.full((1, 1, 3), 128, np.uint8)
        assert profiles.as_rgb(middle, "RGB", profile, say)[0].tolist() == [[[188, 188, 188]]]
    assert caplog.text == ""


def test_chrm_gives_primaries():
    profile = profiles.of_png(USUAL | {b"cHRM": ADOBE_CHRM})
    pixels, kept = profiles.as_rgb(COLOUR, "RGB", profile, say)
    np.testing.assert_array_equal(pixels, COLOUR)
    assert kept == profile
    found, expected = (profiles.to_srgb(COLOUR, p, say).astype(int) for p in (profile, ADOBE))
    assert np.abs(found - expected).max() <= 2
    grey, kept = profiles.as_rgb(GREY, "L", profile, say)
    assert kept is None
    assert np.abs(grey - encoded((GREY / 255) ** 2.2)).max() <= 1.5


def test_chunks_of_a_file(tmp_path):
    values = np.full((5, 7, 3), 128 * 257, np.uint16)
    path = png_16(tmp_path / "a.png", values, before=chunk(b"gAMA", number(1)))
    assert np.unique(codec.read_rgb(path)).tolist() == [188]
    path = png_16(tmp_path / "a.png", DEEP[..., :3], before=chunk(b"iCCP", ICCP[b"iCCP"]))
    np.testing.assert_array_equal(codec.read(path).pixels, DEEP[..., :3])
    expected = by_little_cms(rounded(DEEP[..., :3]), "RGB", ADOBE)
    np.testing.assert_array_equal(codec.read_rgb(path), expected)


def test_cicp():
    for codes, matrix in ((b"\x0c\x0d\0\1", P3), (b"\x09\x0d\0\1", BT2020)):
        profile = profiles.of_png({b"cICP": codes})
        assert profiles.as_rgb(COLOUR, "RGB", profile, say)[1] == profile
        expected = encoded(decoded(COLOUR / 255) @ (np.linalg.inv(SRGB_XYZ) @ matrix).T)
        assert np.abs(profiles.to_srgb(COLOUR, profile, say) - expected).max() <= 1.5


def decoded(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# Signals of white paper and of half its light: ITU-R BT.2408, table 1, and by BT.2100.
@pytest.mark.parametrize(
    ("transfer", "name", "paper", "half"), [(16, "PQ", 0.58, 0.508), (18, "HLG", 0.75, 0.608)]
)
def test_high_dynamic_range_is_said_and_paper_is_white(transfer, name, paper, half, caplog):
    values = np.array([0, half, paper, 1])[None, :, None].repeat(3, axis=2)
    built = profiles.of_png({b"cICP": bytes([9, transfer, 0, 1])})
    codes = b"cicp" + bytes(4) + bytes([9, transfer, 0, 1])
    columns = {c + b"XYZ": xyz(BT2020[:, i]) for i, c in enumerate((b"r", b"g", b"b"))}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.2))
    foreign = profile(b"RGB ", b"XYZ ", {**columns, **curves, b"cicp": codes})
    for tag in (built, foreign):
        for white, dtype in ((255, np.uint8), (65535, np.uint16)):
            samples = np.round(values * white).astype(dtype)
            pixels, kept = profiles.as_rgb(samples, "RGB", tag, say)
            assert kept is None
            expected = encoded(np.array([0, 0.5, 1, 1]))[None, :, None]
            assert np.abs(pixels * (255 / white) - expected).max() <= 3
    (record,) = caplog.records
    assert PATH in record.message
    assert name in record.message


def test_a_damaged_or_endless_profile_in_a_png():
    packed = zlib.compress(bytes(2**28), 9)
    assert len(profiles.of_png({b"iCCP": b"x\0\0" + packed})) <= 2**23
    for data in (b"", b"x", b"x\0\0noise", ICCP[b"iCCP"][:60]):
        found = profiles.of_png({b"iCCP": data})
        assert found
        assert profiles.as_rgb(COLOUR, "RGB", found, say)[1] is None
    # Only the checksum at the end is missing.
    assert profiles.of_png({b"iCCP": ICCP[b"iCCP"][:-4]}) == ADOBE


@pytest.mark.parametrize(
    "curve", [(2.2,), (1.0,), icc.SRGB_CURVE, icc.BT709_CURVE, np.linspace(0, 1, 50) ** 3]
)
def test_what_is_built_reads_back(curve):
    built = icc.build("a name", P3, curve)
    found = icc.display(built)
    np.testing.assert_allclose(found.matrix, P3, atol=2e-5)
    x = np.linspace(0, 1, 65536)
    if isinstance(curve, np.ndarray):
        y = np.interp(x, np.linspace(0, 1, len(curve)), curve)
    elif len(curve) == 1:
        y = x ** curve[0]
    else:
        g, a, b, c, d = curve
        y = np.where(x >= d, (a * x + b) ** g, c * x)
    np.testing.assert_allclose(found.curves, np.stack([y] * 3), atol=1e-4)
    opened = ImageCms.ImageCmsProfile(io.BytesIO(built))
    assert opened.profile.profile_description == "a name"
    assert opened.profile.is_matrix_shaper


def test_primaries_become_the_known_matrices():
    np.testing.assert_allclose(icc.SRGB_MATRIX, SRGB_XYZ, atol=2e-4)
    adobe = icc.matrix_of([(0.3127, 0.329), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)])
    np.testing.assert_allclose(adobe, ADOBE_XYZ, atol=2e-4)
    for wrong in ([(0, 0)] * 4, [(0.3, 0.3)] * 4):
        with pytest.raises(ValueError, match="primaries"):
            icc.matrix_of(wrong)
