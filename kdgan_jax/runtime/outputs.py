"""Folders and files for results, checked before anything is computed for them."""

import os
from pathlib import Path

from kdgan_jax.runtime.errors import UserError


def make(folder: Path, field: str) -> None:
    """Makes a folder, and writes and removes a file there.

    Args:
      folder: for results.
      field: the option that names it, for messages.

    Raises:
      UserError: a file stands in the way, or the folder cannot be made or written.
    """
    try:
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise UserError(f"{field}={folder}: {place} is a file; name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".{os.getpid()}.trial"
        trial.unlink(missing_ok=True)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise UserError(
            f"{field}={folder}: cannot be written ({error.strerror}); allow writing there, or"
            " choose another folder"
        ) from None


def new_file(name: str, suffix: str) -> Path:
    """Returns the path of a file to write, an argument OUT.

    Raises:
      UserError: it has another suffix, exists, or has no folder.
    """
    out = Path(name)
    if out.suffix != suffix:
        raise UserError(f"{out}: OUT must have the suffix {suffix}")
    if out.exists():
        raise UserError(f"{out} exists; remove it or choose another name")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; make it first")
    return out
