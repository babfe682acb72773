"""PNG: which chunks make up the pixels, and what the others say.

Pillow is given only what pixels need, so that nothing else can refuse a picture.
"""

import io
import itertools
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO, NamedTuple

from kdgan_jax.pictures.samples import Unsupported

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DATA = b"IDAT", b"fcTL", b"fdAT"  # copied chunk for chunk, however long
# Chunks that are kept, and the most bytes of each; longer ones are skipped.
_LONGEST = {
    **dict.fromkeys((b"cICP", b"sRGB", b"gAMA", b"pHYs"), 64),
    **dict.fromkeys((b"cHRM", b"PLTE", b"tRNS"), 1024),
    **dict.fromkeys((b"tEXt", b"zTXt", b"eXIf"), 2**20),
    **dict.fromkeys((b"iTXt", b"iCCP"), 2**23),  # XMP of editors; profiles of printers
}
_MOST_KEPT = 2**24  # bytes of all of them
_TEXT = {b"tEXt", b"zTXt", b"iTXt"}
_BLOCK = 2**20  # bytes inflated at a time
# (left, top, step across, step down) of the pixels in the passes of an interlaced picture.
_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
_PASSES += [(1, 0, 2, 2), (0, 1, 1, 2)]
_MOST_SEARCHES = 10  # for the next chunk after a damaged one
_MOST_SEARCHED = 100  # places in each that might be chunks
_KNOWN = re.compile(rb"PLTE|tRNS|IDAT|IEND|fcTL|fdAT")
_NAME = re.compile(rb"[A-Za-z]{4}")


class Png(NamedTuple):
    """The chunks of a file.

    Attributes:
      width, height, depth, kind: of the header; `kind` is the colour type.
      header: the whole header's data.
      places: (kind, offset, length) of the pixels and of an animation, in their order.
      chunks: the data of the other known chunks, by kind.
      frames: the number of frames that an animation states; 1 for others.
      remarks: what is wrong beside the pixels.
    """

    width: int
    height: int
    depth: int
    kind: int
    header: bytes
    places: Sequence[tuple[bytes, int, int]]
    chunks: Mapping[bytes, Sequence[bytes]]
    frames: int
    remarks: Sequence[str]

    @property
    def firsts(self) -> dict[bytes, bytes]:
        """The first chunk of each kind."""
        return {kind: data[0] for kind, data in self.chunks.items()}

    @property
    def last_row(self) -> int:
        """The row of pixels that is decoded last: the last pass has those of odd numbers."""
        interlaced = self.header[12] and self.height > 1
        return self.height // 2 * 2 - 1 if interlaced else self.height - 1

    @property
    def colours(self) -> dict[bytes, bytes]:
        """The first chunk of each kind, without primaries for grey, which has none."""
        grey = self.kind in (0, 4)
        return {kind: data for kind, data in self.firsts.items() if kind != b"cHRM" or not grey}

    @property
    def key(self) -> tuple[int, ...] | None:
        """The samples that are transparent, one for grey and three for RGB; None if none are."""
        data, number = self.firsts.get(b"tRNS", b""), {0: 1, 2: 3}.get(self.kind, 0)
        if not number or len(data) != 2 * number:
            return None
        return tuple(v % 2**self.depth for v in struct.unpack(f">{number}H", data))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _next(file: BinaryIO, start: int) -> int | None:
    """Returns where a sound chunk begins at or after `start`, where a chunk is damaged."""
    file.seek(start)
    rest = file.read()
    for match in itertools.islice(_KNOWN.finditer(rest, 4), _MOST_SEARCHED):
        begin, end = match.start() - 4, match.end()
        length = int.from_bytes(rest[begin : begin + 4], "big")
        check = rest[end + length : end + length + 4]
        if int.from_bytes(check, "big") == zlib.crc32(rest[end - 4 : end + length]) and check:
            return start + begin
    return None


def scan(file: BinaryIO) -> Png:
    """Returns the chunks of a file; reads only those that are short.

    Raises:
      ValueError: the header is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(33)
    if head[12:16] == b"CgBI":
        raise Unsupported("is a PNG of Apple's own kind, for its devices alone")
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        raise ValueError("it has no header")
    if struct.unpack(">I", head[29:])[0] != zlib.crc32(head[12:29]):
        raise ValueError("the checksum of its header is wrong")
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise ValueError(f"it states a size of {width}x{height}")
    places: list[tuple[bytes, int, int]] = []
    chunks: dict[bytes, list[bytes]] = {}
    remarks: dict[str, None] = {}  # in order, each once
    place, kept, searches, ended, frames = 33, 0, 0, False, 1
    while not ended:
        file.seek(place)
        start = file.read(8)
        length, name = struct.unpack(">I4s", start) if len(start) == 8 else (0, b"")
        if len(start) < 8:
            break
        data_at, end = place + 8, place + 12 + length
        # Of a file that ends within its pixels, the decoder says whether they suffice.
        if not _NAME.fullmatch(name) or (end > size and name not in (b"IDAT", b"fdAT")):
            remarks["a chunk of it is damaged"] = None
            searches += 1
            found = _next(file, place + 4) if searches <= _MOST_SEARCHES else None
            if found is None:
                break
            place = found
            continue
        ended = name == b"IEND"
        if name == b"acTL" and length == 8 and not places:
            frames = max(1, int.from_bytes(file.read(4), "big"))
            places.append((name, data_at, length))
        elif name in _DATA:
            places.append((name, data_at, min(length, size - data_at)))
        elif name in _LONGEST and length > min(_LONGEST[name], _MOST_KEPT - kept):
            what = "text" if name in _TEXT else name.decode()
            remarks[f"{what} of {length:,} bytes is left out"] = None
        elif name in _LONGEST:
            data = file.read(length)
            check = file.read(4)
            sound = int.from_bytes(check, "big") == zlib.crc32(name + data)
            if name == b"PLTE" and kind == 3 and not sound:
                raise ValueError("the checksum of its palette is wrong")
            what = "text" if name in _TEXT else name.decode()
            if not sound:
                remarks[f"the checksum of its {what} is wrong"] = None
            if sound or name == b"tRNS":  # without it, hidden colours would be seen
                kept += length
                chunks.setdefault(name, []).append(data)
        place = end
    if not ended:
        remarks["its end mark is missing"] = None
    pictures = sum(name == b"fcTL" for name, _, _ in places)
    frames = min(frames, pictures) if any(name == b"fdAT" for name, _, _ in places) else 1
    return Png(width, height, depth, kind, head[16:29], places, chunks, frames, tuple(remarks))


def pixels(file: BinaryIO, png: Png, animated: bool = False) -> bytes:
    """Returns a file of what the pixels alone need.

    Args:
      file: what `png` is of.
      png: its chunks.
      animated: whether to keep the frames of an animation.

    Raises:
      ValueError: a checksum of the pixels is wrong, or there are none.
    """
    parts = [SIGNATURE, _chunk(b"IHDR", png.header)]
    if png.kind == 3:
        parts += [_chunk(n, png.chunks[n][0]) for n in (b"PLTE", b"tRNS") if n in png.chunks]
    elif animated and png.key:
        parts.append(_chunk(b"tRNS", png.chunks[b"tRNS"][0]))
    found = False
    for name, offset, length in png.places:
        if name != b"IDAT" and not animated:
            continue
        file.seek(offset)
        data, check = file.read(length), file.read(4)
        if len(check) == 4 and int.from_bytes(check, "big") != zlib.crc32(data, zlib.crc32(name)):
            raise ValueError("the checksum of its pixels is wrong")
        found |= name == b"IDAT"
        parts.append(_chunk(name, data))
    if not found:
        raise ValueError("it has no pixels")
    return b"".join([*parts, _chunk(b"IEND", b"")])


def check_whole(data: bytes, png: Png) -> None:
    """Refuses pixels of which rows are missing at the end, which the decoder leaves black.

    Args:
      data: what `pixels` returns.
      png: the chunks.

    Raises:
      ValueError: there are fewer than the header says.
    """
    bits = png.depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[png.kind]
    needed = 0
    for left, top, across, down in _PASSES if png.header[12] else [(0, 0, 1, 1)]:
        width, height = -(-(png.width - left) // across), -(-(png.height - top) // down)
        needed += height * (1 + -(-width * bits // 8)) if width > 0 < height else 0
    unpack, place = zlib.decompressobj(), len(SIGNATURE)
    while needed > 0 and place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        rest = data[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        while rest and needed > 0 and not unpack.eof:
            needed -= len(unpack.decompress(rest, _BLOCK))
            rest = unpack.unconsumed_tail
        place += length + 12
    if needed > 0:
        raise ValueError("rows of its pixels are missing")


def exif(png: Png) -> dict[str, bytes | str]:
    """Returns what `Image.info` holds of EXIF and XMP, from which Pillow takes the orientation."""
    info: dict[str, bytes | str] = {}
    if b"eXIf" in png.chunks:
        info["exif"] = b"Exif\0\0" + png.chunks[b"eXIf"][0]
    for name in (b"tEXt", b"zTXt"):
        for data in png.chunks.get(name, ()):
            key, _, text = data.partition(b"\0")
            if key == b"Raw profile type exif":
                if name == b"zTXt":
                    text = zlib.decompressobj().decompress(text[1:], 2**20)
                info["Raw profile type exif"] = text.decode("latin-1")
    for data in png.chunks.get(b"iTXt", ()):
        if data.startswith(b"XML:com.adobe.xmp\0\0"):  # not compressed
            info["XML:com.adobe.xmp"] = data[17:].decode("utf-8", "replace")
    return info


def texts(png: Png) -> int:
    """Returns the number of texts, without those that are metadata of another kind than XMP."""
    others = b"Raw profile type"
    every = [data for kind in _TEXT for data in png.chunks.get(kind, ())]
    return sum(not data.startswith(others) for data in every)
