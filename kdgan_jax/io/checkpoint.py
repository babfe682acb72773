"""Checkpoints: orbax items under a step's folder, made whole by a rename.

    checkpoints/<phase>/<step>/
        items/      orbax: params, ema, optimizer, discriminator, loop
        meta.json   model (name, kwargs, scale), phase, step, versions
        sha256.json the hash of every file above

Orbax notices a missing file but not an altered one, hence the manifest. Arrays are saved from the
host, so a checkpoint can be read on any number of devices, and one item can be read alone.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from kdgan_jax.errors import UserError
from kdgan_jax.io.files import sha256, write_json

MANIFEST = "sha256.json"


def phase_folder(workdir: str | Path, phase: str) -> Path:
    """Returns where the checkpoints of a phase of the run in `workdir` lie."""
    return Path(workdir) / "checkpoints" / phase


def steps(folder: str | Path) -> list[int]:
    """Returns the steps of the complete checkpoints in `folder`, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def save(
    folder: str | Path, step: int, items: dict[str, Any], meta: dict[str, Any], keep: int = 2
) -> Path:
    """Writes the checkpoint of `step` and removes all but the `keep` newest.

    Args:
      folder: where the steps' folders lie.
      step: number of updates made.
      items: trees of host arrays by name; an empty tree is left out.
      meta: JSON values; "model" rebuilds the network.
      keep: how many checkpoints stay.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    temporary, final = folder / f".{step}.part", folder / str(step)
    for left_behind in folder.glob(".*.part"):
        shutil.rmtree(left_behind, ignore_errors=True)
    temporary.mkdir()
    filled = {name: tree for name, tree in items.items() if jax.tree.leaves(tree)}
    ocp.save_checkpointables(temporary / "items", filled)
    write_json(temporary / "meta.json", {**meta, "step": step, "items": sorted(filled)})
    write_json(temporary / MANIFEST, _hashes(temporary))
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    # A later one is damaged, or the run would not be here: it does not count.
    for old in [other for other in steps(folder) if other <= step][:-keep]:
        shutil.rmtree(folder / str(old))
    return final


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
        wanted = json.loads((checkpoint / MANIFEST).read_text())
    except (OSError, ValueError):
        raise UserError(f"{checkpoint}: no checkpoint, {MANIFEST} is missing or broken") from None
    found = _hashes(checkpoint)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            what = "missing" if name not in found else "altered"
            raise UserError(f"{checkpoint / name}: {what} since the checkpoint was written")


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
    """Returns the checkpoint's `meta.json`."""
    return json.loads((Path(checkpoint) / "meta.json").read_text())


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # orbax warns of shardings that host arrays lack
            found = ocp.load_checkpointables(checkpoint / "items", wanted)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"{checkpoint}: holds another network than this config's: {reason}"
        ) from None
    saved = ocp.checkpointables_metadata(checkpoint / "items").metadata  # orbax casts silently
    for name, tree in wanted.items():
        have = _kinds(saved[name])
        for path, want in _kinds(tree).items():
            if want != have[path]:
                raise UserError(
                    f"{checkpoint}: item {name!r} holds {have[path]} in {path} where {want} is"
                    " needed; the config differs from the run's"
                )
    return {**targets, **found}


def _kinds(tree: Any) -> dict[str, str]:
    """Returns dtype and shape of each leaf by its path, the same for tuples as for dicts."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{leaf.shape}"
        for path, leaf in leaves
    }
