"""Pictures from and to files: the one place where pixels are decoded and encoded.

What is read is 8-bit sRGB: 16 bits are rounded, embedded colour profiles applied, EXIF turns made.
"""

import contextlib
import functools
import io
import logging
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from kdgan_jax.pictures import samples
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

log = logging.getLogger("kdgan_jax")

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}
# What a file may hold, whatever its name: Pillow has more, one of which runs a program (EPS).
FORMATS = "PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM"
BYTES_PER_PIXEL = 32  # that reading takes at most; there are up to `Image.MAX_IMAGE_PIXELS`
# Scans of a JPEG of that many pixels, and more of smaller ones: each is a pass over all of them.
MOST_SCANS = 40  # 10 are usual
MOST_COMMENTS = 1000  # in a PPM of decimal numbers: at each Pillow copies the rest
_LONGEST_EXIF = 2**20  # bytes, behind the pixels of a PNG

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


class Picture(NamedTuple):
    """A decoded picture: what networks see, and what its file needs to be kept in kind."""

    rgb: np.ndarray  # (H, W, 3) uint8
    alpha: np.ndarray | None  # (H, W, 1) uint8, where the file has transparency
    grey: bool


def find(folder: str | Path) -> list[Path]:
    """Returns the image files below `folder`, at any depth, sorted by path.

    Raises:
      UserError: the folder is missing or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give an existing folder of images")
    paths = sorted(
        p
        for p in root.rglob("*")
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not paths:
        raise UserError(
            f"{root}: holds no image; supported are {', '.join(sorted(SUFFIXES))} at any depth"
        )
    return paths


@functools.cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


_filters = threading.Lock()  # those of warnings are the process's, and photos are read by threads


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Pillow's warnings of damage and of size to itself: they name no file.

    What they are about is either left out of the picture's description, or refused.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Makes errors of Pillow a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: takes more memory than there is") from None
    except Exception as error:  # damage makes Pillow raise struct.error, IndexError, EOFError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: truncated or damaged ({reason})") from None


def _open(path: Path) -> Any:  # an ImageFile, whose plugins have attributes of their own
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path}: {'is no file' if path.exists() else 'no such file'}")
    try:
        with _quiet():  # above the limit Pillow warns, above twice it refuses
            image = Image.open(path, formats=FORMATS)
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            image.close()
            raise Image.DecompressionBombError
        return image
    except UnidentifiedImageError:
        raise UserError(f"{path}: cannot be read as an image: its format is not known") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, refused before decoding"
        ) from None


def _orientation(image: Any) -> int:
    """Returns the EXIF orientation still to be applied, without decoding the pixels."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    with _quiet():
        exif = Image.Image.getexif(image)  # PNG's own getexif would decode the whole image
    if image.format == "PNG" and _ORIENTATION not in exif and image.tile:
        file = image.fp  # the chunk may stand after the pixels, whose chunks are walked over
        file.seek(image.tile[0].offset - 8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                exif.load(file.read(min(length, _LONGEST_EXIF)))
                break
            file.seek(length + 4, io.SEEK_CUR)
    return exif.get(_ORIENTATION, 1)


def size(path: str | Path) -> tuple[int, int]:
    """Returns (height, width) as `read` will give them, from the file's header alone.

    Raises:
      UserError: names the file that is missing or no image.
    """
    with _naming(Path(path)), _open(Path(path)) as image:
        width, height = image.size
        return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


_MARKER = re.compile(
    rb"\xff([\x02-\xcf\xd9-\xfe])"
)  # of a JPEG; others have no length, or are data


def _scans(data: bytes) -> int:
    """Returns how many scans the first image of a JPEG has; phones append films and more to it."""
    found, place = 0, 2
    while (marker := _MARKER.search(data, place)) and marker[1] != b"\xd9":
        found += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return found


def _refuse_endless(image: Any, path: Path) -> None:
    """Raises a ValueError if decoding takes far longer than bytes and pixels let expect."""
    codec = image.tile[0][0] if image.tile else ""
    if codec == "jpeg":
        scans, most = _scans(path.read_bytes()), Image.MAX_IMAGE_PIXELS or float("inf")
        if scans * image.width * image.height > MOST_SCANS * most:
            raise ValueError(f"{scans} scans of {image.width}x{image.height} pixels; save it anew")
    if codec == "ppm_plain" and path.read_bytes().count(b"#") > MOST_COMMENTS:
        raise ValueError(f"more than {MOST_COMMENTS} comments; save it anew")


@functools.lru_cache(maxsize=16)  # photos of one camera share a profile
def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Returns the mode that a profile is for and its way to sRGB, None where that changes nothing.

    Raises:
      Exception: of several kinds; the profile is broken or not for images of this `mode`.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    source = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space, "?")
    if (mode, source) not in (("L", "L"), ("L", "RGB"), ("RGB", "RGB"), ("CMYK", "CMYK")):
        raise ValueError(f"it is for {profile.profile.xcolor_space.strip()}")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(
        profile, ImageCms.createProfile("sRGB"), source, "RGB", intent, flags
    )
    # sRGB has many profiles and names; what they share is that they move no colour.
    steps = np.minimum(np.arange(9) * 32, 255).astype(np.uint8)
    probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3))
    if source != "CMYK":
        probe = probe if source == "RGB" else probe.getchannel(0)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), int)
        if np.abs(moved - np.asarray(probe.convert("RGB"))).max() <= 2:
            return source, None
    return source, transform


def _srgb(colour: Image.Image, icc: bytes | None, path: Path) -> np.ndarray:
    """Returns uint8 sRGB (H, W, 3) of an image of mode L, RGB or CMYK with its profile, if any."""
    if icc:
        try:
            mode, transform = _transform(icc, colour.mode)
            if transform:
                moved = np.asarray(ImageCms.applyTransform(colour.convert(mode), transform))
                return np.repeat(moved[..., 1:2], 3, axis=2) if colour.mode == "L" else moved
        except Exception as error:  # whatever a damaged profile brings up, the pixels are there
            _warn_once(f"{path}: its colour profile cannot be used and is ignored ({error})")
    return np.asarray(colour.convert("RGB"))


def read(path: str | Path) -> Picture:
    """Returns the picture in `path` as 8-bit sRGB, turned as its EXIF orientation says.

    Of several pictures in a file the first one is read, and that is said once.

    Raises:
      UserError: names the file that is missing, truncated, no image, or too large to be decoded.
    """
    path = Path(path)
    with _naming(path), _open(path) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # phones' JPEG
            _warn_once(f"{path}: holds several pictures or frames; only the first is read")
        _refuse_endless(image, path)
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
        return Picture(_srgb(picture, icc, path), alpha, grey)


def write(path: str | Path, picture: Picture) -> None:
    """Writes `picture` as `path`, in the format that its suffix names."""
    path = Path(path)
    rgb, alpha, grey = picture
    image = Image.fromarray(rgb)
    if grey:
        # Not convert("L"): a grey picture's three channels differ only by a network's rounding.
        image = Image.fromarray(((rgb.sum(axis=-1, dtype=np.uint16) + 1) // 3).astype(np.uint8))
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha[..., 0]))
    with replacing(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()])
