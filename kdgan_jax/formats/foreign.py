"""Conversion between PyTorch's parameter names and layout and those of this package.

One rule serves every architecture. A module with a published file names its parts as the file does,
so a parameter's path, joined by dots, is its key in the file; only the last word may differ: what
PyTorch calls "weight" is a kernel, a norm's scale or a PReLU's slope here. Kernels are
(out, in, height, width) in PyTorch and (height, width, in, out) here.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from kdgan_jax import models
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models.types import Params, Shapes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

State = Mapping[str, np.ndarray]  # weights by PyTorch's keys, in PyTorch's layout
WEIGHTS = "kernel", "scale", "slope"  # parameters that PyTorch calls "weight"
# Limits for a network that a file describes: how many modules it may call (RCAN calls 1,018), and
# the largest number among its arguments.
MOST_MODULES, LARGEST = 1500, 4096
# A file may describe more modules if it holds arrays for them. No network here calls more than two
# per array, so a complete file is never refused.
MODULES_PER_ENTRY = 4


def key(module: nn.Module, path: tuple[Any, ...]) -> str:
    """Returns the PyTorch key of the parameter at `path` of `module`'s tree."""
    words = [part.key for part in path]
    words[-1] = "weight" if words[-1] in WEIGHTS else words[-1]
    name = ".".join(words)
    return module.torch_key(name) if hasattr(module, "torch_key") else name


def shapes(module: nn.Module) -> Params:
    """Returns the tree of `module`'s parameters as `jax.ShapeDtypeStruct`; nothing is computed."""
    side = max(16, getattr(module, "smallest", 1))
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)["params"]


def plausible(value: Any) -> bool:
    """Returns whether a network that a file describes may have this argument."""
    if isinstance(value, list | tuple):
        return len(value) <= LARGEST and all(map(plausible, value))
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= LARGEST
    return value is None or isinstance(value, str)


def described(name: Any, kwargs: Any, scale: Any, entries: int = 0) -> tuple[nn.Module, Params]:
    """Returns the generator that a file describes and the tree of its parameters' shapes.

    This is the guard against hostile files; networks that a config describes do not pass it.

    Args:
      name: the generator's name in `GENERATORS`, according to the file.
      kwargs: its arguments.
      scale: its enlargement.
      entries: number of arrays in the file.

    Raises:
      ValueError: there is no such network, or its size is absurd.
    """
    if type(name) is not str or type(scale) is not int or not isinstance(kwargs, dict):
        raise ValueError("it does not name a network, its arguments and its scale")
    if not all(map(plausible, kwargs.values())):
        raise ValueError(f"{name!r} has arguments other than text and numbers up to {LARGEST}")
    module = models.generator(name, kwargs, scale)
    limit = max(MOST_MODULES, MODULES_PER_ENTRY * entries)
    calls = 0

    def count(call: Any, arguments: Any, keywords: Any, _: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > limit:  # tracing them would take minutes, or never end
            raise ValueError(f"more than {limit} layers")
        return call(*arguments, **keywords)

    try:
        with nn.intercept_methods(count):
            return module, shapes(module)
    except Exception as error:  # arguments can make a network fail in any way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name!r} cannot be built with its arguments: {reason}") from None


def keys(module: nn.Module) -> set[str]:
    """Returns the PyTorch keys of all of `module`'s parameters."""
    return {key(module, path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes(module))}


def _to_linen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns `array` in Linen's layout as float32, or None if it does not fit `shape`."""
    if array.ndim == 4 and len(shape) == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2 and len(shape) in (2, 4):  # a linear layer, perhaps a 1x1 kernel here
        array = array.T.reshape((1,) * (len(shape) - 2) + array.T.shape)
    elif array.size == np.prod(shape):
        array = array.reshape(shape)  # for instance (1, C, 1, 1), one number per channel
    return np.ascontiguousarray(array, np.float32) if array.shape == shape else None


def to_params(module: nn.Module, state: State) -> Params:
    """Returns `module`'s parameters from PyTorch's `state`; further entries are ignored.

    Raises:
      UserError: entries are missing or have other shapes; names the first three.
    """
    misfits: list[str] = []

    def take(path: tuple[Any, ...], target: Any) -> np.ndarray:
        name = key(module, path)
        array = _to_linen(state[name], target.shape) if name in state else None
        if array is None:
            problem = f"is {state[name].shape}" if name in state else "is missing"
            misfits.append(f"{name} {problem}, needed {target.shape} (height, width, in, out)")
            return np.zeros(0)
        return array

    params = jax.tree_util.tree_map_with_path(take, shapes(module))
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise UserError(f"weights do not fit: {'; '.join(misfits[:3])}{more}")
    return params


def to_state(module: nn.Module, params: Params) -> dict[str, np.ndarray]:
    """Returns `params` as a published file has them: float32, PyTorch's keys and layout."""
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf, np.float32)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        state[key(module, path)] = np.ascontiguousarray(array)
    return module.as_published(state) if hasattr(module, "as_published") else state


def save(path: str | Path, model: Weights) -> None:
    """Writes `model` as safetensors with PyTorch's keys and layout, for programs that use those.

    Raises:
      UserError: the architecture has no PyTorch names.
    """
    from safetensors.numpy import save as to_bytes

    if not hasattr(model.module, "detect"):
        raise UserError(f"{model.name} has no PyTorch names; leave out --pytorch")
    model = model.folded()  # other programs only know the plain network
    state = to_state(model.module, model.params)
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(state, {"format": "pt"}))


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the entries of `state`."""
    return {name: array.shape for name, array in state.items()}


def arguments(module: type[nn.Module], entries: Shapes) -> dict[str, Any] | None:
    """Returns the arguments, with scale, that a `module` with these entries has, if it can."""
    try:
        return module.detect(entries) if hasattr(module, "detect") else None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # the names fit, but an entry has too few axes or an axis of length 0


def detect(state: State) -> tuple[str, dict[str, Any]] | None:
    """Returns (name in GENERATORS, arguments with scale) of the network that `state` belongs to.

    None if no architecture recognises it. If a file serves several scales (CARN), the scale is the
    largest one.
    """
    entries = shapes_of(state)
    for name, module in models.GENERATORS.items():
        kwargs = arguments(module, entries)
        if kwargs is not None:
            return name, kwargs
    return None
