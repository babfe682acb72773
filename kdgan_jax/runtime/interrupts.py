"""Ends a command on Ctrl-C, SIGTERM or SIGHUP with one line, and with the exit code of shells."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

# Of Ctrl-C, of schedulers and `kill`, and of a terminal that is closed (not on Windows).
NAMES = "SIGINT", "SIGTERM", "SIGHUP"
PROGRAMS = "kdgan_jax", "launch"  # packages whose modules are commands


class Interrupted(BaseException):
    """A signal has asked the program to end.

    It is not an `Exception`, because it can come anywhere and no handler on the way may mistake it
    for an ordinary error.

    Attributes:
      code: the exit code that shells give: 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Requests:
    """What signals have asked for."""

    def __init__(self) -> None:
        self._asked: int | None = None

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """Handles a signal: the first raises `Interrupted`, a second Ctrl-C leaves at once."""
        if self._asked is not None:
            if number == signal.SIGINT:
                at_once()
            return
        self._asked = number
        raise Interrupted(number)

    def check(self) -> None:
        """Raises `Interrupted` if a signal came: the first may have come where errors are lost."""
        if self._asked is not None:
            raise Interrupted(self._asked)


def at_once() -> NoReturn:
    """Ends what a second Ctrl-C is for: one of the package's commands, without any more work.

    Raises:
      KeyboardInterrupt: the program is another one, such as the kernel of a notebook, which goes on
        or ends as it likes.
    """
    # How it was started: `python -m kdgan_jax.main`, which `kdgan main` also looks like.
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name.partition(".")[0] in PROGRAMS:
        os._exit(128 + signal.SIGINT)
    raise KeyboardInterrupt


@contextlib.contextmanager
def raised() -> Iterator[Requests]:
    """Lets signals raise `Interrupted` in the main thread, inside the block.

    Those that are ignored, as under nohup, stay ignored. Other threads change nothing.
    """
    requests = Requests()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, requests.handle)
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def in_one_line(applies: bool = True) -> Iterator[None]:
    """Ends the program with the line "stopped" if a signal comes inside the block.

    Commands import JAX in such a block, which takes seconds.

    Args:
      applies: False changes nothing, for modules that are imported by other programs.
    """
    if not applies:
        yield
        return
    with raised():
        try:
            yield
        except Interrupted as stop:
            leave(stop)


def leave(stop: Interrupted, said: str = "stopped") -> NoReturn:
    """Prints one line on stderr, if it is there, and ends the program."""
    with contextlib.suppress(AttributeError, OSError):  # stderr may be closed
        sys.stderr.write(f"{said}\n")
        sys.stderr.flush()
    sys.exit(stop.code)
