"""Files that are never half written: they are written under a temporary name, then renamed."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` at the end, unless an exception is raised."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)  # writing would follow a symbolic link
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8; parts of names that are no text are escaped."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_text(path: str | Path) -> str:
    """Returns the text of a file in UTF-8, whatever the locale."""
    return Path(path).read_text(encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes `value` to `path` as indented JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
      ValueError: the file is missing, cannot be read, or does not hold a JSON object.
    """
    path = Path(path)
    try:  # is_file: reading a named pipe would block
        value = json.loads(read_text(path) if path.is_file() else "")
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def sha256(path: str | Path) -> str:
    """Returns the hexadecimal SHA-256 of the file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
