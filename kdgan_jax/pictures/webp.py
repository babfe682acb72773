"""WebP: a file without the chunks that do not matter to pixels."""

import struct

_PIXELS = b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"
_METADATA = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
_ALPHA_OR_FRAMES = 0x12  # the flags of VP8X that pixels need


def split(data: bytes) -> tuple[bytes, dict[str, bytes], tuple[str, ...]]:
    """Returns a file of the pixels alone, the metadata as in `Image.info`, and what is wrong.

    Raises:
      ValueError: pixels are missing.
    """
    parts: list[bytes] = []
    info: dict[str, bytes] = {}
    remarks: list[str] = []
    place, pictures = 12, 0
    while place + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        if len(body) < length:
            if not pictures:
                raise ValueError("it ends within its pixels")
            remarks.append("it is cut after its first picture")
            break
        if name == b"VP8X":
            body = bytes([body[0] & _ALPHA_OR_FRAMES]) + body[1:] if body else body
        if name == b"VP8X" or name in _PIXELS:
            pictures += name in (b"VP8 ", b"VP8L", b"ANMF")
            parts.append(struct.pack("<4sI", name, length) + body + bytes(length % 2))
        elif name in _METADATA:
            info.setdefault(_METADATA[name], body)
        place += 8 + length + length % 2
    whole = b"".join(parts)
    return struct.pack("<4sI4s", b"RIFF", len(whole) + 4, b"WEBP") + whole, info, tuple(remarks)
