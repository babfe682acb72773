"""Reads pictures from files: the one place that decodes pixels.

Pictures are read as 8-bit sRGB: 16-bit samples are rounded, embedded colour profiles and EXIF
orientations are applied.
"""

import contextlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from kdgan_jax.pictures import profiles, samples
from kdgan_jax.pictures.picture import Picture
from kdgan_jax.runtime import console
from kdgan_jax.runtime.errors import UserError

# The formats that are read, whatever a file's name. Pillow knows more; one (EPS) runs a program.
FORMATS = "PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM"
BYTES_PER_PIXEL = 32  # most that reading takes; a picture has up to `Image.MAX_IMAGE_PIXELS`
# Most scans of a JPEG with that many pixels; smaller ones may have more. Each passes over all
# pixels.
MOST_SCANS = 40  # 10 are usual
MOST_COMMENTS = 1000  # of a plain PPM: Pillow copies the rest of the file at each
_LONGEST_EXIF = 2**20  # bytes, where it follows the pixels of a PNG

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_filters = threading.Lock()  # warning filters belong to the process; threads read photos


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings of damage and of size, which name no file.

    Damaged metadata is ignored, and pictures that are too large are refused.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns Pillow's errors into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except samples.Unsupported as error:
        raise UserError(f"{path}: {error}") from None
    except MemoryError:
        raise UserError(f"{path}: takes more memory than there is; reduce or remove it") from None
    except Exception as error:  # damage makes Pillow raise struct.error, IndexError, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: truncated or damaged ({reason}); replace or remove it") from None


def _open(path: Path) -> ImageFile.ImageFile:
    if not path.is_file():  # opening a pipe would wait for a writer
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with _quiet():  # Pillow warns above its limit, and refuses above twice that
            image = Image.open(path, formats=FORMATS)
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            image.close()
            raise Image.DecompressionBombError
        return image
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: cannot be read as an image (unknown format); replace or remove it"
        ) from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels are not decoded; reduce or"
            " remove it"
        ) from None


def _orientation(image: ImageFile.ImageFile) -> int:
    """Returns the EXIF orientation still to be applied, without decoding the pixels."""
    if image.format == "TIFF":  # Pillow applies it
        return 1
    with _quiet():
        exif = Image.Image.getexif(image)  # PNG's own getexif would decode the whole image
    if image.format == "PNG" and _ORIENTATION not in exif and image.tile and image.fp:
        file = image.fp  # the chunk may follow the pixels; their chunks are skipped
        file.seek(image.tile[0].offset - 8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                exif.load(file.read(min(length, _LONGEST_EXIF)))
                break
            file.seek(length + 4, io.SEEK_CUR)
    return exif.get(_ORIENTATION, 1)


def size(path: str | Path) -> tuple[int, int]:
    """Returns the (height, width) that `read` will give, from the file's header alone.

    Raises:
      UserError: the file is missing or is not an image; names it.
    """
    with _naming(Path(path)), _open(Path(path)) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


# A marker of a JPEG that is followed by a length, or its end; others are data.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")


def _scans(data: bytes) -> int:
    """Returns the number of scans of a JPEG's first image; phones append films and images."""
    number, place = 0, 2
    while (marker := _MARKER.search(data, place)) and marker[1] != b"\xd9":
        number += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return number


def _refuse_slow(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuses files that take far longer to decode than their bytes and pixels suggest."""
    codec = image.tile[0][0] if image.tile else ""
    if codec == "jpeg":
        scans, most = _scans(path.read_bytes()), Image.MAX_IMAGE_PIXELS or float("inf")
        if scans * image.width * image.height > MOST_SCANS * most:
            raise UserError(
                f"{path}: {scans} scans of {image.width}x{image.height} pixels take too long to"
                " decode; save it again or remove it"
            )
    if codec == "ppm_plain" and path.read_bytes().count(b"#") > MOST_COMMENTS:
        raise UserError(
            f"{path}: more than {MOST_COMMENTS} comments take too long to decode; save it again or"
            " remove it"
        )


def read(path: str | Path) -> Picture:
    """Returns the picture in `path` as 8-bit sRGB, turned as its EXIF orientation says.

    Of a file with several pictures only the first is read; a warning says so once.

    Raises:
      UserError: the file is missing, truncated, not an image, or too large to decode; names it.
    """
    path = Path(path)
    with _naming(path), _open(path) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # JPEGs of phones
            console.warn_once(f"{path}: holds several pictures or frames; only the first is read")
        _refuse_slow(image, path)
        icc, orientation = image.info.get("icc_profile"), _orientation(image)
        picture = samples.to_8_bits(image, lambda: _open(path))
        if orientation in _TURNS:
            picture = picture.transpose(_TURNS[orientation])
        grey, alpha = picture.mode in ("1", "L", "LA", "La"), None
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            alpha = np.asarray(picture)[..., 3:].copy()
        if grey:
            picture = picture.convert("RGB").getchannel("G")
        elif picture.mode != "CMYK":
            picture = picture.convert("RGB")
        return Picture(profiles.to_srgb(picture, icc, path), alpha, grey)


def read_rgb(path: str | Path) -> np.ndarray:
    """Returns the picture in `path` as training and measuring see it: 8-bit sRGB, (H, W, 3) uint8.

    Raises:
      UserError: as for `read`.
    """
    return read(path).pixels
