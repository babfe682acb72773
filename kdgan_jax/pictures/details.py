"""What a picture's file says beside its pixels: EXIF, XMP, IPTC, text and resolution.

Damage is passed over: none of it is worth a picture.
"""

import contextlib
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from PIL import ImageFile

from kdgan_jax.pictures import exif
from kdgan_jax.pictures.picture import Details

_LONGEST_TEXT = 2**16  # bytes of a text; programs hide whole projects in them
_LONGEST = 2**20  # bytes of EXIF or XMP, and of all texts together
_XMP_KEYWORD = "XML:com.adobe.xmp"
_RAW_IPTC = "Raw profile type iptc"
_RAW_EXIF = "Raw profile type exif", "Raw profile type APP1"  # keywords of ImageMagick
# What describes a picture in the first directory of a TIFF; the others describe its samples.
_TIFF_TAGS = {
    *(exif.PROCESSING_SOFTWARE, exif.DESCRIPTION, exif.SOFTWARE, exif.XMP, exif.IPTC),
    *(exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT),
    *(0x010D, 0x010F, 0x0110, 0x011D, 0x0132, 0x013B, 0x013C, 0x8298),  # names, dates and places
    *(0x4746, 0x4749, 0x8769, 0x8825, 0x9003, *range(0x9C9B, 0x9CA0)),
}
# Descriptions by programs for microscopes, of the layout of samples: they would no longer be true.
_LAYOUTS = b'{"shape"', b"ImageJ=", b"<?xml", b"<OME"
# Pictures are turned while they are read.
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>\s*))[2-8](?=["'<\s])""")


def _dpi(values: Sequence[float] | None) -> tuple[float, float] | None:
    if values is None or len(values) != 2:
        return None
    x, y = (float(value) for value in values)
    sane = all(math.isfinite(value) and 0.01 < value < 1e6 for value in (x, y))
    return (x, y) if sane else None


def _without_orientation(raw: bytes) -> tuple[bytes, tuple[float, float] | None]:
    """Returns EXIF without orientation and thumbnail, and its resolution."""
    if len(raw) > _LONGEST:
        return b"", None
    found = exif.read(raw.removeprefix(b"Exif\0\0"))
    found.entries.pop(exif.ORIENTATION, None)
    return exif.write(found), _dpi(exif.resolution(found))


def _xmp(raw: object) -> bytes:
    """Returns XMP whose orientation is the usual one."""
    data = raw.encode() if isinstance(raw, str) else raw
    if not isinstance(data, bytes) or len(data) > _LONGEST:
        return b""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", data)


def _iptc(data: object, inside: bool = False) -> bytes:
    """Returns IPTC, b"" if `data` is something else; `inside` Photoshop's blocks or alone."""
    if not isinstance(data, bytes) or len(data) > _LONGEST:
        return b""
    place = 0
    while inside and data[place : place + 4] == b"8BIM" and place + 7 <= len(data):
        start = place + 10 + (data[place + 6] // 2 + 1) * 2  # behind its name and length
        size = int.from_bytes(data[start - 4 : start], "big")
        if data[place + 4 : place + 6] == b"\4\4":
            return _iptc(data[start : start + size])
        place = start + size + size % 2
    return data if not inside and data[:1] == b"\x1c" else b""


def _readable(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


# PNG


def _inflated(data: bytes, most: int) -> bytes:
    """Returns inflated `data`, of more than `most` bytes only the first; ValueError if damaged."""
    try:
        return zlib.decompressobj().decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None


def _limit(keyword: str) -> int:
    return _LONGEST if keyword in (_XMP_KEYWORD, _RAW_IPTC, *_RAW_EXIF) else _LONGEST_TEXT


def _text(kind: bytes, data: bytes) -> tuple[str, str]:
    """Returns keyword and value of a text chunk; an error if it is damaged or too long."""
    name, _, rest = data.partition(b"\0")
    keyword = name.decode("latin-1")
    if not 1 <= len(keyword) <= 79:
        raise ValueError("no keyword")
    most = _limit(keyword)
    packed = kind == b"zTXt"
    if packed:
        rest = rest[1:]
    elif kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[2]  # behind the language and the translated keyword
    text = _inflated(rest, most) if packed else rest
    if len(text) > most:
        raise ValueError("too long")
    return keyword, text.decode("utf-8" if kind == b"iTXt" else "latin-1")


def _texts(chunks: Mapping[bytes, Sequence[bytes]]) -> Iterator[tuple[str, str]]:
    left = _LONGEST
    for kind in (b"tEXt", b"zTXt", b"iTXt"):
        for data in chunks.get(kind, ()):
            with contextlib.suppress(ValueError, IndexError):
                keyword, value = _text(kind, data)
                left -= len(value)
                if left < 0:
                    return
                yield keyword, value


def _hexadecimal(value: str) -> bytes:
    """Returns what ImageMagick has written as text: a name, the length, the bytes."""
    try:
        return bytes.fromhex("".join(value.split()[2:]))
    except ValueError:
        return b""


def _of_png(chunks: Mapping[bytes, Sequence[bytes]]) -> Details:
    texts, raw, xmp, iptc = [], b"", b"", b""
    for keyword, value in _texts(chunks):
        if keyword == _XMP_KEYWORD:
            xmp = xmp or _xmp(value)
        elif keyword in _RAW_EXIF:
            raw = raw or _hexadecimal(value)
        elif keyword == _RAW_IPTC:
            iptc = iptc or _iptc(_hexadecimal(value), inside=True)
        else:
            texts.append((keyword, value))
    kept, resolution = _without_orientation(next(iter(chunks.get(b"eXIf", ())), raw))
    per_metre = next(iter(chunks.get(b"pHYs", ())), b"")
    if len(per_metre) == 9 and per_metre[8] == 1:
        x, y = (int.from_bytes(per_metre[i : i + 4], "big") * 0.0254 for i in (0, 4))
        resolution = _dpi((x, y)) or resolution
    return Details(kept, xmp, tuple(texts), resolution, iptc)


# Others


def _tiff(file: BinaryIO, page: int) -> Details:
    found = exif.read(exif.Window(file), page, _TIFF_TAGS)
    xmp, iptc = (found.entries.pop(tag, None) for tag in (exif.XMP, exif.IPTC))
    description = found.entries.get(exif.DESCRIPTION)
    if description and description.data.startswith(_LAYOUTS):
        del found.entries[exif.DESCRIPTION]
    resolution = _dpi(exif.resolution(found))
    if not resolution:  # TIFF demands one, so programs make one up
        for tag in (exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT):
            found.entries.pop(tag, None)
    records = _iptc(iptc.data) if iptc else b""
    return Details(exif.write(found), _xmp(xmp.data) if xmp else b"", (), resolution, records)


def of_tiff(file: str | bytes | Path | BinaryIO, page: int = 0) -> Details:
    """Returns what can be read of one picture of a TIFF file or path; never raises.

    What describes its samples and not what it shows is left out.
    """
    try:
        if not isinstance(file, str | bytes | Path):
            return _tiff(file, page)
        with open(file, "rb") as opened:
            return _tiff(opened, page)
    except Exception:  # whatever damage leads to
        return Details()


def _of_info(image: ImageFile.ImageFile) -> Details:
    info = image.info
    raw = info.get("exif", b"")
    kept, resolution = _without_orientation(raw if isinstance(raw, bytes) else b"")
    if image.format in ("JPEG", "MPO"):  # Pillow's "dpi" may be made up
        inch = {1: 1.0, 2: 2.54}.get(info.get("jfif_unit", 0))
        density = info.get("jfif_density", ())
        resolution = (_dpi([value * inch for value in density]) if inch else None) or resolution
    elif image.format in ("BMP", "DIB"):
        resolution = _dpi(info.get("dpi"))
    comment = info.get("comment", b"")
    comment = comment.encode() if isinstance(comment, str) else comment
    text = (("Comment", _readable(comment)),) if 0 < len(comment) <= _LONGEST_TEXT else ()
    iptc = _iptc(info.get("photoshop", {}).get(0x0404))
    return Details(kept, _xmp(info.get("xmp", b"")), text, resolution, iptc)


def of_image(image: ImageFile.ImageFile, chunks: Mapping[bytes, Sequence[bytes]]) -> Details:
    """Returns what can be read of a file; never raises.

    EXIF comes without its orientation, which has been applied, and its thumbnail. Texts of more
    than 64 KiB are left out.

    Args:
      image: the file as Pillow has opened it; it may be loaded already, but no TIFF without a name.
      chunks: for a PNG, the data of its chunks by their types; others have none.
    """
    try:
        if image.format == "TIFF":
            if image.filename:  # the file may be closed
                return of_tiff(image.filename, image.tell())
            return _tiff(cast(BinaryIO, image.fp), image.tell())
        return _of_png(chunks) if chunks else _of_info(image)
    except Exception:  # whatever damage leads to
        return Details()
