"""The package's own model file: safetensors, with the network's description in the header.

An entry is a parameter under its path ("Conv_0/conv/kernel"). All entries are float32, or all are
float16, which halves the file. The file is small, needs no orbax, and contains nothing that can
run.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import DTypeLike

from kdgan_jax.formats import foreign
from kdgan_jax.formats.reading import UNUSABLE, check_finite, unreadable
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models.types import Params
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FORMAT = "kdgan_jax.model 1"
DTYPES = "float32", "float16"  # of the entries of a file; a loaded model is always float32


def by_path(params: Params) -> dict[str, Any]:
    """Returns the arrays of a tree by their path, such as "Conv_0/conv/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}


def save(path: str | Path, model: Weights, dtype: DTypeLike = np.float32) -> None:
    """Writes `model` to `path`; its `about` (source, licence, ...) goes into the header.

    Args:
      path: the file.
      model: the network.
      dtype: one of the `DTYPES`, in which the parameters are stored.

    Raises:
      UserError: a parameter is too large for `dtype`.
      ValueError: `dtype` is another one.
    """
    from safetensors.numpy import save as to_bytes

    dtype = np.dtype(dtype)
    if dtype.name not in DTYPES:
        raise ValueError(f"entries are {' or '.join(DTYPES)}, not {dtype}")
    entries = {}
    for key, leaf in by_path(model.params).items():
        try:
            with np.errstate(over="raise"):  # otherwise it would become infinite
                entries[key] = np.ascontiguousarray(leaf, dtype)
        except FloatingPointError:
            raise UserError(
                f"{path}: entry {key!r} has a number beyond {np.finfo(dtype).max:,.0f}, the largest"
                f" in {dtype}; write float32"
            ) from None
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
      UserError: the file is damaged, has another format, or its entries do not fit its network,
        are not all of one of the `DTYPES`, or have numbers that are not finite.
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
    targets = by_path(tree)
    stored = [array.dtype.name for array in entries.values()]
    dtype = max(DTYPES, key=stored.count)
    for key in sorted(targets.keys() | entries.keys()):
        if key not in targets or key not in entries:
            problem = "missing" if key in targets else "not part of the network"
            raise UserError(f"{path}: entry {key!r} is {problem}; replace the file")
        array, shape = entries[key], targets[key].shape
        if array.shape != shape or array.dtype != dtype:
            raise UserError(
                f"{path}: entry {key!r} is {array.dtype}{array.shape}, needed {dtype}{shape};"
                " replace the file"
            )
    check_finite(path, entries)
    leaves = [entries[key].astype(np.float32, copy=False) for key in targets]
    params = jax.tree.unflatten(jax.tree.structure(tree), leaves)
    about = {k: v for k, v in about.items() if k not in ("parameters", "colour")}
    return Weights(name, kwargs, scale, params, about)
