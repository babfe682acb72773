"""TIFF: samples of every kind, which page is the picture, damaged metadata."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from pictured import ALPHA, COLOUR, DEEP, GREY, reads, reads_deep, refused, rounded
from PIL import Image, ImageCms

from kdgan_jax.pictures import codec

RAMP = np.linspace(0, 1, 33)[None].repeat(4, axis=0)  # 0, half and full scale
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def tiff(path, width, height, data, *, order="<", big=False, **tags):
    """Writes a TIFF, of one strip unless t279 has several lengths.

    `tags` are numbers, tuples or bytes by t254=..., t339=...
    """
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    values |= {279: len(data)} | {int(name[1:]): value for name, value in tags.items()}
    offset = 16 if big else 8
    lengths = values[279] if isinstance(values[279], tuple) else (values[279],)
    inline = 8 if big else 4
    table, extra = b"", data + bytes(len(data) % 2)
    values[273] = tuple(offset + sum(lengths[:i]) for i in range(len(lengths)))
    place = offset + len(extra)
    for tag, value in sorted(values.items()):
        if isinstance(value, bytes):
            kind, number, raw = 7, len(value), value
        else:
            numbers = value if isinstance(value, tuple) else (value,)
            kind, number, raw = 4, len(numbers), struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(raw) > inline:
            extra += raw + bytes(len(raw) % 2)
            raw = struct.pack(order + ("Q" if big else "I"), place)
            place = offset + len(extra)
        table += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, number)
        table += raw.ljust(inline, b"\0")
    head = b"II" if order == "<" else b"MM"
    count = struct.pack(order + ("Q" if big else "H"), len(values))
    if big:
        head += struct.pack(order + "HHHQ", 43, 8, 0, place)
    else:
        head += struct.pack(order + "HI", 42, place)
    path.write_bytes(head + extra + count + table + bytes(inline))
    return path


def packed(values, bits):
    """Returns rows of integers (H, N) as bytes, the highest bit first."""
    rows = []
    for row in values:
        text = "".join(f"{int(v) % 2**bits:0{bits}b}" for v in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        rows.append(int(text, 2).to_bytes(len(text) // 8, "big"))
    return b"".join(rows)


def is_ramp(path, grey=True, within=1.0):
    """Checks that a file holds `RAMP`."""
    picture = codec.read(path)
    full = np.iinfo(picture.pixels.dtype).max
    error = np.abs(picture.pixels / full - RAMP[..., None]).max()
    assert error <= within / full
    assert picture.grey == grey
    eight = codec.read_rgb(path)
    assert (eight[0, 0, 0], eight[0, -1, 0]) == (0, 255)
    assert abs(int(eight[0, 16, 0]) - 127.5) <= 1
    return picture


@pytest.mark.parametrize("bits", [*range(1, 18), 20, 24, 31, 32, 33, 40, 48, 56, 63, 64])
@pytest.mark.parametrize("order", "<>")
def test_unsigned_samples_of_any_depth(tmp_path, bits, order, caplog):
    full = 2**bits - 1
    values = [[i * full // 32 for i in range(33)]] * 4
    if bits % 8:
        data = packed(values, bits)
    else:
        way = "little" if order == "<" else "big"
        data = b"".join(v.to_bytes(bits // 8, way) for row in values for v in row)
    path = tiff(tmp_path / "a.tif", 33, 4, data, order=order, t258=bits)
    picture = codec.read(path)
    white = 255 if bits <= 8 else 65535
    assert picture.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    expected = np.array([v / full for v in values[0]]) * white
    assert np.abs(picture.pixels[0, :, 0] - expected).max() <= 1
    assert (codec.read_rgb(path)[0, [0, -1], 0] == [0, 255]).all()
    assert caplog.text == ""


@pytest.mark.parametrize("bits", [8, 10, 12, 16, 32, 64])
def test_signed_samples_have_black_at_zero_and_white_at_the_largest(tmp_path, bits):
    full = 2 ** (bits - 1) - 1
    values = [[i * full // 32 for i in range(33)]] * 3 + [[-1 - i * full // 32 for i in range(33)]]
    data = packed(values, bits)
    path = tiff(tmp_path / "a.tif", 33, 4, data, order=">", t258=bits, t339=2)
    picture = codec.read(path)
    white = np.iinfo(picture.pixels.dtype).max
    expected = np.array([v / full for v in values[0]]) * white
    assert np.abs(picture.pixels[0, :, 0] - expected).max() <= 1
    assert (picture.pixels[3] == 0).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib", "predictor": 3}, {"byteorder": ">"}]
)
def test_floats(tmp_path, dtype, options, caplog):
    tifffile.imwrite(tmp_path / "a.tif", RAMP.astype(dtype), **options)
    is_ramp(tmp_path / "a.tif", within=33)
    colour = RAMP[..., None].repeat(3, axis=-1).astype(dtype)
    tifffile.imwrite(tmp_path / "b.tif", colour, photometric="rgb", **options)
    is_ramp(tmp_path / "b.tif", grey=False, within=33)
    assert caplog.text == ""


@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_floats_in_the_range_of_integers_are_read_with_a_warning(tmp_path, white, caplog):
    tifffile.imwrite(tmp_path / "a.tif", (RAMP * white).astype(np.float32))
    is_ramp(tmp_path / "a.tif")
    (record,) = caplog.records
    assert str(tmp_path / "a.tif") in record.message
    assert str(white) in record.message


@pytest.mark.parametrize("tag", ["t341", "t281"])
def test_a_stated_maximum_is_white_without_a_warning(tmp_path, tag, caplog):
    data = np.round(RAMP * 4095).astype("<u2").tobytes()
    is_ramp(tiff(tmp_path / "a.tif", 33, 4, data, t258=16, **{tag: 4095}), within=9)
    assert caplog.text == ""


def test_a_range_that_is_unknown_is_warned_of_once_and_not_black(tmp_path, caplog):
    data = np.round(RAMP * 4095).astype("<u2").tobytes()
    path = tiff(tmp_path / "a.tif", 33, 4, data, t258=16)
    is_ramp(path, within=9)
    (record,) = caplog.records
    assert str(path) in record.message
    assert "4095" in record.message


KINDS = ["interleaved", "planes", "tiles", "big", "zip", "packed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_layout(tmp_path, kind, dtype, channels):
    values = DEEP[..., :channels]
    values = values if dtype == np.uint16 else rounded(values)
    options = {"photometric": "rgb" if channels > 2 else "minisblack"}
    if channels % 2 == 0:
        options["extrasamples"] = ["unassalpha"]
    if kind == "planes" and channels > 1:
        options["planarconfig"] = "separate"
        array = values.transpose(2, 0, 1)
    else:
        options["planarconfig"] = "contig" if channels > 1 else None
        array = values if channels > 1 else values[..., 0]
    options |= {"tiles": {"tile": (16, 16)}, "big": {"bigtiff": True}}.get(kind, {})
    options |= {
        "zip": {"compression": "zlib", "predictor": 2},
        "packed": {"compression": "lzw"},
    }.get(kind, {})
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    colour, alpha = (values, None) if channels % 2 else (values[..., :-1], values[..., -1:])
    check = reads_deep if dtype == np.uint16 else reads
    check(tmp_path / "a.tif", colour, alpha, channels < 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_with_and_without_alpha(tmp_path, dtype):
    inks = np.zeros((5, 7, 5), dtype)
    full = np.iinfo(dtype).max
    inks[..., 3:4] = full - (GREY.astype(int) * full // 255)
    inks[..., 4:] = ALPHA.astype(int) * full // 255
    options = {"photometric": "separated", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", inks, extrasamples=["unassalpha"], **options)
    reads(tmp_path / "a.tif", GREY, ALPHA)
    tifffile.imwrite(tmp_path / "b.tif", np.ascontiguousarray(inks[..., :4]), **options)
    reads(tmp_path / "b.tif", GREY)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_that_is_multiplied_in(tmp_path, channels, dtype):
    full = np.iinfo(dtype).max
    straight = (DEEP if dtype == np.uint16 else rounded(DEEP))[..., : channels - 1]
    alpha = np.full((5, 7, 1), full // 2, dtype)
    alpha[1, 2] = full
    whole = np.concatenate([(straight * (alpha / full)).round().astype(dtype), alpha], axis=-1)
    photometric = "rgb" if channels == 4 else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif",
        whole,
        photometric=photometric,
        planarconfig="contig",
        extrasamples=["assocalpha"],
    )
    picture = codec.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels.astype(int) - straight).max() <= 2


def test_lab_of_8_and_16_bits(tmp_path):
    lightness = np.array([[0, 25, 50, 75, 100]])
    for dtype, unit, full in ((np.uint8, 1, 255), (np.uint16, 256, 65535)):
        lab = np.zeros((1, 5, 3), dtype)
        lab[..., 0] = np.round(lightness * full / 100)
        lab[..., 1] = np.array([0, 0, 40 * unit, -40 * unit, 0]).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", lab, photometric="cielab")
        rgb = codec.read_rgb(tmp_path / "a.tif").astype(int)[0]
        assert np.abs(rgb[[0, 1, 4]] - [[0] * 3, [59] * 3, [255] * 3]).max() <= 2
        assert rgb[2, 0] > rgb[2, 1] + 30  # red
        assert rgb[3, 1] > rgb[3, 0] + 30  # green


# Which page.


def paged(path, *pages):
    """Writes pages (array, tags) one after another."""
    with tifffile.TiffWriter(path) as file:
        for array, options in pages:
            file.write(array, photometric="rgb", **options)
    return path


@pytest.mark.parametrize("kind", [1, 4, 5, 2])
def test_reduced_copies_and_masks_are_passed_over(tmp_path, kind, caplog):
    small = np.full((2, 3, 3), 9, np.uint8)
    as_told = (
        struct.pack("<HHII", 255, 4, 1, kind)
        if kind == 2
        else (struct.pack("<HHII", 254, 4, 1, kind))
    )

    def written(*pages):
        path = paged(tmp_path / "a.tif", *pages)
        data = path.read_bytes().replace(struct.pack("<HHII", 254, 4, 1, 1), as_told)
        path.write_bytes(data)
        return path

    copy = {"subfiletype": 1}
    reads(written((small, copy), (small, copy), (COLOUR, {})), COLOUR)
    assert caplog.text == ""
    reads(written((COLOUR, {}), (small, copy)), COLOUR)
    assert caplog.text == ""
    reads(written((small, copy)), small)


def test_a_picture_below_a_preview_is_found(tmp_path):
    small = np.full((2, 3, 3), 9, np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(small, photometric="rgb", subfiletype=1, subifds=1)
        file.write(COLOUR, photometric="rgb", subfiletype=0)
    reads(tmp_path / "a.tif", COLOUR)


def test_the_first_of_several_pages_is_read_with_one_warning(tmp_path, caplog):
    path = paged(tmp_path / "a.tif", (COLOUR, {}), (COLOUR[::-1], {}))
    reads(path, COLOUR)
    (record,) = caplog.records
    assert str(path) in record.message


@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_acts_on_every_depth(tmp_path, value):
    tag = {"extratags": [(274, 3, 1, value, True)], "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, **tag)
    with Image.open(tmp_path / "a.tif") as image:
        turned = np.asarray(image.convert("RGB"))  # Pillow turns it
    reads(tmp_path / "a.tif", turned)
    tifffile.imwrite(tmp_path / "b.tif", COLOUR.astype(np.uint16) * 257, **tag)
    reads_deep(tmp_path / "b.tif", turned.astype(np.uint16) * 257)


# Damage.

BAD_TAGS = {
    "text": (270, 2, 2**31, b"\xff\xff\xff\x7f"),
    "EXIF": (34665, 4, 1, b"\xff\xff\xff\x7f"),
    "XMP": (700, 1, 1000, b"\xff\xff\xff\x7f"),
    "type": (305, 99, 5, b"abcd"),
    "profile": (34675, 7, 10**6, b"\xff\xff\xff\x7f"),
    "resolution": (282, 5, 1, b"\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", BAD_TAGS)
def test_damaged_metadata_does_not_refuse_a_picture(tmp_path, name, dtype, caplog):
    tag, kind, count, value = BAD_TAGS[name]
    array = COLOUR if dtype == np.uint8 else DEEP[..., :3]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", metadata=None, extratags=[(65000, 4, 1, 7)])
    data, old = path.read_bytes(), struct.pack("<HHII", 65000, 4, 1, 7)
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, struct.pack("<HHI4s", tag, kind, count, value)))
    (reads if dtype == np.uint8 else reads_deep)(path, array)
    # tifffile writes its own text of type 305 and resolution before.
    assert len(caplog.records) == (name not in ("type", "resolution"))
    assert all(str(path) in record.message for record in caplog.records)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_cut_pixels_are_refused(tmp_path, photo, options, dtype):
    array = photo[:64, :64].astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", **options)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "truncated or damaged", by=[codec.read])


def test_what_is_not_read_is_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (RAMP * (1 + 1j)).astype(np.complex64))
    refused(path, "complex", by=[codec.read])
    refused(tiff(path, 4, 4, bytes(32), t258=16, t262=32803), "RAW", by=[codec.read])
    refused(tiff(path, 4, 4, bytes(48), t258=16, t259=34712), "JPEG 2000", by=[codec.read])
    refused(tiff(path, 4, 4, bytes(48), t259=50001), "WebP", by=[codec.read])
    assert "remove" not in path.read_text(errors="replace")


# Kinds beside the usual ones.


def test_a_palette_of_8_bits(tmp_path):
    table = np.arange(768).reshape(3, 256) % 256
    index = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for values in (table, table * 256 + 77):
        colours = tuple(map(int, values.ravel()))
        for packing, data in ((1, bytes(index)), (8, zlib.compress(index))):
            path = tiff(tmp_path / "a.tif", 7, 5, data, t259=packing, t262=3, t320=colours)
            reads(path, np.moveaxis(table[:, index], 0, -1))


@pytest.mark.parametrize(
    ("tags", "fact"),
    [
        ({"t262": 5, "t277": 5, "t332": 2, "t258": (8,) * 5}, "inks"),
        ({"t262": 6, "t277": 3, "t530": (2, 2), "t258": (8,) * 3}, "photometric 6"),
        ({"t262": 6, "t277": 3, "t284": 2, "t258": (8,) * 3}, "photometric 6"),
        ({"t258": 12, "t259": 7}, "JPEG"),
    ],
    ids=["other inks", "halved chroma", "chroma in planes", "JPEG of 12 bits"],
)
def test_what_would_be_noise_is_named(tmp_path, tags, fact):
    path = tiff(tmp_path / "a.tif", 4, 4, bytes(100), **tags)
    refused(path, fact, by=[codec.read])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_both_orders_of_bytes_are_read_without_a_warning(tmp_path, order, big, caplog):
    text = {"description": "a boat", "metadata": None}
    tifffile.imwrite(
        tmp_path / "a.tif", COLOUR, photometric="rgb", byteorder=order, bigtiff=big, **text
    )
    reads(tmp_path / "a.tif", COLOUR)
    assert b"a boat" in codec.read(tmp_path / "a.tif").details.exif
    assert caplog.text == ""


@pytest.mark.parametrize("white", [1, 255])
def test_transparency_of_floats_is_of_0_to_1_or_as_colours_are(tmp_path, white):
    for most in {1, white}:
        whole = np.stack([RAMP * white, RAMP[::-1, ::-1] * most], axis=-1).astype(np.float32)
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(tmp_path / "a.tif", whole, extrasamples=["unassalpha"], **options)
        picture = is_ramp(tmp_path / "a.tif")
        assert np.abs(picture.alpha[..., 0] / 65535 - RAMP[::-1, ::-1]).max() < 1e-4


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_samples_below_0_are_said(tmp_path, dtype, caplog):
    values = (RAMP * 2 - 1) * (32767 if dtype == np.int16 else 1)
    tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype))
    picture = codec.read(tmp_path / "a.tif")
    assert (picture.pixels[0, [0, 16, -1], 0] == [0, 0, 65535]).all()
    (record,) = caplog.records
    assert "black" in record.message


@pytest.mark.parametrize("packing", [8, 32773, 50000])
def test_a_last_strip_that_is_filled_up_is_read(tmp_path, packing):
    encode = {
        8: imagecodecs.zlib_encode,
        32773: imagecodecs.packbits_encode,
        50000: imagecodecs.zstd_encode,
    }[packing]
    rows = DEEP[..., 0].astype("<u2").tobytes()  # 5 of 14 bytes, in strips of 3
    strips = encode(rows[:42]), encode(rows[42:] + bytes(14))
    lengths = tuple(map(len, strips))
    path = tiff(
        tmp_path / "a.tif", 7, 5, b"".join(strips), t258=16, t259=packing, t278=3, t279=lengths
    )
    reads_deep(path, DEEP[..., :1], grey=True)
    tiff(path, 7, 5, strips[0] + encode(rows[42:-2]), t258=16, t259=packing, t278=3, t279=lengths)
    refused(path, "truncated or damaged", by=[codec.read])
