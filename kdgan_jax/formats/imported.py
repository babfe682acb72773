"""Published networks, read from the formats in which they were published.

A file is told by its content, and the network in it is searched for: under any prefix, in any of
its namings, beside whatever else a checkpoint holds.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from kdgan_jax import models
from kdgan_jax.config import spec
from kdgan_jax.formats import (
    container,
    folding,
    foreign,
    frozen_graph,
    keras,
    native,
    ncnn,
    network,
    published,
    pytorch,
    search,
)
from kdgan_jax.formats.reading import UNUSABLE, check_finite, unreadable
from kdgan_jax.formats.weights import Weights
from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import sha256

MOST_ENTRIES = 20_000  # of a file in which a network is searched for


def _safetensors(path: str | Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
            for key, kind in kinds.items():
                if kind.startswith("F") and kind not in ("F64", "F32", "F16"):
                    raise ValueError(f"entry {key[:100]!r} is {kind}: quantised; use float weights")
            return {key: file.get_tensor(key) for key in kinds}
    except (SafetensorError, *UNUSABLE) as error:
        raise unreadable(path, "a safetensors file", error) from None


# By format, functions that read a file's entries: arrays by name, in PyTorch's layout.
READERS: dict[str, Callable[[str | Path], dict[str, np.ndarray]]] = {
    "PyTorch": pytorch.read,
    "safetensors": _safetensors,
    "Keras": keras.read,
    "TensorFlow": frozen_graph.read,
    "ncnn": ncnn.read,  # reads the weights from the .bin beside it
}


def is_model(path: Path) -> bool:
    """Returns whether `path` is a file of weights, by its first bytes."""
    return path.is_file() and container.kind(path) in READERS


def is_foreign(path: Path) -> bool:
    """Returns whether `path` is a file, and not one of the package's own format."""
    return path.is_file() and not _is_native(path)


def _is_native(path: Path) -> bool:
    is_safetensors = container.kind(path) == "safetensors"
    return is_safetensors and native.header(path).get("format") == native.FORMAT


def load(
    path: str | Path,
    architecture: str | None = None,
    scale: int | None = None,
    *,
    part: str | None = None,
    averaged: bool = True,
) -> Weights:
    """Returns the network whose weights are at `path`; its arguments are detected.

    Args:
      path: a file for one of the `READERS`, or a zip archive with one in it.
      architecture: a name in `GENERATORS`, perhaps with arguments that the file does not store:
        "compact:slope=0.2". None detects it.
      scale: for a file that serves several scales, or leaves several open; ignored for others.
      part: the place of the network, such as "net_g", if the file holds several.
      averaged: whether to take averaged weights if there are any, or the raw ones.

    Raises:
      UserError: the file cannot be read, belongs to no known architecture, or holds several
        networks or weights that are not finite.
    """
    path = Path(path)
    name, options = spec.parse(architecture, "--arch") if architecture else (None, {})
    if name:
        models.generator(name, options, 4, "--arch")  # refuses options that it does not have
    wanted = network.Wanted(name, options, scale, part, averaged, (path.name,))
    if container.kind(path) == "zip":
        with container.unzipped(path) as inner:
            wanted = wanted._replace(hints=(inner.name, path.name))
            return native.load(inner) if _is_native(inner) else _load(inner, wanted)
    return _load(path, wanted)


def _load(path: Path, wanted: network.Wanted) -> Weights:
    kind = container.kind(path)
    if kind not in READERS:
        raise container.refusal(path)
    container.check_whole(path)
    entries = READERS[kind](path)
    if len(entries) > MOST_ENTRIES:
        raise UserError(f"{path}: has {len(entries):,} entries, more than {MOST_ENTRIES:,}")
    # Single whole numbers are counters and facts. NumPy has no bfloat16 of its own; it is a "V".
    facts = {k: str(a) for k, a in entries.items() if a.ndim == 0 and a.dtype.kind in "iubOU"}
    arrays = {k: a for k, a in entries.items() if k not in facts}
    arrays = {k: a.astype(np.float32) if a.dtype.kind == "V" else a for k, a in arrays.items()}
    try:
        state = folding.folded(arrays)
    except ValueError as error:
        raise unreadable(path, "weights with a norm", error) from None
    names = search.names(foreign.shapes_of(state))
    state = {names.get(name, name): array for name, array in state.items()}
    stated = [f"x{word}" for k, word in facts.items() if k.rpartition(".")[2] in pytorch.FACTS]
    wanted = wanted._replace(hints=(*stated, *wanted.hints))
    found, near = network.find(state, facts, wanted)
    if not found:
        raise _unknown(path, state, near, wanted.architecture)
    chosen = network.choose(path, found, wanted)
    _check(path, arrays, chosen)
    digest = sha256(path.with_suffix(".bin") if kind == "ncnn" else path)
    about = published.about(digest) | {"sha256": digest}
    if chosen.averaged or len(found) > 1:
        average = "averaged" if chosen.averaged else "not averaged"
        about["weights"] = f"{average}, at {chosen.place!r}"
        log.info("%s: takes the weights at %r, %s", path.name, chosen.place, average)
    if chosen.guess:
        about["guess"] = chosen.guess
        log.info("%s: a guess: %s", path.name, chosen.guess)
    return Weights(chosen.name, chosen.kwargs, chosen.module.scale, chosen.params, about)


def _check(path: Path, arrays: foreign.State, chosen: network.Network) -> None:
    """Refuses weights that are whole numbers, or not finite.

    Raises:
      UserError: there are some; names the first entry.
    """
    own = {chosen.prefix + name: a for name, a in search.part(arrays, chosen.prefix).items()}
    for name, array in own.items():
        if array.dtype.kind != "f":
            raise UserError(
                f"{path}: entry {name!r} has {array.dtype} numbers: the model is quantised; give"
                " the float one"
            )
    check_finite(path, own)
    check_finite(path, foreign.to_state(chosen.module, chosen.params))  # if a norm was 0


def _unknown(
    path: Path, state: foreign.State, near: list[tuple[int, str]], architecture: str | None
) -> UserError:
    """Returns the error that a file holds no known network, with the nearest one."""
    whole = [f"{k[:100]!r} has {a.dtype}" for k, a in state.items() if a.dtype.kind in "iu"]
    if near:
        return UserError(f"{path}: nearest to {max(near)[1]}; this network is not supported")
    if whole and len(whole) > len(state) / 3:
        return UserError(
            f"{path}: entry {whole[0]} numbers: the model is quantised; give the float one"
        )
    entries = [f"{k[:100]} {a.shape}" for k, a in list(state.items())[:3]]
    summary = f"it has {len(state)} entries such as {', '.join(entries)}"
    if architecture:
        return UserError(f"{path}: does not hold {architecture}; {summary}")
    if like := search.nearest(foreign.shapes_of(state)):
        return UserError(f"{path}: nearest to {like[0]}, but {like[1]}; {summary}")
    known = [name for name, module in models.GENERATORS.items() if hasattr(module, "detect")]
    return UserError(
        f"{path}: belongs to no known architecture ({', '.join(sorted(known))}); {summary}"
    )
