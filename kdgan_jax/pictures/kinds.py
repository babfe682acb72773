"""Tells by a file's first bytes what it is, whatever its name."""

import re

HEAD = 512  # bytes that tell

# The formats that are read, by their first bytes; the names are Pillow's.
_READ = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "DIB": rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0",
    "TIFF": rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]|II\0[\x2a\x2b]|MM[\x2a\x2b]\0",
    "PPM": rb"P[1-7fF][\s#]",
    "AVIF": rb"....ftypavi[fs]|....ftypmi[fa]\d....(?:....)*?avi[fs]",
    "HEIF": rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)",
}
# What is told apart from noise, so that a message can name it.
_OTHERS = {
    "a JPEG XL picture": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG 2000 picture": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a JPEG-LS picture": rb"\xff\xd8\xff\xf7",
    "a Photoshop file": rb"8BPS",
    "a GIMP file": rb"gimp xcf",
    "a Krita or OpenRaster file": rb"PK\x03\x04.{26}mimetype(?:application/x-kri|image/openr)",
    "a PDF document": rb"%PDF-",
    "a PostScript file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an SVG drawing": rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?<svg|<!--.*?<svg|<!DOCTYPE svg|<svg)",
    "an OpenEXR picture": rb"\x76\x2f\x31\x01",
    "a Radiance HDR picture": rb"#\?(?:RADIANCE|RGBE)",
    "a DirectDraw texture (DDS)": rb"DDS ",
    "an icon": rb"\0\0[\1\2]\0[^\0]\0|icns",
    "a QOI picture": rb"qoif",
    "a camera's RAW file": (
        rb"....ftypcrx |II\*\0.{4}CR\x02|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM|HEAPCCDR"
    ),
    "a FITS file": rb"SIMPLE  =",
    "a DICOM file": rb".{128}DICM",
    "an HDF5 file": rb"\x89HDF\r\n\x1a\n",
    "a NumPy file": rb"\x93NUMPY",
    "a Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "a JPEG XR picture": rb"II\xbc[\0\1]",
    "a DjVu document": rb"AT&TFORM",
    "a film": rb"....(?:ftyp(?!avi|mi|he|ms)|moov|mdat|free|wide)|\x1a\x45\xdf\xa3|RIFF....AVI ",
    "a web page": rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)",
    "a pointer to a file that Git LFS has not fetched": rb"version https://git-lfs",
    "an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|.{257}ustar",
}
# A TIFF in which only previews can be read; JPEG-LS, which begins like JPEG.
_NOT_READ = re.compile(rb"II\*\0.{4}CR\x02|\xff\xd8\xff\xf7", re.DOTALL)
_TABLES = [
    [
        (name, re.compile(pattern, re.DOTALL | re.IGNORECASE if "web" in name else re.DOTALL))
        for name, pattern in table.items()
    ]
    for table in (_READ, _OTHERS)
]


def _first(table: list[tuple[str, re.Pattern[bytes]]], head: bytes) -> str:
    return next((name for name, pattern in table if pattern.match(head)), "")


def format_of(head: bytes) -> str:
    """Returns the name of the format that is read, "" for others; `head` is the file's start."""
    return "" if _NOT_READ.match(head) else _first(_TABLES[0], head)


def description(head: bytes) -> str:
    """Returns what a file is that is not read, as in "a PDF document"; "" if it is unknown."""
    return _first(_TABLES[1], head)
