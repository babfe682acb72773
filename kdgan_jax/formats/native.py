"""The package's own model file: safetensors, with the network's description in the header.

An entry is a float32 parameter under its path ("Conv_0/conv/kernel"). The file is small, needs no
orbax, and contains nothing that can run.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.formats import foreign
from kdgan_jax.formats.reading import UNUSABLE, unreadable
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FORMAT = "kdgan_jax.model 1"


def _by_path(params: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}


def save(path: str | Path, model: Weights) -> None:
    """Writes `model` to `path`; its `about` (source, licence, ...) goes into the header."""
    from safetensors.numpy import save as to_bytes

    entries = {
        key: np.ascontiguousarray(leaf, np.float32) for key, leaf in _by_path(model.params).items()
    }
    header = {
        **model.about,
        "format": FORMAT,
        "architecture": model.name,
        "kwargs": json.dumps(model.kwargs),
        "scale": str(model.scale),
        "parameters": str(model.parameters),
        "colour": "RGB from 0 to 1, in and out",
    }
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(entries, header))


def header(path: str | Path) -> dict[str, str]:
    """Returns the header of any safetensors file.

    Raises:
      UserError: it is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise unreadable(path, "a safetensors file", error) from None


def load(path: str | Path) -> Weights:
    """Returns the model that `save` wrote to `path`.

    Raises:
      UserError: the file is damaged, has another format, or its entries do not fit its network.
    """
    from safetensors import SafetensorError, safe_open

    about = header(path)
    try:
        if about.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        name, scale = about.pop("architecture"), int(about.pop("scale"))
        kwargs = json.loads(about.pop("kwargs"))
        with safe_open(path, framework="numpy") as file:
            keys = file.keys()
            _, tree = foreign.described(name, kwargs, scale, entries=len(keys))
            entries = {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, *UNUSABLE) as error:
        raise unreadable(path, "a model", error) from None
    targets = _by_path(tree)
    for key in sorted(targets.keys() | entries.keys()):
        if key not in targets or key not in entries:
            problem = "missing" if key in targets else "not part of the network"
            raise UserError(f"{path}: entry {key!r} is {problem}; replace the file")
        array, shape = entries[key], targets[key].shape
        if array.shape != shape or array.dtype != np.float32:
            raise UserError(
                f"{path}: entry {key!r} is {array.dtype}{array.shape}, needed float32{shape};"
                " replace the file"
            )
    params = jax.tree.unflatten(jax.tree.structure(tree), [entries[key] for key in targets])
    about = {k: v for k, v in about.items() if k not in ("parameters", "colour")}
    return Weights(name, kwargs, scale, params, about)
