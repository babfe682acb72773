"""Pictures from and to files: the one place where pixels are decoded and encoded.

What is read is 8-bit sRGB: 16 bits are rounded, embedded colour profiles applied, EXIF turns made.
"""

import functools
import io
import logging
import re
import struct
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from kdgan_jax.errors import UserError
from kdgan_jax.io.files import replacing

log = logging.getLogger("kdgan_jax")

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}

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
# Pillow's unpackers of 16-bit samples keep the high byte; read in the other byte order, the low.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


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


def _open(path: Path) -> Any:  # an ImageFile, whose plugins have attributes of their own
    try:
        with warnings.catch_warnings():  # above the limit Pillow warns, above twice it refuses
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            image.close()
            raise Image.DecompressionBombError
        return image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: is no image that can be read; replace or remove it") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, refused before decoding"
        ) from None
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _orientation(image: Any) -> int:
    """Returns the EXIF orientation still to be applied, without decoding the pixels."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    exif = Image.Image.getexif(image)  # PNG's own getexif would decode the whole image
    if image.format == "PNG" and _ORIENTATION not in exif and image.tile:
        file = image.fp  # the chunk may stand after the pixels, whose chunks are walked over
        file.seek(image.tile[0].offset - 8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                exif.load(file.read(length))
                break
            file.seek(length + 4, io.SEEK_CUR)
    return exif.get(_ORIENTATION, 1)


def size(path: str | Path) -> tuple[int, int]:
    """Returns (height, width) as `read` will give them, from the file's header alone.

    Raises:
      UserError: names the file that is missing or no image.
    """
    try:
        with _open(Path(path)) as image:
            width, height = image.size
            return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: truncated or damaged ({error})") from None


def _samples_of_16_bits(image: Any, path: Path) -> np.ndarray | None:
    """Returns uint16 (H, W, C) where Pillow would drop the low bytes, else None.

    Pillow has no mode for colours of 16 bits, so the file is decoded once for either byte.
    """
    arguments = [t.args if isinstance(t.args, tuple) else (t.args,) for t in image.tile]
    modes = {str(a[0]) for a in arguments if a}
    tags = image.tag_v2 if image.format == "TIFF" else {}
    planar = tags.get(284) == 2
    if planar and 16 in tags.get(258, ()) and "R" in modes:  # would be read as noise
        raise ValueError("16 bits in separate planes; save it anew with interleaved ones")
    match = re.fullmatch(r"(RGB|RGBX|RGBA|CMYK|LA);16([BLN])", min(modes, default=""))
    if planar or not match:
        return None
    kind, order = match.groups()
    # Grey with alpha has no second unpacker; taken as four plain bytes, it gives both halves.
    other = "RGBA" if kind == "LA" else f"{kind};16{_OTHER_ORDER[order]}"
    with _open(path) as again:
        again.tile = [
            tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
            for tile in again.tile
        ]
        low = np.asarray(again)
    if kind == "LA":
        return low.view(">u2").astype(np.uint16)
    return np.asarray(image).astype(np.uint16) * 256 + low


def _rounded(values: np.ndarray, divisor: int) -> np.ndarray:
    return np.clip(np.round(values / divisor), 0, 255).astype(np.uint8)


def _to_8_bits(image: Any, path: Path) -> Image.Image:
    """Rounds 16-bit and float images to 8 bits; Pillow's convert would clip or cut."""
    samples = _samples_of_16_bits(image, path)
    if image.mode.startswith("I"):
        samples = np.asarray(image)[..., None]
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # 0 is white
            samples = 65535 - samples
    if samples is None:
        return Image.fromarray(_rounded(np.asarray(image), 1)) if image.mode == "F" else image
    eight = _rounded(samples, 257)
    if "transparency" in image.info:  # the value or colour that is clear
        clear = (samples == np.asarray(image.info["transparency"])).all(axis=-1, keepdims=True)
        eight = np.concatenate([eight, np.where(clear, 0, 255).astype(np.uint8)], axis=-1)
    mode = "CMYK" if image.mode == "CMYK" else ("L", "LA", "RGB", "RGBA")[eight.shape[-1] - 1]
    return Image.frombytes(mode, image.size, eight.tobytes())


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
    try:
        with _open(Path(path)) as image:
            if getattr(image, "is_animated", False) and image.format != "MPO":  # phones' JPEG
                _warn_once(f"{path}: holds several pictures or frames; only the first is read")
            icc, orientation = image.info.get("icc_profile"), _orientation(image)
            picture = _to_8_bits(image, Path(path))
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
            return Picture(_srgb(picture, icc, Path(path)), alpha, grey)
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: truncated or damaged ({error})") from None


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
