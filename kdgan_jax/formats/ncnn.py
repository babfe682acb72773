"""Reader of ncnn's models (`NAME.param`, a text of layers, and `NAME.bin`, weights) without ncnn.

ncnn's weights have no names. They get the names in PyTorch's files by the order of their layers,
which must form an SRVGGNetCompact or an RRDBNet. The format follows ncnn's own reader: src/net.cpp,
paramdict.cpp, modelbin.cpp and layer/*.cpp of github.com/Tencent/ncnn.
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.formats.reading import unreadable
from kdgan_jax.runtime.errors import UserError

MAGIC = "7767517"
# Limits: bytes of a .param, bytes of a .bin, and letters of a word (ncnn's own).
MAX_TEXT, MAX_BYTES, MAX_WORD = 2**22, 2**31, 255
LIMIT = 10**9  # whole numbers in a .param stay below it
ARRAY = -23300  # the key of setting 0 as a list; keys of lists count down from here
FLOATS, HALVES, INT8 = (0, 0x0002C056), 0x01306B47, 0x000D4B38  # how a kernel is stored
# Known layers and the settings to ignore: those with `Any` always, others if they have the default.
SETTINGS: dict[str, dict[int, Any]] = {"Input": {0: Any, 1: Any, 2: Any}, "Split": {}, "ReLU": {}}
SETTINGS |= {"Convolution": {0: Any, 6: Any, 8: 0, 9: 0, 11: 3, 18: 0, 19: 0}, "PReLU": {0: Any}}
SETTINGS["Convolution"] |= dict.fromkeys((2, 3, 12, 13, 14, 15, 16), 1)
SETTINGS |= {"Concat": {0: 0}, "Eltwise": {1: (1, 1)}, "BinaryOp": {0: 0, 1: 0}}
SETTINGS |= {"Interp": {1: Any, 2: Any, 3: 0, 4: 0, 5: 0, 6: 0}}
SETTINGS |= {"PixelShuffle": {0: Any, 1: 0}, "Reorg": {0: Any, 1: 0}}
HINTS = {30: Any, 31: Any}  # settings that any layer may have; they concern speed
CONVOLUTION = "Convolution", (1, 3), (4, 1), (5, 1)  # 3x3, padding 1, with bias
# Letters for layers, by kind and remaining settings, so that a regular expression can match a
# network. L is a convolution with a leaky ReLU; A adds two inputs, the first times 0.2.
LETTERS: dict[tuple[Any, ...], str] = {CONVOLUTION: "C", (*CONVOLUTION, (9, 2), (10, (0.2,))): "L"}
LETTERS |= {("Input",): "x", ("Split",): "", ("PReLU",): "P", ("ReLU", (0, 0.2)): "r"}
LETTERS |= {("Eltwise", (0, 1)): "+", ("Eltwise", (0, 1), (1, (0.2, 1))): "A", ("Concat",): "K"}
LETTERS |= {("BinaryOp",): "+", ("BinaryOp", (0, 2), (1, 1), (2, 0.2)): "m"}
LETTERS |= {("Interp", (0, 1)): "I", ("PixelShuffle",): "S", ("Reorg",): "R"}
LETTERS |= {("Interp", (0, 2)): "Z", ("Interp", (0, 3)): "Z"}  # smooth resizing
COMPACT = r"x(I(CP)+CS|(CP)+CSI)\+"
RRDB = r"xR?C(((LK){4}CA){3}A)+C\+(IL)*LC"


class _Layer(NamedTuple):
    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[int, Any]  # floats or tuples of floats

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    def whole(self, key: int) -> int:
        """Returns a setting that must be a whole number."""
        value = self.settings.get(key, 0)
        if not isinstance(value, float) or not 1 <= value < LIMIT or value % 1:
            raise ValueError(f"{self} has {key}={value}, not a whole number from 1 below {LIMIT:,}")
        return int(value)

    def check(self, required: dict[int, int]) -> None:
        """Refuses other settings than the `required` ones."""
        for key, value in required.items():
            if self.whole(key) != value:
                raise ValueError(f"{self} has {key}={self.whole(key)}, needed {value}")


def _whole(word: str, place: str) -> int:
    if not re.fullmatch(r"\d{1,9}", word, re.ASCII):
        raise ValueError(f"{place} has {word[:20]!r}, needed a whole number")
    return int(word)


def _setting(word: str, place: str) -> tuple[int, Any]:
    try:
        key_word, numbers = word.split("=")
        key, values = int(key_word), tuple(round(float(n), 6) for n in numbers.split(","))
        if not all(map(math.isfinite, values)) or (key <= ARRAY and values[0] != len(values) - 1):
            raise ValueError
    except ValueError:
        raise ValueError(f"{place} has {word!r}, needed KEY=NUMBER or KEY=LIST") from None
    if key <= ARRAY:  # the first number is the length of the list
        return ARRAY - key, values[1:]
    return key, values if len(values) > 1 else values[0]


def _layer(words: list[str], place: str) -> _Layer:
    if len(words) < 4 or max(map(len, words)) > MAX_WORD:
        raise ValueError(f"{place} does not describe a layer")
    kind, name, *counts = words[:4]
    first = 4 + _whole(counts[0], place)
    last = first + _whole(counts[1], place)
    if last > len(words):
        raise ValueError(f"{place} announces more inputs and outputs than it has")
    if kind not in SETTINGS:
        raise ValueError(f"layer {name!r} has kind {kind!r}; supported: {', '.join(SETTINGS)}")
    settings = dict(_setting(word, place) for word in words[last:])
    return _Layer(kind, name, words[4:first], words[first:last], settings)


def _layers(path: Path) -> list[_Layer]:
    if path.stat().st_size > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT:,} bytes")
    text = path.read_bytes().decode(errors="replace")
    rows = [(row.split(), f"line {i}") for i, row in enumerate(text.split("\n"), 1) if row.strip()]
    if len(rows) < 2 or rows[0][0] != [MAGIC] or "\ufffd" in text:
        raise ValueError(f"it is not UTF-8 text that starts with {MAGIC}; binary ones are not read")
    count = _whole(rows[1][0][0], rows[1][1])
    if count != len(rows) - 2:
        raise ValueError(f"it announces {count} layers and has {len(rows) - 2}")
    return [_layer(*row) for row in rows[2:]]


def _letters(layers: list[_Layer]) -> str:
    letters: list[str] = []
    blobs: set[str] = set()
    for layer in layers:
        ignored = SETTINGS[layer.kind] | HINTS
        rest = {k: v for k, v in layer.settings.items() if ignored.get(k) not in (Any, v)}
        letter = LETTERS.get((layer.kind, *sorted(rest.items())))
        if letter is None:
            hint = "; it is quantised to int8, use the float model" if 8 in rest else ""
            raise ValueError(f"{layer} has unsupported settings {str(rest)[:80]}{hint}")
        if undefined := set(layer.inputs) - blobs:
            raise ValueError(f"{layer} takes {min(undefined)!r}, which no earlier layer outputs")
        letters.append(letter)
        blobs.update(layer.outputs)
    return "".join(letters).replace("Cr", "L").replace("m+", "A")


def _shapes(layers: list[_Layer]) -> dict[str, tuple[int, ...]]:
    """Checks the layers; returns the weights' shapes by PyTorch's key, in the order of the .bin."""
    of = {kind: [layer for layer in layers if layer.kind == kind] for kind in SETTINGS}
    convs, prelus, ups, letters = of["Convolution"], of["PReLU"], of["Interp"], _letters(layers)
    if re.fullmatch(COMPACT, letters):
        f, factor = convs[0].whole(0), of["PixelShuffle"][0].whole(0)
        kernels = [(f"body.{2 * i}", f if i else 3, f) for i in range(len(convs))]
        kernels[-1] = (kernels[-1][0], f, 3 * factor**2)
    elif re.fullmatch(RRDB, letters):
        f, g, factor = convs[0].whole(0), convs[1].whole(0), 2
        side = of["Reorg"][0].whole(0) if of["Reorg"] else 1
        blocks = range((len(convs) - len(ups)) // 15)
        names = [f"body.{i}.rdb{k}.conv" for i in blocks for k in (1, 2, 3)]
        dense = [(j, f + (j - 1) * g, g if j < 5 else f) for j in range(1, 6)]
        kernels = [("conv_first", 3 * side**2, f)]
        kernels += [(f"{name}{j}", a, b) for name in names for j, a, b in dense]
        kernels += [("conv_body", f, f), *((f"conv_up{i + 1}", f, f) for i in range(len(ups)))]
        kernels += [("conv_hr", f, f), ("conv_last", f, 3)]
    else:
        if re.fullmatch(f"({COMPACT}|{RRDB})[IZ]", letters):
            raise ValueError("it resizes the picture at its end; use the model that does not (-x4)")
        raise ValueError("its layers form neither an SRVGGNetCompact nor an RRDBNet")
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (conv, (name, into, out)) in enumerate(zip(convs, kernels, strict=True)):
        conv.check({0: out, 6: 9 * into * out})
        shapes |= {f"{name}.weight": (out, into, 3, 3), f"{name}.bias": (out,)}
        if i < len(prelus):
            prelus[i].check({0: f})
            shapes[f"body.{2 * i + 1}.weight"] = (f,)
    for up in ups:
        up.check({1: factor, 2: factor})
    return shapes


def _weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    size, start, weights = path.stat().st_size, 0, {}
    if size > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES:,} bytes")
    data = path.read_bytes()
    for name, shape in shapes.items():
        dtype, count = "<f4", math.prod(shape)
        if len(shape) == 4:
            flag, start = int.from_bytes(data[start : start + 4], "little"), start + 4
            if start <= size and flag not in (*FLOATS, HALVES):
                how = "as int8" if flag == INT8 else "by a table of 256 numbers"
                raise ValueError(f"{path.name} holds {name} {how}; use the float model")
            dtype = "<f2" if flag == HALVES else dtype
        end = start + count * int(dtype[-1])
        if end > size:
            raise ValueError(f"{path.name} of {size:,} bytes ends in {name}, needed {end:,}")
        weights[name] = np.frombuffer(data, dtype, count, start).astype("f4").reshape(shape)
        start = end + end % 4  # an odd number of halves is padded to 4 bytes
    if start != size:
        raise ValueError(f"{path.name} has {size:,} bytes, needed {start:,}")
    return weights


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the weights of a .param and the .bin beside it, float32, by PyTorch's keys.

    Raises:
      UserError: a file is missing, damaged or quantised, or the network is not supported.
    """
    path = Path(path)
    data = path.with_suffix(".bin")
    for file in path, data:
        if not file.is_file():
            raise UserError(f"{file}: no such file; a model for ncnn is a .param and a .bin")
    try:
        return _weights(data, _shapes(_layers(path)))
    except ValueError as error:
        raise unreadable(path, "an ncnn model", error) from None
