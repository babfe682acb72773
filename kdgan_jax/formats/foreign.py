"""Conversion between PyTorch's parameter names and layout and those of this package.

One rule serves every architecture. A module with a published file names its parts as the file does,
so a parameter's path, joined by dots, is its key in the file; only the last word may differ: what
PyTorch calls "weight" is a kernel, a norm's scale or a PReLU's slope here. Kernels are
(out, in, height, width) in PyTorch and (height, width, in, out) here.
"""

import math
from collections.abc import Collection, Mapping, Sequence
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

    def init(lr: jax.Array) -> Params:  # to make the key outside would start a device
        return module.init(jax.random.key(0), lr)["params"]

    return jax.eval_shape(init, image)


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


def layout(module: nn.Module, tree: Params) -> dict[str, tuple[int, ...]]:
    """Returns the shapes in `tree`, that of `module`'s parameters, by PyTorch's keys."""
    return {key(module, path): t.shape for path, t in jax.tree_util.tree_leaves_with_path(tree)}


def keys(module: nn.Module) -> set[str]:
    """Returns the PyTorch keys of all of `module`'s parameters."""
    return set(layout(module, shapes(module)))


def _turned(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape that an array of PyTorch's layout has in Linen's, where `target` is due."""
    if len(shape) == len(target) == 4:
        return (*shape[2:], shape[1], shape[0])
    if len(shape) == 2 and len(target) in (2, 4):  # a linear layer, perhaps a 1x1 kernel here
        return (*(1,) * (len(target) - 2), *shape[::-1])
    # For instance (1, C, 1, 1), one number per channel.
    return target if math.prod(shape) == math.prod(target) else shape


def _to_linen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns `array`, which fits `shape`, in Linen's layout as float32."""
    if array.ndim == 4 and len(shape) == 4:
        array = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2 and len(shape) in (2, 4):
        array = array.T
    with np.errstate(over="ignore"):  # what becomes infinite is refused later
        return np.ascontiguousarray(array.reshape(shape), np.float32)


def difference(targets: Shapes, entries: Shapes, others: Collection[str] = ()) -> str:
    """Returns the first way in which a file's entries are not those of a network, or "".

    Args:
      targets: shapes of the network's parameters in Linen's layout, by PyTorch's keys.
      entries: shapes of the file's entries.
      others: keys that the file may have, too.
    """
    for name, shape in entries.items():
        if name not in targets or _turned(shape, targets[name]) == targets[name]:
            continue
        target, turned = targets[name], _turned(shape, targets[name])
        if len(turned) == len(target) == 4 and turned[:2] == target[:2]:
            word, axis = ("takes", 2) if turned[2] != target[2] else ("gives", 3)
            channels = f"{turned[axis]} channel{'s' * (turned[axis] != 1)}"
            return f"{word} {channels} at {name}, needed {target[axis]}"
        needed = (target[3], target[2], *target[:2]) if len(target) == 4 else target[::-1]
        return f"{name} is {shape}, needed {needed}"
    if missing := [name for name in targets if name not in entries]:
        return f"lacks {_listed(missing)}"
    extra = sorted(set(entries).difference(targets, others))
    if extra:
        return f"{len(extra)} of its {len(entries)} entries have no place ({_listed(extra)})"
    return ""


def _listed(names: Sequence[str]) -> str:
    """Returns up to three names; long ones are cut."""
    return ", ".join([name[:100] for name in names[:3]] + ["..."] * (len(names) > 3))


def to_params(
    module: nn.Module,
    state: State,
    tree: Params | None = None,
    others: Collection[str] | None = None,
) -> Params:
    """Returns `module`'s parameters from PyTorch's `state`.

    Args:
      module: the network.
      state: weights by PyTorch's keys.
      tree: the shapes of its parameters, if they are known.
      others: further keys that the state may have; None allows all.

    Raises:
      UserError: an entry is missing, has another shape, or has no place.
    """
    tree = shapes(module) if tree is None else tree
    allowed = state.keys() if others is None else others
    if problem := difference(layout(module, tree), shapes_of(state), allowed):
        raise UserError(f"weights do not fit: {problem}")
    return jax.tree_util.tree_map_with_path(
        lambda path, target: _to_linen(state[key(module, path)], target.shape), tree
    )


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
