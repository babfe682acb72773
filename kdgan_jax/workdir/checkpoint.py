"""Checkpoints: orbax items under a step's folder, made whole by a rename.

    checkpoints/<phase>/<step>/
        items/      orbax: ema, loop; and of the generator, adapters of losses and the
                    discriminator NAME.params, NAME.others, NAME.optimizer
        meta.json   model (name, kwargs, scale), phase, network, number, step, items, versions
        sha256.json the hash of every file above

Orbax notices a missing file but not an altered one, hence the manifest. Arrays are saved from the
host, so a checkpoint can be read on any number of devices, and one item can be read alone.
"""

import contextlib
import gc
import logging
import math
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256, write_json
from kdgan_jax.runtime.limits import most_bytes

MANIFEST = "sha256.json"


def phase_folder(workdir: str | Path, phase: str) -> Path:
    """Returns where the checkpoints of a phase of the run in `workdir` lie."""
    return Path(workdir) / "checkpoints" / phase


def steps(folder: str | Path) -> list[int]:
    """Returns the steps of the complete checkpoints in `folder`, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def save(
    folder: str | Path, step: int, items: dict[str, Any], meta: dict[str, Any], keep: int = 2
) -> Path:
    """Writes the checkpoint of `step` and removes all but the `keep` newest.

    All processes of a run take part, on one file system, and return when it is there.

    Args:
      folder: where the steps' folders lie.
      step: number of updates made.
      items: trees of host arrays by name; an empty tree is left out.
      meta: JSON values; "model" rebuilds the network.
      keep: how many checkpoints stay.

    Raises:
      OSError: it cannot be written; those that are there are left as they are.
    """
    folder = Path(folder).absolute()
    temporary, final = folder / f".{step}.part", folder / str(step)
    filled = {name: tree for name, tree in items.items() if jax.tree.leaves(tree)}
    if processes.first():
        folder.mkdir(parents=True, exist_ok=True)
        for left_behind in folder.glob(".*.part"):
            shutil.rmtree(left_behind, ignore_errors=True)
        temporary.mkdir()
    processes.together(f"checkpoint {folder} {step} begins")
    try:
        with _quiet():
            ocp.save_checkpointables(temporary / "items", filled)
    except ValueError as error:  # of the library beneath orbax, in many lines
        if "os_error_code" not in str(error):
            raise
        raise OSError(str(error).splitlines()[0].rpartition(": ")[2]) from None
    if processes.first():
        write_json(temporary / "meta.json", {**meta, "step": step, "items": sorted(filled)})
        write_json(temporary / MANIFEST, _hashes(temporary))
        _replace(temporary, final, keep)
    processes.together(f"checkpoint {folder} {step} is there")
    return final


def _replace(temporary: Path, final: Path, keep: int) -> None:
    """Gives a whole checkpoint its name, and removes the oldest ones."""
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    # A later one is damaged, or the run would not be here: it does not count.
    for old in [other for other in steps(final.parent) if other <= int(final.name)][:-keep]:
        shutil.rmtree(final.parent / str(old))


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(p.relative_to(folder)): sha256(p) for p in files}


def verify(checkpoint: str | Path) -> None:
    """Checks every file of a checkpoint against its manifest.

    Raises:
      UserError: names the checkpoint and the file that is missing, new or altered.
    """
    checkpoint = Path(checkpoint)
    try:
        wanted = read_json(checkpoint / MANIFEST)
    except ValueError:
        raise UserError(f"{checkpoint}: no checkpoint, {MANIFEST} is missing or broken") from None
    found = _hashes(checkpoint)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            what = "missing" if name not in found else "altered"
            said = name if name.isprintable() else ascii(name)
            raise UserError(f"{checkpoint / said}: {what} since the checkpoint was written")


def newest(folder: str | Path, warn: Callable[[str], None] = lambda message: None) -> int | None:
    """Returns the step of the newest checkpoint in `folder` that is whole; None if there is none.

    Args:
      folder: where the steps' folders lie.
      warn: called with a line about each newer one that is damaged.

    Raises:
      UserError: all are damaged.
    """
    there = steps(folder)
    for step in reversed(there):
        try:
            verify(Path(folder) / str(step))
            return step
        except UserError as error:
            warn(f"{error}: the one before is taken")
    if there:
        raise UserError(
            f"{folder}: all its checkpoints are damaged (steps {', '.join(map(str, there))});"
            " bring one back, or move the folder away to start over"
        )
    return None


def meta(checkpoint: str | Path) -> dict[str, Any]:
    """Returns the checkpoint's `meta.json`.

    Raises:
      UserError: it is missing or damaged.
    """
    path = Path(checkpoint) / "meta.json"
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: missing or damaged ({error})") from None


def entries(checkpoint: str | Path, item: str) -> int:
    """Returns how many arrays an item of a checkpoint holds, as orbax lists them; 0 if it does not.

    Orbax itself is not asked: of a damaged checkpoint it has much to say, from other threads.
    """
    try:
        return len(read_json(Path(checkpoint) / "items" / item / "_METADATA")["tree_metadata"])
    except (LookupError, TypeError, ValueError):
        return 0  # `load` says what is wrong


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what orbax says of files it cannot use, in many lines with tracebacks."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    before = [logger.disabled for logger in loggers]
    hooks = sys.unraisablehook, threading.excepthook
    try:
        sys.unraisablehook = lambda arguments: None
        threading.excepthook = lambda arguments: None
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns of shardings that host arrays lack
            yield
    except Exception:
        gc.collect()  # tasks that failed say so when they go,
        time.sleep(0.2)  # and reads that nobody waits for any more, when they end
        raise
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def load(checkpoint: str | Path, targets: dict[str, Any]) -> dict[str, Any]:
    """Returns the named items of a verified checkpoint as host arrays.

    Args:
      checkpoint: the folder of one step.
      targets: trees of host arrays of the right structure and shapes by item; an empty tree is
        given back as it is.

    Raises:
      UserError: the checkpoint is damaged, or its arrays have other shapes or dtypes.
    """
    checkpoint = Path(checkpoint).absolute()
    verify(checkpoint)
    wanted = {name: tree for name, tree in targets.items() if jax.tree.leaves(tree)}
    try:
        with _quiet():
            saved = ocp.checkpointables_metadata(checkpoint / "items").metadata
            _check_kinds(checkpoint, saved, wanted)
            found = ocp.load_checkpointables(checkpoint / "items", wanted)
    except UserError:
        raise
    except Exception as error:  # of many kinds, where someone has altered files and the manifest
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{checkpoint}: holds another network than this config's: {reason}"
        ) from None
    return {**targets, **found}


def _check_kinds(checkpoint: Path, saved: Any, wanted: dict[str, Any]) -> None:
    """Refuses arrays of other shapes and dtypes, which orbax would cast, and of absurd sizes."""
    most = most_bytes(checkpoint)
    for name, tree in wanted.items():
        have = _kinds(saved[name])
        for path, want in _kinds(tree).items():
            if path not in have:
                raise ValueError(f"item {name!r} has no {path} that can be read")
            if want != have[path]:
                raise UserError(
                    f"{checkpoint}: item {name!r} holds {have[path]} in {path} where {want} is"
                    " needed; the config differs from the run's"
                )
        for leaf in jax.tree.leaves(saved[name]):
            # Chunks are read whole, and may be larger than the array.
            chunk = getattr(leaf.storage_metadata, "chunk_shape", None) or leaf.shape
            most -= leaf.dtype.itemsize * max(math.prod(leaf.shape), math.prod(chunk))
    if most < 0:
        raise UserError(f"{checkpoint}: its arrays are larger than files of its size can hold")


def _kinds(tree: Any) -> dict[str, str]:
    """Returns dtype and shape of each leaf by its path, the same for tuples as for dicts."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{leaf.shape}"
        for path, leaf in leaves
    }
