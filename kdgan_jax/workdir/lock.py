"""One process at a time in a folder."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds `folder`/.lock while the block runs.

    The operating system releases it when the process ends in whatever way, so that a file left
    behind is no lock. Where there are no such locks (Windows) nothing is held.

    Raises:
      UserError: another process holds it, or the folder cannot be written to.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        opened = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error})") from None
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: is in use by {file.read().strip() or 'another process'}; wait for it,"
                " end it, or choose another --workdir"
            ) from None
        except OSError as error:  # a file system without locks
            log.warning("%s: cannot be locked (%s); start one process alone in it", folder, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
