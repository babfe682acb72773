"""Small valid image files of every kind that is read, and hand-made invalid ones."""

import io
import struct
import zlib

import numpy as np
import tifffile
from mutations import chunk
from PIL import Image, ImageCms, PngImagePlugin

HUGE, LARGEST = 100_000, 9459  # sides: one that is refused, one just below the limit of pixels
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def png(width, height, *before, depth=8, kind=2, rows=b"", after=b""):
    """Returns a PNG file of these chunks, valid or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(before) + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + body + after + chunk(b"IEND", b"")


def sound():
    """Returns valid files by name, a few hundred bytes each."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (9, 12, 4), np.uint8)
    rgba, rgb = Image.fromarray(pixels), Image.fromarray(pixels[..., :3])
    grey, deep = Image.fromarray(pixels[..., 0]), random.integers(0, 2**16, (9, 12, 4), np.uint16)
    palette, ink = rgb.quantize(16), Image.fromarray(pixels, "CMYK")
    flat = Image.new("RGB", (40, 30), (90, 150, 60))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a" * 200, zip=True)
    text.add_itxt("Author", "b" * 100, "en", "c", zip=True)
    rows = b"".join(b"\0" + row[..., :3].astype(">u2").tobytes() for row in deep)
    icc = chunk(b"iCCP", b"icc\0\0" + zlib.compress(SRGB))
    turn = chunk(b"eXIf", _exif(6).tobytes().removeprefix(b"Exif\0\0"))
    half = Image.fromarray((deep[..., 0] / 65535).astype(np.float32))
    frames = {"save_all": True, "append_images": [rgb.rotate(180), flat.resize((12, 9))]}
    colours = {"photometric": "rgb"}
    return {
        "rgb.png": saved(rgb, "PNG"),
        "rgba.png": saved(rgba, "PNG"),
        "grey.png": saved(grey, "PNG"),
        "black and white.png": saved(grey.convert("1"), "PNG"),
        "palette.png": saved(palette, "PNG", transparency=bytes(range(16))),
        "key.png": saved(rgb, "PNG", transparency=(1, 2, 3)),
        "text.png": saved(rgb, "PNG", pnginfo=text),
        "turned.png": saved(rgb, "PNG", exif=_exif(6)),
        "turned last.png": png(12, 9, depth=16, rows=zlib.compress(rows), after=turn),
        "16 bits.png": png(12, 9, icc, depth=16, rows=zlib.compress(rows)),
        "16 bits grey.png": saved(Image.fromarray(deep[..., 0]), "PNG"),
        "profile.png": saved(rgb, "PNG", icc_profile=SRGB),
        "animated.png": saved(rgb, "PNG", **frames),
        "rgb.jpg": saved(flat, "JPEG"),
        "progressive.jpg": saved(rgb.resize((40, 30)), "JPEG", progressive=True),
        "grey.jpg": saved(grey, "JPEG", exif=_exif(3)),
        "cmyk.jpg": saved(ink, "JPEG"),
        "turned.jpg": saved(flat, "JPEG", exif=_exif(5), icc_profile=SRGB, comment=b"hello"),
        "two.jpg": saved(flat, "MPO", save_all=True, append_images=[flat]),
        "lossy.webp": saved(rgb, "WEBP"),
        "lossless.webp": saved(rgba, "WEBP", lossless=True, exif=_exif(8), icc_profile=SRGB),
        "animated.webp": saved(rgb, "WEBP", **frames),
        "rgb.tif": saved(rgb, "TIFF"),
        "packed.tif": saved(rgb, "TIFF", compression="tiff_lzw", exif=_exif(6)),
        "zip.tif": saved(rgba, "TIFF", compression="tiff_adobe_deflate", icc_profile=SRGB),
        "jpeg.tif": saved(flat, "TIFF", compression="jpeg"),
        "fax.tif": saved(grey.convert("1"), "TIFF", compression="group4"),
        "palette.tif": saved(palette, "TIFF", compression="packbits"),
        "float.tif": saved(half, "TIFF"),
        "cmyk.tif": saved(ink, "TIFF"),
        "pages.tif": saved(rgb, "TIFF", **frames),
        "16 bits.tif": _tiff(deep[..., :3], rowsperstrip=2, **colours),
        "16 bits alpha.tif": _tiff(deep, extrasamples=["unassalpha"], byteorder=">", **colours),
        "16 bits white.tif": _tiff(deep[..., 0], photometric="miniswhite"),
        "16 bits zip.tif": _tiff(deep[..., :3], compression="zlib", predictor=2, **colours),
        "planes.tif": _tiff(pixels[..., :3].transpose(2, 0, 1), planarconfig="separate", **colours),
        "tiles.tif": _tiff(pixels[..., :3], tile=(16, 16), bigtiff=True, **colours),
        "rgb.gif": saved(palette, "GIF"),
        "clear.gif": saved(palette, "GIF", transparency=3, comment=b"hello"),
        "animated.gif": saved(palette, "GIF", **frames),
        "rgb.bmp": saved(rgb, "BMP"),
        "rgba.bmp": saved(rgba, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "rgb.avif": saved(flat, "AVIF", quality=50, speed=10),
        "rgb.ppm": saved(rgb, "PPM"),
        "plain.ppm": b"P3 2 2 255 " + b"1 2 3 " * 4,
        "deep.pgm": b"P5 3 2 65535 " + bytes(12),
    }


def tiff(*tags, data=b""):
    """Returns a TIFF file of these tags (number, type, count, value), followed by the data."""
    table = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + table + bytes(4) + data


def grey_tiff(width, height, bits=8, kind=1, packing=1, data=b"", **more):
    """Returns a TIFF of one strip; `more` replaces values of tags, as in t273=8."""
    tags = {256: width, 257: height, 258: bits, 259: packing, 262: 1, 273: 8 + 2 + 12 * 10 + 4}
    tags |= {277: 1, 278: height, 279: len(data), 339: kind}
    tags |= {int(name[1:]): value for name, value in more.items()}
    return tiff(*((tag, 4, 1, value) for tag, value in tags.items()), data=data)


def _bmp(width, height, packing=0, data=b""):
    start = 14 + 40 + 1024
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, packing, len(data), 0, 0, 256, 0)
    file = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return file + header + bytes(1024) + data


def zeros(number):
    """Returns `number` zero bytes, compressed."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(min(2**20, number - i))) for i in range(0, number, 2**20)]
    return b"".join([*parts, packer.flush()])


def _jpeg(width, height):
    small = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    place = small.index(b"\xff\xc0") + 5
    small[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(small)


def _webp(width, height):
    frames = {"save_all": True, "append_images": [Image.new("RGB", (8, 8), "red")]}
    small = bytearray(saved(Image.new("RGB", (8, 8)), "WEBP", **frames))
    place = small.index(b"VP8X") + 12
    small[place : place + 6] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return bytes(small)


def _gif(width, height):
    small = saved(Image.new("P", (8, 8)), "GIF")
    return small[:6] + struct.pack("<HH", width, height) + small[10:]


def scans(width, height, number):
    """Returns a progressive JPEG whose short last scan is repeated `number` times."""
    whole = saved(Image.new("RGB", (width, height)), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * number + b"\xff\xd9"


def hostile():
    """Returns small files by name that must be refused quickly."""
    row = zlib.compress(bytes(28 * 9))
    text = [chunk(b"zTXt", b"%d\0\0" % i + zeros(10**6)) for i in range(100)]
    return {
        "empty.png": b"",
        "text.png": b"not a picture",
        "huge.png": png(HUGE, HUGE, rows=row),
        "wide.png": png(2**31 - 1, 1, rows=row),
        "flat.png": png(0, 0, rows=row),
        "huge.tif": grey_tiff(HUGE, HUGE),
        "flat.tif": grey_tiff(0, 0),
        "float.tif": grey_tiff(LARGEST, LARGEST, 32, 3, data=b"1234"),
        "counts.tif": tiff((256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 2**31, 8), (279, 4, 2**31, 8)),
        "itself.tif": tiff((256, 4, 1, 9), data=b"")[:-4] + struct.pack("<I", 8),
        "huge.bmp": _bmp(HUGE, HUGE),
        "flat.bmp": _bmp(0, 0),
        "short.bmp": _bmp(LARGEST, LARGEST),
        "packed.bmp": _bmp(LARGEST, LARGEST, 1, b"\0\1"),
        "huge.gif": _gif(65535, 65535),
        "huge.jpg": _jpeg(65535, 65535),
        "huge.webp": _webp(16383, 16383),
        "huge.ppm": b"P6 %d %d 255\n" % (HUGE, HUGE),
        "short.ppm": b"P6 %d %d 255\n" % (LARGEST, LARGEST),
        "comments.ppm": b"P3 3000 3000 255\n" + b"# \n" * 300_000,  # took 6 s
        "profile.png": png(9, 9, chunk(b"iCCP", b"x\0\0" + zeros(10**8)), rows=row),
        "texts.png": png(9, 9, *text, rows=row),
        "exif.png": png(9, 9, rows=row, after=struct.pack(">I4s", 2**32 - 16, b"eXIf")),
        "scans.jpg": scans(3000, 3000, 400),  # 54 s at 1,000 of the largest size
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nx\n",
    }


def largest():
    """Returns small files by name with nearly as many pixels as allowed, which can be read."""
    side, deep = LARGEST, zeros((LARGEST * 8 + 1) * LARGEST)
    return {
        "16 bits.png": png(side, side, depth=16, kind=6, rows=deep),
        "float.tif": grey_tiff(side, side, 32, 3, 8, zeros(side * side * 4)),
        "white.tif": grey_tiff(side, side, 16, 1, 8, zeros(side * side * 2), t262=0),
        "rgb.webp": saved(Image.new("RGB", (16383, 5461)), "WEBP", lossless=True, method=0),
        "rgb.jpg": saved(Image.new("RGB", (side, side)), "JPEG"),
    }
