"""Samples of files as integers of 8 or 16 bits: ranges, depths, transparency."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from kdgan_jax.pictures.picture import Details

BLOCK = 2**20  # samples converted at a time
# Full scales of samples that fill little of their integers, where nothing states the range.
_USUAL = 255, 1023, 4095, 16383, 65535
# A picture that uses at most an eighth of its range is probably of a smaller one; or a quarter, of
# which it uses nearly all.
_LITTLE, _RATHER_LITTLE, _NEARLY = 8, 4, 0.95
_OVERSHOOT = 1.25  # of floats that were resampled, as a factor of full scale
# Pillow's unpackers of 16-bit samples keep the high byte; reading in the other byte order keeps the
# low one.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Unsupported(ValueError):
    """The file is sound, but its kind is not read; says which, and what to do."""

    def __init__(self, reason: str, advice: str = "save it again as PNG or JPEG") -> None:
        super().__init__(f"{reason}; {advice}")


class Samples(NamedTuple):
    """What a file holds, not turned yet and in its own colours.

    Attributes:
      values: (H, W, C), uint8 or uint16, of which the largest is full scale.
      mode: what the channels are: "L", "RGB", "CMYK" or "LAB".
      alpha: (H, W, 1) in the dtype of `values`, not multiplied into them; None for none.
      icc: the colour profile that the file has.
      orientation: EXIF's, still to be applied.
      details: what else the file says.
      remarks: what the user is to know.
    """

    values: np.ndarray
    mode: str
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    orientation: int = 1
    details: Details = Details()
    remarks: tuple[str, ...] = ()


# Ranges


def blocks(size: int) -> Iterator[slice]:
    """Yields the slices of `BLOCK` that `size` items consist of."""
    return (slice(start, start + BLOCK) for start in range(0, size, BLOCK))


def scaled(values: np.ndarray, white: float, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    """Returns `values` with [0, `white`] stretched to the range of `dtype`, rounded and clipped.

    What is not a number becomes 0.
    """
    full = np.iinfo(dtype).max
    if white == full and values.dtype in (dtype, np.dtype(dtype).newbyteorder()):
        return np.ascontiguousarray(values, dtype)
    flat, result = values.reshape(-1), np.empty(values.size, dtype)
    for part in blocks(len(flat)):
        with np.errstate(invalid="ignore", over="ignore"):
            block = flat[part].astype(np.float64) * full / white
            result[part] = np.nan_to_num(np.clip(np.floor(block + 0.5), 0, full))
    return result.reshape(values.shape)


def rounded(values: np.ndarray) -> np.ndarray:
    """Returns uint8 of uint8 or uint16: 65535 becomes 255, so v becomes v / 257 rounded."""
    if values.dtype == np.uint8:
        return values
    flat, result = values.reshape(-1), np.empty(values.size, np.uint8)
    for part in blocks(len(flat)):  # 257 is odd, so no v lies half-way
        result[part] = (flat[part].astype(np.uint32) * 255 + 32895) >> 16
    return result.reshape(values.shape)


def integer_white(
    values: np.ndarray, bits: int, stated: float | None, known: bool = False
) -> tuple[float, str]:
    """Returns the full scale of integers and a remark, "" if there is no doubt about it.

    Args:
      values: of any shape, at least 0.
      bits: of the range, without a sign: full scale is 2**bits - 1 unless something speaks against.
      stated: the maximum that the file states, if any; one that is exceeded does not count.
      known: whether the range is certain, however little of it is used.
    """
    full, largest = 2**bits - 1, int(values.max(initial=0))
    if stated and max(largest, 1) <= stated < full:
        return stated, ""
    if known or bits <= 8 or largest == 0 or (largest + 1) * _RATHER_LITTLE > full + 1:
        return full, ""
    white = next((usual for usual in _USUAL if largest <= usual < full), full)
    dark = (largest + 1) * _LITTLE > full + 1 and largest < _NEARLY * white
    if white == full or dark:
        return full, ""
    return white, (
        f"its samples of {bits} bits reach {largest} at most and are taken as those of"
        f" {white.bit_length()} bits"
    )


def negative(values: np.ndarray, white: float) -> str:
    """Returns a remark on floats that are below 0 or no numbers, "" if there are hardly any.

    Resampling leaves some that are just below 0.
    """
    lowest, sound = 0.0, True
    flat = values.reshape(-1)
    for part in blocks(len(flat)):
        block = flat[part]
        finite = np.isfinite(block)
        sound = sound and bool(finite.all())
        lowest = min(lowest, float(block[finite].min(initial=0)))
    if lowest < white * (1 - _OVERSHOOT):
        return f"its samples reach down to {lowest:g}; what is below 0 becomes black"
    return "" if sound else "what is no number in it becomes black or white"


def float_white(values: np.ndarray, stated: float | None) -> tuple[float, str]:
    """Returns the full scale of floats and a remark, "" if there is no doubt about it.

    It is 1, unless the file states a maximum or most values that are above 0 are above 1, too, as
    if they had been integers. Of pictures of high dynamic range, what is above 1 is clipped.
    """
    largest, above, lit = 0.0, 0, 0
    flat = values.reshape(-1)
    for part in blocks(len(flat)):
        block = flat[part]
        block = block[np.isfinite(block)]
        largest = max(largest, float(block.max(initial=0)))
        above, lit = above + int((block > 1).sum()), lit + int((block > 0).sum())
    if stated and (largest > 1 or stated < 1) and largest <= stated * _OVERSHOOT:
        return stated, ""
    if largest <= 1:
        return 1, ""
    if 2 * above > lit and largest * _LITTLE > _USUAL[0]:
        for white in _USUAL:
            if largest <= white * _OVERSHOOT:
                return white, f"its floats reach {largest:g} and are taken as of 0 to {white}"
    return 1, f"its floats reach {largest:g}; what is above 1 becomes white"


def straight(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns `values` (H, W, C), into which `alpha` (H, W, 1) is multiplied, without it."""
    full = np.iinfo(values.dtype).max
    channels = values.shape[-1]
    flat, result = values.reshape(-1, channels), np.empty(values.size, values.dtype)
    opacity, result = alpha.reshape(-1, 1), result.reshape(-1, channels)
    for part in blocks(len(flat)):
        whole = opacity[part].astype(np.uint64)
        colour = flat[part].astype(np.uint64)
        divided = (colour * full + whole // 2) // np.maximum(whole, 1)
        result[part] = np.where(whole > 0, np.minimum(divided, full), colour)
    return result.reshape(values.shape)


def unpacked(rows: np.ndarray, number: int, bits: int, little: bool) -> np.ndarray:
    """Returns (H, `number`) uint64 of rows (H, N) of bytes with samples of `bits` each.

    Samples of whole bytes are in the byte order of the file, others have their highest bit first.
    """
    values = np.zeros((len(rows), number), np.uint64)
    if bits % 8 == 0:
        size = bits // 8
        parts = rows[:, : number * size].reshape(len(rows), number, size)
        for i in range(size):
            values |= parts[..., i].astype(np.uint64) << np.uint64(
                8 * (i if little else size - 1 - i)
            )
        return values
    for y, row in enumerate(rows):
        ones = np.unpackbits(row)[: number * bits].reshape(number, bits)
        for i in range(bits):
            values[y] = values[y] << np.uint64(1) | ones[:, i]
    return values


# Pillow's images


def _with_16_bits(
    image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]
) -> np.ndarray | None:
    """Returns uint16 (H, W, C) where Pillow would drop the low bytes, else None.

    Pillow has no mode for 16-bit colour, so the file is decoded twice: once for each byte.
    """
    modes = {str(t.args[0] if isinstance(t.args, tuple) else t.args) for t in image.tile}
    if image.mode.startswith("I"):
        return np.asarray(image)[..., None].astype(np.uint16)
    match = re.fullmatch(r"(RGB|RGBA|LA);16([BLN])", min(modes, default=""))
    if not match:
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


def of_deep(
    image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]
) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Returns values, mode and alpha, as in `Samples`, of a PNG of 16 bits.

    Args:
      image: a file that has not been decoded yet.
      reopen: opens the same file once more.

    Raises:
      Exception: of many kinds; the file is damaged.
    """
    samples = _with_16_bits(image, reopen)
    if samples is None:
        raise Unsupported(f"has 16 bits in an unknown order ({image.mode})")
    channels = samples.shape[-1]
    mode = "L" if channels < 3 else "RGB"
    if channels % 2:
        return samples, mode, None
    return samples[..., :-1], mode, samples[..., -1:]


def of_image(image: Image.Image) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Returns values, mode and alpha, as in `Samples`, of an image of up to 8 bits.

    Raises:
      Exception: of many kinds; the file is damaged.
    """
    image.load()
    image = image.convert("LA") if image.mode == "La" else image
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return rgba[..., 1:2] if grey else rgba[..., :3], "L" if grey else "RGB", rgba[..., 3:]
    if grey:
        return np.asarray(image.convert("L"))[..., None], "L", None
    if image.mode in ("CMYK", "LAB"):
        return np.asarray(image), image.mode, None
    return np.asarray(image.convert("RGB")), "RGB", None
