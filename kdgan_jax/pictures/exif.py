"""EXIF (CIPA DC-008): the tags of a file, as far as they can be read, and how they are written.

Values stay bytes, so whatever a camera has stored comes back as it was.
"""

import io
import struct
from collections.abc import Collection, Mapping
from typing import BinaryIO, Literal, NamedTuple, Protocol, cast

DESCRIPTION, SOFTWARE, ORIENTATION = 0x010E, 0x0131, 0x0112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
PROCESSING_SOFTWARE = 0x000B  # what has changed the picture after the camera's software
XMP, IPTC = 0x02BC, 0x83BB
_MAKER_NOTE, _SIDES = 0x927C, (0xA002, 0xA003)  # width, height
_DIRECTORIES = {0x8769, 0x8825, 0xA005}  # tags that lead to further ones: EXIF, GPS, interoperation
_PREVIEWS = {0x014A, 0x0201, 0x0202}  # tags that lead to other pictures
_MOST, _MOST_ROWS = 2**21, 4096  # bytes of all values; tags of a directory
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5


Order = Literal["<", ">"]


class Entry(NamedTuple):
    """A value: its type and number in TIFF's terms, its bytes, and where they were if not inline.

    A directory's `below` has the entries to which it leads.
    """

    kind: int
    number: int
    data: bytes
    place: int | None = None
    below: "Mapping[int, Entry] | None" = None


class Exif(NamedTuple):
    """The tags of a file.

    Attributes:
      order: "<" or ">", the order of bytes.
      entries: the values by their tags.
      notes: the whole data if it has a maker's note, else b"". Such a note refers to places in it,
        so these have to stay.
    """

    order: Order
    entries: dict[int, Entry]
    notes: bytes = b""


EMPTY = Exif("<", {})


class Raw(Protocol):
    """Bytes, or what reads them from a file."""

    def __len__(self) -> int: ...  # noqa: D105

    def __getitem__(self, part: slice, /) -> bytes: ...  # noqa: D105


class Window:
    """The bytes of a file, of which only those asked for are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def __len__(self) -> int:  # noqa: D105
        return self._size

    def __getitem__(self, part: slice) -> bytes:  # noqa: D105
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


class _Source(NamedTuple):
    """Where tags are read from; `big` files count with 64 bits."""

    raw: Raw
    order: Order
    big: bool

    def integer(self, place: int, size: int) -> int:
        data = self.raw[place : place + size]
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def table(self, start: int) -> tuple[int, int, int]:
        """Returns where the rows of the directory at `start` begin, their number and their size."""
        wide, row = (8, 20) if self.big else (2, 12)
        begin = start + wide
        number = self.integer(start, wide) if 8 <= start <= len(self.raw) - wide else 0
        return begin, min(number, _MOST_ROWS, max(0, len(self.raw) - begin) // row), row

    def following(self, start: int) -> int:
        """Returns where the directory after the one at `start` is, 0 for none."""
        begin, number, row = self.table(start)
        return self.integer(begin + number * row, 8 if self.big else 4) if number else 0


def _source(raw: Raw) -> tuple[_Source, int] | None:
    """Returns `raw` as a source and where its first directory is."""
    head, orders = raw[:16], {b"II": "<", b"MM": ">"}
    order = cast(Order | None, orders.get(head[:2]))
    if order is None or len(head) < 8 or sorted(head[2:4]) not in ([0, 42], [0, 43]):
        return None
    source = _Source(raw, order, 43 in head[2:4])
    return source, source.integer(8, 8) if source.big else source.integer(4, 4)


def _entries(
    source: _Source,
    start: int,
    wanted: Collection[int] | None,
    left: list[int],
    depth: int = 0,
) -> dict[int, Entry]:
    """Returns the readable entries of the directory at `start`.

    `left` holds the number of bytes that may still be read: entries of hostile files share theirs.
    """
    found: dict[int, Entry] = {}
    raw, begin, number, size = source.raw, *source.table(start)
    rows, inline = raw[begin : begin + number * size], 8 if source.big else 4
    for i in range(0, len(rows) - size + 1, size):
        tag, kind = struct.unpack_from(source.order + "HH", rows, i)
        form = source.order + ("QQ" if source.big else "II")
        count, place = struct.unpack_from(form, rows, i + 4)
        length = _SIZES.get(kind, 0) * count
        if tag in _PREVIEWS or (wanted is not None and tag not in wanted):
            continue
        if tag in _DIRECTORIES:
            if source.big and kind in (4, 13):  # not all of the field
                (place,) = struct.unpack_from(source.order + "I", rows, i + 12)
            below = _entries(source, place, None, left, depth + 1) if depth < 2 else {}
            if below:
                found[tag] = Entry(_LONG, 1, b"", below=below)
        elif 0 < length <= inline:
            found[tag] = Entry(kind, count, rows[i + size - inline :][:length])
        elif 0 < length <= left[0] and 8 <= place <= len(raw) - length:
            left[0] -= length
            found[tag] = Entry(kind, count, raw[place : place + length], place)
    return found


def _without_thumbnail(raw: bytes, source: _Source, start: int) -> bytes:
    """Returns EXIF without the old picture in small, if that is at its end as usual."""
    begin, number, size = source.table(source.following(start))
    places = {
        source.integer(at, 2): source.integer(at + 8, 4)
        for at in range(begin, begin + number * size, size)
    }
    first, length = (places.get(tag, 0) for tag in (0x0201, 0x0202))
    return raw[:first] if first > 8 and first + length == len(raw) else raw


def read(raw: Raw, page: int = 0, wanted: Collection[int] | None = None) -> Exif:
    """Returns the tags in `raw`, EXIF or a TIFF file; without those that are damaged.

    Thumbnails and previews are left out, and so is what does not fit into 2 MiB.

    Args:
      raw: from the header of a TIFF on.
      page: which picture of a TIFF file.
      wanted: the tags of its first directory that are read; None for all.
    """
    known = _source(raw)
    if not known:
        return EMPTY
    source, start = known
    for _ in range(page):
        start = source.following(start)
    entries = _entries(source, start, wanted, [_MOST])
    exif = entries.get(0x8769)
    noted = exif and exif.below and _MAKER_NOTE in exif.below
    notes = _without_thumbnail(raw, source, start) if noted and isinstance(raw, bytes) else b""
    return Exif(source.order, entries, notes)


def _append(out: bytearray, exif: Exif, entries: Mapping[int, Entry], base: int) -> int:
    """Appends a directory with its values to `out`, which begins at `base`; returns its place."""
    table = b""
    for tag, entry in sorted(entries.items()):
        if entry.below is not None:
            value = struct.pack(exif.order + "I", _append(out, exif, entry.below, base))
        elif len(entry.data) <= 4:
            value = entry.data.ljust(4, b"\0")
        elif entry.place is not None and entry.place + len(entry.data) <= len(exif.notes):
            value = struct.pack(exif.order + "I", entry.place)
        else:
            out += bytes(len(out) % 2)
            value = struct.pack(exif.order + "I", base + len(out))
            out += entry.data
        table += struct.pack(exif.order + "HHI", tag, entry.kind, entry.number) + value
    out += bytes(len(out) % 2)
    place = base + len(out)
    out += struct.pack(exif.order + "H", len(entries)) + table + bytes(4)
    return place


def write(exif: Exif) -> bytes:
    """Returns the tags as TIFF's bytes, b"" if there are none."""
    if not exif.entries:
        return b""
    head = b"II*\0" if exif.order == "<" else b"MM\0*"
    out = bytearray(exif.notes or head + bytes(4))
    place = _append(out, exif, exif.entries, 0)
    out[4:8] = struct.pack(exif.order + "I", place)
    return bytes(out)


def into_tiff(file: bytes, added: Exif) -> bytes:
    """Returns a TIFF file of one picture with the tags of `added` that it does not have.

    Both have the same order of bytes.
    """
    known = _source(file)
    if not known or known[0].big:  # more than 4 GB, beyond which nothing can be added
        return file
    source, start = known
    begin, number, size = source.table(start)
    rows = [file[at : at + size] for at in range(begin, begin + number * size, size)]
    present = {struct.unpack_from(source.order + "H", row)[0] for row in rows}
    extra = {tag: entry for tag, entry in added.entries.items() if tag not in present}
    if not extra:
        return file
    out = bytearray(bytes(len(file) % 2))
    place = _append(out, Exif(source.order, {}), extra, len(file))
    at = place - len(file)
    rows += [bytes(out[i : i + size]) for i in range(at + 2, at + 2 + size * len(extra), size)]
    rows.sort(key=lambda row: struct.unpack_from(source.order + "H", row)[0])
    out[at:] = struct.pack(source.order + "H", len(rows)) + b"".join(rows) + bytes(4)
    return file[:4] + struct.pack(source.order + "I", place) + file[8:] + bytes(out)


def resized(exif: Exif, height: int, width: int) -> Exif:
    """Returns the tags with the size of the result in place of another one."""
    lead = exif.entries.get(0x8769)
    if lead is None or lead.below is None:
        return exif
    below = dict(lead.below)
    for tag, side in zip(_SIDES, (width, height), strict=True):
        if tag in below:
            below[tag] = Entry(_LONG, 1, struct.pack(exif.order + "I", side))
    return exif._replace(entries=exif.entries | {0x8769: lead._replace(below=below)})


def text(value: str) -> Entry:
    """Returns a text; EXIF has ASCII, of which UTF-8 has become the usual extension."""
    data = value.replace("\0", " ").encode("utf-8", "replace") + b"\0"
    return Entry(_ASCII, len(data), data)


def resolution(exif: Exif) -> tuple[float, float] | None:
    """Returns (horizontal, vertical) pixels per inch, None if there are none."""
    values = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        entry = exif.entries.get(tag)
        if not entry or entry.kind != _RATIONAL or len(entry.data) < 8:
            return None
        above, below = struct.unpack_from(exif.order + "II", entry.data)
        values.append(above / below if below else 0.0)
    unit = exif.entries.get(RESOLUTION_UNIT)
    kind = struct.unpack_from(exif.order + "H", unit.data)[0] if unit and unit.kind == _SHORT else 2
    if kind not in (2, 3):  # no unit: only the shape of pixels
        return None
    inch = 1 if kind == 2 else 2.54
    return values[0] * inch, values[1] * inch


def of_resolution(dpi: tuple[float, float], order: str) -> dict[int, Entry]:
    """Returns the entries that say `dpi`."""
    rationals = [
        Entry(_RATIONAL, 1, struct.pack(order + "II", round(value * 10_000), 10_000))
        for value in dpi
    ]
    return {
        X_RESOLUTION: rationals[0],
        Y_RESOLUTION: rationals[1],
        RESOLUTION_UNIT: Entry(_SHORT, 1, struct.pack(order + "H", 2)),
    }
