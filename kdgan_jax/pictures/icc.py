"""ICC profiles of displays (ICC.1:2022): three curves and a matrix, read and built.

Everything else that a profile can hold is left to Little CMS.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

D50 = (0.9642, 1.0, 0.8249)  # the white of profiles, XYZ
_STEPS = 65536  # of a curve that is read
_MOST_TAGS = 100
# From XYZ to the cones' responses by Bradford, in which whites are adapted.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

# Curves as a profile stores them: the exponent alone, or y = (a x + b)^g from d on and c x below.
Curve = Sequence[float]
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
# (x, y) of white, red, green and blue.
SRGB_PRIMARIES = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))


class Display(NamedTuple):
    """What an RGB profile of curves and a matrix says.

    Attributes:
      curves: (3, 65536) float32, the linear light in [0, 1] of evenly spaced values.
      matrix: (3, 3), XYZ under D50 in the columns of red, green and blue light.
    """

    curves: np.ndarray
    matrix: np.ndarray


def tags(profile: bytes) -> dict[bytes, bytes]:
    """Returns the tags of a profile; empty if it has no header of one, without those cut off."""
    if profile[36:40] != b"acsp" or len(profile) < 132:
        return {}
    number = min(int.from_bytes(profile[128:132], "big"), _MOST_TAGS)
    table = profile[132 : 132 + 12 * number]
    found = {}
    for name, start, length in struct.iter_unpack(">4sII", table[: len(table) // 12 * 12]):
        if start + length <= len(profile):
            found[name] = profile[start : start + length]
    return found


def _numbers(data: bytes) -> np.ndarray:
    """Returns the numbers of 16 + 16 bits in `data`."""
    return np.frombuffer(data, ">i4") / 65536


def _curve(tag: bytes) -> np.ndarray:
    """Returns a curve's linear light (65536,) float32; ValueError if it is of another kind."""
    x = np.linspace(0, 1, _STEPS)
    if tag[:4] == b"curv":
        count = int.from_bytes(tag[8:12], "big")
        points = np.frombuffer(tag[12:], ">u2", count)
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (points[0] / 256)
        else:
            y = np.interp(x, np.linspace(0, 1, count), points / 65535)
    elif tag[:4] == b"para":
        kind = int.from_bytes(tag[8:10], "big")
        g, *rest = _numbers(tag[12 : 12 + 4 * (1, 3, 4, 5, 7)[kind]])
        a, b, c, d, e, f = {
            0: lambda: (1, 0, 0, 0, 0, 0),
            1: lambda: (*rest, 0, -rest[1] / rest[0], 0, 0),
            2: lambda: (*rest[:2], 0, -rest[1] / rest[0], rest[2], rest[2]),
            3: lambda: (*rest, 0, 0),
            4: lambda: rest,
        }[kind]()
        y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    else:
        raise ValueError(f"a curve of type {tag[:4]!r}")
    if not np.isfinite(y).all():
        raise ValueError("a curve without bounds")
    return np.clip(y, 0, 1).astype(np.float32)


def display(profile: bytes) -> Display | None:
    """Returns the curves and the matrix of an RGB profile, None if it is of another kind."""
    table = tags(profile)
    try:
        with np.errstate(all="ignore"):
            if profile[16:20] != b"RGB ":
                return None
            curves = np.stack([_curve(table[c + b"TRC"]) for c in (b"r", b"g", b"b")])
            columns = [_numbers(table[c + b"XYZ"][8:20]) for c in (b"r", b"g", b"b")]
            return Display(curves, np.stack(columns, axis=1))
    except (KeyError, IndexError, ValueError, ArithmeticError):
        return None


def grey_curve(profile: bytes) -> np.ndarray | None:
    """Returns the curve (65536,) of a grey profile, None if it is of another kind."""
    try:
        with np.errstate(all="ignore"):
            return _curve(tags(profile)[b"kTRC"]) if profile[16:20] == b"GRAY" else None
    except (KeyError, IndexError, ValueError, ArithmeticError):
        return None


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def matrix_of(primaries: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns the (3, 3) matrix of `primaries`, (x, y) of white, red, green, blue, under D50.

    Raises:
      ValueError: they span no colours.
    """
    try:
        white, *columns = (_xyz(x, y) for x, y in primaries)
        light = np.stack(columns, axis=1)
        light = light * np.linalg.solve(light, white)
        gain = (_BRADFORD @ D50) / (_BRADFORD @ white)
        adapted = np.linalg.inv(_BRADFORD) @ (gain[:, None] * _BRADFORD) @ light
    except (ArithmeticError, np.linalg.LinAlgError):
        raise ValueError("primaries without an area") from None
    if not (np.abs(adapted) < 10).all() or abs(np.linalg.det(adapted)) < 1e-3:
        raise ValueError("primaries without an area")
    return adapted


SRGB_MATRIX = matrix_of(SRGB_PRIMARIES)


def _fixed(values: Sequence[float] | np.ndarray) -> bytes:
    return np.round(np.asarray(values) * 65536).astype(">i4").tobytes()


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(data), 28) + data


def _profile(space: bytes, name: str, tags: Mapping[bytes, bytes]) -> bytes:
    whole = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(D50),
        **tags,
    }
    start, table, body = 132 + 12 * len(whole), b"", b""
    places: dict[bytes, int] = {}  # equal tags are stored once
    for tag, data in whole.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, places[data], len(data))
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x04400000, b"mntr", space, b"XYZ ")
    # A fixed date: the same picture gives the same file.
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(whole)) + table + body


def _stored(curve: Curve | np.ndarray) -> bytes:
    if isinstance(curve, np.ndarray):
        entries = np.round(curve * 65535).astype(">u2").tobytes()
        return b"curv" + bytes(4) + struct.pack(">I", len(curve)) + entries
    return b"para" + bytes(4) + struct.pack(">HH", 3 if len(curve) == 5 else 0, 0) + _fixed(curve)


def build(
    name: str, matrix: np.ndarray, curve: Curve | np.ndarray, cicp: bytes | None = None
) -> bytes:
    """Returns an RGB profile.

    Args:
      name: its description.
      matrix: (3, 3) as `matrix_of` returns it.
      curve: of all three channels: numbers, or linear light in [0, 1] of evenly spaced values.
      cicp: the four bytes of a `cicp` tag, if any (ITU-T H.273).
    """
    letters, stored = (b"r", b"g", b"b"), _stored(curve)
    columns = {c + b"XYZ": b"XYZ " + bytes(4) + _fixed(matrix[:, i]) for i, c in enumerate(letters)}
    codes = {b"cicp": b"cicp" + bytes(4) + cicp} if cicp else {}
    return _profile(
        b"RGB ", name, {**columns, **dict.fromkeys([c + b"TRC" for c in letters], stored), **codes}
    )


def build_grey(name: str, curve: Curve) -> bytes:
    """Returns a profile for one channel of grey; arguments as for `build`."""
    return _profile(b"GRAY", name, {b"kTRC": _stored(curve)})
