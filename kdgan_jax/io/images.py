"""Pictures from and to files: the one place where pixels are decoded and encoded."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kdgan_jax.errors import UserError
from kdgan_jax.io.files import replacing

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}


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


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: is no image that can be read; replace or remove it") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels, refused before decoding"
        ) from None
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def size(path: str | Path) -> tuple[int, int]:
    """Returns (height, width) as `read` will give them, from the file's header alone.

    Raises:
      UserError: names the file that is missing or no image.
    """
    try:
        with _open(Path(path)) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow has turned its size already
                return height, width
            # The EXIF orientation tag; PNG's own getexif would decode the whole image.
            turned = Image.Image.getexif(image).get(0x0112, 1) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: truncated or damaged ({error})") from None


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Maps 16-bit grey and float images to 8 bits; Pillow's convert would clip instead."""
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float64)
        return Image.fromarray(np.clip(np.round(values / 257), 0, 255).astype(np.uint8))
    if image.mode == "F":
        return Image.fromarray(np.clip(np.round(np.asarray(image)), 0, 255).astype(np.uint8))
    return image


def read(path: str | Path) -> Picture:
    """Returns the picture in `path`, turned as its EXIF orientation says; first frame only.

    Raises:
      UserError: names the file that is missing, truncated, no image, or too large to be decoded.
    """
    try:
        with _open(Path(path)) as image:
            image = ImageOps.exif_transpose(image)
            image = _to_8_bits(image)
            grey = image.mode in ("L", "LA", "1")
            if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
                rgba = np.asarray(image.convert("RGBA"))
                return Picture(rgba[..., :3].copy(), rgba[..., 3:].copy(), grey)
            return Picture(np.asarray(image.convert("RGB")), None, grey)
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
