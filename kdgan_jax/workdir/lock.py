"""A lock that allows one process at a time in a folder."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from kdgan_jax.runtime.console import log
from kdgan_jax.runtime.errors import UserError


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks `folder`/.lock while the block runs.

    The operating system releases the lock when the process ends, however it ends, so a file that is
    left behind does not lock the folder. On systems without such locks (Windows), does nothing.

    Raises:
      UserError: another process holds the lock, or the folder cannot be written to.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        lock_file = (folder / ".lock").open("a+")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error}); change its permissions or choose another"
            " --workdir"
        ) from None
    with lock_file as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"{folder}: is in use by {holder}; wait for it, end it, or choose another folder"
            ) from None
        except OSError as error:  # a file system without locks
            log.warning("%s: cannot be locked (%s); run only one process in it", folder, error)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
