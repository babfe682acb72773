"""Small valid files of every kind that models are loaded from."""

import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
from forests import small_forest
from safetensors.numpy import save as to_bytes
from tensorboardX.proto.graph_pb2 import GraphDef

from kdgan_jax import models
from kdgan_jax.formats import foreign, native
from kdgan_jax.inference.model import Model
from kdgan_jax.workdir import checkpoint

sys.path.append(str(Path(__file__).parents[1] / "formats"))

import ncnn_files
import pickles

TINY = {"channels": 3, "depth": 1}


def model(name="compact", scale=4, **kwargs):
    """Returns a network with random weights."""
    module = models.generator(name, kwargs or TINY, scale)
    random = np.random.default_rng(0)
    draw = lambda leaf: random.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    return Model(name, kwargs or TINY, scale, jax.tree.map(draw, foreign.shapes(module)))


def _written(folder, name, write):
    write(folder / name)
    return (folder / name).read_bytes()


def _h5(path):
    import h5py

    small = model("srcnn", 2, channels=(3, 2), luma_only=True, keep_border=True, rounded=True)
    with h5py.File(path, "w") as file:
        for key, array in foreign.to_state(small.module, small.params).items():
            layer, _, kind = key.rpartition(".")
            word = "kernel" if kind == "weight" else "bias"
            turned = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
            file[f"{layer}/{layer}/{word}:0"] = turned


def graph(state):
    """Returns a frozen graph with these constants, given in PyTorch's layout."""
    graph_def = GraphDef()
    for name, array in state.items():
        tensor = graph_def.node.add(name=name, op="Const").attr["value"].tensor
        tensor.dtype = 1
        turned = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        for side in turned.shape:
            tensor.tensor_shape.dim.add(size=side)
        tensor.tensor_content = np.ascontiguousarray(turned, "<f4").tobytes()
    graph_def.node.add(name="d2s", op="DepthToSpace", input=["f6"]).attr["block_size"].i = 1
    return graph_def


def _packed(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path.with_name("a.pth"), "models/a.pth")
        archive.writestr("models/README.txt", "text")


def _normed(state):
    """Returns a state with the factors of PyTorch's weight norm in place of kernels."""
    kernels = {k: v for k, v in state.items() if v.ndim == 4 and "mean" not in k}
    norms = {f"{k}_g": np.ones((len(v), 1, 1, 1), np.float32) for k, v in kernels.items()}
    factors = {f"{k}_v": v for k, v in kernels.items()} | norms
    return {k: v for k, v in state.items() if k not in kernels} | factors


def pickled(state):
    """Returns the pickle of a state of PyTorch, and its storages."""
    tensors = {k: pickles.tensor(str(i), array) for i, (k, array) in enumerate(state.items())}
    storages = {str(i): array.tobytes() for i, array in enumerate(state.values())}
    return pickles.dictionary(tensors), storages


def safetensors(data):
    """Returns (header, the rest) of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header, rest):
    """Returns a safetensors file with this header, given as JSON or bytes."""
    line = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(line)) + line + rest


def sound(folder):
    """Returns the bytes of valid files by name."""
    compact, fsrcnn = model(), model("fsrcnn", 2, channels=3, narrow=2, depth=2)
    state = foreign.to_state(compact.module, compact.params)
    files = {
        "ours.safetensors": _written(folder, "a.safetensors", lambda p: native.save(p, compact)),
        "theirs.safetensors": to_bytes(state, {"format": "pt"}),
        "zip.pth": _written(folder, "a.pth", lambda p: pickles.write_zip(p, *pickled(state))),
        "stream.pth": _written(folder, "b.pth", lambda p: pickles.write_stream(p, *pickled(state))),
        "keras.h5": _written(folder, "a.h5", _h5),
        "graph.pb": graph(foreign.to_state(fsrcnn.module, fsrcnn.params)).SerializeToString(),
        "forest.safetensors": _written(folder, "f.safetensors", small_forest().save),
        "numpy.pkl": pickle.dumps({"epoch": 3, "params": state}),
        "packed.zip": _written(folder, "p.zip", _packed),
    }
    edsr = model("edsr", 2, channels=3, blocks=1, mean=(0.5, 0.4, 0.3))
    critic = {"conv0.weight": np.zeros((4, 3, 3, 3), np.float32)}
    training = {"g": _normed(foreign.to_state(edsr.module, edsr.params)), "d": [critic, 7]}
    files["training.pth"] = _written(folder, "t.pth", lambda p: pickles.write_tree(p, training))
    for name, network in {"compact": "compact", "rrdb": "rrdb x2"}.items():
        path, _ = ncnn_files.write(folder / f"{name}.param", network)
        weights = path.with_suffix(".bin")
        files |= {path.name: path.read_bytes(), weights.name: weights.read_bytes()}
    return files


def save_checkpoint(folder, step=1):
    """Writes a checkpoint with the two items that models are loaded from, as a run does."""
    small = model()
    items = {"generator.params": small.params, "ema": small.params}
    meta = {"model": small.spec, "phase": folder.name, "network": "student", "number": 1}
    return checkpoint.save(folder, step, items, meta)


def sign(folder):
    """Makes a checkpoint's manifest correct again, as a deliberate forger would."""
    manifest = json.dumps(checkpoint._hashes(folder))
    (folder / checkpoint.MANIFEST).write_text(manifest)
