"""Samples of more than 8 bits, out of Pillow's images: rounded to 8, a block at a time."""

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

BLOCK = 2**20  # samples that are rounded at a time
# Pillow's unpackers of 16-bit samples keep the high byte; read in the other byte order, the low.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def _of_16_bits(image: Any, reopen: Callable[[], Any]) -> np.ndarray | None:
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
    with reopen() as again:
        again.tile = [
            tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
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
    """Returns numbers from 0 to 65535, or floats from 0 to 255, as uint8; others are clipped."""
    flat, made = samples.reshape(-1), np.empty(samples.size, np.uint8)
    for start in range(0, len(flat), BLOCK):
        part = flat[start : start + BLOCK]
        if part.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                part = np.nan_to_num(np.clip(np.round(part), 0, 255))
        else:  # v / 257 rounded, with which no v lies half-way: 257 is odd
            part = (np.clip(part, 0, 65535).astype(np.uint32) * 255 + 32895) >> 16
        made[start : start + BLOCK] = part
    return made.reshape(samples.shape)


def to_8_bits(image: Any, reopen: Callable[[], Any]) -> Image.Image:
    """Returns `image` with samples of 16 bits and floats rounded; Pillow would clip or cut them.

    Args:
      image: an ImageFile that has not been decoded yet.
      reopen: opens the same file once more.

    Raises:
      Exception: of many kinds; the file is damaged.
    """
    samples = _of_16_bits(image, reopen)
    if image.mode.startswith("I"):
        samples = np.asarray(image)[..., None]
        if image.format == "TIFF" and image.tag_v2.get(262) == 0:  # 0 is white
            samples = 65535 - samples
    if samples is None:
        return Image.fromarray(_rounded(np.asarray(image))) if image.mode == "F" else image
    eight = _rounded(samples)
    if "transparency" in image.info:  # the value or colour that is clear
        clear = (samples == np.asarray(image.info["transparency"])).all(axis=-1, keepdims=True)
        eight = np.concatenate([eight, np.where(clear, 0, 255).astype(np.uint8)], axis=-1)
    mode = "CMYK" if image.mode == "CMYK" else ("L", "LA", "RGB", "RGBA")[eight.shape[-1] - 1]
    return Image.frombytes(mode, image.size, eight.tobytes())
