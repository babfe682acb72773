"""Keras's HDF5 weight files (`.h5`, of Keras 1 and 2) without Keras.

Layers are groups, weights their data sets: `conv2d_1/conv2d_1/kernel:0`, or in Keras 1
`convolution2d_1/convolution2d_1_W:0`. Both become `LAYER.weight`, in PyTorch's layout.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.limits import most_bytes

MAX_BYTES = 2**32  # of all arrays; `limits` has more to say of them
# What Keras 1 and 2 call weights, and what PyTorch does.
WORDS = {
    "W": "weight",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "alpha": "weight",  # of a PReLU; "alphas" in Keras 1
    "alphas": "weight",
    "gamma": "weight",
    "b": "bias",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _name(path: str) -> tuple[str, str] | None:
    """Returns (layer, Keras's word) of the data set at `path`, None if it is no weight."""
    parts = path.removesuffix(":0").split("/")
    if len(parts) < 2 or parts[0] == "optimizer_weights":
        return None
    layer, word = parts[-2], parts[-1].removeprefix(f"{parts[-2]}_")
    return (layer, word) if word in WORDS else None


def _to_pytorch(array: np.ndarray, word: str) -> np.ndarray:
    if array.ndim == 4 and word == "depthwise_kernel":  # (h, w, in, multiplier)
        height, width, *_ = array.shape
        return array.reshape(height, width, -1).transpose(2, 0, 1)[:, None]
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array


def _collect(file: Any, most: int) -> dict[str, np.ndarray]:
    sets: list[tuple[str, Any]] = []
    # Links are not followed, so nothing outside the file is met.
    file.visititems(
        lambda path, item: sets.append((path, item)) if hasattr(item, "dtype") else None
    )
    found: dict[str, np.ndarray] = {}
    left = most
    for path, data in sets:
        name = _name(path)
        if name is None or data.dtype.kind != "f":
            continue
        if data.external or data.is_virtual:
            raise ValueError(f"{path} lies in another file")
        if len(data.shape) == 4 and not path.endswith(":0"):
            raise ValueError(f"{path} is Theano's, which flips kernels")
        left -= data.size * data.dtype.itemsize
        if left < 0:  # they may be compressed, or not be stored at all where they are constant
            raise ValueError(f"arrays of more than {most:,} bytes")
        layer, word = name
        key = f"{layer}.{WORDS[word]}"
        if key in found:
            raise ValueError(f"two layers are called {layer!r}")
        array = _to_pytorch(np.asarray(data[()]), word)
        found[key] = np.ascontiguousarray(array, data.dtype.newbyteorder("="))
    if not found:
        raise ValueError("it holds no weights of Keras 1 or 2")
    return found


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the weights of a Keras file by `LAYER.weight` and `LAYER.bias`, in PyTorch's layout.

    Raises:
      UserError: h5py is missing, or the file is damaged or holds no weights.
    """
    try:
        import h5py
    except ImportError:
        raise missing("h5py", f"{path}: reading Keras files") from None
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            return _collect(file, min(MAX_BYTES, most_bytes(path)))
    except Exception as error:  # HDF5 has many
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no Keras file that can be used ({reason})") from None
