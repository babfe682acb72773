"""Results are read back by Pillow and tifffile rather than by this package."""

import io
import struct

import numpy as np
import pytest
import tifffile
from pictured import ALPHA, COLOUR, DEEP, GREY
from PIL import Image, ImageCms, IptcImagePlugin

from kdgan_jax.pictures import codec, icc, writing
from kdgan_jax.pictures.picture import Details, Picture
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError

FLAT = np.indices((40, 48)).sum(axis=0)[..., None].astype(np.uint8)  # changes little in JPEG
P3 = icc.build(
    "P3", icc.matrix_of([(0.3127, 0.329), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)]), (2.2,)
)
MADE_BY = {"Software": "kdgan_jax 1.2.3", "Upscaling": "some_student, scale 4"}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>\xc3\xa9</rdf:RDF></x:xmpmeta>'
MAKE, LENS, LATITUDE, SOFTWARE, OTHER_SOFTWARE = 0x010F, 0xA434, 2, 0x0131, 0x000B


@pytest.fixture(autouse=True)
def _each_warning_again():
    console.warn_once.cache_clear()


def exif(software=None, order=">"):
    tags = Image.Exif()
    tags.endian = order
    tags[MAKE] = "A camera"
    tags.get_ifd(0x8769)[LENS] = "50 mm"
    tags.get_ifd(0x8769)[0x829A] = 0.01  # exposure time
    tags.get_ifd(0x8769)[0xA002], tags.get_ifd(0x8769)[0xA003] = 12, 10  # the source's size
    tags.get_ifd(0x8825)[LATITUDE] = (48.0, 8.0, 14.5)
    if software:
        tags[SOFTWARE] = software
    return tags.tobytes().removeprefix(b"Exif\0\0")


TEXT = (("Title", "A boat"), ("parameters", "größer\nλ = 3"))
DETAILS = Details(exif(), XMP, TEXT, (300.0, 150.0))


def picture(deep, grey, alpha, profile, details=DETAILS):
    """Returns a picture of some kind, of which lossy formats lose little."""
    pixels = FLAT if grey else np.concatenate([FLAT, 200 - FLAT, FLAT // 2 + 60], axis=-1)
    pixels, clear = np.broadcast_to(pixels, (40, 48, 3)), 255 - FLAT
    clear[16:24, 16:24] = 0  # where colours stay
    if deep:
        pixels, clear = (
            np.where(v < 255, v.astype(np.uint16) * 257 + v % 9, 65535) for v in (pixels, clear)
        )
    return Picture(pixels, clear if alpha else None, grey, profile, details)


KINDS = [
    pytest.param(*kind, id="-".join(name for name, has in zip(names, kind, strict=True) if has))
    for names in [("deep", "grey", "alpha", "profile")]
    for kind in np.ndindex(2, 2, 2, 2)
]


def samples(path):
    """Returns (H, W, C) as another program reads them."""
    if path.suffix == ".tif" or path.suffix == ".png":
        import imagecodecs

        read = tifffile.imread if path.suffix == ".tif" else imagecodecs.imread
        array = read(path)
    else:
        with Image.open(path) as image:
            array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


@pytest.mark.parametrize(("deep", "grey", "alpha", "profile"), KINDS)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_every_kind_of_picture_comes_back(tmp_path, suffix, deep, grey, alpha, profile):
    path = tmp_path / f"a.{suffix}"
    kind = picture(deep, grey, alpha, P3 if profile else None)
    writing.write(path, kind)
    found = samples(path)
    single = grey and not profile  # an RGB profile fits three channels only
    expected = kind.pixels[..., :1] if single else kind.pixels
    clear = kind.alpha
    if deep and suffix not in ("png", "tif"):
        expected = np.floor(expected / 257 + 0.5)
        clear = None if clear is None else np.floor(clear / 257 + 0.5)
    if suffix == "jpg" and alpha:
        expected = expected * (clear / 255) + 255 - clear
    elif alpha:
        expected = np.concatenate([expected, clear], axis=-1)
    if suffix in ("webp", "avif") and single:  # these have no single channel beside alpha
        found = found[..., [0, 3]] if alpha else found[..., :1]
    assert found.shape == expected.shape
    assert found.dtype == (np.uint16 if deep and suffix in ("png", "tif") else np.uint8)
    assert np.abs(found - expected.astype(float)).max() <= (4 if suffix in ("jpg", "avif") else 0)
    with Image.open(path) if not deep or suffix != "tif" else io.BytesIO() as image:
        if isinstance(image, Image.Image):
            stored = image.info.get("icc_profile")
            if profile:
                assert stored == P3
            elif suffix == "png":
                assert image.info["srgb"] == 0
            elif suffix in ("jpg", "tif"):
                opened = ImageCms.ImageCmsProfile(io.BytesIO(stored))
                assert opened.profile.xcolor_space == ("GRAY" if grey else "RGB ")
                assert "sRGB" in opened.profile.profile_description
            resolution = image.info.get("dpi") or tuple(image.getexif()[t] for t in (0x11A, 0x11B))
            np.testing.assert_allclose(np.float64(resolution), (300, 150), atol=0.0128)


def metadata(path):
    """Returns (EXIF tags, those of its directories, XMP, text) as Pillow reads them."""
    with Image.open(path) as image:
        tags = image.getexif()
        xmp = image.info.get("xmp") or tags.get(700, b"")
        text = dict(image.text) if path.suffix == ".png" else {}
        if "comment" in image.info:
            text["Comment"] = image.info["comment"].decode()
        below = {place: dict(tags.get_ifd(place)) for place in (0x8769, 0x8825)}
        return dict(tags), below, xmp, text


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
@pytest.mark.parametrize("software", [None, "Firmware 1.0"])
def test_metadata_comes_back_and_says_what_has_made_the_result(tmp_path, suffix, software, caplog):
    path = tmp_path / f"a.{suffix}"
    details = DETAILS._replace(exif=exif(software))
    for _ in range(2):
        made = picture(False, False, False, None, details)
        writing.write(path, made, writing.Options(made_by=MADE_BY))
    tags, below, xmp, text = metadata(path)
    assert (tags[MAKE], below[0x8769][LENS]) == ("A camera", "50 mm")
    assert float(below[0x8769][0x829A]) == pytest.approx(0.01)
    assert (below[0x8769][0xA002], below[0x8769][0xA003]) == (48, 40)
    assert [float(v) for v in below[0x8825][LATITUDE]] == [48, 8, 14.5]
    assert 0x0112 not in tags
    assert xmp == XMP
    if suffix == "png":
        assert text.pop("XML:com.adobe.xmp", "") in ("", XMP.decode())
        assert text == dict(TEXT) | MADE_BY
        assert tags.get(SOFTWARE) == software
    else:
        said = tags[OTHER_SOFTWARE if software else SOFTWARE]
        assert all(value in said for value in MADE_BY.values())
        assert not software or tags[SOFTWARE] == software
    if suffix == "jpg":
        assert all(f"{key}: {value}" in text["Comment"] for key, value in TEXT)
    lost = [record.message for record in caplog.records]
    assert len(lost) == (0 if suffix in ("png", "jpg") else 1)
    assert all("text" in message for message in lost)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_strip_leaves_the_colours_alone(tmp_path, suffix, caplog):
    path = tmp_path / f"a.{suffix}"
    options = writing.Options(strip=True, made_by=MADE_BY)
    writing.write(path, picture(False, False, False, P3), options)
    data = path.read_bytes()
    for part in (b"A camera", b"xmpmeta", b"A boat", b"kdgan", b"some_student", b"tifffile"):
        assert part not in data
    with Image.open(path) as image:
        assert image.info["icc_profile"] == P3
        assert "dpi" not in image.info or suffix == "tif"  # Pillow makes one up
    assert caplog.text == ""


def test_a_comment_and_fractions_of_the_resolution(tmp_path):
    details = Details(text=(("Comment", "Grüße"),), dpi=(72.5, 72.5))
    for suffix in ("jpg", "png", "webp", "tif"):
        path = tmp_path / f"a.{suffix}"
        writing.write(path, Picture(COLOUR, details=details))
        with Image.open(path) as image:
            if suffix == "jpg":
                assert "jfif_density" not in image.info or image.info["jfif_unit"] == 0
            stored = (
                image.info["dpi"] if suffix in ("png", "tif") else (image.getexif()[0x11A],) * 2
            )
            np.testing.assert_allclose(np.float64(stored), 72.5, atol=0.01)
        if suffix in ("png", "jpg"):
            assert metadata(path)[3]["Comment"] == "Grüße"


def test_equal_keywords_are_both_kept_and_odd_ones_do_no_harm(tmp_path):
    text = (("Software", "GIMP"), ("", "x"), ("a\nb" * 50, "y"), ("Nul", "a\0b"), ("λ", "z"))
    options = writing.Options(made_by=MADE_BY)
    writing.write(tmp_path / "a.png", Picture(COLOUR, details=Details(text=text)), options)
    data = (tmp_path / "a.png").read_bytes()
    assert b"Software\0GIMP" in data
    assert b"Software\0kdgan_jax 1.2.3" in data
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Nul"] == "ab"
        np.testing.assert_array_equal(np.asarray(image), COLOUR)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
@pytest.mark.parametrize("order", "<>")
def test_iptc_comes_back_or_is_said_to_be_lost(tmp_path, suffix, order, caplog):
    path, records = tmp_path / f"a.{suffix}", b"\x1c\2\5\0\5A boat"[:10]
    details = Details(exif(order=order), iptc=records)
    writing.write(path, Picture(COLOUR, details=details))
    kept = suffix in ("png", "jpg", "tif")
    assert codec.read(path).details.iptc == (records if kept else b"")
    assert len(caplog.records) == (not kept)
    assert "IPTC" in caplog.text or kept
    if suffix in ("jpg", "tif"):
        with Image.open(path) as image:
            assert IptcImagePlugin.getiptcinfo(image) == {(2, 5): b"A boa"}
    writing.write(path, Picture(COLOUR, details=details), writing.Options(strip=True))
    assert codec.read(path).details.iptc == b""


def test_what_does_not_fit_into_a_jpeg_is_said(tmp_path, caplog):
    details = Details(xmp=b"x" * 70_000, text=(("Comment", "y" * 66_000),), dpi=(300, 300))
    for _ in range(2):
        writing.write(tmp_path / "a.jpg", Picture(COLOUR, details=details))
    assert sorted(record.message.split()[3] for record in caplog.records) == ["comment", "xmp"]
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["dpi"] == (300, 300)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Picture(DEEP[..., :3]), ["8 bits"]), (Picture(COLOUR, ALPHA), ["transparency", "white"])],
)
def test_bits_and_transparency_that_a_jpeg_cannot_hold_are_said_once(tmp_path, kind, words, caplog):
    for name in "ab":
        writing.write(tmp_path / f"{name}.jpg", kind)
    (record,) = caplog.records
    assert all(word in record.message for word in words)
    caplog.clear()
    writing.write(tmp_path / "c.jpg", Picture(COLOUR, np.full_like(ALPHA, 255)))
    assert caplog.text == ""


def test_a_grey_picture_is_the_rounded_mean_of_its_channels(tmp_path):
    for values in ([10, 11, 12], [65534, 65535, 65535]):
        dtype = np.uint8 if max(values) < 256 else np.uint16
        writing.write(tmp_path / "a.png", Picture(np.array([[values]], dtype), grey=True))
        (value,) = samples(tmp_path / "a.png").ravel()
        assert value == round(sum(values) / 3)


def test_quality(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for suffix in ("jpg", "webp", "avif"):
        sizes = []
        for quality in (20, 90, None):
            options = writing.Options(quality=quality)
            writing.write(tmp_path / f"a.{suffix}", Picture(noise), options)
            sizes.append((tmp_path / f"a.{suffix}").stat().st_size)
        assert sizes[0] < sizes[1] <= sizes[2]
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.layer[0][1:3] == (1, 1)  # colour in full resolution


@pytest.mark.parametrize(
    ("name", "options", "size", "facts"),
    [
        ("a.xyz", {}, (1, 1), [".xyz", ".png", ".avif"]),
        ("a", {}, (1, 1), [".png"]),
        ("a.pgn", {}, (1, 1), [".pgn", ".png"]),
        ("a.bmp", {}, (1, 1), [".bmp", ".png"]),
        ("a.png", {"quality": 90}, (1, 1), ["quality=90", "PNG"]),
        ("a.jpg", {"quality": 0}, (1, 1), ["quality=0", "100"]),
        ("a.webp", {}, (10, 16384), ["WebP", "16,383"]),
        ("a.jpg", {}, (65501, 1), ["JPEG", "65,500"]),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, name, options, size, facts):
    with pytest.raises(UserError) as caught:
        writing.check(tmp_path / name, writing.Options(**options), size)
    assert all(fact in str(caught.value) for fact in [*facts, str(tmp_path / name)])


def test_the_longest_sides_are_right(tmp_path):
    for name, most in (("a.webp", 16383), ("a.jpg", 65500), ("a.avif", 65536)):
        writing.write(tmp_path / name, Picture(np.zeros((1, most, 3), np.uint8)))
        assert (tmp_path / name).stat().st_size > 0


def test_suffixes_in_capitals_and_of_other_spellings(tmp_path):
    for name in ("a.PNG", "a.jpeg", "a.JFIF", "a.tiff", "a.TIF", "a.WebP"):
        writing.write(tmp_path / name, Picture(COLOUR))
        with Image.open(tmp_path / name) as image:
            assert image.size == (7, 5)


def test_metadata_in_either_order_of_bytes(tmp_path):
    """The long way into a TIFF: the tags of a file of the other order, and a profile."""
    for order in "<>":
        raw = exif(order=order)
        assert raw[:2] == {"<": b"II", ">": b"MM"}[order]
        details = Details(raw, XMP, (), (96, 96))
        made = Picture(DEEP[..., :3], DEEP[..., 3:], icc=P3, details=details)
        writing.write(tmp_path / "a.tif", made)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            (page,) = file.pages
            assert page.tags["Make"].value == "A camera"
            assert page.tags["ExifTag"].value["LensModel"] == "50 mm"
            assert page.tags["GPSTag"].value["GPSLatitude"] == (48, 1, 8, 1, 29, 2)
            assert page.tags[700].value == XMP
            assert page.tags[34675].value == P3
            assert page.extrasamples == (2,)  # not multiplied
            assert list(page.tags.keys()) == sorted(page.tags.keys())
            np.testing.assert_array_equal(page.asarray(), DEEP)


def test_the_same_picture_gives_the_same_bytes(tmp_path):
    for form in {form.name: form for form in writing.FORMATS.values()}.values():
        kind = picture(False, False, True, P3)
        assert writing.encode(kind, form) == writing.encode(kind, form)


def test_the_order_of_the_chunks_of_a_png(tmp_path):
    writing.write(tmp_path / "a.png", picture(True, False, True, P3))
    data, place, kinds = (tmp_path / "a.png").read_bytes(), 8, []
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        kinds.append(kind)
        place += length + 12
    assert kinds[:2] == [b"IHDR", b"iCCP"]
    assert kinds.index(b"pHYs") < kinds.index(b"IDAT")
    assert (kinds[-1], kinds.count(b"IEND")) == (b"IEND", 1)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_frames(tmp_path, suffix, grey):
    path = tmp_path / f"a.{suffix}"
    shapes = [COLOUR, COLOUR[::-1], 255 - COLOUR]
    if grey:
        shapes = [frame[..., :1].repeat(3, axis=2) for frame in shapes]
    clear = np.where(ALPHA > 99, 255, 0).astype(np.uint8)
    first = Picture(shapes[0], clear, grey, P3 if not grey else None, DETAILS)
    frames = [(first, 100.0), (Picture(shapes[1], None, grey), 40.0), (Picture(shapes[2]), 250.0)]
    writing.write_frames(path, iter(frames), writing.Options(made_by=MADE_BY))
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"]) == (3, 0)
        assert image.info.get("icc_profile") == first.icc
        for i, (frame, duration) in enumerate(frames):
            image.seek(i)
            image.load()
            assert round(image.info["duration"]) == duration
            found = np.asarray(image.convert("RGBA"))
            visible = found[..., 3] > 0
            np.testing.assert_array_equal(visible, clear[..., 0] > 0 if i == 0 else True)
            np.testing.assert_array_equal(found[visible][:, :3], frame.pixels[visible])
    assert metadata(path)[0][MAKE] == "A camera"
    with pytest.raises(UserError, match=r"a\.tif: .*TIFF"):
        writing.write_frames(tmp_path / "a.tif", frames)
    writing.write_frames(path, frames[1:2])
    np.testing.assert_array_equal(codec.read(path).pixels, shapes[1])
    assert codec.frame_count(path) == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    writing.write(tmp_path / "a.png", Picture(COLOUR))
    writing.write(tmp_path / "a.png", Picture(GREY.repeat(3, 2), grey=True))

    def full(path, data):
        path.open("wb").write(data[:20])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        writing.write(tmp_path / "a.png", Picture(COLOUR))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(samples(tmp_path / "a.png"), GREY)
