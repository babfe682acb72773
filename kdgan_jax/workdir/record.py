"""`run.json`: every start of a run, its software and hardware, and how it ended."""

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
    """Returns the versions of Python and of the packages that affect results."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def revision() -> str | None:
    """Returns the git commit of this code, with "+" if files differ from it; None outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # fails in a repository that only surrounds it
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def kept(path: Path, facts: dict[str, Any]) -> Iterator[None]:
    """Records a start in the file at `path`, and how it ended once the block ends.

    The caller holds the run's lock, so an earlier start that is still "running" was killed or its
    machine went down.

    Args:
      path: of `run.json`.
      facts: JSON values to record with the start.
    """
    starts: list[dict[str, Any]] = []
    with contextlib.suppress(ValueError, KeyError, TypeError):
        starts = [start for start in read_json(path)["starts"] if isinstance(start, dict)]
    for earlier in starts:
        if earlier.get("exit") == RUNNING:
            earlier["exit"] = "killed, or the machine went down"
    current: dict[str, Any] = {"start": _now(), "end": None, "exit": RUNNING}
    current |= {"versions": versions(), "revision": revision(), **facts}
    starts.append(current)
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
        current |= {"end": _now(), "exit": reason}
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            write_json(path, {"starts": starts})
