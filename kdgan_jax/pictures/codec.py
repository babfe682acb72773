"""Reads pictures from files and writes them: the one place that decodes and encodes pixels.

Pictures are read as 8-bit sRGB: 16-bit samples are rounded, embedded colour profiles and EXIF
orientations are applied.
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
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from kdgan_jax.pictures import samples
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

log = logging.getLogger("kdgan_jax")

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}
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


class Picture(NamedTuple):
    """A decoded picture: the colours that networks see, and what writes it back in kind."""

    rgb: np.ndarray  # (H, W, 3) uint8
    alpha: np.ndarray | None  # (H, W, 1) uint8, if the file has transparency
    grey: bool


# Folders that desktops, file servers and archivers leave, beside those that begin with a dot.
_TOOLS = {
    *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"),
    *("__macosx", "__pycache__", "lost+found", "system volume information"),
}


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Returns the folders and the image files right in `folder`, sorted.

    What is hidden or a tool's own is passed over. Links count as what they lead to.

    Raises:
      UserError: the folder cannot be read.
    """
    folders, images = [], []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name.lower() in _TOOLS:
                continue
            if path.is_dir():
                folders.append(path)
            elif path.suffix.lower() in SUFFIXES and path.is_file():
                images.append(path)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be read ({error.strerror}); allow reading it, or move it elsewhere"
        ) from None
    return folders, images


def find(folder: str | Path) -> list[Path]:
    """Returns the image files below `folder`, at any depth, sorted by path.

    Hidden files and folders and those of tools are passed over, unless `folder` itself is one;
    links to folders are not followed.

    Raises:
      UserError: the folder is missing, cannot be read, or holds no image.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give an existing folder of images")
    paths, ahead = [], [root]
    while ahead:
        folders, images = listing(ahead.pop())
        paths += images
        ahead += [path for path in folders if not path.is_symlink()]
    if not paths:
        raise UserError(
            f"{root}: holds no image at any depth; supported are {', '.join(sorted(SUFFIXES))}"
        )
    return sorted(paths)


@functools.cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


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


@functools.lru_cache(maxsize=16)  # photos of one camera share a profile
def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Returns a profile's mode and its transform to sRGB, None if that changes nothing.

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
    # sRGB profiles differ in bytes and names; all of them leave colours where they are.
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
        except Exception as error:  # whatever a damaged profile raises, the pixels are readable
            _warn_once(f"{path}: its colour profile cannot be used and is ignored ({error})")
    return np.asarray(colour.convert("RGB"))


def read(path: str | Path) -> Picture:
    """Returns the picture in `path` as 8-bit sRGB, turned as its EXIF orientation says.

    Of a file with several pictures only the first is read; a warning says so once.

    Raises:
      UserError: the file is missing, truncated, not an image, or too large to decode; names it.
    """
    path = Path(path)
    with _naming(path), _open(path) as image:
        if getattr(image, "is_animated", False) and image.format != "MPO":  # JPEGs of phones
            _warn_once(f"{path}: holds several pictures or frames; only the first is read")
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
