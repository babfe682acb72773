"""Writers of PyTorch files, opcode by opcode: they need no PyTorch and can write hostile files."""

import pickle
import struct
import zipfile

import numpy as np

from kdgan_jax.formats import pytorch


def plain(value):
    """Returns the opcodes of a number, text, list, tuple or dictionary of them."""
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def dictionary(entries):
    return b"}(" + b"".join(plain(k) + v for k, v in entries.items()) + b"u"


def reference(key, size, kind="FloatStorage"):
    parts = plain("storage") + named("torch", kind) + plain(key) + plain("cpu") + plain(size)
    return b"(" + parts + b"tQ"


def tensor(key, array, *, shape=None, strides=None, offset=0, size=None, kind="FloatStorage"):
    shape = array.shape if shape is None else shape
    strides = tuple(s // array.itemsize for s in array.strides) if strides is None else strides
    return call(
        named("torch._utils", "_rebuild_tensor_v2"),
        reference(key, array.size if size is None else size, kind),
        *map(plain, (offset, tuple(shape), tuple(strides), False)),
        call(named("collections", "OrderedDict")),
    )


def write_zip(path, pickled, storages, **more):
    with zipfile.ZipFile(path, "w", **more) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def write_stream(path, pickled, storages, sizes=None):
    with path.open("wb") as file:
        for value in (pytorch.MAGIC, 1001, {"little_endian": True}):
            file.write(pickle.dumps(value, 2))
        file.write(b"\x80\x02" + pickled + b".")
        file.write(pickle.dumps(list(storages), 2))
        for key, data in storages.items():
            file.write(struct.pack("<q", (sizes or {}).get(key, len(data) // 4)) + data)
    return path


def tree(root, storages):
    """Returns the opcodes of nested containers with arrays as tensors; fills `storages`."""
    if isinstance(root, dict):
        return b"}(" + b"".join(plain(k) + tree(v, storages) for k, v in root.items()) + b"u"
    if isinstance(root, list):
        return b"](" + b"".join(tree(v, storages) for v in root) + b"e"
    if not isinstance(root, np.ndarray):
        return plain(root)
    kinds = {"f4": "Float", "f8": "Double", "i1": "Char", "i4": "Int"}
    key, array = str(len(storages)), np.asarray(root, order="C")
    storages[key] = array.tobytes()
    return tensor(key, array, kind=f"{kinds[array.dtype.str[1:]]}Storage")


def write_tree(path, root, write=write_zip):
    """Writes nested containers with arrays as a PyTorch file."""
    storages = {}
    return write(path, tree(root, storages), storages)
