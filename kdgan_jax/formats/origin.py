"""The origin's released generator, read out of its Keras SavedModel without TensorFlow.

The variables of the one published file lie at known offsets, so the reader is tied to that file by
its SHA-256 and reads nothing else.
"""

from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.formats.weights import Weights
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import sha256

DATA = "variables/variables.data-00000-of-00001"
SHA256 = "d008ffcda421c8aa20ffab80ea3b0cd0c4878fffcc66f57e6ee77fa2a45ec320"
# Byte offset and shape of each kernel (HWIO) and its bias, little-endian float32.
LAYERS = (
    (0, (9, 9, 3, 64)),
    (62464, (3, 3, 64, 32)),
    (136320, (5, 5, 32, 3)),
)


def is_origin(folder: Path) -> bool:
    """Returns whether `folder` looks like a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def load(folder: Path) -> Weights:
    """Returns the origin's generator (`kdgan_student`, scale 4).

    Raises:
      UserError: the SavedModel is another one than the origin's.
    """
    path = folder / DATA
    if not path.is_file() or sha256(path) != SHA256:
        raise UserError(
            f"{folder}: is no SavedModel that can be read; only the origin's generator_100 is"
        )
    values = np.frombuffer(path.read_bytes()[:145932], "<f4")
    params: dict[str, Any] = {}
    for i, (offset, shape) in enumerate(LAYERS):
        start, size = offset // 4, int(np.prod(shape))
        kernel = values[start : start + size].reshape(shape)
        bias = values[start + size : start + size + shape[-1]]
        params[f"Conv_{i}"] = {"conv": {"kernel": kernel, "bias": bias}}
    return Weights("kdgan_student", {}, 4, params)
