"""JPEG: which segments make up the picture, and whether all of its pixels are there.

Pillow is given a file without what does not matter to pixels or is damaged.
"""

import io
import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdgan_jax.pictures import samples
from kdgan_jax.pictures.samples import Unsupported

# Most scans of a JPEG with the largest number of pixels; smaller ones may have more. Each passes
# over all pixels.
MOST_SCANS = 40  # 10 are usual
# What may follow pixels without changing them, if none is missing.
_NOISE = b"\x5a\xc3" * 32
# The decoder passes over noise where it waits for a mark to restart.
_PROBES = bytes(64), _NOISE + b"".join(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))
_SEARCHED = 2**20  # bytes searched for the picture behind damage
# A marker that is followed by a length, or the end; others are data.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # headers that hold a size
EMPTY_SCAN = b"\xff\xda\0\x08\1\1\0\0\x3f\0"  # for those who read the header alone
_PROGRESSIVE = 2, 6, 10, 14
_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_TABLES = {0xDB, 0xC4, 0xCC, 0xDD, *_FRAMES}
# Segments with names that matter: how colours are, the resolution, and IPTC.
_NAMED = {(0xE0, b"JFIF"), (0xEE, b"Adob"), (0xED, b"Phot")}
# Markers that stand between segments in a sound file.
_SOUND = {*_TABLES, _SCAN, 0xFE, *range(0xE0, 0xF0)}


class Frame(NamedTuple):
    """The header of the picture: its process (0 for baseline), bits, sides, and components."""

    process: int
    bits: int
    height: int
    width: int
    components: bytes  # the number of each


class Jpeg(NamedTuple):
    """A file cut into segments.

    Attributes:
      frame: the header of the picture.
      tables: the segments that pixels need, up to the first scan, as bytes.
      others: (marker, data) of the metadata that is sound.
      scans: where the first scan begins.
      remarks: what is wrong beside the pixels.
    """

    frame: Frame
    tables: Sequence[bytes]
    others: Sequence[tuple[int, bytes]]
    scans: int
    remarks: Sequence[str]

    @property
    def start(self) -> bytes:
        """A file up to its first scan, with metadata."""
        named = [bytes([0xFF, m]) + struct.pack(">H", len(d) + 2) + d for m, d in self.others]
        return b"".join([_START, *named, *self.tables])

    @property
    def plain(self) -> bytes:
        """A file up to its first scan, without metadata but for what says how colours are."""
        first = {0xE0: b"JFIF", 0xEE: b"Adobe"}
        return self._replace(
            others=[(m, d) for m, d in self.others if m in first and d.startswith(first[m])]
        ).start


def as_8_bits(jpeg: Jpeg) -> Jpeg:
    """Returns a file whose header claims 8 bits: Pillow reads the metadata of no other."""
    frames = [table[1] in _FRAMES for table in jpeg.tables]
    tables = [
        b"\xff\xc0" + table[2:4] + b"\x08" + table[5:] if frame else table
        for table, frame in zip(jpeg.tables, frames, strict=True)
    ]
    return jpeg._replace(tables=tables)


def deep(jpeg: Jpeg, scans: bytes) -> np.ndarray:
    """Returns uint16 (H, W, C) of a file of more than 8 bits; `scans` is what `body` returns.

    Raises:
      Unsupported: it is neither grey nor RGB.
      Exception: it is damaged.
    """
    import imagecodecs

    if len(jpeg.frame.components) not in (1, 3) or not 8 < jpeg.frame.bits <= 16:
        raise Unsupported(
            f"is a JPEG of {jpeg.frame.bits} bits in {len(jpeg.frame.components)} channels"
        )
    values = imagecodecs.jpeg_decode(jpeg.plain + scans)
    values = values.reshape(jpeg.frame.height, jpeg.frame.width, len(jpeg.frame.components))
    return samples.scaled(values, 2**jpeg.frame.bits - 1, np.uint16)


def _frame(marker: int, data: bytes) -> Frame | None:
    if len(data) < 6 or len(data) < 6 + 3 * data[5] or not data[5]:
        return None
    bits, height, width = struct.unpack(">BHH", data[:5])
    return Frame(marker - 0xC0, bits, height, width, data[6 : 6 + 3 * data[5] : 3])


def _sound(marker: int, data: bytes) -> bool:
    """Returns whether metadata can be read."""
    if marker == 0xE0:
        return not data.startswith(b"JFIF") or len(data) >= 14
    if marker == 0xEE:
        return not data.startswith(b"Adobe") or len(data) >= 12
    if marker == 0xE1 and data.startswith(b"Exif"):
        try:
            exif = Image.Exif()
            exif.load(data)
            return data[6:8] in (b"II", b"MM")
        except Exception:  # damage raises struct.error, SyntaxError, KeyError, ...
            return False
    return True


Segment = tuple[int, int, int]  # its marker, and where its data begin and end


def _walk(data: bytes, place: int, passed: set[int]) -> tuple[list[Segment], int, bool]:
    """Returns the segments from `place`, where they end, and whether they end with a scan.

    Args:
      data: the file.
      place: where the first marker is.
      passed: places that have been tried; the segments' are added.
    """
    segments: list[Segment] = []
    while place + 4 <= len(data) and data[place] == 0xFF and place not in passed:
        passed.add(place)
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == _SCAN:
            return segments, place, True
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker not in _SOUND or length < 2 or place + 2 + length > len(data):
            break
        segments.append((marker, place + 4, place + 2 + length))
        place += 2 + length
    return segments, place, False


def _behind(data: bytes, place: int) -> tuple[list[Segment], int]:
    """Returns the segments and the scan of the largest picture behind damage at `place`.

    There may be several: thumbnails are whole files within metadata.
    """
    best: tuple[int, list[Segment], int] = 0, [], 0
    passed: set[int] = set()
    while place < min(len(data), _SEARCHED) and (found := data.find(b"\xff", place)) >= 0:
        place = found + 1
        segments, end, whole = _walk(data, found, passed)
        frames = [
            f for m, start, stop in segments if m in _FRAMES and (f := _frame(m, data[start:stop]))
        ]
        if whole and frames:
            area = frames[0].height * frames[0].width
            if area > best[0]:
                best = area, segments, end
            place = end
    return best[1], best[2]


def parse(data: bytes) -> Jpeg | None:
    """Returns the segments of a file, None if `data` ends before its first scan.

    Raises:
      ValueError: there is no picture in it.
    """
    segments, scans, whole = _walk(data, 2, set())
    remarks: dict[str, None] = {}
    if not whole:
        if segments and not (data[scans : scans + 1] == b"\xff" and data[scans + 1] in _SOUND):
            scans = segments.pop()[1] - 4  # its length is wrong
        further, scans = _behind(data, scans + 2)
        if not further:
            return None
        remarks["a segment of it is damaged"] = None
        segments += further
    tables, others, icc, frame = [], [], [], None
    for marker, start, stop in segments:
        body = data[start:stop]
        if marker in _FRAMES:
            frame = _frame(marker, body)
        if marker in _TABLES:
            size = struct.pack(">H", len(body) + 2)
            tables.append(bytes([0xFF, marker]) + size + body)
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            icc.append(body)
        elif not _sound(marker, body):
            remarks[f"its {'EXIF' if marker == 0xE1 else 'metadata'} cannot be read"] = None
        elif marker in (0xE1, 0xFE) or (marker, body[:4]) in _NAMED:
            others.append((marker, body))
    if frame is None:
        raise ValueError("it has no frame")
    if icc:
        icc.sort(key=lambda body: body[12])
        if [body[12] for body in icc] == list(range(1, icc[0][13] + 1)):
            others += [(0xE2, body) for body in icc]
        else:
            remarks["parts of its colour profile are missing"] = None
    return Jpeg(frame, tables, others, scans, tuple(remarks))


def scans(data: bytes, place: int) -> tuple[list[bytes], int | None]:
    """Returns the headers of the scans from `place` on, and where the end mark is, if it is there.

    Only the first image counts; phones append films and images.
    """
    heads: list[bytes] = []
    while marker := _MARKER.search(data, place):
        if marker[1] == b"\xd9":
            return heads, marker.start()
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        if marker[1] == b"\xda":
            heads.append(data[marker.end() + 2 : marker.end() + length])
        place = marker.end() + length
    return heads, None


def every_bit(frame: Frame, heads: Sequence[bytes]) -> bool:
    """Returns whether scans of these headers hold every bit of every coefficient."""
    left = {(component, k) for component in frame.components for k in range(64)}
    for head in heads:
        if not head or len(head) < 4 + 2 * head[0]:
            return False
        first, last, bits = head[1 + 2 * head[0] : 4 + 2 * head[0]]
        if frame.process not in _PROGRESSIVE:
            first, last, bits = 0, 63, 0
        if not bits & 15:
            left -= {(c, k) for c in head[1 : 1 + 2 * head[0] : 2] for k in range(first, last + 1)}
    return not left


def _decoded(jpeg: Jpeg, scans: bytes) -> np.ndarray:
    if jpeg.frame.bits != 8:
        return deep(jpeg, scans)
    with Image.open(io.BytesIO(jpeg.plain + scans), formats=["JPEG"]) as image:
        return np.asarray(image)


def _complete(jpeg: Jpeg, scans: bytes, pixels: np.ndarray) -> bool:
    """Returns whether `pixels`, those of `scans`, stay as they are whatever follows."""
    return all(np.array_equal(pixels, _decoded(jpeg, scans + probe + _END)) for probe in _PROBES)


def check_whole(jpeg: Jpeg, scans: bytes, image: Image.Image) -> None:
    """Refuses a picture that was cut and then given an end mark.

    The decoder leaves the blocks that are missing even, so that only a picture whose last block is
    even takes more time.

    Args:
      jpeg: its segments.
      scans: what `body` returns.
      image: what Pillow decodes of it.

    Raises:
      ValueError: pixels are missing.
    """
    left, top = ((side - 1) // 8 * 8 for side in image.size)
    last = np.asarray(image.crop((left, top, *image.size)))
    if jpeg.frame.bits != 8 or jpeg.frame.process in _PROGRESSIVE or (last != last[0, 0]).any():
        return
    scans = scans.removesuffix(_END)
    if not _complete(jpeg, scans, _decoded(jpeg, scans + _END)):
        raise ValueError("it ends within its pixels")


def body(jpeg: Jpeg, data: bytes, heads: Sequence[bytes], end: int | None) -> bytes:
    """Returns the scans and an end mark.

    Without an end mark, the pixels are all there if what follows them does not change them.

    Args:
      jpeg: the segments of `data`.
      data: the file.
      heads, end: what `scans` returns.

    Raises:
      ValueError: pixels are missing.
    """
    if end is not None:
        return data[jpeg.scans : end] + _END
    if every_bit(jpeg.frame, heads):
        found = data[jpeg.scans :]
        bare = found.rstrip(b"\0")
        bare = bare + b"\0" if bare.endswith(b"\xff") and len(bare) < len(found) else bare
        for scan in {bare, found if len(found) < len(bare) + 3 else bare}:
            scan = scan.removesuffix(b"\xff")  # half an end mark
            if _complete(jpeg, scan, _decoded(jpeg, scan + _END)):
                return scan + _END
    raise ValueError("it ends within its pixels")
