"""Formats: WebP, GIF, Netpbm, and what other files are called."""

import io
import struct
import sys
import types

import imagecodecs
import numpy as np
import pytest
from pictured import ALPHA, COLOUR, DEEP, GREY, reads, reads_deep, refused, saved
from PIL import Image, ImageFile

from kdgan_jax.pictures import codec, folders

# WebP


def webp(array=COLOUR, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "WEBP", lossless=True, exact=True, **options)
    return file.getvalue()


def riff(data):
    """Returns a file with its size corrected."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def test_damaged_metadata_does_not_refuse_a_webp(tmp_path, caplog):
    path, sound = tmp_path / "a.webp", webp(exif=b"Exif\0\0junk", xmp=b"<x", icc_profile=b"none")
    path.write_bytes(sound)
    reads(path, COLOUR)
    for change in (
        riff(webp() + b"EXIF\xff\xff\xff\x7f"),
        riff(webp() + b"XMP "),
        webp() + b"noise",
        webp()[:4] + struct.pack("<I", 2**31) + webp()[8:],
        webp()[:4] + struct.pack("<I", 10) + webp()[8:],
        riff(webp(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")[:-9]),
    ):
        path.write_bytes(change)
        reads(path, COLOUR)
    assert all(str(path) in record.message for record in caplog.records)


def test_a_webp_that_is_cut_is_refused(tmp_path):
    path = tmp_path / "a.webp"
    for part in (40, len(webp()) - 3):
        path.write_bytes(riff(webp()[:part]))
        refused(path, "truncated or damaged", by=[codec.read])


def test_an_animation_that_is_cut_has_a_first_frame(tmp_path, caplog):
    images = [Image.fromarray(np.roll(COLOUR, i)) for i in range(3)]
    data, path = webp(save_all=True, append_images=images[1:]), tmp_path / "a.webp"
    path.write_bytes(data[:-20])
    reads(path, COLOUR)
    (record,) = caplog.records
    assert str(path) in record.message
    assert "cut" in record.message
    assert codec.frame_count(path) == 2


# Animations


@pytest.mark.parametrize("suffix", ["gif", "webp"])
@pytest.mark.parametrize("clear", [False, True])
def test_frames_are_as_they_are_seen(tmp_path, suffix, clear):
    flat = [np.full((8, 9, 3), c, np.uint8) for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    alpha = np.full((8, 9, 1), 255, np.uint8)
    alpha[2:5, 3:6] = 0 if clear else 255
    images = [Image.fromarray(np.concatenate([rgb, alpha], axis=-1)) for rgb in flat]
    options = {"webp": {"lossless": True}, "gif": {"disposal": 2}}[suffix]
    path = tmp_path / f"a.{suffix}"
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=[100, 200, 300], **options
    )
    assert codec.frame_count(path) == 3
    found = list(codec.frames(path))
    assert [duration for _, duration in found] == [100, 200, 300]
    for (picture, _), rgb in zip(found, flat, strict=True):
        if clear:
            np.testing.assert_array_equal(picture.alpha, alpha)
        else:
            assert picture.alpha is None
        np.testing.assert_array_equal(picture.pixels[alpha[..., 0] > 0], rgb[alpha[..., 0] > 0])


def test_an_animation_without_its_end_has_a_first_frame(tmp_path):
    images = [Image.fromarray(np.roll(COLOUR, i)).quantize(35) for i in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], comment=b"a")
    whole = (tmp_path / "a.gif").read_bytes()
    first = codec.read(tmp_path / "a.gif").pixels
    for part in (len(whole) - 1, len(whole) - 10):
        (tmp_path / "a.gif").write_bytes(whole[:part])
        np.testing.assert_array_equal(codec.read(tmp_path / "a.gif").pixels, first)


@pytest.mark.parametrize("length", [0, 5, 17, 200, 255])
@pytest.mark.parametrize("animated", [False, True])
def test_a_damaged_comment_does_not_refuse_a_gif(tmp_path, length, animated, caplog):
    image = Image.fromarray(COLOUR).quantize(35)
    more = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] if animated else []
    path = tmp_path / "a.gif"
    image.save(path, comment=b"hello, world!", save_all=animated, append_images=more)
    sound = codec.read(path)
    np.testing.assert_array_equal(sound.pixels, np.asarray(image.convert("RGB")))
    data = path.read_bytes()
    place = data.index(b"hello")
    caplog.clear()
    path = tmp_path / "b.gif"
    path.write_bytes(data[: place - 1] + bytes([length]) + data[place:])
    reads(path, sound.pixels)
    (record,) = caplog.records
    assert str(path) in record.message


def test_a_damaged_control_block_does_not_refuse_a_gif(tmp_path):
    image = Image.fromarray(COLOUR).quantize(35)
    path = tmp_path / "a.gif"
    image.save(path)
    data = path.read_bytes()
    place = 13 + (3 << ((data[10] & 7) + 1))
    path.write_bytes(data[:place] + b"\x21\xf9\2\0\0\0" + data[place:])
    reads(path, np.asarray(image.convert("RGB")))


# AVIF


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_bits_of_an_avif_are_kept(tmp_path, bits, channels):
    full = 2**bits - 1
    ramp = np.linspace(0, full, 24 * 16).reshape(16, 24, 1).repeat(channels, axis=2)
    ramp = ramp.astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.avif_encode(ramp.squeeze(), level=100, bitspersample=bits)
    (tmp_path / "a.avif").write_bytes(data)
    picture = codec.read(tmp_path / "a.avif")
    white = 255 if bits == 8 else 65535
    assert picture.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(picture.pixels / white - ramp[..., :3] / full).max() < 0.01
    assert picture.grey == (channels == 1)
    assert (picture.alpha is None) == (channels != 4)
    if channels == 4:
        assert np.abs(picture.alpha / white - ramp[..., 3:] / full).max() < 0.01


@pytest.mark.parametrize(
    ("primaries", "transfer", "kept", "said"),
    [(1, 13, False, ""), (1, 1, False, ""), (12, 13, True, ""), (9, 16, False, "PQ")],
)
def test_what_an_avif_without_a_profile_says_of_its_colours(
    tmp_path, primaries, transfer, kept, said, caplog
):
    data = imagecodecs.avif_encode(
        np.full((8, 8, 3), 90, np.uint8), level=100, primaries=primaries, transfer=transfer
    )
    (tmp_path / "a.avif").write_bytes(data)
    picture = codec.read(tmp_path / "a.avif")
    assert bool(picture.icc) == kept
    assert (np.abs(picture.pixels.astype(int) - 90).max() <= 1) == (not said)
    assert said in caplog.text
    assert len(caplog.records) == bool(said)


def test_damaged_exif_does_not_refuse_an_avif(tmp_path, caplog):
    exif, path = Image.Exif(), tmp_path / "a.avif"
    exif[0x010E] = "a" * 30
    image = Image.fromarray(np.full((16, 24, 3), 90, np.uint8))
    image.save(path, exif=exif)
    sound, data = codec.read(path).pixels, path.read_bytes()
    start = data.rindex(b"MM\0*") if b"MM\0*" in data else data.rindex(b"II*\0")
    path.write_bytes(data[:start] + b"junkjunk" + data[start + 8 :])
    reads(path, sound)
    (record,) = caplog.records
    assert str(path) in record.message


# Netpbm


def test_netpbm_of_8_and_16_bits(tmp_path):
    path = tmp_path / "a.pnm"
    path.write_bytes(b"P6 7 5 255\n" + COLOUR.tobytes())
    reads(path, COLOUR)
    path.write_bytes(
        b"P6\n# a comment\n7 #another\n5\n65535\n" + DEEP[..., :3].astype(">u2").tobytes()
    )
    reads_deep(path, DEEP[..., :3])
    path.write_bytes(b"P5 7 5 65535\n" + DEEP[..., 0].astype(">u2").tobytes())
    reads_deep(path, DEEP[..., :1], grey=True)
    text = " ".join(map(str, DEEP[..., :3].ravel()))
    path.write_bytes(f"P3 7 5 65535\n{text}".encode())
    reads_deep(path, DEEP[..., :3])
    head = "P7\nWIDTH 7\nHEIGHT 5\nDEPTH {}\nMAXVAL {}\nTUPLTYPE {}\nENDHDR\n"
    path.write_bytes(head.format(4, 65535, "RGB_ALPHA").encode() + DEEP.astype(">u2").tobytes())
    reads_deep(path, DEEP[..., :3], DEEP[..., 3:])
    both = np.concatenate([GREY, ALPHA], axis=-1)
    path.write_bytes(head.format(2, 255, "GRAYSCALE_ALPHA").encode() + both.tobytes())
    reads(path, GREY, ALPHA, grey=True)


def test_inks_of_a_netpbm(tmp_path):
    path = tmp_path / "a.pam"
    inks = np.concatenate([255 - COLOUR, np.zeros_like(GREY)], axis=-1)
    head = b"P7\nWIDTH 7\nHEIGHT 5\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n"
    path.write_bytes(head + inks.tobytes())
    reads(path, COLOUR)


@pytest.mark.parametrize("maximum", [1, 3, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_the_maximum_of_a_netpbm_is_white(tmp_path, maximum, plain, caplog):
    ramp = np.array([0, maximum // 2, maximum])
    path = tmp_path / "a.pgm"
    kind = ">u2" if maximum > 255 else "u1"
    body = " ".join(map(str, ramp)).encode() if plain else ramp.astype(kind).tobytes()
    path.write_bytes(f"P{2 if plain else 5} 3 1 {maximum}\n".encode() + body)
    picture = codec.read(path)
    white = 65535 if maximum > 255 else 255
    assert picture.pixels.dtype.itemsize == (2 if maximum > 255 else 1)
    assert picture.pixels[0, :, 0].tolist() == [0, round(maximum // 2 * white / maximum), white]
    assert caplog.text == ""


def test_netpbm_of_one_bit_and_of_floats(tmp_path):
    bits = (GREY > 128).astype(np.uint8)
    path = tmp_path / "a.pbm"
    path.write_bytes(b"P4 7 5\n" + np.packbits(bits[..., 0], axis=1).tobytes())
    reads(path, 255 - 255 * bits, grey=True)
    path.write_bytes(b"P1\n7 5\n" + "".join(map(str, bits.ravel())).encode())
    reads(path, 255 - 255 * bits, grey=True)
    for order, scale in ((">", 1), ("<", -1)):
        floats = (DEEP[..., :3] / 65535).astype(order + "f4")
        path.write_bytes(f"PF 7 5 {scale}.0\n".encode() + floats[::-1].tobytes())
        reads_deep(path, DEEP[..., :3])


@pytest.mark.parametrize(
    "data",
    [
        b"P6 7 5 255\n" + bytes(50),
        b"P3 2 2 255 " + b"1 2 3 " * 3,
        b"P3 1 1 255 1 2 x",
        b"P3 1 1 255 1 2 300",
        b"P1 2 2 0102",
        b"P5 2 2 70000\n" + bytes(8),
        b"P5 2 2 0\n" + bytes(8),
        b"Pf 2 2 nan\n" + bytes(16),
        b"P7\nWIDTH 2\nENDHDR\n",
        b"P6 -1 5 255\n" + bytes(50),
        b"P6 ",
    ],
)
def test_a_damaged_netpbm_is_refused(tmp_path, data):
    (tmp_path / "a.ppm").write_bytes(data)
    refused(tmp_path / "a.ppm", "truncated or damaged", by=[codec.read])


# Names of kinds


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.4", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b'<?xml version="1.0"?>\n<svg>', "SVG"),
        (b"<svg xmlns=''>", "SVG"),
        (b"<!DOCTYPE HTML><html>", "web page"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"#?RADIANCE\n", "Radiance"),
        (b"II*\0\x10\0\0\0CR\x02\0", "RAW"),
        (b"\0\0\0\x18ftypcrx \0", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"gimp xcf v011", "GIMP"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"\0\0\0\x18ftypisom", "film"),
        (b"\0\0\1\0\1\0", "icon"),
        (b"PK\x03\x04" + bytes(30), "archive"),
        (imagecodecs.jpegls_encode(COLOUR), "JPEG-LS"),
        (b"<?xml version='1.0'?><!--" + b"x" * 900 + b"--><svg>", "SVG"),
        (b"II\x1a\0\0\0HEAPCCDR", "RAW"),
        (b"\x89PNG\n\x1a\n", "as text"),
        (b"\x8aMNG\r\n\x1a\n", "MNG"),
        (b"\x0a\5\1\x08", "PCX"),
        (b"\x01\xda\1\1", "SGI"),
        (b"\x59\xa6\x6a\x95", "Sun"),
        (b"/* XPM */", "XPM"),
        (b"SDPX", "DPX"),
        (bytes([0, 0, 2, *[0] * 9, 32, 0, 32, 0, 24, 0]), "Targa"),
        (b"", "empty"),
    ],
)
def test_what_is_not_read_is_named_and_nobody_is_told_to_remove_it(tmp_path, head, name):
    path = tmp_path / "photo.jpg"
    path.write_bytes(head.ljust(64, b"\0") if head else head)
    refused(path, name)
    with pytest.raises(ValueError, match="save") as caught:
        codec.read(path)
    assert "remove" not in str(caught.value)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def test_heic_is_named_with_what_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        (tmp_path / "a.heic").write_bytes(HEIC[:8] + brand + HEIC[12:])
        refused(tmp_path / "a.heic", "pip install pillow-heif")


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, monkeypatch):
    class File(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._size, self._mode = (7, 5), "RGB"
            self.tile = []

        def load(self):
            self.im = Image.fromarray(COLOUR).im
            return self.im.pixel_access(False)

    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = lambda: Image.register_open("HEIF", File, lambda head: True)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    (tmp_path / "a.heic").write_bytes(HEIC)
    reads(tmp_path / "a.heic", COLOUR)


def test_names_do_not_decide(tmp_path):
    names = ("a.jfif", "a.jpe", "a.pnm", "a.apng", "a.mpo", "a.dib", "a.pgm", "a.pbm", "a.jif")
    for name in names:
        saved(tmp_path / "a.png", COLOUR).rename(tmp_path / name)
        reads(tmp_path / name, COLOUR)
    assert [path.name for path in folders.find(tmp_path)] == sorted(names)


def bitmap(bits, rows, masks=b""):
    """Returns a BMP of 4 pixels a row; `masks` are those of version 5."""
    size, packing = (124, 3) if masks else (40, 0)
    head = struct.pack("<IiiHHIIiiII", size, 4, len(rows) // 16, 1, bits, packing, 0, 0, 0, 0, 0)
    head = (head + masks).ljust(size, b"\0")
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + size) + head + rows


def test_the_transparency_of_a_bitmap(tmp_path):
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rgb, alpha = np.full((1, 4, 3), 90, np.uint8), np.array([[[255], [0], [9], [7]]], np.uint8)
    for clear, found in ((alpha, alpha), (alpha * 0, None)):  # an empty place for it is none
        rows = np.concatenate([rgb, clear], axis=-1).tobytes()
        (tmp_path / "a.bmp").write_bytes(bitmap(32, rows, masks))
        reads(tmp_path / "a.bmp", rgb, found)


def test_a_bitmap_that_is_not_read_is_not_called_damaged(tmp_path):
    (tmp_path / "a.bmp").write_bytes(bitmap(2, bytes(16)))
    refused(tmp_path / "a.bmp", "Unsupported", by=[codec.read])
    with pytest.raises(ValueError, match="save it again") as caught:
        codec.read(tmp_path / "a.bmp")
    assert "damaged" not in str(caught.value)


def test_a_bitmap_without_its_first_header(tmp_path):
    path = saved(tmp_path / "a.bmp", COLOUR)
    (tmp_path / "a.dib").write_bytes(path.read_bytes()[14:])
    reads(tmp_path / "a.dib", COLOUR)
