"""Weights between PyTorch's names and layout and ours, for every architecture by one rule.

A module of ours that has a published file names its parts as the file does, so that the path of a
parameter, joined by dots, is the file's key; only the last word differs: "weight" there is a
kernel, a norm's scale or a PReLU's slope here. Kernels are (out, in, h, w) there, (h, w, in, out)
here.
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
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import replacing

State = Mapping[str, np.ndarray]
WEIGHTS = "kernel", "scale", "slope"  # what we call the parameters that PyTorch calls "weight"
# Of networks that files describe: modules that are called (RCAN has 1,018), and their arguments.
MOST_MODULES, LARGEST = 1500, 4096
# A file may describe more modules than that if it holds arrays for them. No network here calls more
# than two for each of its arrays, so none that is whole is refused.
MODULES_PER_ENTRY = 4


def key(module: Any, path: tuple[Any, ...]) -> str:
    """Returns the PyTorch key of the parameter of `module` at `path` of its tree."""
    words = [part.key for part in path]
    words[-1] = "weight" if words[-1] in WEIGHTS else words[-1]
    name = ".".join(words)
    return module.torch_key(name) if hasattr(module, "torch_key") else name


def shapes(module: Any) -> Any:
    """Returns the tree of `module`'s parameters as `jax.ShapeDtypeStruct`."""
    side = max(16, getattr(module, "smallest", 1))
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)["params"]


def _plausible(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= LARGEST and all(_plausible(one) for one in value)
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= LARGEST
    return value is None or isinstance(value, str)


def described(name: Any, kwargs: Any, scale: Any, entries: int = 0) -> tuple[Any, Any]:
    """Returns the generator that a file describes and the tree of its parameters' shapes.

    Args:
      name: of `GENERATORS`, if the file says the truth.
      kwargs: the generator's arguments.
      scale: its enlargement.
      entries: arrays that the file holds.

    Raises:
      ValueError: there is no such network, or one of absurd size.
    """
    if type(name) is not str or type(scale) is not int or not isinstance(kwargs, dict):
        raise ValueError("it does not say which network it is of")
    if not all(map(_plausible, kwargs.values())):
        raise ValueError(f"{name!r} with arguments that are no numbers up to {LARGEST}")
    module, called = models.generator(name, kwargs, scale), 0
    most = max(MOST_MODULES, MODULES_PER_ENTRY * entries)

    def count(call: Any, arguments: Any, keywords: Any, _: Any) -> Any:
        nonlocal called
        called += 1
        if called > most:  # tracing them would take minutes, or for ever
            raise ValueError(f"more than {most} layers")
        return call(*arguments, **keywords)

    try:
        with nn.intercept_methods(count):
            return module, shapes(module)
    except Exception as error:  # whatever comes of arguments that a network is not made for
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name!r} cannot be built with its arguments: {reason}") from None


def keys(module: Any) -> set[str]:
    """Returns the PyTorch keys of all of `module`'s parameters."""
    return {key(module, path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes(module))}


def _to_ours(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns `array` in our layout, None if it does not fit `shape`."""
    if array.ndim == 4 and len(shape) == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2 and len(shape) in (2, 4):  # a linear layer, which may be a 1x1 kernel here
        array = array.T.reshape((1,) * (len(shape) - 2) + array.T.shape)
    elif array.size == np.prod(shape):
        array = array.reshape(shape)  # (1, C, 1, 1) for one number per channel, and the like
    return np.ascontiguousarray(array, np.float32) if array.shape == shape else None


def to_params(module: Any, state: State) -> Any:
    """Returns `module`'s parameters out of PyTorch's `state`, which may hold more.

    Raises:
      UserError: entries are missing or of other shapes; names the first few.
    """
    wrong: list[str] = []

    def take(path: tuple[Any, ...], target: Any) -> np.ndarray:
        name = key(module, path)
        found = _to_ours(state[name], target.shape) if name in state else None
        if found is None:
            there = f"is {state[name].shape}" if name in state else "is missing"
            wrong.append(f"{name} {there}, needed {target.shape} (height, width, in, out)")
            return np.zeros(0)
        return found

    params = jax.tree_util.tree_map_with_path(take, shapes(module))
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"weights do not fit: {'; '.join(wrong[:3])}{more}")
    return params


def to_state(module: Any, params: Any) -> dict[str, np.ndarray]:
    """Returns `params` by PyTorch's keys and in its layout, as a published file has them."""
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
    """Writes `model` by PyTorch's keys and in its layout, as programs for PyTorch's models load it.

    Raises:
      UserError: its architecture has no PyTorch names.
    """
    from safetensors.numpy import save as to_bytes

    if not hasattr(model.module, "detect"):
        raise UserError(f"{model.name} has no names in PyTorch's world; leave out --pytorch")
    model = model.folded()  # others know the plain network only
    state = to_state(model.module, model.params)
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(state, {"format": "pt"}))


def shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the entries of `state`."""
    return {name: array.shape for name, array in state.items()}


def arguments(module: Any, found: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Returns the arguments, with scale, of the `module` that entries of these shapes belong to."""
    try:
        return module.detect(found) if hasattr(module, "detect") else None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None  # they have its names, but not as many axes, or none of a length


def detect(state: State) -> tuple[str, dict[str, Any]] | None:
    """Returns (name in GENERATORS, arguments with scale) of the network that `state` belongs to.

    None if no architecture recognises it. Of a file with several scales (CARN) it is the largest.
    """
    found = shapes_of(state)
    for name, module in models.GENERATORS.items():
        kwargs = arguments(module, found)
        if kwargs is not None:
            return name, kwargs
    return None
