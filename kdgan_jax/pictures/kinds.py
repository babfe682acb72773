"""Tells by a file's first bytes what it is, whatever its name."""

import re

HEAD = 2**12  # bytes that tell

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
_JPEG_LS = rb"\xff\xd8(?:\xff\xe8\0.SPIFF.{0,80}?)?\xff\xf7"
# What is told apart from noise, so that a message can name it.
_OTHERS = {
    "a JPEG XL picture": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG 2000 picture": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a JPEG-LS picture": _JPEG_LS,
    "a PNG that was sent as text and is damaged": rb"\x89PNG[\r\n]",
    "an MNG or JNG animation": rb"\x8a[MJ]NG|\x8bJNG",
    "a Photoshop file": rb"8BPS",
    "a GIMP file": rb"gimp xcf",
    "a Krita or OpenRaster file": rb"PK\x03\x04.{26}mimetype(?:application/x-kri|image/openr)",
    "a PDF document": rb"\s*%PDF-",
    "a PostScript file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an SVG drawing": rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?<svg|<!--.*?<svg|<!DOCTYPE svg|<svg)",
    "an OpenEXR picture": rb"\x76\x2f\x31\x01",
    "a Radiance HDR picture": rb"#\?(?:RADIANCE|RGBE)",
    "a DirectDraw texture (DDS)": rb"DDS ",
    "an icon": rb"\0\0[\1\2]\0[^\0]\0|icns",
    "a QOI picture": rb"qoif",
    "a camera's RAW file": (
        rb"....ftypcrx |II\*\0.{4}CR\x02|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM"
        rb"|II.{4}HEAPCCDR"
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
    "a PCX picture": rb"\x0a[\0\2-\5][\0\1][\1\2\4\x08]",
    "an SGI picture": rb"\x01\xda[\0\1][\1\2]",
    "a Sun raster picture": rb"\x59\xa6\x6a\x95",
    "an X11 picture (XPM or XBM)": rb"/\* XPM|#define \w+_width",
    "a DPX or Cineon picture": rb"SDPX|XPDS|\x80\x2a\x5f\xd7|\xd7\x5f\x2a\x80",
    "a BPG or FLIF picture": rb"BPG\xfb|FLIF",
    "an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|.{257}ustar",
    # No mark tells it but the values of its header.
    "a Targa picture (TGA)": (
        rb".(?:\x01[\x01\x09].{4}[\x0f-\x20]|\0[\2\3\x0a\x0b]\0{5}).{8}[\x08\x0f\x10\x18\x20][\0-\x2f]"
    ),
}
# A TIFF in which only previews can be read; JPEG-LS, which begins like JPEG.
_NOT_READ = re.compile(rb"II\*\0.{4}CR\x02|" + _JPEG_LS, re.DOTALL)
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
