"""Published networks, read from the formats in which they were published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdgan_jax import models
from kdgan_jax.formats import foreign, frozen_graph, keras, native, ncnn, published, pytorch
from kdgan_jax.formats.reading import UNUSABLE, unreadable
from kdgan_jax.formats.weights import Weights
from kdgan_jax.models.generators.rrdb import modern_keys
from kdgan_jax.runtime.errors import UserError, pick
from kdgan_jax.runtime.files import sha256


def _safetensors(path: str | Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, *UNUSABLE) as error:
        raise unreadable(path, "a safetensors file", error) from None


# By suffix, functions that read a file's entries: arrays by name, in PyTorch's layout.
READERS: dict[str, Callable[[str | Path], dict[str, np.ndarray]]] = {
    ".pth": pytorch.read,
    ".pt": pytorch.read,
    ".safetensors": _safetensors,
    ".h5": keras.read,
    ".pb": frozen_graph.read,
    ".param": ncnn.read,  # reads the weights from the .bin beside it
}


def is_foreign(path: Path) -> bool:
    """Returns whether `path` is a file for one of the `READERS`, not the package's own format."""
    if path.suffix.lower() not in READERS or not path.is_file():
        return False
    return path.suffix != ".safetensors" or native.header(path).get("format") != native.FORMAT


def load(path: str | Path, architecture: str | None = None, scale: int | None = None) -> Weights:
    """Returns the network whose weights are at `path`; its arguments are detected.

    Args:
      path: a file for one of the `READERS`.
      architecture: a name in `GENERATORS`; None detects it.
      scale: for a file that serves several scales (`serves_scales` of its network); ignored for
        others.

    Raises:
      UserError: the file cannot be read, or belongs to no known architecture.
    """
    path = Path(path)
    state = modern_keys(pick(READERS, path.suffix.lower(), f"the suffix of {path}")(path))
    name, kwargs = _recognise(path, state, architecture)
    try:
        module, _ = foreign.described(name, kwargs, kwargs.pop("scale"), entries=len(state))
        served = getattr(module, "serves_scales", ())
        if scale in served:
            module = module.clone(scale=scale)
        params = foreign.to_params(module, state)
    except ValueError as error:
        raise UserError(f"{path}: as {name}, {error}") from None
    _refuse_extra(path, name, state, [module, *(module.clone(scale=s) for s in served)])
    digest = sha256(path.with_suffix(".bin") if path.suffix.lower() == ".param" else path)
    about = published.about(digest) | {"sha256": digest}
    return Weights(name, kwargs, module.scale, params, about)


def _refuse_extra(path: Path, name: str, state: foreign.State, modules: list[Any]) -> None:
    """Refuses a file with entries that none of `modules` has: its network is a larger one."""
    extra = set(state).difference(*(foreign.keys(module) for module in modules))
    # PyTorch's batch normalization also saves a counter of training batches.
    extra = {key for key in extra if not key.endswith("num_batches_tracked")}
    if extra:
        raise UserError(
            f"{path}: as {name}, {len(extra)} of its {len(state)} entries have no place"
            f" ({', '.join(sorted(extra)[:3])}{', ...' if len(extra) > 3 else ''}); this network is"
            " not supported"
        )


def _recognise(
    path: Path, state: foreign.State, architecture: str | None
) -> tuple[str, dict[str, Any]]:
    if architecture:
        module = pick(models.GENERATORS, architecture, "--arch")
        kwargs = foreign.arguments(module, foreign.shapes_of(state))
        if kwargs is None:
            raise UserError(f"{path}: does not hold {architecture}; it has {_summary(state)}")
        return architecture, kwargs
    detected = foreign.detect(state)
    if detected is None:
        known = [name for name, module in models.GENERATORS.items() if hasattr(module, "detect")]
        raise UserError(
            f"{path}: belongs to no known architecture ({', '.join(sorted(known))}); it has"
            f" {_summary(state)}"
        )
    return detected


def _summary(state: foreign.State) -> str:
    entries = [f"{name} {array.shape}" for name, array in list(state.items())[:3]]
    return f"{len(state)} entries such as {', '.join(entries)}"
