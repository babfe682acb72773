"""Our own file of one model: safetensors, with what rebuilds the network in its header.

Entries are parameters by their path ("Conv_0/conv/kernel", float32). It is small, opens anywhere
without orbax, and nothing in it can run.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdgan_jax.formats import foreign
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models import as_named_now
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

FORMAT = "kdgan_jax.model 1"
# What a header leads to that is of another form, and entries of types that NumPy does not have.
UNUSABLE = AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError


def _path(path: tuple[Any, ...]) -> str:
    return "/".join(part.key for part in path)


def save(path: str | Path, model: Weights) -> None:
    """Writes `model` to `path`, with `model.about` (source, licence, ...) in the header."""
    from safetensors.numpy import save as to_bytes

    entries = {
        _path(key): np.ascontiguousarray(leaf, np.float32)
        for key, leaf in jax.tree_util.tree_leaves_with_path(model.params)
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
    """Returns the header of a safetensors file, of whatever origin.

    Raises:
      UserError: it is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is no safetensors file that can be used ({error})") from None


def load(path: str | Path) -> Weights:
    """Returns the model at `path`, as `save` wrote it.

    Raises:
      UserError: the file is damaged, of another format, or its entries do not fit its network.
    """
    from safetensors import SafetensorError, safe_open

    about = header(path)
    try:
        if about.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        name, scale = about.pop("architecture"), int(about.pop("scale"))
        kwargs = json.loads(about.pop("kwargs"))
        with safe_open(path, framework="numpy") as opened:
            keys = opened.keys()
            _, shapes = foreign.described(name, kwargs, scale, entries=len(keys))
            entries = {key: opened.get_tensor(key) for key in keys}
    except (SafetensorError, *UNUSABLE) as error:
        raise UserError(f"{path}: is no model that can be used ({error})") from None
    wanted = {_path(k): leaf.shape for k, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    for key in sorted(wanted.keys() | entries.keys()):
        there = entries.get(key)
        if there is None or there.shape != wanted.get(key) or there.dtype != np.float32:
            raise UserError(f"{path}: {key!r} is missing, too much, or of another shape or type")
    params = jax.tree_util.tree_map_with_path(lambda k, _: entries[_path(k)], shapes)
    about = {k: v for k, v in about.items() if k not in ("parameters", "colour")}
    return Weights(name, as_named_now(kwargs), scale, params, about)
