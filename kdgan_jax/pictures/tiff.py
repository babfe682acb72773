"""TIFF: which page is the picture, and its samples of any kind.

Decoders are given a directory with what pixels need alone, so that nothing else can refuse a
picture. Pillow decodes what it knows; tifffile the rest, and what Pillow would truncate.
"""

import io
import logging
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from kdgan_jax.pictures import samples
from kdgan_jax.pictures.samples import Samples, Unsupported

# Tags.
_KIND, _OLD_KIND = 254, 255
_WIDTH, _HEIGHT, _BITS, _PACKING, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 317, 320, 322, 323, 324, 325
_DIRECTORIES, _EXTRA, _FORMAT, _MAXIMUM, _TURN, _ICC = 330, 338, 339, 341, 274, 34675
_USUAL_MAXIMUM, _DNG, _EXIF, _INKS, _SUBSAMPLING = 281, 50706, 34665, 332, 530
_PIXELS = {
    *(_WIDTH, _HEIGHT, _BITS, _PACKING, _PHOTOMETRIC, _FILL, _STRIPS, _CHANNELS, _ROWS),
    *(_STRIP_BYTES, _PLANES, 292, 293, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILES),
    *(_TILE_BYTES, 332, 334, _EXTRA, _FORMAT, 347, *range(512, 522), 529, 530, 531, 532, 50674),
}
_TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4"}
_TYPES |= {7: "u1", 16: "u8", 17: "i8", 18: "u8"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_MOST_TAGS, _MOST_IN_ALL = 4096, 200_000
_LONGEST_ICC = 2**24
# Packings whose decoders are told how much they may return: none, LZW, Deflate, PackBits, LZMA,
# Zstandard.
_SIMPLE = {1, 5, 8, 32773, 32946, 34925, 50000}
_PACKINGS = {6: "old-style JPEG", 7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 50001: "WebP"}
_PACKINGS |= {22610: "JPEG XR", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL"}
_PACKINGS |= {33003: "JPEG 2000", 33005: "JPEG 2000", 34676: "SGI Log", 34677: "SGI Log"}
_PACKINGS |= {34933: "PNG"}
_USUAL = {2, 3, 4, 6, 7}  # those that Pillow can decode wherever it runs: fax and JPEG
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 8: 3, 9: 3}  # channels by photometric value
_RAW = {32803, 34892}
_MOST_BYTES = 16  # per pixel, of samples as they are stored
_MOST_ALPHA = 1.01  # of floats whose range is 0 to 1


class Page(NamedTuple):
    """A directory of a file: entries by tag, as they are stored."""

    file: BinaryIO
    order: str  # "<" or ">"
    big: bool
    entries: Mapping[int, bytes]

    def numbers(self, tag: int, most: int = 2**16) -> list[float]:
        """Returns the first values of a tag, [] if it is missing, damaged or no number."""
        entry = self.entries.get(tag)
        if entry is None:
            return []
        inline = 8 if self.big else 4
        kind, count = struct.unpack(self.order + ("HQ" if self.big else "HI"), entry[2:-inline])
        if kind not in _TYPES:
            return []
        dtype = np.dtype(self.order + _TYPES[kind])
        size = min(count, most) * dtype.itemsize
        data = entry[-inline:]
        if count * dtype.itemsize > inline:
            self.file.seek(int.from_bytes(data, "little" if self.order == "<" else "big"))
            data = self.file.read(size)
        size = min(size, len(data) - len(data) % dtype.itemsize)
        return np.frombuffer(data[:size], dtype).tolist()

    def number(self, tag: int, default: int) -> int:
        """Returns the first value of a tag as an integer."""
        values = self.numbers(tag, 1)
        return int(values[0]) if values and np.isfinite(values[0]) else default

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), not turned."""
        return self.number(_HEIGHT, 0), self.number(_WIDTH, 0)

    @property
    def orientation(self) -> int:
        """EXIF's orientation."""
        return self.number(_TURN, 1)

    @property
    def icc(self) -> bytes | None:
        """The colour profile."""
        values = self.numbers(_ICC, _LONGEST_ICC)
        return np.array(values, np.uint8).tobytes() if values else None

    @property
    def damaged(self) -> bool:
        """Whether there is metadata that cannot be read."""
        size, inline = self.file.seek(0, io.SEEK_END), 8 if self.big else 4
        for tag in set(self.entries) - _PIXELS:
            entry = self.entries[tag]
            kind, count = struct.unpack(self.order + ("HQ" if self.big else "HI"), entry[2:-inline])
            length = _SIZES.get(kind, size + 1) * count
            place = int.from_bytes(entry[-inline:], "little" if self.order == "<" else "big")
            if (length > inline and place + length > size) or (tag == _EXIF and place >= size):
                return True
        return False

    @property
    def copy_or_mask(self) -> bool:
        """Whether the page is a reduced copy or a mask of another one."""
        return bool(self.number(_KIND, 0) & 5) or self.number(_OLD_KIND, 1) == 2


def _directory(file: BinaryIO, order: str, big: bool, place: int) -> tuple[Page, int, int]:
    """Returns the directory at `place`, its rows, and where the next one is, 0 for none."""
    entry_size, number, offset = (20, "Q", "Q") if big else (12, "H", "I")
    file.seek(place)
    count_size = struct.calcsize(number)
    start = file.read(count_size)
    if len(start) < count_size:
        raise ValueError("its directory is cut")
    count = struct.unpack(order + number, start)[0]
    if not 0 < count <= _MOST_TAGS:
        raise ValueError("its directory is damaged")
    data = file.read(count * entry_size)
    entries: dict[int, bytes] = {}
    for i in range(len(data) // entry_size):
        entry = data[i * entry_size : (i + 1) * entry_size]
        entries.setdefault(struct.unpack(order + "H", entry[:2])[0], entry)
    end = file.read(struct.calcsize(offset))
    following = struct.unpack(order + offset, end)[0] if len(end) == struct.calcsize(offset) else 0
    return Page(file, order, big, entries), count, following


def pages(file: BinaryIO) -> list[Page]:
    """Returns the pages of a file, the first of which is sound.

    Raises:
      ValueError: the header or the first page is damaged.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    if len(head) < 8 or head[:2] not in (b"II", b"MM"):
        raise ValueError("its header is cut")
    big = 43 in head[2:4]
    place = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    found: list[Page] = []
    seen: set[int] = set()
    left = _MOST_IN_ALL
    while place and place not in seen and left > 0:
        seen.add(place)
        try:
            page, count, place = _directory(file, order, big, place)
        except (ValueError, OverflowError, OSError):
            if not found:
                raise
            break
        found.append(page)
        left -= count
    if not found:
        raise ValueError("it has no directory")
    return found


def choose(found: Sequence[Page]) -> tuple[Page, bool]:
    """Returns the page that is the picture, and whether there are others like it.

    That is the first that is no reduced copy or mask, or the largest if all are.
    """
    whole = [page for page in found if not page.copy_or_mask]
    if not whole:  # RAW files and others have the picture in a directory below
        for page in found[:16]:
            for place in page.numbers(_DIRECTORIES, 16):
                try:
                    below = _directory(page.file, page.order, page.big, int(place))[0]
                except (ValueError, OverflowError, OSError):
                    continue
                whole += [] if below.copy_or_mask else [below]
    if not whole:
        return max(found, key=lambda page: page.size[0] * page.size[1]), False
    return whole[0], len(whole) > 1


# Files for decoders


class _Overlaid(io.RawIOBase):
    """A file with other first bytes, and further ones at its end."""

    def __init__(self, file: BinaryIO, head: bytes, tail: bytes) -> None:
        self._file, self._head, self._tail = file, head, tail
        self._whole = file.seek(0, io.SEEK_END)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._place, self._whole + len(self._tail))[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        size = len(buffer)
        if self._place < len(self._head):
            data = self._head[self._place : self._place + size]
        elif self._place < self._whole:
            self._file.seek(self._place)
            data = self._file.read(min(size, self._whole - self._place))
        else:
            data = self._tail[self._place - self._whole :][:size]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _as_file(page: Page, keep: set[int], values: Mapping[int, int | Sequence[int]]) -> BinaryIO:
    """Returns a file of one page: entries of `keep`, and `values` instead of or beside them."""
    short, wide = ("HHQ", "Q") if page.big else ("HHI", "I")
    inline = struct.calcsize(wide)
    start = page.file.seek(0, io.SEEK_END)
    filler = bytes(start % 2)
    entries = {tag: entry for tag, entry in page.entries.items() if tag in keep}
    place = start + len(filler)
    extra = b""
    for tag, value in values.items():
        numbers = [value] if isinstance(value, int) else list(value)
        data = struct.pack(f"{page.order}{len(numbers)}I", *numbers)
        if len(data) > inline:
            data, extra = struct.pack(page.order + wide, place + len(extra)), extra + data
        entries[tag] = struct.pack(page.order + short, tag, 4, len(numbers)) + data.ljust(
            inline, b"\0"
        )
    directory = place + len(extra)
    count = struct.pack(page.order + ("Q" if page.big else "H"), len(entries))
    table = b"".join(entries[tag] for tag in sorted(entries))
    tail = filler + extra + count + table + bytes(inline)
    head = b"II" if page.order == "<" else b"MM"
    if page.big:
        head += struct.pack(page.order + "HHHQ", 43, 8, 0, directory)
    else:
        if directory >= 2**32:
            raise Unsupported("is larger than its kind of file can be")
        head += struct.pack(page.order + "HI", 42, directory)
    return io.BufferedReader(_Overlaid(page.file, head, tail), 2**16)


Opener = Callable[[BinaryIO, str], ImageFile.ImageFile]  # of a file and the name of its format


def metadata(page: Page) -> BinaryIO:
    """Returns a file of what a page says beside its pixels."""
    return _as_file(page, set(page.entries) - _PIXELS - {_DIRECTORIES}, {})


# Samples


class _Layout(NamedTuple):
    """How the samples of a page are stored."""

    height: int
    width: int
    channels: int
    bits: int
    same: bool  # whether all channels have these bits
    format: int  # 1 unsigned, 2 signed, 3 floats, 4 unknown, 5 and 6 complex
    packing: int
    photometric: int
    planar: bool
    extra: tuple[int, ...]
    stated: float | None

    @property
    def colours(self) -> int:
        return _COLOURS.get(self.photometric, self.channels)


def _layout(page: Page) -> _Layout:
    height, width = page.size
    packing = page.number(_PACKING, 1)
    photometric = page.number(_PHOTOMETRIC, 0)
    channels = page.number(_CHANNELS, 3 if packing == 6 else 1)
    bits = [int(b) for b in page.numbers(_BITS)] or [1]
    formats = [int(f) for f in page.numbers(_FORMAT)] or [1]
    if len(set(formats[:channels])) > 1:
        raise Unsupported("has samples of several kinds")
    stated = [v for v in page.numbers(_MAXIMUM) if np.isfinite(v) and v > 0]
    usual = page.number(_USUAL_MAXIMUM, 0)
    if not stated and usual & (usual + 1) == 0 and 8 <= usual.bit_length() < bits[0]:
        stated = [usual]  # else statistics, as the specification has it
    extra = tuple(int(e) for e in page.numbers(_EXTRA))
    if not extra and photometric == 2 and channels == 4:
        extra = (2,)
    return _Layout(
        height,
        width,
        channels,
        bits[0],
        len(set(bits[:channels])) == 1,
        formats[0],
        packing,
        photometric,
        channels > 1 and page.number(_PLANES, 1) == 2,
        extra,
        max(stated) if stated else None,
    )


def _check_whole(page: Page, layout: _Layout) -> None:
    """Refuses pages whose strips or tiles the file does not hold, before memory is taken.

    Raises:
      ValueError: it is cut or damaged.
    """
    height, width = layout.height, layout.width
    sizes = layout.bits * (1 if layout.planar else layout.channels)
    tiled = _TILES in page.entries
    if tiled:
        across, down = page.number(_TILE_WIDTH, 0), page.number(_TILE_HEIGHT, 0)
        if across < 1 or down < 1 or across * down > (Image.MAX_IMAGE_PIXELS or float("inf")):
            raise ValueError(f"it states tiles of {across}x{down}")
        number = -(-width // across) * -(-height // down)
        needed = down * -(-across * sizes // 8)
    else:
        down = min(page.number(_ROWS, height) or height, height)
        number = -(-height // down)
        needed = down * -(-width * sizes // 8)
    number *= layout.channels if layout.planar else 1
    offsets = page.numbers(_TILES if tiled else _STRIPS, number)
    counts = page.numbers(_TILE_BYTES if tiled else _STRIP_BYTES, number)
    size = page.file.seek(0, io.SEEK_END)
    if len(offsets) < number:
        raise ValueError("parts of its pixels are missing")
    offset = np.array(offsets, np.float64)
    if layout.packing == 1:
        rows = np.full(number, needed, np.float64)
        if not tiled and height % down:
            last = -(-width * sizes // 8) * (height % down)
            rows[-(-height // down) - 1 :: -(-height // down)] = last
        ends = offset + rows
    elif len(counts) == number:
        ends = offset + np.array(counts, np.float64)
        if (np.array(counts) <= 0).any():
            raise ValueError("parts of its pixels are missing")
    else:
        ends = offset + 1
    if (offset <= 0).any() or (ends > size).any():
        raise ValueError("it ends within its pixels")


def _array(page: Page, keep: set[int], values: Mapping[int, int | Sequence[int]]) -> np.ndarray:
    """Returns what tifffile decodes (S, 1, H, W, C) of the file that `_as_file` makes."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its errors name no file
    with tifffile.TiffFile(_as_file(page, keep, values)) as file:
        return file.pages[0].asarray(squeeze=False, maxworkers=1)


def _decoded(page: Page, layout: _Layout) -> np.ndarray:
    """Returns the samples (H, W, C) as tifffile decodes them, signed ones as unsigned bits."""
    keep = _PIXELS - {_FORMAT, *([_BITS] if layout.format != 3 else [])}
    values: dict[int, int | Sequence[int]] = {
        _PHOTOMETRIC: 1,
        _FORMAT: 3 if layout.format == 3 else 1,
    }
    values[_BITS] = [layout.bits] * layout.channels
    keep -= {_PALETTE, 332, 334, 529, 530, 531, 532}
    bits, width, in_row = layout.bits, layout.width, 1 if layout.planar else layout.channels
    raw = layout.format != 3 and (bits in (24, 40, 48, 56) or 32 < bits < 64)
    if raw:  # bytes are decoded, and cut into samples here
        if page.number(_PREDICTOR, 1) != 1:
            raise Unsupported(f"has {bits} bits with a predictor")
        width = -(-width * in_row * bits // 8)
        values |= {_WIDTH: width, _BITS: [8] * (layout.channels // in_row)}
        values |= {_CHANNELS: layout.channels // in_row}
        keep -= {_EXTRA}
        if _TILES in page.entries:
            across = page.number(_TILE_WIDTH, 0) * in_row * bits
            if across % 8:
                raise Unsupported(f"has tiles of {bits} bits")
            values[_TILE_WIDTH] = across // 8
    height, rows = layout.height, page.number(_ROWS, 0)
    try:
        array = _array(page, keep, values)
    except Exception:
        if not 0 < rows < height or height % rows == 0:
            raise
        # Some programs fill the last strip up.
        array = _array(page, keep, values | {_HEIGHT: -(-height // rows) * rows})[:, :, :height]
    planes = array.reshape(array.shape[0], *array.shape[2:])  # (S, H, W, C)
    if raw:
        little = page.order == "<"
        cut = [samples.unpacked(p[..., 0], layout.width * in_row, bits, little) for p in planes]
        planes = np.stack(cut).reshape(len(cut), layout.height, layout.width, in_row)
    decoded = planes[0] if len(planes) == 1 else np.moveaxis(planes[..., 0], 0, -1)
    if decoded.shape != (layout.height, layout.width, layout.channels):
        raise ValueError(f"its pixels are of {decoded.shape}")
    return decoded.astype(np.uint8) if decoded.dtype == bool else decoded


def _in_range(
    decoded: np.ndarray, layout: _Layout, certain: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns samples as uint8 or uint16 of full range, and remarks."""
    colours = decoded[..., : layout.colours]
    if layout.format == 3:
        white, remark = samples.float_white(colours, layout.stated)
        remarks = tuple(filter(None, (remark, samples.negative(colours, white))))
        parts = [samples.scaled(colours, white, np.uint16)]
        for i in range(layout.colours, layout.channels):  # alpha is of 0 to 1 beside any colours
            extra = decoded[..., i : i + 1]
            one = white if (extra > _MOST_ALPHA).any() else 1
            parts.append(samples.scaled(extra, one, np.uint16))
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0], remarks
    bits, below = layout.bits, ""
    depth = np.uint8 if bits <= 8 else np.uint16
    if layout.format == 2:
        bits -= 1
        signs = decoded >> bits
        if signs[..., : layout.colours].any():
            below = "its negative samples become black"
        decoded = np.where(signs, 0, decoded).astype(decoded.dtype)
        colours = decoded[..., : layout.colours]
    white, remark = samples.integer_white(colours, max(bits, 1), layout.stated, certain)
    return samples.scaled(decoded, white, depth), tuple(filter(None, (remark, below)))


def _coloured(decoded: np.ndarray, layout: _Layout, page: Page) -> np.ndarray:
    """Returns uint8 RGB of indices into the palette."""
    table = np.array(page.numbers(_PALETTE, 3 * 2**16), np.int64)
    if table.size != 3 << layout.bits:
        raise ValueError("its palette is damaged")
    table = table.reshape(3, -1).T
    table = (table // 256 if table.max() > 255 else table).astype(np.uint8)
    return table[decoded[..., 0]]


def _samples(page: Page, layout: _Layout) -> Samples:
    decoded = _decoded(page, layout)
    remarks: tuple[str, ...] = ()
    lab, palette = layout.photometric in (8, 9), layout.photometric == 3
    if palette:
        index, extra = decoded[..., :1], decoded[..., 1:]
        values = _coloured(index, layout, page)
        alpha = samples.scaled(extra, 2**layout.bits - 1, np.uint8)
    elif lab:
        if layout.format == 3 or layout.bits not in (8, 16):
            raise Unsupported(f"is of {layout.bits}-bit Lab")
        values, alpha = decoded[..., :3], decoded[..., 3:]
        if layout.photometric == 9:  # offsets instead of signs
            values = values ^ np.array([0, *[1 << (layout.bits - 1)] * 2], values.dtype)
    else:
        scaled, remarks = _in_range(decoded, layout, certain=layout.photometric == 5)
        values, alpha = scaled[..., : layout.colours], scaled[..., layout.colours :]
    which = next((i for i, e in enumerate(layout.extra) if e in (1, 2, 999)), None)
    if which is None or which >= alpha.shape[-1]:
        opacity = None
    else:
        opacity = alpha[..., which : which + 1]
        if layout.extra[which] == 1 and not (lab or palette):
            values = samples.straight(values, opacity)
    if layout.photometric == 0:
        values = np.iinfo(values.dtype).max - values
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[values.shape[-1]]
    return Samples(values, "LAB" if lab else mode, opacity, remarks=remarks)


def _for_pillow(layout: _Layout) -> bool:
    """Returns whether Pillow decodes these samples without loss."""
    if layout.packing not in _SIMPLE or layout.photometric not in _COLOURS:
        return True
    if layout.packing == 1 or layout.photometric == 3:
        return False  # it is slower, and darkens palettes of 8 bits
    plain = layout.same and layout.bits in (1, 2, 4, 8) and layout.format in (1, 4)
    unstated = layout.stated is None or layout.stated == 2**layout.bits - 1
    return plain and unstated and not layout.planar and 1 not in layout.extra


def _reason(layout: _Layout) -> str:
    packing = _PACKINGS.get(layout.packing, str(layout.packing))
    packed = "" if layout.packing in _SIMPLE else f", compression {packing}"
    kind = {2: "signed ", 3: "float ", 5: "complex ", 6: "complex "}.get(layout.format, "")
    return (
        f"is a TIFF of {layout.channels} {kind}samples of {layout.bits} bits (photometric"
        f" {layout.photometric}{packed}), which is not read"
    )


def read(page: Page, opened: Opener) -> Samples:
    """Returns the samples of a page; `opened` opens what Pillow reads.

    Raises:
      Unsupported: the page is of a kind that is not read; says which.
      ValueError: it is damaged or cut.
      Exception: of many other kinds; it is damaged.
    """
    layout = _layout(page)
    if layout.photometric in _RAW or (_DNG in page.entries and layout.photometric not in _COLOURS):
        raise Unsupported("is a camera's RAW file")
    simple = layout.packing in _SIMPLE
    if layout.photometric == 5 and page.number(_INKS, 1) == 2:
        raise Unsupported("is a TIFF of other inks than those of CMYK")
    mixed = layout.planar or set(page.numbers(_SUBSAMPLING)) - {1}
    if (simple and layout.photometric == 6 and mixed) or (not simple and layout.bits > 8):
        raise Unsupported(_reason(layout))  # Pillow would give noise
    if layout.packing != 6:
        _check_whole(page, layout)
    stored = layout.height * layout.width * layout.channels * -(-layout.bits // 8)
    if stored > _MOST_BYTES * (Image.MAX_IMAGE_PIXELS or float("inf")):
        raise MemoryError
    if _for_pillow(layout):
        try:
            image = opened(_as_file(page, _PIXELS, {}), "TIFF")
        except ValueError:  # a kind that Pillow does not know
            image = None
        if image:
            try:
                with image:
                    return Samples(*samples.of_image(image))
            except OSError:
                if simple or layout.packing in _USUAL:
                    raise
    if not simple or layout.photometric not in _COLOURS:
        raise Unsupported(_reason(layout))
    if not layout.same or layout.format not in (1, 2, 3, 4) or layout.channels < layout.colours:
        raise Unsupported(_reason(layout))
    return _samples(page, layout)
