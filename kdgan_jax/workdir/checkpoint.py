"""Checkpoints: orbax items in a step's folder, which a rename completes.

    checkpoints/<phase>/<step>/
        items/      orbax: ema and loop; NAME.params, NAME.others and NAME.optimizer of the
                    generator, the discriminator and the adapters of losses
        meta.json   model (name, kwargs, scale), phase, network, number, step, items, versions
        sha256.json the SHA-256 of every file above

Orbax notices a missing file but not an altered one, hence the manifest. Arrays are saved from the
host, so any number of devices can read a checkpoint, and each item can be read alone.
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

from kdgan_jax.runtime import processes
from kdgan_jax.runtime.errors import UserError
from kdgan_jax.runtime.files import read_json, sha256, write_json
from kdgan_jax.runtime.limits import most_bytes

META = "meta.json"
MANIFEST = "sha256.json"
BEST = "best.json"  # in a phase's folder: which checkpoint is the best


def phase_folder(workdir: str | Path, phase: str) -> Path:
    """Returns the folder with the checkpoints of a phase of the run in `workdir`."""
    return Path(workdir) / "checkpoints" / phase


def steps(folder: str | Path) -> list[int]:
    """Returns the steps of the complete checkpoints in `folder`, in ascending order."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def best(folder: str | Path) -> tuple[int, float] | None:
    """Returns the step of the best checkpoint and its mean PSNR, as `record_best` recorded them."""
    try:
        saved = read_json(Path(folder) / BEST)
        step, psnr = int(saved["step"]), float(saved["holdout_psnr_y"])
    except (KeyError, TypeError, ValueError):
        return None
    return (step, psnr) if step in steps(folder) else None


def record_best(folder: str | Path, step: int, psnr: float) -> None:
    """Records that the checkpoint of `step` is the best so far."""
    write_json(Path(folder) / BEST, {"step": step, "holdout_psnr_y": psnr})


def save(
    folder: str | Path,
    step: int,
    items: dict[str, Any],
    meta: dict[str, Any],
    keep: int = 2,
    kept: int | None = None,
) -> Path:
    """Writes the checkpoint of `step`, removes all but the `keep` newest, and returns its folder.

    All processes of a run call this, on one file system, and return once the checkpoint is
    complete.

    Args:
      folder: the phase's folder.
      step: number of updates made.
      items: trees of host arrays by name; empty trees are not saved.
      meta: JSON values; "model" rebuilds the network.
      keep: number of newest checkpoints to keep.
      kept: step of another one to keep.

    Raises:
      OSError: the checkpoint cannot be written; earlier ones remain unchanged.
    """
    from orbax.checkpoint import v1 as ocp  # slow to import, and not needed for models in one file

    folder = Path(folder).absolute()
    temporary, final = folder / f".{step}.part", folder / str(step)
    filled = {name: tree for name, tree in items.items() if jax.tree.leaves(tree)}
    if processes.first():
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".*.part"):
            shutil.rmtree(unfinished, ignore_errors=True)
        temporary.mkdir()
    processes.barrier(f"checkpoint {folder} {step} begins")
    try:
        with _quiet():
            ocp.save_checkpointables(temporary / "items", filled)
    except ValueError as error:  # from tensorstore, in many lines
        if "os_error_code" not in str(error):
            raise
        raise OSError(str(error).splitlines()[0].rpartition(": ")[2]) from None
    if processes.first():
        write_json(temporary / META, {**meta, "step": step, "items": sorted(filled)})
        write_json(temporary / MANIFEST, _hashes(temporary))
        _replace(temporary, final, keep, kept)
    processes.barrier(f"checkpoint {folder} {step} is complete")
    return final


def _replace(temporary: Path, final: Path, keep: int, kept: int | None) -> None:
    """Gives a complete checkpoint its final name and removes the oldest ones."""
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    # A later checkpoint must be damaged, since the run resumed from an earlier one; ignore it.
    for step in [step for step in steps(final.parent) if step <= int(final.name)][:-keep]:
        if step != kept:
            shutil.rmtree(final.parent / str(step))


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(p.relative_to(folder)): sha256(p) for p in files}


def verify(checkpoint: str | Path) -> None:
    """Checks every file of a checkpoint against its manifest.

    Raises:
      UserError: a file is missing, new or altered; names it.
    """
    checkpoint = Path(checkpoint)
    try:
        recorded = read_json(checkpoint / MANIFEST)
    except ValueError:
        raise UserError(
            f"{checkpoint}: not a checkpoint, {MANIFEST} is missing or broken"
        ) from None
    actual = _hashes(checkpoint)
    for name in sorted(recorded.keys() | actual.keys()):
        if recorded.get(name) != actual.get(name):
            change = "altered" if name in actual else "missing"
            printable = name if name.isprintable() else ascii(name)
            raise UserError(f"{checkpoint / printable}: {change} since the checkpoint was written")


def newest(folder: str | Path, warn: Callable[[str], None] = lambda message: None) -> int | None:
    """Returns the step of the newest intact checkpoint in `folder`; None if there are none at all.

    Args:
      folder: the phase's folder.
      warn: called with a message about each newer checkpoint that is damaged.

    Raises:
      UserError: there are checkpoints, but all are damaged.
    """
    saved = steps(folder)
    for step in reversed(saved):
        try:
            verify(Path(folder) / str(step))
            return step
        except UserError as error:
            warn(f"{error}; using the checkpoint before it")
    if saved:
        raise UserError(
            f"{folder}: all its checkpoints are damaged (steps {', '.join(map(str, saved))});"
            " restore one, or move the folder away to start over"
        )
    return None


def meta(checkpoint: str | Path) -> dict[str, Any]:
    """Returns the checkpoint's `meta.json`.

    Raises:
      UserError: it is missing or damaged.
    """
    path = Path(checkpoint) / META
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: missing or damaged ({error})") from None


def entries(checkpoint: str | Path, item: str) -> int:
    """Returns how many arrays an item of a checkpoint holds by orbax's own list; 0 without one.

    Reads the list without orbax, which reports damage in many lines and from other threads.
    """
    try:
        return len(read_json(Path(checkpoint) / "items" / item / "_METADATA")["tree_metadata"])
    except (LookupError, TypeError, ValueError):
        return 0  # `load` reports the problem


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what orbax logs and prints about files it cannot read: tracebacks of many lines."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    disabled = [logger.disabled for logger in loggers]
    hooks = sys.unraisablehook, threading.excepthook
    try:
        sys.unraisablehook = lambda arguments: None
        threading.excepthook = lambda arguments: None
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns that host arrays have no sharding
            yield
    except Exception:
        # Wait while silenced: failed tasks report when collected, abandoned reads when they end.
        gc.collect()
        time.sleep(0.2)
        raise
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for logger, was_disabled in zip(loggers, disabled, strict=True):
            logger.disabled = was_disabled


def load(checkpoint: str | Path, targets: dict[str, Any]) -> dict[str, Any]:
    """Returns items of a checkpoint as host arrays, after verifying its files.

    Args:
      checkpoint: the folder of one step.
      targets: by item, a tree of host arrays with the expected structure, shapes and dtypes; an
        empty tree is returned unchanged.

    Raises:
      UserError: the checkpoint is damaged, or its arrays have other shapes or dtypes.
    """
    from orbax.checkpoint import v1 as ocp

    checkpoint = Path(checkpoint).absolute()
    verify(checkpoint)
    filled = {name: tree for name, tree in targets.items() if jax.tree.leaves(tree)}
    try:
        with _quiet():
            saved = ocp.checkpointables_metadata(checkpoint / "items").metadata
            _check_kinds(checkpoint, saved, filled)
            loaded = ocp.load_checkpointables(checkpoint / "items", filled)
    except UserError:
        raise
    except Exception as error:  # altered files with an altered manifest can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{checkpoint}: does not hold the expected network ({reason}); use the config that the"
            " run was started with"
        ) from None
    return {**targets, **loaded}


def _check_kinds(checkpoint: Path, saved: Any, targets: dict[str, Any]) -> None:
    """Refuses arrays of other shapes or dtypes, which orbax would cast, and of absurd sizes."""
    remaining = most_bytes(checkpoint)
    for name, tree in targets.items():
        saved_kinds = _kinds(saved[name])
        for path, kind in _kinds(tree).items():
            if path not in saved_kinds:
                raise ValueError(f"item {name!r} has no {path} that can be read")
            if kind != saved_kinds[path]:
                raise UserError(
                    f"{checkpoint}: item {name!r} holds {saved_kinds[path]} in {path}, needed"
                    f" {kind}; use the config that the run was started with"
                )
        for leaf in jax.tree.leaves(saved[name]):
            # A chunk is read as a whole and may be larger than the array.
            chunk = getattr(leaf.storage_metadata, "chunk_shape", None) or leaf.shape
            remaining -= leaf.dtype.itemsize * max(math.prod(leaf.shape), math.prod(chunk))
    if remaining < 0:
        raise UserError(f"{checkpoint}: its arrays are larger than its files can hold; replace it")


def _kinds(tree: Any) -> dict[str, str]:
    """Returns each leaf's dtype and shape by its path; tuples and dicts have the same paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{leaf.shape}"
        for path, leaf in leaves
    }
