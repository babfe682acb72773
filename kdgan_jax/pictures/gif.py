"""GIF: a file without a damaged block before its first image."""

import re

_EXTENSION, _CONTROL, _IMAGE, _END = 0x21, 0xF9, 0x2C, 0x3B
# An image, often with a block before it that says what is transparent.
_FIRST = re.compile(rb"(?=((?:\x21\xf9\x04.{4}\0)?\x2c(.{8})(.)))", re.DOTALL)
_MOST_SEARCHED = 1000  # places after damage that might be an image


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2], "little")


def _table(flags: int) -> int:
    """Returns the bytes of a colour table."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def repaired(data: bytes) -> bytes | None:
    """Returns a file whose first image follows what is sound; None if nothing is damaged there."""
    place = 13 + _table(data[10]) if len(data) > 13 else len(data)
    while place + 1 < len(data) and data[place] == _EXTENSION:
        if data[place + 1] == _CONTROL and data[place + 2 : place + 3] != b"\4":
            break
        end = place + 2
        while end < len(data) and data[end]:
            end += data[end] + 1
        if end + 1 >= len(data) or data[end + 1] not in (_EXTENSION, _IMAGE, _END):
            break
        place = end + 1
    else:
        if place >= len(data) or data[place] in (_IMAGE, _END):
            return None
    width, height = _number(data, 6), _number(data, 8)
    for match, _ in zip(_FIRST.finditer(data, place + 1), range(_MOST_SEARCHED), strict=False):
        left, top, across, down = (_number(match[2], i) for i in (0, 2, 4, 6))
        code = match.end(1) + _table(match[3][0])
        inside = 0 < across <= width - left and 0 < down <= height - top
        if inside and code < len(data) and 1 <= data[code] <= 11:
            return data[:place] + data[match.start() :]
    return None
