"""The Netpbm family: PBM, PGM, PPM, PAM and PFM, plain or binary, of any maximum."""

import re
from typing import NamedTuple

import numpy as np

from kdgan_jax.pictures import samples
from kdgan_jax.pictures.samples import Samples

HEADER = 2**16  # bytes that a header has at most
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*)*([^\s#]+)")
_COMMENT = re.compile(rb"#[^\r\n]*")
_FIELD = re.compile(rb"^[ \t]*(WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)[ \t]+([^\r\n]*?)[ \t\r]*$", re.M)
_BLOCK = 2**20  # bytes of text read at a time


class Header(NamedTuple):
    """What stands before the pixels.

    `maximum` is negative for floats of the low byte first, `inks` says that channels are CMYK.
    """

    kind: str
    width: int
    height: int
    channels: int
    maximum: float
    start: int
    inks: bool = False


def header(data: bytes) -> Header:
    """Returns the header of a file, of which `data` is the beginning.

    Raises:
      ValueError: it is damaged.
    """
    data = data[:HEADER]
    kind, inks = chr(data[1]), False
    if kind == "7":
        end = data.find(b"ENDHDR\n")
        fields = dict(_FIELD.findall(data[: max(end, 0)]))
        names = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        if end < 0 or not all(fields.get(name, b"").isdigit() for name in names):
            raise ValueError("its header is damaged")
        width, height, channels = (int(fields[name]) for name in names[:3])
        maximum, inks = float(fields[b"MAXVAL"]), fields.get(b"TUPLTYPE") == b"CMYK"
        start = end + len(b"ENDHDR\n")
    else:
        tokens, place = [], 2
        for _ in range(2 if kind in "14" else 3):
            match = _TOKEN.match(data, place)
            if not match:
                raise ValueError("its header is cut")
            tokens.append(match[1])
            place = match.end()
        if not all(token.isdigit() and len(token) <= 10 for token in tokens[:2]):
            raise ValueError("its header is damaged")
        width, height = int(tokens[0]), int(tokens[1])
        channels = 3 if kind in "36F" else 1
        maximum, start = float(tokens[2]) if len(tokens) > 2 else 1, place + 1
    floats = kind in "fF"
    if not (width and height and 1 <= channels <= 4):
        raise ValueError(f"it states a size of {width}x{height}x{channels}")
    if not (np.isfinite(maximum) and maximum if floats else 1 <= maximum <= 65535):
        raise ValueError(f"it states a maximum of {maximum:g}")
    return Header(kind, width, height, channels, maximum, start, inks and channels == 4)


def _plain(data: bytes, head: Header) -> np.ndarray:
    """Returns the numbers of a file of text, one block at a time."""
    text = _COMMENT.sub(b"", data[head.start - 1 :])
    number = head.width * head.height * head.channels
    if head.kind == "1":  # digits need no space between them
        digits = np.frombuffer(text.translate(None, b" \t\r\n\v\f"), np.uint8)[:number] - ord("0")
        if digits.size < number or digits.max(initial=0) > 1:
            raise ValueError("it has too few pixels or others than 0 and 1")
        return digits
    if len(text) < 2 * number - 1:
        raise ValueError("it ends within its pixels")
    values, filled, place = np.empty(number, np.uint16), 0, 0
    while filled < number and place < len(text):
        end = min(place + _BLOCK, len(text))
        while end < len(text) and not text[end : end + 1].isspace():
            end += 1
            if end > place + _BLOCK + 10:
                raise ValueError("a number of it is too long")
        words = text[place:end].split()[: number - filled]
        if not all(word.isdigit() and len(word) <= 10 for word in words):
            raise ValueError("something among its pixels is no number")
        block = np.array(words, "S10").astype(np.int64) if words else np.empty(0, np.int64)
        if block.max(initial=0) > head.maximum:
            raise ValueError(f"a value of it is above the maximum of {head.maximum:g}")
        values[filled : filled + block.size] = block
        filled, place = filled + block.size, end
    if filled < number:
        raise ValueError("it ends within its pixels")
    return values


def _values(data: bytes, head: Header) -> np.ndarray:
    """Returns the samples as they are, (H, W, C)."""
    shape = head.height, head.width, head.channels
    if head.kind in "123":
        return _plain(data, head).reshape(shape)
    row = head.width * head.channels
    kind: np.dtype = np.dtype("u1" if head.maximum < 256 else ">u2")
    if head.kind in "fF":
        kind = np.dtype("<f4" if head.maximum < 0 else ">f4")
    size = -(-head.width // 8) if head.kind == "4" else row * kind.itemsize
    if len(data) < head.start + size * head.height:
        raise ValueError("it ends within its pixels")
    if head.kind == "4":
        packed = np.frombuffer(data, np.uint8, size * head.height, head.start)
        bits = np.unpackbits(packed.reshape(head.height, size), axis=1)
        return bits[:, : head.width].reshape(shape)
    values = np.frombuffer(data, kind, row * head.height, head.start).reshape(shape)
    return values[::-1] if head.kind in "fF" else values


def read(data: bytes) -> Samples:
    """Returns the samples of a file.

    Raises:
      ValueError: it is damaged or cut.
    """
    head = header(data)
    values = _values(data, head)
    remarks: tuple[str, ...] = ()
    if head.kind in "fF":
        white, remark = samples.float_white(values, None)
        values = samples.scaled(values, white, np.uint16)
        remarks = (remark,) if remark else ()
    elif head.kind in "14":  # 1 is black
        values = (1 - values) * np.uint8(255)
    else:
        depth = np.uint8 if head.maximum < 256 else np.uint16
        values = samples.scaled(values, head.maximum, depth)
    if head.inks:
        return Samples(values, "CMYK")
    colours = head.channels - 1 if head.channels in (2, 4) else head.channels
    alpha = values[..., colours:] if colours < head.channels else None
    mode = "L" if colours == 1 else "RGB"
    return Samples(values[..., :colours], mode, alpha, remarks=remarks)
