"""Reader of the HDF5 weight files (`.h5`) of Keras 1 and 2 without Keras.

A layer is a group and its weights are data sets: `conv2d_1/conv2d_1/kernel:0`, or in Keras 1
`convolution2d_1/convolution2d_1_W:0`. Both become `LAYER.weight`, in PyTorch's layout.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.formats.reading import unreadable
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.limits import most_bytes

MAX_BYTES = 2**32  # of all arrays together; `most_bytes` may allow fewer
# Keras 1's and 2's words for weights, and PyTorch's.
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
    """Returns (layer, Keras's word) of the data set at `path`, or None if it is not a weight."""
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


def _collect(file: Any, limit: int) -> dict[str, np.ndarray]:
    datasets: list[tuple[str, Any]] = []
    # `visititems` does not follow links, so it never leaves the file.
    file.visititems(
        lambda path, item: datasets.append((path, item)) if hasattr(item, "dtype") else None
    )
    weights: dict[str, np.ndarray] = {}
    remaining = limit
    for path, data in datasets:
        name = _name(path)
        if name is None or data.dtype.kind != "f":
            continue
        if data.external or data.is_virtual:
            raise ValueError(f"{path} is stored in another file")
        if len(data.shape) == 4 and not path.endswith(":0"):
            raise ValueError(f"{path} was written by Theano, whose kernels are flipped")
        remaining -= data.size * data.dtype.itemsize
        if remaining < 0:  # a small file may announce large arrays: compressed or constant ones
            raise ValueError(f"its arrays take more than {limit:,} bytes")
        layer, word = name
        key = f"{layer}.{WORDS[word]}"
        if key in weights:
            raise ValueError(f"two layers are called {layer!r}")
        array = _to_pytorch(np.asarray(data[()]), word)
        weights[key] = np.ascontiguousarray(array, data.dtype.newbyteorder("="))
    if not weights:
        raise ValueError("it holds no weights of Keras 1 or 2")
    return weights


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
    except Exception as error:  # HDF5 raises many kinds
        raise unreadable(path, "a Keras file", error) from None
