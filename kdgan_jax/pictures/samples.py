"""Rounds samples of more than 8 bits in Pillow's images to 8 bits, one block at a time."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

BLOCK = 2**20  # samples rounded at a time
# Tags of a TIFF.
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284
# Pillow's unpackers of 16-bit samples keep the high byte; reading in the other byte order keeps the
# low one.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Unsupported(ValueError):
    """The file is sound, but Pillow cannot decode it."""


def _tags(image: ImageFile.ImageFile) -> Mapping[int, Any]:
    """Returns the tags of a TIFF; other images have none."""
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _with_16_bits(
    image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]
) -> np.ndarray | None:
    """Returns uint16 (H, W, C) where Pillow would drop the low bytes, else None.

    Pillow has no mode for 16-bit colour, so the file is decoded twice: once for each byte.
    """
    arguments = [t.args if isinstance(t.args, tuple) else (t.args,) for t in image.tile]
    modes = {str(a[0]) for a in arguments if a}
    planar = _tags(image).get(_PLANES) == 2
    if planar and 16 in _tags(image).get(_BITS, ()) and "R" in modes:  # Pillow would read noise
        raise Unsupported("16 bits in separate planes; save it again with interleaved samples")
    match = re.fullmatch(r"(RGB|RGBX|RGBA|CMYK|LA);16([BLN])", min(modes, default=""))
    if planar or not match:
        return None
    kind, order = match.groups()
    # Grey with alpha has no unpacker for the other order; as four plain bytes it gives both halves.
    other = "RGBA" if kind == "LA" else f"{kind};16{_OTHER_ORDER[order]}"
    with reopen() as again:
        again.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile
        ]
        low = np.asarray(again)
    if kind == "LA":
        return low.view(">u2").astype(np.uint16)
    samples = np.asarray(image).astype(np.uint16)
    samples <<= 8
    samples |= low
    return samples


def _rounded(samples: np.ndarray) -> np.ndarray:
    """Returns uint8 of integers in [0, 65535] or floats in [0, 255]; clips others."""
    flat, rounded = samples.reshape(-1), np.empty(samples.size, np.uint8)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        if block.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                block = np.nan_to_num(np.clip(np.round(block), 0, 255))
        else:  # v / 257, rounded; 257 is odd, so no v lies half-way
            block = (np.clip(block, 0, 65535).astype(np.uint32) * 255 + 32895) >> 16
        rounded[start : start + BLOCK] = block
    return rounded.reshape(samples.shape)


def to_8_bits(image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Returns `image` with 16-bit and float samples rounded, which Pillow would clip or truncate.

    Args:
      image: a file that has not been decoded yet.
      reopen: opens the same file once more.

    Raises:
      Unsupported: the file's layout cannot be read.
      Exception: of many kinds; the file is damaged.
    """
    samples = _with_16_bits(image, reopen)
    if image.mode.startswith("I"):
        samples = np.asarray(image)[..., None]
        if _tags(image).get(_PHOTOMETRIC) == 0:  # 0 is white
            samples = 65535 - samples
    if samples is None:
        return Image.fromarray(_rounded(np.asarray(image))) if image.mode == "F" else image
    rounded = _rounded(samples)
    if "transparency" in image.info:  # the value or colour that is transparent
        clear = (samples == np.asarray(image.info["transparency"])).all(axis=-1, keepdims=True)
        rounded = np.concatenate([rounded, np.where(clear, 0, 255).astype(np.uint8)], axis=-1)
    mode = "CMYK" if image.mode == "CMYK" else ("L", "LA", "RGB", "RGBA")[rounded.shape[-1] - 1]
    return Image.frombytes(mode, image.size, rounded.tobytes())
