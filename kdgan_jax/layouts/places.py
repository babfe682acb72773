"""What a user's path names: a folder, a file, what matches a pattern, or two folders."""

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path

from kdgan_jax.runtime.errors import suggest

KINDS = "hr", "lr", "pairs"  # of folders


def exists(text: str, kind: str = "") -> bool:
    """Returns whether a path names something, as for `layouts.at`."""
    return os.path.exists(text) or bool(matches(text)) or bool(kind == "pairs" and two(text))


def name(text: str, kind: str = "") -> str:
    """Returns the name of what a path names, as for `layouts.at`: of its folder, or of its file."""
    path = Path(text)
    if path.is_file():
        return printable(path.stem)
    return printable(roots(text, kind)[0].resolve().name)


def roots(text: str, kind: str = "") -> list[Path]:
    """Returns the folders that a path leads to, as for `layouts.at`: usually itself."""
    if kind == "pairs" and not os.path.exists(text) and (both := two(text)):
        return list(both)
    return [before_pattern(text)]


def between_commas(text: str, exists: Callable[[str], bool]) -> list[str]:
    """Returns the words between the commas of a text; the longest words that exist hold commas."""
    parts, words = text.split(","), []
    while parts:
        longer = range(len(parts), 1, -1)
        number = next((n for n in longer if exists(",".join(parts[:n]).strip())), 1)
        words.append(",".join(parts[:number]).strip())
        parts = parts[number:]
    return words


def printable(text: str) -> str:
    """Returns a path's text with an escape for each byte that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def two(text: str) -> tuple[Path, Path] | None:
    """Returns the folders of "HR_FOLDER:LR_FOLDER", if both exist."""
    for colon in re.finditer(":", text):
        hr, lr = text[: colon.start()], os.path.expanduser(text[colon.end() :])
        if os.path.isdir(hr) and os.path.isdir(lr):
            return Path(hr), Path(lr)
    return None


def matches(text: str) -> list[Path]:
    """Returns what matches a pattern such as "photos/*.png"."""
    if not glob.has_magic(text):
        return []
    return [Path(found) for found in sorted(glob.glob(text, recursive=True))]


def before_pattern(text: str) -> Path:
    """Returns the folder that a path begins with: all of it, or what stands before a pattern."""
    path = Path(text)
    while not path.is_dir() and path != path.parent and (path.is_file() or _is_pattern(path)):
        path = path.parent
    return path


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def nothing_at(text: str) -> str:
    """Returns the message about a path that names nothing."""
    if glob.has_magic(text):
        return f"{text}: no file or folder matches; correct the pattern"
    word, colon, _ = text.partition(":")
    meant = suggest(word.lower(), KINDS) if colon else ""
    return f"{text}: no such folder or file{meant or '; give an existing folder of images'}"
