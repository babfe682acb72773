"""`run.json`: every start of a run, what it ran on, and how it ended."""

import contextlib
import datetime
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kdgan_jax.runtime.errors import Stopped, UserError
from kdgan_jax.runtime.files import read_json, write_json

PACKAGES = "kdgan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow"
RUNNING = "running"


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def revision() -> str | None:
    """Returns the git commit of this code, with "+" if it has been changed; None outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # not the commit of a repository around it
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def kept(path: Path, facts: dict[str, Any]) -> Iterator[None]:
    """Adds a start to the file at `path`, and when the block ends, how.

    A start that is still "running" there was killed, or its machine went down: whoever calls this
    is alone in the run.
    """
    starts: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = read_json(path)["starts"]
        starts = [start for start in found if isinstance(start, dict)]
    for old in starts:
        if old.get("exit") == RUNNING:
            old["exit"] = "ended without a word: killed, or the machine went down"
    ours: dict[str, Any] = {"start": _now(), "end": None, "exit": RUNNING}
    ours |= {"versions": versions(), "revision": revision(), **facts}
    starts.append(ours)
    write_json(path, {"starts": starts})
    reason = "complete"
    try:
        yield
    except (Stopped, UserError) as error:
        reason = str(error)
        raise
    except BaseException as error:
        reason = f"failed: {error!r}"
        raise
    finally:
        ours |= {"end": _now(), "exit": reason}
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            write_json(path, {"starts": starts})
