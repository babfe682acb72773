"""Files that are never half written: they are written under a temporary name, then renamed."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` at the end, unless an exception is raised.

    Its name is hidden and short, whatever `path` is called, ends in ".part", and has the process in
    it. What ended processes of this machine left in the folder under such names is removed.
    """
    path = Path(path)
    _remove_left_overs(path.parent.absolute())
    # Nobody can guess the name and put a symbolic link there, which writing would follow.
    temporary = path.with_name(f"{_begin()}{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _begin() -> str:
    """Returns how temporary names of this machine begin."""
    return f".kdgan-{hashlib.sha256(platform.node().encode()).hexdigest()[:6]}-"


@functools.lru_cache(maxsize=1024)  # once for each folder: a folder may hold many results
def _remove_left_overs(folder: Path) -> None:
    """Removes what ended processes of this machine left in `folder`."""
    name = re.compile(re.escape(_begin()) + r"(\d+)-[0-9a-f]{8}\.part")
    entries: list[str] = []
    with contextlib.suppress(OSError):  # it cannot be listed
        entries = os.listdir(folder)
    for entry in entries:
        found = name.fullmatch(entry)
        if found and not is_running(int(found[1])):
            with contextlib.suppress(OSError):  # it is another user's
                (folder / entry).unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Returns whether a process of this machine runs, True if that is unknown."""
    if sys.platform == "win32":  # os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


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
