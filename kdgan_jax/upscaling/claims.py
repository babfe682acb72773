"""Claims on results: one process makes a result, under a hidden name until it is whole.

Several processes may work on one folder. A claim is an empty file whose short name tells whose it
is; the result is written into it, and takes its place under its own name at the end.
"""

import contextlib
import hashlib
import os
import platform
import time
from pathlib import Path

from kdgan_jax.runtime.files import is_running

OLD = 3600.0  # seconds after which a claim does not count


class Claim:
    """A claim of this process on a result.

    Attributes:
      target: where the result goes.
      path: where it is written first; ends like `target`.
    """

    def __init__(self, target: Path, path: Path) -> None:
        self.target, self.path = target, path

    def publish(self) -> None:
        """Puts the result, which is whole, in its place."""
        os.replace(self.path, self.target)

    def release(self) -> None:
        """Gives the claim up; what is written is lost."""
        self.path.unlink(missing_ok=True)


def claim(target: Path) -> Claim | None:
    """Returns the claim on a result, None if another process of this machine has one.

    Claims that ended processes left are removed.

    Raises:
      OSError: its folder cannot be written.
    """
    key = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
    start = f".{key}-{host}-"
    own = target.with_name(f"{start}{os.getpid()}{target.suffix}")
    hidden = own.with_name(f".{os.getpid()}-{own.name[1:]}")
    try:
        _make(own, hidden)
        return Claim(target, own) if _is_ours(own, start) else None
    except BaseException:  # a signal, too, leaves no claim that nobody holds
        for path in own, hidden:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _is_ours(own: Path, start: str) -> bool:
    """Returns whether the claim `own` is the only one, or the first."""
    for other in own.parent.glob(f"{start}*"):
        number = other.name.removeprefix(start).partition(".")[0]
        if other == own or not number.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it is gone by now, or another user's
            if not is_running(int(number)):
                other.unlink()
            elif _comes_first(other, int(number), own):
                own.unlink(missing_ok=True)
                return False
    return True


def _make(path: Path, hidden: Path) -> None:
    """Makes an empty file, first as `hidden`; sets its time, which by itself is coarse."""
    hidden.unlink(missing_ok=True)  # a link would be followed
    hidden.touch(exist_ok=False)
    now = time.time_ns()
    os.utime(hidden, ns=(now, now))
    os.replace(hidden, path)


def _comes_first(other: Path, number: int, own: Path) -> bool:
    """Returns whether the claim of process `number` was there before.

    It may be left over, and the number have passed on to another program; so it does not count for
    ever, and a result may be made twice.
    """
    theirs, ours = other.stat(), own.stat()
    if ours.st_mtime - theirs.st_mtime > OLD:
        return False
    return (theirs.st_mtime_ns, number) < (ours.st_mtime_ns, os.getpid())
