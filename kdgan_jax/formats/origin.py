"""The original project's released generator, read from its Keras SavedModel without TensorFlow.

The reader knows the offsets of the variables in the one published file. It checks the file's
SHA-256 and reads no other.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax.formats.weights import Weights
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import sha256

DATA = "variables/variables.data-00000-of-00001"
SHA256 = "d008ffcda421c8aa20ffab80ea3b0cd0c4878fffcc66f57e6ee77fa2a45ec320"
# Byte offset and shape (height, width, in, out) of each kernel, in little-endian float32; its bias
# follows it.
LAYERS = (
    (0, (9, 9, 3, 64)),
    (62464, (3, 3, 64, 32)),
    (136320, (5, 5, 32, 3)),
)


def is_origin(folder: Path) -> bool:
    """Returns whether `folder` looks like a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def load(folder: Path) -> Weights:
    """Returns the original generator (`kdgan_student`, scale 4).

    Raises:
      UserError: the SavedModel is not the published one.
    """
    path = folder / DATA
    if not path.is_file() or sha256(path) != SHA256:
        raise UserError(
            f"{folder}: cannot be read as a SavedModel; the only one supported is the original"
            " project's generator_100"
        )
    data = path.read_bytes()
    params: dict[str, Any] = {}
    for i, (offset, shape) in enumerate(LAYERS):
        size = math.prod(shape)
        kernel = np.frombuffer(data, "<f4", size, offset).reshape(shape)
        bias = np.frombuffer(data, "<f4", shape[-1], offset + 4 * size)
        params[f"Conv_{i}"] = {"conv": {"kernel": kernel, "bias": bias}}
    return Weights("kdgan_student", {}, 4, params)
