"""Networks that others have published, out of the formats that they published them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import foreign, frozen_graph, keras, native, ncnn, published, pytorch
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models.generators.rrdb import modern_keys
from kdgan_jax.runtime.errors import UserError, pick
from kdgan_jax.runtime.files import sha256


def _safetensors(path: str | Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, *native.UNUSABLE) as error:
        raise UserError(f"{path}: is no safetensors file that can be used ({error})") from None


# Readers of weights by suffix: entries by name, in PyTorch's layout.
READERS: dict[str, Callable[[str | Path], dict[str, np.ndarray]]] = {
    ".pth": pytorch.read,
    ".pt": pytorch.read,
    ".safetensors": _safetensors,
    ".h5": keras.read,
    ".pb": frozen_graph.read,
    ".param": ncnn.read,  # and the .bin beside it, which holds the weights
}


def is_foreign(path: Path) -> bool:
    """Returns whether `path` is a file of one of the `READERS` that is not our own."""
    if path.suffix.lower() not in READERS or not path.is_file():
        return False
    return path.suffix != ".safetensors" or native.header(path).get("format") != native.FORMAT


def load(path: str | Path, architecture: str | None = None, scale: int | None = None) -> Weights:
    """Returns the network whose weights are at `path`; architecture and arguments are detected.

    Args:
      path: a file of one of the `READERS`.
      architecture: a name of `GENERATORS`, if the file's is not to be detected.
      scale: for a file that serves several scales (`serves_scales` of its network); others have
        their own.

    Raises:
      UserError: the file cannot be read, or belongs to no architecture that is known.
    """
    path = Path(path)
    state = modern_keys(pick(READERS, path.suffix.lower(), f"the suffix of {path}")(path))
    name, own = _recognise(path, state, architecture)
    try:
        module, _ = foreign.described(name, own, own.pop("scale"))
    except ValueError as error:
        raise UserError(f"{path}: as {name}, {error}") from None
    served = getattr(module, "serves_scales", ())
    if scale in served:
        module = module.clone(scale=scale)
    try:
        params = foreign.to_params(module, state)
    except UserError as error:
        raise UserError(f"{path}: as {name}, {error}") from None
    _refuse_more(path, name, state, [module, *(module.clone(scale=s) for s in served)])
    digest = sha256(path.with_suffix(".bin") if path.suffix.lower() == ".param" else path)
    return Weights(name, own, module.scale, params, published.about(digest) | {"sha256": digest})


def _refuse_more(path: Path, name: str, state: foreign.State, modules: list[Any]) -> None:
    """Refuses entries of `state` that none of `modules` has: it is of a network with more to it."""
    more = set(state).difference(*(foreign.keys(module) for module in modules))
    # A counter of training's batches, beside batch normalisation that has been kept in the file.
    more = {key for key in more if not key.endswith("num_batches_tracked")}
    if more:
        raise UserError(
            f"{path}: as {name}, {len(more)} of its {len(state)} entries have no place"
            f" ({', '.join(sorted(more)[:3])}{', ...' if len(more) > 3 else ''}); it is a network"
            " that is not known here"
        )


def _recognise(
    path: Path, state: dict[str, np.ndarray], architecture: str | None
) -> tuple[str, dict[str, Any]]:
    if architecture:
        module = pick(models.GENERATORS, architecture, "--arch")
        kwargs = foreign.arguments(module, foreign.shapes_of(state))
        if kwargs is None:
            raise UserError(f"{path}: holds no {architecture}; it has {_some(state)}")
        return architecture, kwargs
    found = foreign.detect(state)
    if found is None:
        known = [name for name, module in models.GENERATORS.items() if hasattr(module, "detect")]
        raise UserError(
            f"{path}: belongs to no architecture that is known ({', '.join(sorted(known))}); it has"
            f" {_some(state)}"
        )
    return found


def _some(state: dict[str, np.ndarray]) -> str:
    entries = [f"{name} {array.shape}" for name, array in list(state.items())[:3]]
    return f"{len(state)} entries such as {', '.join(entries)}"
