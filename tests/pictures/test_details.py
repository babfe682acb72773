import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from pictured import COLOUR, saved
from PIL import Image, PngImagePlugin

from kdgan_jax.pictures import details, exif
from kdgan_jax.pictures.picture import Details

EXIF, GPS, ORIENTATION = 0x8769, 0x8825, 0x0112
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>\xc3\xa9</rdf:RDF></x:xmpmeta>'


def tags(order="<", note=b""):
    made = Image.Exif()
    made.endian = order
    made[ORIENTATION] = 6
    made[0x010F], made[0x0110] = "A camera", "Model 7"
    made[0x011A], made[0x011B], made[0x0128] = 118.0, 118.0, 3  # pixels per centimetre
    made.get_ifd(EXIF).update({0x829A: 0.004, 0x9003: "2026:01:02 03:04:05", 0xA434: "50 mm"})
    if note:
        made.get_ifd(EXIF)[0x927C] = note
    made.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 14.5)})
    return made


def raw(**options):
    return tags(**options).tobytes().removeprefix(b"Exif\0\0")


def loaded(data):
    """Returns all tags of EXIF as Pillow reads them."""
    found = Image.Exif()
    found.load(data)
    return dict(found), {place: dict(found.get_ifd(place)) for place in (EXIF, GPS)}


def without_orientation(data):
    own, below = loaded(data)
    return {k: v for k, v in own.items() if k not in (ORIENTATION, EXIF, GPS)}, below


def of(path, **chunks):
    with Image.open(path) as image:
        return details.of_image(image, {k.encode(): v for k, v in chunks.items()})


def same_tags(found, data):
    own, below = loaded(found)
    assert ORIENTATION not in own
    assert without_orientation(found) == without_orientation(data)
    assert below[EXIF]


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "tif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_kept_without_its_orientation(tmp_path, suffix, order):
    path = saved(tmp_path / f"a.{suffix}", COLOUR, exif=tags(order).tobytes())
    found = of(path)
    own, below = loaded(found.exif)
    assert ORIENTATION not in own
    assert (own[0x010F], own[0x0110]) == ("A camera", "Model 7")
    assert below == loaded(raw(order=order))[1]
    assert found.dpi == pytest.approx((299.72, 299.72), abs=0.01)
    if suffix != "tif":
        same_tags(found.exif, raw(order=order))
    else:  # what tells of the samples of the source does not
        assert not {256, 257, 258, 259, 262, 273, 277, 279} & set(own)


def test_exif_of_a_png_and_of_imagemagick(tmp_path):
    path = saved(tmp_path / "a.png", COLOUR)
    assert of(path, IHDR=[b""]) == Details()
    same_tags(of(path, eXIf=[raw()]).exif, raw())
    text = f"\nexif\n{len(raw()) + 6:8}\n{(b'Exif' + bytes(2) + raw()).hex()}\n".encode()
    for keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
        found = of(path, zTXt=[keyword + b"\0\0" + zlib.compress(text)])
        same_tags(found.exif, raw())
        assert found.text == ()


def test_a_makers_note_stays_where_it_was_and_the_thumbnail_goes():
    note = bytes(range(256)) * 3
    data = raw(note=note)
    small = b"\xff\xd8 a small picture \xff\xd9"
    # A second directory, which leads to the small picture.
    first = struct.unpack_from("<I", data, 4)[0]
    number = struct.unpack_from("<H", data, first)[0]
    data += bytes(len(data) % 2)
    rows = [(0x0103, 3, 1, 6), (0x0201, 4, 1, len(data) + 42), (0x0202, 4, 1, len(small))]
    second = struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    link = first + 2 + 12 * number
    data = data[:link] + struct.pack("<I", len(data)) + data[link + 4 :] + second + small
    found = exif.read(data)
    written = exif.write(found)
    assert written.index(note) == data.index(note)
    assert small not in written
    assert loaded(written)[1][EXIF][0x927C] == note
    assert loaded(written)[1] == loaded(data)[1]
    # Without a note, nothing but the tags is written.
    assert len(exif.write(exif.read(raw() + bytes(5000)))) <= len(raw())


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "packed iTXt"])
def test_texts_of_a_png(tmp_path, kind):
    info = PngImagePlugin.PngInfo()
    if kind.endswith("iTXt"):
        info.add_itxt("Title", "Grüße, λ", zip=kind.startswith("packed"))
    else:
        info.add_text("Title", "Grüße", zip=kind == "zTXt")
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path, pnginfo=info)
    data, name = path.read_bytes(), kind.split()[-1]
    place = data.index(name.encode())
    (length,) = struct.unpack_from(">I", data, place - 4)
    found = of(path, **{name: [data[place + 4 : place + 4 + length]]})
    assert found.text == (("Title", "Grüße" + ", λ" * kind.endswith("iTXt")),)


def test_long_and_broken_texts_are_passed_over(tmp_path):
    path = saved(tmp_path / "a.png", COLOUR)
    fits, long = b"A\0" + b"x" * 2**16, b"B\0" + b"x" * (2**16 + 1)
    assert of(path, tEXt=[long, fits]).text == (("A", "x" * 2**16),)
    bomb = b"C\0\0" + zlib.compress(bytes(2**28), 9)
    tracemalloc.start()
    assert of(path, zTXt=[bomb], iTXt=[b"C\0\1\0\0\0" + bomb[3:]]).text == ()
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()
    broken = [b"", b"\0x", b"D" * 80 + b"\0x", b"no end", b"E\0\0\0\0", b"F\0\0\0\0\0\xff"]
    found = of(path, iTXt=[*broken, b"G\0\0\0\0\0good"], zTXt=[b"H\0\0noise", b"H\0"])
    assert [text for text in found.text if text[0] == "G"] == [("G", "good")]
    assert "F" not in dict(found.text)
    many = [b"A%d\0" % i + b"x" * 60_000 for i in range(100)]
    assert 10 < len(of(path, tEXt=many).text) < 18  # 1 MiB together


def test_xmp_is_kept_with_the_orientation_reset(tmp_path):
    turned = b'<rdf:Description tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation>'
    upright = turned.replace(b"6", b"1").replace(b"8", b"1")
    for before, after in ((XMP, XMP), (turned, upright)):
        for suffix in ("jpg", "webp", "avif", "tif"):
            options = {"tiffinfo": {700: before}} if suffix == "tif" else {"xmp": before}
            assert of(saved(tmp_path / f"a.{suffix}", COLOUR, **options)).xmp == after
        path = saved(tmp_path / "a.png", COLOUR)
        assert of(path, iTXt=[b"XML:com.adobe.xmp\0\0\0\0\0" + before]) == Details(xmp=after)


def resolution(unit):
    made = Image.Exif()
    made[0x011A], made[0x011B], made[0x0128] = 300.0, 300.0, unit
    return made


@pytest.mark.parametrize(
    ("suffix", "options", "dpi"),
    [
        ("jpg", {"dpi": (300, 150)}, (300, 150)),
        ("jpg", {}, None),
        ("jpg", {"exif": Image.Exif()}, None),  # Pillow makes up 72
        ("tif", {"dpi": (300, 150)}, (300, 150)),
        ("tif", {}, None),
        ("bmp", {"dpi": (300, 150)}, (300, 150)),
        ("webp", {}, None),
        ("webp", {"exif": resolution(2)}, (300, 300)),
        ("webp", {"exif": resolution(3)}, (762, 762)),
        ("webp", {"exif": resolution(1)}, None),  # no unit: only the shape of pixels
    ],
)
def test_the_resolution(tmp_path, suffix, options, dpi):
    found = of(saved(tmp_path / f"a.{suffix}", COLOUR, **options)).dpi
    assert found == (dpi and pytest.approx(dpi, abs=0.013))


def test_the_resolution_of_a_png_in_centimetres_and_without_a_unit(tmp_path):
    path = saved(tmp_path / "a.png", COLOUR)
    per_metre = struct.pack(">II", 11811, 5906)
    assert of(path, pHYs=[per_metre + b"\1"]).dpi == pytest.approx((300, 150), abs=0.013)
    for data in (per_metre + b"\0", bytes(8) + b"\1", b"short"):
        assert of(path, pHYs=[data]).dpi is None
    data = saved(tmp_path / "a.jpg", COLOUR, dpi=(118, 59)).read_bytes()
    place = data.index(b"JFIF\0") + 7
    for unit, dpi in ((2, (299.72, 149.86)), (0, None)):
        (tmp_path / "b.jpg").write_bytes(data[:place] + bytes([unit]) + data[place + 1 :])
        assert of(tmp_path / "b.jpg").dpi == (dpi and pytest.approx(dpi, abs=0.01))


def test_comments(tmp_path):
    for suffix in ("jpg", "gif"):
        path = saved(tmp_path / f"a.{suffix}", COLOUR, comment="Grüße".encode())
        assert of(path).text == (("Comment", "Grüße"),)
        path = saved(tmp_path / f"a.{suffix}", COLOUR, comment="Grüße".encode("latin-1"))
        assert of(path).text == (("Comment", "Grüße"),)


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])
def test_pages_of_a_tiff_and_what_describes_samples(tmp_path, big, order):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        file.write(COLOUR[:2], metadata={}, software="one")  # a description in JSON
        file.write(COLOUR, metadata=None, description="A boat", software="two")
    for page, description, software in ((0, None, "one"), (1, "A boat", "two")):
        with Image.open(path) as image:
            image.seek(page)
            before = details.of_image(image, {})
            image.load()
            assert details.of_image(image, {}) == details.of_tiff(path, page) == before
        with path.open("rb") as file, Image.open(file) as image:
            image.seek(page)
            assert details.of_image(image, {}) == before
        own, _ = loaded(before.exif)
        assert (own.get(0x010E), own[0x0131]) == (description, software)
        assert 0x011A not in own  # no true one


@pytest.mark.parametrize("order", ["<", ">"])
def test_directories_below_in_a_large_tiff(tmp_path, order):
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    first = struct.pack(order + "QHHQIIQ", 1, EXIF, 4, 1, 52, 0, 0)
    below = struct.pack(order + "QHHQ8sQ", 1, 0xA434, 2, 6, b"50 mm\0", 0)
    (tmp_path / "a.tif").write_bytes(head + first + below)
    found = details.of_tiff(tmp_path / "a.tif")
    assert loaded(found.exif)[1][EXIF] == {0xA434: "50 mm"}


def test_hostile_tags_take_neither_time_nor_memory():
    data = bytearray(2**20)
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    data[8:10] = b"\xff\xff"
    for i in range(65535):  # each claims nearly the whole file
        struct.pack_into("<HHII", data, 10 + 12 * i, i, 7, 2**20 - 100, 50)
    tracemalloc.start()
    found = exif.read(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    assert len(exif.write(found)) < 2**22
    around = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, EXIF, 4, 1, 8, 8)  # leads to itself
    assert exif.write(exif.read(around, page=3)) == b""
    assert exif.write(exif.read(around)) == b""


def test_damaged_values_are_left_out_and_the_others_kept():
    data = raw()
    place = data.index(struct.pack("<HH", 0x010F, 2))
    damaged = data[: place + 8] + b"\xff\xff\xff\x7f" + data[place + 12 :]
    own, below = loaded(exif.write(exif.read(damaged)))
    assert 0x010F not in own
    assert own[0x0110] == "Model 7"
    assert below == loaded(data)[1]


def values(entries):
    """Returns what entries say, wherever they are."""
    return {
        tag: values(entry.below) if entry.below is not None else entry[:3]
        for tag, entry in entries.items()
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damage
@given(st.data())
def test_any_damage_gives_exif_that_reads_again(choice):
    data = bytearray(raw(note=choice.draw(st.sampled_from([b"", b"note" * 9]))))
    for _ in range(choice.draw(st.integers(1, 6))):
        data[choice.draw(st.integers(0, len(data) - 1))] = choice.draw(st.integers(0, 255))
    data = bytes(data[: choice.draw(st.integers(0, len(data)))])
    found = exif.read(data)
    assert values(exif.read(exif.write(found)).entries) == values(found.entries)
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "JPEG", exif=b"Exif\0\0" + data)
    with Image.open(file) as image:
        details.of_image(image, {})
