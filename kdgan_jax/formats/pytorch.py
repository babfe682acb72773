"""Reader of PyTorch's files without PyTorch; no code in a file ever runs.

A `.pth` or `.pt` is a pickle that refers to storages: raw numbers that lie beside it in a zip
archive (since PyTorch 1.6), or follow it in a stream (before). A pickle of NumPy's arrays has them
inside. The unpickler here builds tensors and plain containers, and an inert placeholder for every
other class that a file names.
"""

import functools
import io
import pickle
import re
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdgan_jax.formats.reading import unreadable
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.limits import most_bytes

MAX_BYTES = 2**32  # of a file, and of all its tensors; `most_bytes` may allow fewer
MAX_ITEMS, MAX_DEPTH = 100_000, 64  # containers and tensors in a file; levels of nesting
MAX_VALUES = 10**7  # values in all those containers
MAGIC = 0x1950A86A20F9469CFC6C  # of the stream format

# Little-endian types by a storage's class; a bfloat16 is the upper half of a float32.
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "QInt8Storage": "i1",
    "QUInt8Storage": "u1",
    "QInt32Storage": "<i4",
}
# Numbers and words of these names are kept: they may tell what the weights leave open.
FACTS = {"scale", "upscale", "upscale_factor", "scale_factor", "act", "act_type", "activation"}


class Storage(NamedTuple):
    """A reference to raw numbers, which are read when a tensor needs them."""

    dtype: str
    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage as the pickle describes it; `_materialise` checks the description."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class Inert:
    """Stands for an object of an unknown class: keeps what it is given and does nothing."""

    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: Mapping[Any, Any] = types.MappingProxyType({})

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        """Keeps the state, which holds a module's parts."""
        self.state = state

    def __call__(self, *arguments: Any) -> "Inert":
        """Returns another placeholder, since the real result is unknown."""
        return Inert(*arguments)

    def append(self, item: Any) -> None:
        """Keeps an item of a list."""
        self[len(self.items)] = item

    def extend(self, items: Any) -> None:
        """Keeps items of a list."""
        for item in items:
            self.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keeps an item of a dictionary."""
        self.__dict__.setdefault("items", {})[key] = value


class Array(Inert):
    """A NumPy array as the pickle describes it; `_values` checks the description."""


CONTAINERS = Tensor, Inert, dict, list, tuple


def _array(*_: Any) -> Array:
    return Array()


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Array:
    array = Array()
    array.state = None, shape, dtype, order == "F", data
    return array


def _encoded(text: Any, *_: Any) -> bytes:
    return str(text).encode("latin1")  # how older pickles hold bytes


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, shape, strides)


def _first(value: Any = None, *_: Any) -> Any:
    return value


def _subclass(_: Any, __: Any, arguments: Any = (), *___: Any) -> Any:
    """Returns the plain tensor of one whose class is a subclass."""
    return _tensor(*arguments)


class _Unpickler(pickle.Unpickler):
    """Imports nothing: it rebuilds tensors and makes all other objects inert."""

    known: Mapping[str, Any] = {
        "collections.OrderedDict": OrderedDict,
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_qtensor": _tensor,
        "torch._utils._rebuild_parameter": _first,
        "torch._utils._rebuild_parameter_with_state": _first,
        "torch._tensor._rebuild_from_type_v2": _subclass,
        "torch.Size": tuple,
        "numpy.core.multiarray._reconstruct": _array,
        "numpy._core.multiarray._reconstruct": _array,
        "numpy.core.numeric._frombuffer": _array_of_buffer,
        "numpy._core.numeric._frombuffer": _array_of_buffer,
        "_codecs.encode": _encoded,
    }

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1")  # for text that Python 2 wrote
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return name
        return self.known.get(f"{module}.{name}") or type(name, (Inert,), {})

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            raise ValueError("a persistent reference that names no storage")
        if pid[0] == "module":  # a class with its source code, in a saved module
            return pid[1]
        if pid[0] != "storage" or len(pid) < 5 or pid[1] not in DTYPES:
            kind = getattr(pid[1], "__name__", pid[1]) if len(pid) > 1 else ""
            raise ValueError(f"numbers of an unknown type, {str(kind)[:40]!r}, perhaps float8")
        if type(pid[4]) is not int or pid[4] < 0:
            raise ValueError(f"a storage of size {pid[4]!r}")
        storage = Storage(DTYPES[pid[1]], str(pid[2]), pid[4])
        if self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key!r} is described twice, differently")
        return storage


def _materialise(tensor: Tensor, raw: Callable[[Storage], bytes]) -> np.ndarray:
    """Returns a tensor's numbers after checking its description."""
    storage, offset, shape, strides = tensor
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without storage")
    numbers = [offset, *shape, *strides]
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"a tensor has the impossible shape {shape} and strides {strides}")
    size = int(np.prod(shape, dtype=object))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if size > storage.size or (size and last >= storage.size):
        raise ValueError(f"a tensor of shape {shape} exceeds its storage of {storage.size}")
    dtype = np.dtype(storage.dtype)
    values = np.frombuffer(raw(storage), dtype)
    if len(values) != storage.size:
        raise ValueError(f"a storage has {len(values)} of {storage.size} numbers")
    steps = [step * dtype.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
    if storage.dtype == DTYPES["BFloat16Storage"]:
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view.astype(dtype.newbyteorder("="))


def _values(array: Array) -> np.ndarray:
    """Returns the numbers of a pickled NumPy array after checking its description."""
    _, shape, dtype, fortran, data = array.state
    code, order = dtype.arguments[0], dtype.state[1] if dtype.state else "="
    if not re.fullmatch("[<>|=][fiub][1248]", f"{order}{code}"):
        raise ValueError(f"an array of type {str(code)[:20]!r}")
    values = np.frombuffer(data, f"{order}{code}").reshape(shape, order="F" if fortran else "C")
    return values.astype(values.dtype.newbyteorder("="))


def _inside(item: Any) -> dict[Any, Any]:
    """Returns what a container or an object holds, by key; what is under "" has its own path."""
    if isinstance(item, dict):
        return item
    if isinstance(item, list | tuple):
        return dict(enumerate(item))
    if not isinstance(item, Inert):
        return {}
    state = item.state if isinstance(item.state, dict) else {}
    if "_modules" in state:
        parts = [state.get(group) for group in ("_parameters", "_buffers", "_modules")]
        return {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
    tensors = [a for a in item.arguments if isinstance(a, Tensor)][:1]  # of a parameter
    return {"": tensors[0]} if tensors else {**item.items, **state}


def _tensors(root: Any) -> Iterator[tuple[str, Tensor | Array | int | str]]:
    """Yields (dotted name, tensor, array or fact) of nested containers and modules, in order."""
    pending, visited, values = [("", root, 0)], 0, 0
    while pending:
        path, item, depth = pending.pop()
        visited += 1
        # Containers may be shared, so a few bytes can describe a huge tree.
        if visited > MAX_ITEMS or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_ITEMS} items or {MAX_DEPTH} levels")
        if isinstance(item, Tensor | Array | int | str):
            yield path, item
            continue
        parts = []
        inside = _inside(item)
        values += len(inside)
        if values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES:,} values")
        for key, value in inside.items():
            is_fact = key in FACTS and type(value) in (int, str) and len(str(value)) < 20
            if is_fact or isinstance(value, CONTAINERS):
                whole = ".".join(word for word in (path, str(key)) if word)
                parts.append((whole, value, depth + 1))
        pending.extend(reversed(parts))


def _zip(path: Path) -> tuple[Any, Callable[[Storage], bytes]]:
    archive = zipfile.ZipFile(path)
    if any(Path(name).name == "constants.pkl" for name in archive.namelist()):
        raise UserError(
            f"{path}: is a TorchScript program, whose code is never run; give its weights: in"
            " PyTorch, torch.save(torch.jit.load(FILE).state_dict(), OUT)"
        )
    end = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        # PyTorch never compresses, so honest records have their true size and do not overlap.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"{entry.filename} is compressed")
        if entry.header_offset < end:
            raise ValueError(f"{entry.filename} overlaps another record")
        end = entry.header_offset + entry.file_size
    names = [name for name in archive.namelist() if Path(name).name == "data.pkl"]
    if len(names) != 1:
        raise ValueError("a zip archive, but not PyTorch's" if not names else "two pickles")
    folder = names[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise ValueError("big-endian numbers")
    root = _Unpickler(io.BytesIO(archive.read(names[0]))).load()
    return root, functools.cache(lambda storage: archive.read(f"{folder}data/{storage.key}"))


def _stream(file: Any) -> tuple[Any, Callable[[Storage], bytes]]:
    if file.read(2) == b"PK":
        raise ValueError("an archive without its end: it was cut short")
    file.seek(0)
    root = _Unpickler(file).load()
    if root != MAGIC:  # a pickle of NumPy's arrays
        return root, lambda storage: b""
    _Unpickler(file).load(), _Unpickler(file).load()  # the protocol; facts about the machine
    unpickler = _Unpickler(file)
    root, keys = unpickler.load(), _Unpickler(file).load()
    raw: dict[str, bytes] = {}
    for key in map(str, keys if isinstance(keys, list) else []):
        storage = unpickler.storages.get(key)
        number = int.from_bytes(file.read(8), "little")
        if storage is None or number != storage.size:
            raise ValueError(f"storage {key!r} of {number} numbers does not match its description")
        raw[key] = file.read(number * np.dtype(storage.dtype).itemsize)
    return root, lambda storage: raw[storage.key]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns all tensors of a PyTorch file by dotted name, in PyTorch's layout.

    A name is the way to a tensor through dictionaries, lists and modules: "params.conv.weight".
    `FACTS` are there, too, as arrays without axes.

    Raises:
      UserError: the file is missing, damaged, a program, lies about sizes, or holds no tensor.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        if zipfile.is_zipfile(path):
            root, raw = _zip(path)
            return _collect(root, raw, most_bytes(path))
        with path.open("rb") as file:
            root, raw = _stream(file)
            return _collect(root, raw, most_bytes(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except Exception as error:  # a hostile pickle can raise anything
        raise unreadable(path, "a PyTorch file", error) from None


def _collect(root: Any, raw: Callable[[Storage], bytes], limit: int) -> dict[str, np.ndarray]:
    limit = min(limit, MAX_BYTES)
    weights, remaining = {}, limit
    for name, item in _tensors(root):
        if isinstance(item, Tensor):
            array = _materialise(item, raw)
        else:
            array = _values(item) if isinstance(item, Array) else np.asarray(item)
        remaining -= array.nbytes
        if remaining < 0:  # many tensors may be views of the same few numbers
            raise ValueError(f"its tensors take more than {limit:,} bytes")
        weights[name] = array
    if all(array.ndim == 0 for array in weights.values()):
        raise ValueError("it holds no tensor")
    return weights
