"""Names of results: each depends on its own picture and the options, never on other pictures."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kdgan_jax.pictures import folders, kinds, writing
from kdgan_jax.runtime.errors import UserError

LONGEST = 255  # bytes of a name on nearly all file systems
AUTO = "auto"
FORMATS = "png", "jpg", "webp", "tif", "avif"  # of results, by their suffixes
_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}


class Source(NamedTuple):
    """A picture to enlarge.

    Attributes:
      path: where it is.
      below: where its result is, below the folder for results, but for the end of the name.
    """

    path: Path
    below: Path


def named(name: str, suffix: str, extension: str) -> str:
    """Returns the name of the result of a picture.

    Only a suffix of pictures is replaced: "scan 3.5" gives "scan 3.5.png". What is longer than file
    systems allow is cut, and gets a hash of the whole, so that two names stay two.

    Args:
      name: of the picture's file.
      suffix: goes before the extension; an underscore joins it if it begins with a letter or digit.
      extension: such as ".png".
    """
    stem, dot, end = name.rpartition(".")
    stem = stem if stem and f"{dot}{end}".lower() in folders.KNOWN else name
    end = f"{'_' * suffix[:1].isalnum()}{suffix}{extension}"
    if len(os.fsencode(stem + end)) <= LONGEST:
        return stem + end
    end = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}{end}"
    while len(os.fsencode(stem + end)) > LONGEST:
        stem = stem[:-1]
    return stem + end


def is_result(name: str, suffix: str) -> bool:
    """Returns whether a name is one that results with a suffix have."""
    stem = Path(name).stem
    return bool(suffix) and stem.endswith(f"{'_' * suffix[:1].isalnum()}{suffix}")


def kept(path: Path) -> str:
    """Returns the extension that keeps the format of a picture, ".png" if it cannot be written.

    The name's own suffix stays if it is one that is written; otherwise the content decides.
    """
    if path.suffix.lower() in writing.FORMATS:
        return path.suffix
    try:
        with path.open("rb") as file:
            return _SUFFIXES.get(kinds.format_of(file.read(kinds.HEAD)), ".png")
    except OSError:  # which reading it will tell
        return ".png"


def target(source: Source, out: Path, suffix: str, extension: str) -> Path:
    """Returns where the result of `source` goes, below `out`.

    Args:
      source: the picture.
      out: folder for results.
      suffix: as for `named`.
      extension: one of `FORMATS`, or `AUTO` for that of the picture.
    """
    end = kept(source.path) if extension == AUTO else f".{extension}"
    return out / source.below.with_name(named(source.below.name, suffix, end))


def check(pairs: Iterable[tuple[Source, Path]]) -> list[tuple[Source, Path]]:
    """Returns each (source, target) once.

    Raises:
      UserError: two sources have one target, or a target is itself one of the sources.
    """
    by_target: dict[Path, Source] = {}
    for source, path in pairs:
        other = by_target.setdefault(path, source)
        if other is not source and not _same(other.path, source.path):
            differ = kept(other.path) != kept(source.path)
            raise UserError(
                f"{other.path} and {source.path} would both become {path};"
                f" {'keep their formats by --ext=auto, or ' * differ}upscale them into two folders"
            )
    sources = {_identity(source.path) for source in by_target.values()}
    for path, source in by_target.items():
        if path.exists() and _identity(path) in sources:
            whose = "itself" if _same(path, source.path) else f"of {source.path}, over a source"
            raise UserError(
                f"{path}: is a picture to upscale, and the result would be written {whose};"
                " choose another -o, or give results a --suffix"
            )
    return [(source, path) for path, source in by_target.items()]


def _identity(path: Path) -> tuple[int, int] | Path:
    """Returns what tells a file from others, whatever path leads to it."""
    try:
        status = path.stat()
    except OSError:
        return path.absolute()
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    return _identity(one) == _identity(other)
